// The journal of a feature part, as it comes and with head and first record made right.
// fuzz-sources: data/features_journal.c data/shard_seal.c data/file.c
#include "data/features_journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const data_feature_source source = {.run = "r", .weights_digest = "w", .model = "m"};
enum { HEAD = 32, RECORD = 40, DIGEST = 24 };

static void read_back(const void *bytes, size_t size)
{
    char path[64];
    data__journal j;
    int fd = memfd_create("journal", 0);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) abort();
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (data__journal_read(&j, path, &source) == MN_OK) {
        if (j.end > (int64_t)size) abort();
        for (int64_t i = 0; i < j.n; i++) {
            data_track t;
            if (strlen(j.entries[i].video) >= 200 || data__journal_track(&j, i, &t) != MN_OK) abort();
            volatile float last = t.x[t.frames * t.dim - 1];
            (void)last;
            free((void *)(uintptr_t)t.t_us);
        }
        data__journal_close(&j);
    }
    (void)close(fd);
}

// The digest of the record at `r`, over what its own lengths say, as far as that is there.
static void make_right(unsigned char *r, size_t left)
{
    uint32_t name;
    int64_t extent[2];
    memcpy(&name, r + 4, sizeof(name));
    memcpy(extent, r + 8, sizeof(extent));
    if (name > left || extent[0] < 0 || extent[1] < 0 || extent[0] > 4096 || extent[1] > 4096) return;
    size_t body = name + (size_t)extent[0] * (8 + 4 * (size_t)extent[1]);
    if (body > left - RECORD) return;
    XXH3_state_t *h = XXH3_createState();
    XXH128_canonical_t c;
    if (!h) abort();
    (void)XXH3_128bits_reset(h);
    (void)XXH3_128bits_update(h, r, DIGEST);
    (void)XXH3_128bits_update(h, r + RECORD, body);
    XXH128_canonicalFromHash(&c, XXH3_128bits_digest(h));
    memcpy(r + DIGEST, &c, sizeof(c));
    (void)XXH3_freeState(h);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char text[] = "w\nm";
    read_back(data, size);
    unsigned char *b = malloc(HEAD + size);
    XXH128_canonical_t c;
    if (!b) abort();
    memcpy(b, "mien features j1", 16);
    XXH128_canonicalFromHash(&c, XXH3_128bits(text, strlen(text)));
    memcpy(b + 16, &c, sizeof(c));
    memcpy(b + HEAD, data, size);
    if (size >= RECORD) {
        memcpy(b + HEAD, "MNTJ", 4);
        make_right(b + HEAD, size);
    }
    read_back(b, HEAD + size);
    free(b);
    return 0;
}
