#include "data/batch_sheet.h"

#include "data/image.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS = 8, MOST = 64, GAP = 4, PAPER = 255 };

typedef struct sheet {
    int64_t height, width; // of a picture
    int64_t tokens;        // on a side of the mask; 0: no mask
    int64_t across;        // pixels of the sheet
    uint8_t *rgb;
} sheet;

static int masked(const sheet *s, const uint8_t *mask, int64_t y, int64_t x)
{
    return s->tokens && mask[y * s->tokens / s->height * s->tokens + x * s->tokens / s->width];
}

static float element(const void *pictures, mn_dtype type, int64_t i)
{
    return type == MN_BF16 ? mn_bf16_to_f32(((const mn_bf16 *)pictures)[i]) : ((const float *)pictures)[i];
}

static void draw(sheet *s, const void *pictures, mn_dtype type, const uint8_t *mask, const float mean[3],
                 const float std[3], int64_t number)
{
    int64_t top = GAP + number / COLUMNS * (s->height + GAP), left = GAP + number % COLUMNS * (s->width + GAP);
    for (int64_t y = 0; y < s->height; y++)
        for (int64_t x = 0; x < s->width; x++) {
            int64_t from = ((number * s->height + y) * s->width + x) * 3;
            uint8_t *to = s->rgb + ((top + y) * s->across + left + x) * 3;
            float light = masked(s, mask, y, x) ? 0.25f : 1;
            for (int c = 0; c < 3; c++)
                to[c] = (uint8_t)lrintf(
                    fminf(fmaxf(255 * light * (element(pictures, type, from + c) * std[c] + mean[c]), 0), 255));
        }
}

static mn_err write_png(const sheet *s, int64_t down, const char *path)
{
    data_coder *coder;
    const uint8_t *bytes;
    size_t size;
    MN_TRY(data_coder_open(&coder));
    mn_err err = data_png_encode(coder, s->rgb, (int)s->across, (int)down, 3, &bytes, &size);
    if (err == MN_OK) err = mn_file_replace(path, bytes, size);
    data_coder_close(coder);
    return err;
}

mn_err data_batch_sheet(const data_set *set, const data_batch *b, const float mean[3], const float std[3],
                        const char *path)
{
    int image = data_set_field(set, "image"), mask = data_set_field(set, "mask");
    if (image < 0 || set->field[image].shape.n != 3 || set->field[image].shape.d[2] != 3)
        return mn_fail(MN_ECONFIG, "%s: samples are not pictures, there is nothing to draw", set->ops->name);
    if (access(path, F_OK) == 0)
        return mn_fail(MN_ECREATE, "%s: is there already: name another file, or remove it", path);
    int64_t n = b->rows < MOST ? b->rows : MOST, cells = mask < 0 ? 0 : mn_count(set->field[mask].shape);
    sheet s = {.height = set->field[image].shape.d[0], .width = set->field[image].shape.d[1]};
    s.tokens = (int64_t)llround(sqrt((double)cells));
    s.across = GAP + (n < COLUMNS ? n : COLUMNS) * (s.width + GAP);
    int64_t down = GAP + (n + COLUMNS - 1) / COLUMNS * (s.height + GAP);
    size_t bytes = (size_t)(s.across * down * 3);
    s.rgb = mn_calloc(bytes, 1);
    memset(s.rgb, PAPER, bytes);
    for (int64_t i = 0; i < n; i++)
        draw(&s, b->field[image], set->field[image].dtype,
             mask < 0 ? NULL : (const uint8_t *)b->field[mask] + i * cells, mean, std, i);
    mn_err err = write_png(&s, down, path);
    free(s.rgb);
    return err;
}
