// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Threading: pure functions.
#ifndef MN_UTF8_H
#define MN_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Bytes (1..4) of the first character of `text`, 0 if there is none; its code into *code when that is not NULL.
size_t mn_utf8(const char *text, size_t size, uint32_t *code);

#endif
