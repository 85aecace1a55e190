// Lists of AI-Hub in both encodings and in pieces, which must not matter, and Korean text.
// fuzz-sources: data/import/aihub_list.c data/import/korean.c data/import/text.c
// fuzz-libraries: jansson
#include "data/import/aihub_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void take_face(void *ctx, int64_t element, const data__aihub_face *f)
{
    XXH64_hash_t *hash = ctx;
    if (element < 1 || !*f->name || strchr(f->name, '/') || !data__utf8(f->name, strlen(f->name))) abort();
    if (f->emotion < 0 || f->emotion >= DATA__AIHUB_EMOTIONS || f->uploader < -1) abort();
    if (!isnan(f->box[0]) && !(f->box[2] >= 0 && f->box[3] >= 0 && f->box[2] < 3e6f)) abort();
    if (!isnan(f->age) && !(f->age > 0 && f->age < 200)) abort();
    *hash = XXH3_64bits_withSeed(f->name, strlen(f->name), *hash + (XXH64_hash_t)element + (XXH64_hash_t)f->emotion);
}

static void take_bad(void *ctx, int64_t element, data__reason reason, const char *detail)
{
    XXH64_hash_t *hash = ctx;
    *hash = XXH3_64bits_withSeed(detail, strlen(detail), *hash + (XXH64_hash_t)element + (XXH64_hash_t)reason);
}

static XXH64_hash_t read_list(data__korean *k, const char *text, size_t size, int cp949, size_t piece)
{
    static const data__aihub_ops ops = {take_face, take_bad};
    XXH64_hash_t hash = 0;
    data__aihub *a = data__aihub_open(k, cp949, &ops, &hash);
    for (size_t at = 0; at < size; at += piece)
        data__aihub_feed(a, text + at, size - at < piece ? size - at : piece);
    data__aihub_feed(a, NULL, 0);
    data__aihub_close(a);
    return hash;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size < 1) return 0;
    char *text = malloc(size); // exactly as long as it says
    data__korean *k;
    if (!text || data__korean_open(&k) != MN_OK) abort();
    memcpy(text, data + 1, size - 1);
    int cp949 = data[0] & 1, cut;
    if (size > 1 && read_list(k, text, size - 1, cp949, size) != read_list(k, text, size - 1, cp949, 1 + data[0] % 7))
        abort();
    char *read = data__korean_text(k, text, size - 1, cp949);
    if (read && !data__utf8(read, strlen(read))) abort();
    if (data__utf8_prefix(text, size - 1, &cut) > size - 1) abort();
    free(read);
    data__korean_close(k);
    free(text);
    return 0;
}
