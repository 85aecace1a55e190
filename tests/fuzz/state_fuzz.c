// The state of an interrupted `data verify`, as it comes and with the digests of its lines made right.
// fuzz-sources: data/verify_state.c data/shard_seal.c data/file.c
#include "data/verify_parts.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

json_t *data__json_text(const char *text) // of data/verify_shard.c: a reader never calls it
{
    (void)text;
    abort();
}

static void parse(const char *text, size_t size)
{
    json_t *head, *done;
    size_t sound = data__verify_state_parse(text, size, &head, &done);
    if (sound > size || (sound > 0 && text[sound - 1] != '\n') || (sound > 0) != (head != NULL)) abort();
    json_decref(head);
    json_decref(done);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char digit[] = "0123456789abcdef";
    char *exact = malloc(size + 1), *text = malloc(18 * (size + 1) + 1);
    size_t n = 0;
    if (!exact || !text) abort();
    memcpy(exact, data, size);
    parse(exact, size);
    for (size_t at = 0; at < size;) {
        const char *end = memchr(exact + at, '\n', size - at);
        size_t line = end ? (size_t)(end - exact) - at : size - at;
        uint64_t h = XXH3_64bits(exact + at, line);
        for (int i = 0; i < 16; i++)
            text[n++] = digit[h >> (60 - 4 * i) & 15];
        text[n++] = ' ';
        memcpy(text + n, exact + at, line);
        n += line;
        if (end) text[n++] = '\n';
        at += line + 1;
    }
    char *all = realloc(text, n + 1); // exactly as long, so that a read behind its end is seen
    if (!all) abort();
    parse(all, n);
    free(all);
    free(exact);
    return 0;
}
