// Characters as MAT files store them, to UTF-8. A pure function. Threading: any thread.
#ifndef DATA_MEDIA_MAT_TEXT_H
#define DATA_MEDIA_MAT_TEXT_H

#include <stddef.h>

enum { MEDIA_TEXT_MOST = 4096 }; // bytes of UTF-8

// units of 1 byte, taken as they are (UTF-8, or whatever file names were made of where they are from), of 2 (UTF-16, with
// or without pairs: halves of pairs become U+FFFD) or 4 (UTF-32: what is no character becomes U+FFFD); swap: in the other
// byte order. 0: it is longer than `most` bytes.
int media_text_convert(const unsigned char *from, size_t units, int size, int swap, char *to, size_t most, size_t *n);

#endif
