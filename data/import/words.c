#include "data/import/words.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { SLOTS_FIRST = 256 };

// The slot that has the text, or the empty one where it belongs.
static int32_t *slot_of(const data__words *w, const char *p, size_t n)
{
    int64_t at = (int64_t)(XXH3_64bits(p, n) & (uint64_t)(w->n_slots - 1));
    for (;; at = (at + 1) & (w->n_slots - 1)) {
        const char *word = w->slots[at] < 0 ? NULL : w->word[w->slots[at]];
        if (!word || (strncmp(word, p, n) == 0 && word[n] == 0)) return &w->slots[at];
    }
}

static void grow(data__words *w)
{
    w->n_slots = w->n_slots ? 2 * w->n_slots : SLOTS_FIRST;
    w->slots = mn_realloc(w->slots, (size_t)w->n_slots, sizeof *w->slots);
    memset(w->slots, -1, (size_t)w->n_slots * sizeof *w->slots);
    for (int64_t i = 0; i < w->n; i++)
        *slot_of(w, w->word[i], strlen(w->word[i])) = (int32_t)i;
}

int32_t data__words_add(data__words *w, const char *p, size_t n)
{
    if (2 * w->n >= w->n_slots) grow(w);
    int32_t *slot = slot_of(w, p, n);
    if (*slot >= 0) return *slot;
    mn_assert(w->n < INT32_MAX);
    w->word = mn_grow(w->word, w->n, &w->capacity, sizeof *w->word);
    w->word[w->n] = data__strings_add(&w->texts, p, n);
    return *slot = (int32_t)w->n++;
}

void data__words_free(data__words *w)
{
    data__strings_free(&w->texts);
    free(w->word);
    free(w->slots);
    *w = (data__words){0};
}
