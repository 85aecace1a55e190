// Texts of which there are few, though they are met often: each is kept once and known by its number, 4 bytes instead of
// the text. Threading: one writer; reading by any thread.
#ifndef DATA_IMPORT_WORDS_H
#define DATA_IMPORT_WORDS_H

#include "data/import/strings.h"

#include <stdint.h>

typedef struct data__words { // all zeros: empty
    data__strings texts;
    const char **word;   // (n)
    int64_t n, capacity; // at most INT32_MAX
    int32_t *slots;      // (n_slots): hash table of numbers, -1 where there is none
    int64_t n_slots;     // a power of two
} data__words;

// The number of the text (n bytes, no 0 among them), from 0 in the order in which they were met.
int32_t data__words_add(data__words *w, const char *p, size_t n);
void data__words_free(data__words *w);

#endif
