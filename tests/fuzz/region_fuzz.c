// JPEG bytes from outside, decoded in part. Six bytes choose the rectangle, the reduction and what follows: a file, or
// changes (offset, value) of a sound one, which get deeper into the decoder. Whatever decodes must hold the rectangle.
// fuzz-sources: data/region.c data/image.c
// fuzz-libraries: libturbojpeg libjpeg spng
#include "data/region.h"
#include "nn/base/err.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

enum { HEAD = 6, SIDE = 40, SOUND = 4, MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t *sound_file(int which, size_t *size)
{
    static const int samplings[SOUND] = {TJSAMP_420, TJSAMP_422, TJSAMP_444, TJSAMP_GRAY};
    uint8_t rgb[SIDE * SIDE * 3];
    unsigned char *jpeg = NULL;
    unsigned long n = 0;
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        rgb[i] = (uint8_t)(i * 7 + i / 50 * 31);
    tjhandle h = tjInitCompress();
    int failed = !h || tjCompress2(h, rgb, SIDE, 0, SIDE, TJPF_RGB, &jpeg, &n, samplings[which], 80, 0);
    mn_assert(!failed);
    tjDestroy(h);
    *size = n;
    return jpeg;
}

static size_t change(const uint8_t *bytes, size_t size, int which, uint8_t *file)
{
    static uint8_t *sound[SOUND];
    static size_t sizes[SOUND];
    if (!sound[which]) sound[which] = sound_file(which, &sizes[which]);
    size_t n = sizes[which];
    memcpy(file, sound[which], n);
    for (; size >= 3; bytes += 3, size -= 3)
        file[(bytes[0] | bytes[1] << 8) % n] = bytes[2];
    return size == 1 ? n - bytes[0] % n : n; // one byte left: cut off
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static data_region_reader *reader; // used again, as the loader does: damage must not outlive its picture
    static volatile uint8_t sink;
    int width, height;
    data_region p;
    if (size < HEAD || (!reader && data_region_open(&reader) != MN_OK)) return 0;
    uint8_t *file = malloc(MOST); // of exactly the right size in the end, so that ASan sees a read behind it
    size_t n = size - HEAD < MOST ? size - HEAD : MOST;
    if (bytes[5] % 8 < SOUND)
        n = change(bytes + HEAD, n, bytes[5] % 8, file);
    else
        memcpy(file, bytes + HEAD, n);
    file = realloc(file, n ? n : 1);
    if (data_region_begin(reader, file, n, &width, &height) != MN_OK) goto out;
    if ((int64_t)width * height > 1 << 22) goto out; // for time: a header may ask for 8192 x 8192
    int x = bytes[0] * (width - 1) / 255, y = bytes[1] * (height - 1) / 255;
    int w = 1 + bytes[2] * (width - x - 1) / 255, h = 1 + bytes[3] * (height - y - 1) / 255;
    if (data_region_decode(reader, x, y, w, h, bytes[4], bytes[4], &p) != MN_OK) goto out;
    int last_x = (x + w - 1) / p.reduced, last_y = (y + h - 1) / p.reduced;
    mn_assert(p.x <= x / p.reduced && p.y <= y / p.reduced && last_x < p.x + p.width && last_y < p.y + p.height);
    for (int row = 0; row < p.height; row++)
        for (int i = 0; i < p.width * 3; i++)
            sink ^= p.rgb[(size_t)row * p.stride + (size_t)i];
out:
    free(file);
    return 0;
}
