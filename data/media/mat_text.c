#include "data/media/mat_text.h"

#include <stdint.h>
#include <string.h>

static size_t put_utf8(char to[4], uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 63));
    to[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

static uint32_t unit(const unsigned char *from, size_t i, int size, int swap)
{
    uint16_t half;
    uint32_t whole;
    if (size == 1) return from[i];
    if (size == 2) {
        memcpy(&half, from + 2 * i, sizeof half);
        return swap ? __builtin_bswap16(half) : half;
    }
    memcpy(&whole, from + 4 * i, sizeof whole);
    return swap ? __builtin_bswap32(whole) : whole;
}

int media_text_convert(const unsigned char *from, size_t units, int size, int swap, char *to, size_t most, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < units; i++) {
        char bytes[4] = {(char)from[i]};
        uint32_t c = unit(from, i, size, swap);
        uint32_t low = size == 2 && c >= 0xd800 && c < 0xdc00 && i + 1 < units ? unit(from, i + 1, size, swap) : 0;
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i++;
        } else if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff) {
            c = 0xfffd;
        }
        size_t k = size == 1 ? 1 : put_utf8(bytes, c);
        if (*n + k > most) return 0;
        memcpy(to + *n, bytes, k);
        *n += k;
    }
    return 1;
}
