#include "dist/machine.h"

#include "nn/onednn.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const extensions[] = {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"};

// The value of the first line "key : value" of /proc/cpuinfo.
static void cpuinfo(const char *key, char *value, size_t size)
{
    char line[8192];
    *value = '\0';
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
        colon += strspn(colon, ": \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(value, size, "%s", colon);
        break;
    }
    fclose(f);
}

const char *dist_machine_processor(char *text, size_t size)
{
    cpuinfo("model name", text, size);
    return text;
}

static int has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = strstr(words, word); at; at = strstr(at + n, word))
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) return 1;
    return 0;
}

const char *dist_machine_features(char *text, size_t size)
{
    char flags[8192];
    size_t used = 0;
    cpuinfo("flags", flags, sizeof flags);
    *text = '\0';
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions && used < size; i++)
        if (has_word(flags, extensions[i]))
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " " : "", extensions[i]);
    return text;
}

void dist_machine_text(const char *device, char *text, size_t size)
{
    char features[128], onednn[32];
    snprintf(text, size, "%s, %d threads, oneDNN %s, %s%s%s", dist_machine_features(features, sizeof features),
             omp_get_max_threads(), nn_onednn_version(onednn, sizeof onednn), dist_library(), *device ? ", " : "",
             device);
    // It goes into JSON between quotes.
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '_';
}

const char *dist_machine_json(const dist_comm *c, char *text, size_t size)
{
    char processor[128], features[128], onednn[32];
    snprintf(text, size,
             "{\"host\": \"%s\", \"processor\": \"%s\", \"features\": \"%s\", \"cores\": %ld, \"threads\": %d, "
             "\"ranks\": %d, \"ranks_on_host\": %d, \"oneDNN\": \"%s\", \"mpi\": \"%s\", \"mien\": \"%s\"}\n",
             dist_where(c)->host, dist_machine_processor(processor, sizeof processor),
             dist_machine_features(features, sizeof features), sysconf(_SC_NPROCESSORS_ONLN), omp_get_max_threads(),
             dist_world(c), dist_where(c)->local_size, nn_onednn_version(onednn, sizeof onednn), dist_library(),
             MIEN_VERSION);
    return text;
}
