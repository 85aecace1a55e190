// The mien command: finds the verb, runs it, prints its error, chooses the exit status.
#include "recipes/verbs.h"

#include "nn/base/fault.h"
#include "recipes/usage.h"
#include "recipes/version.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

typedef struct verb {
    const char *name, *help;
    mn_err (*run)(int argc, char **argv);
} verb;

static const verb verbs[] = {
#define MIEN_VERB(name, help) {#name, help, mien_##name},
    MIEN_VERBS(MIEN_VERB)
#undef MIEN_VERB
        {NULL, NULL, NULL},
};
enum { VERBS = sizeof verbs / sizeof *verbs - 1 };

static int usage(FILE *to)
{
    fputs("usage: mien VERB ...            mien VERB --help            mien --version\n\n", to);
    for (int i = 0; i < VERBS; i++)
        fprintf(to, "  %-9s %s\n", verbs[i].name, verbs[i].help);
    fputs("\nA first run: sh bootstrap.sh demo\n", to);
    return to == stdout ? 0 : mn_exit_code(MN_EUSAGE);
}

static mn_err refuse(const char *word)
{
    static const char *const options[] = {"--help", "--version"};
    const char *names[VERBS];
    if (*word == '-') return mien_unknown("mien", "option", word, options, 2);
    for (int i = 0; i < VERBS; i++)
        names[i] = verbs[i].name;
    return mien_unknown("mien", "verb", word, names, VERBS);
}

static const verb *find(const char *name)
{
    for (int i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}

int main(int argc, char **argv)
{
    // Numbers in recipes, label files and submissions have a point, whatever the user's language.
    setlocale(LC_ALL, "C");
    if (argc < 2) return usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout);
    if (strcmp(argv[1], "--version") == 0) return mien_print_version();
    const verb *v = find(argv[1]);
    if (!v) {
        int code = mn_exit_code(refuse(argv[1]));
        fprintf(stderr, "mien: %s\n", mn_errmsg());
        return code;
    }
    mn_fault_init(0);
    mn_err e = v->run(argc - 1, argv + 1);
    if (e == MN_OK && (fflush(stdout) != 0 || ferror(stdout))) e = mn_fail(MN_EIO, "cannot write to stdout");
    if (e != MN_OK && *mn_errmsg()) fprintf(stderr, "mien %s: %s\n", v->name, mn_errmsg());
    return mn_exit_code(e);
}
