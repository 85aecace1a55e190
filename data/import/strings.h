// Many short texts that live as long as an import: kept back to back, without what malloc adds to each (16 bytes and more
// of 11). Threading: one writer; reading by any thread.
#ifndef DATA_IMPORT_STRINGS_H
#define DATA_IMPORT_STRINGS_H

#include <stddef.h>

typedef struct data__strings { // all zeros: empty
    struct data__strings_block *last;
    size_t used, size; // of the last block
} data__strings;

// A 0-ended copy, valid until data__strings_free.
char *data__strings_add(data__strings *s, const char *p, size_t n);
void data__strings_free(data__strings *s);

#endif
