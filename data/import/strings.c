#include "data/import/strings.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 1 << 10, BLOCK = 1 << 18 }; // a folder has few names or many: each block is twice the one before

struct data__strings_block {
    struct data__strings_block *before;
    char text[];
};

char *data__strings_add(data__strings *s, const char *p, size_t n)
{
    if (!s->last || n >= s->size - s->used) {
        size_t size = s->size == 0 ? FIRST : s->size < BLOCK ? 2 * s->size : BLOCK;
        if (size <= n) size = n + 1;
        struct data__strings_block *b = mn_calloc(1, sizeof(*b) + size);
        b->before = s->last;
        *s = (data__strings){.last = b, .size = size};
    }
    char *to = s->last->text + s->used;
    memcpy(to, p, n);
    s->used += n + 1; // the 0 is there
    return to;
}

void data__strings_free(data__strings *s)
{
    while (s->last) {
        struct data__strings_block *before = s->last->before;
        free(s->last);
        s->last = before;
    }
    *s = (data__strings){0};
}
