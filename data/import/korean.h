// Korean text as AI-Hub's archives have it: UTF-8 or CP949 (an extension of EUC-KR), composed (NFC) or taken apart into
// single letters as macOS does with file names (NFD). Pure functions over (pointer, length); every byte sequence is an
// allowed input.
//
//     data__korean *k; MN_TRY(data__korean_open(&k));
//     char *text = data__korean_text(k, bytes, n, !data__utf8(bytes, n)); ... free(text); data__korean_close(k);
//
// Threading: one data__korean belongs to one thread.
#ifndef DATA_IMPORT_KOREAN_H
#define DATA_IMPORT_KOREAN_H

#include "nn/base/err.h"

#include <stddef.h>

// Length of the longest beginning that is UTF-8; *cut 1: what follows it is the beginning of one more character.
size_t data__utf8_prefix(const char *bytes, size_t n, int *cut);
int data__utf8(const char *bytes, size_t n); // all of it

typedef struct data__korean data__korean;
MN_MUST_CHECK mn_err data__korean_open(data__korean **out);
void data__korean_close(data__korean *k);
// As composed UTF-8, 0-ended; the caller frees. NULL: it is not in this encoding (cp949 0: UTF-8), or has a 0 in it.
char *data__korean_text(data__korean *k, const char *bytes, size_t n, int cp949);

// What makes `name` of `file`, another spelling of it that has the same ASCII characters in the same order: a '_' for each of
// them up to the last other character of name. Where they are not the same (in CP949 an ASCII byte may be half a
// character), name itself behind a '/', which is in no name. Many names have the same. The caller frees.
char *data__ascii_between(const char *name, const char *file);
char *data__ascii_fill(const char *between, const char *file); // name again; the caller frees

// Hangul syllables out of their letters, in place; the rest of the text, which must be UTF-8, stays. (Unicode 3.12)
void data__hangul_compose(char *text);

#endif
