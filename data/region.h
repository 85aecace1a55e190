// Decoding only the rectangle of a picture that will be used: rows below it are never read, rows above and columns
// beside it skip the inverse DCT, and where the rectangle is much larger than what it will become a JPEG is decoded at
// 1/2, 1/4 or 1/8. Pixels are those of a full decode, bit for bit.
//
//     data_region_reader *r; MN_TRY(data_region_open(&r));          // one per thread
//     int w, h; MN_TRY(data_region_begin(r, bytes, size, &w, &h));  // header
//     data_region p; MN_TRY(data_region_decode(r, x, y, cw, ch, 192, 192, &p));
//
// Progressive, CMYK and EXIF-turned JPEGs and PNGs are decoded whole by data/image.h. Damage is MN_EDATA, as there.
// Threading: a reader belongs to one thread at a time.
#ifndef DATA_REGION_H
#define DATA_REGION_H

#include "nn/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct data_region {
    const uint8_t *rgb;      // (height, stride): the reader's memory, until its next begin
    size_t stride;           // bytes of a row
    int x, y, width, height; // which pixels of the picture, in pixels of the scaled one
    int reduced;             // 1, 2, 4 or 8: the scaled picture's sides are ceil(side / reduced)
} data_region;

typedef struct data_region_reader data_region_reader;
MN_MUST_CHECK mn_err data_region_open(data_region_reader **out);
void data_region_close(data_region_reader *r);
// bytes stay borrowed until the decode.
MN_MUST_CHECK mn_err data_region_begin(data_region_reader *r, const void *bytes, size_t size, int *width, int *height);
// Once after begin: at least the pixels [x, x + width) x [y, y + height), which lie in the picture. Reduced as long as
// the rectangle keeps least_width x least_height pixels; 0: never.
MN_MUST_CHECK mn_err data_region_decode(data_region_reader *r, int x, int y, int width, int height, int least_width,
                                        int least_height, data_region *out);

#endif
