#include "recipes/simmim/picture.h"

#include "data/image.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>

enum { GAP = 4, COLUMNS = 3 };

// ImageNet's statistics: the inverse of the loader's normalisation.
static const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};

static uint8_t to_byte(float v, int channel)
{
    float byte = 255 * (v * deviation[channel] + mean[channel]);
    return (uint8_t)lrintf(fminf(fmaxf(byte, 0), 255));
}

typedef struct source {
    const float *image;  // (B, S, S, 3)
    const uint8_t *mask; // (B, T)
    const void *pred;    // (B, cells, 3 P P)
    mn_dtype dtype;
    int64_t side, cell, patch;
} source;

static float prediction(const source *s, int64_t face, int64_t y, int64_t x, int channel)
{
    int64_t across = s->side / s->cell, cell = (y / s->cell) * across + x / s->cell;
    int64_t inside = (channel * s->cell + y % s->cell) * s->cell + x % s->cell;
    int64_t i = (face * across * across + cell) * 3 * s->cell * s->cell + inside;
    return s->dtype == MN_BF16 ? mn_bf16_to_f32(((const mn_bf16 *)s->pred)[i]) : ((const float *)s->pred)[i];
}

static void pixel(const source *s, int64_t face, int64_t y, int64_t x, uint8_t *out[COLUMNS])
{
    int64_t across = s->side / s->patch;
    int masked = s->mask[face * across * across + (y / s->patch) * across + x / s->patch];
    for (int c = 0; c < 3; c++) {
        uint8_t original = to_byte(s->image[((face * s->side + y) * s->side + x) * 3 + c], c);
        out[0][c] = masked ? 127 : original;
        out[1][c] = masked ? to_byte(prediction(s, face, y, x, c), c) : original;
        out[2][c] = original;
    }
}

static mn_err write_png(const uint8_t *rgb, int64_t width, int64_t height, const char *path)
{
    data_coder *coder;
    const uint8_t *png = NULL;
    size_t size = 0;
    MN_TRY(data_coder_open(&coder));
    mn_err err = data_png_encode(coder, rgb, (int)width, (int)height, 3, &png, &size);
    if (err == MN_OK) err = mn_file_replace(path, png, size);
    data_coder_close(coder);
    return err;
}

mn_err mien_simmim_picture(const nn_graph *g, int64_t faces, int64_t cell, int64_t patch, const char *path)
{
    mn_shape shape;
    source s = {.cell = cell, .patch = patch};
    s.image = nn_graph_buffer(g, "image", &shape, NULL);
    s.mask = nn_graph_buffer(g, "mask", NULL, NULL);
    s.pred = nn_graph_buffer(g, "pred", NULL, &s.dtype);
    if (!s.image || !s.mask || !s.pred) return mn_fail(MN_EINTERNAL, "the graph lacks image, mask or pred");
    s.side = shape.d[1];
    if (faces > shape.d[0]) faces = shape.d[0];
    int64_t width = COLUMNS * (s.side + GAP) - GAP, height = faces * (s.side + GAP) - GAP;
    uint8_t *rgb = mn_calloc((size_t)(width * height), 3);
    for (int64_t face = 0; face < faces; face++)
        for (int64_t y = 0; y < s.side; y++)
            for (int64_t x = 0; x < s.side; x++) {
                uint8_t *at[COLUMNS], *row = rgb + ((face * (s.side + GAP) + y) * width + x) * 3;
                for (int k = 0; k < COLUMNS; k++)
                    at[k] = row + k * (s.side + GAP) * 3;
                pixel(&s, face, y, x, at);
            }
    mn_err err = write_png(rgb, width, height, path);
    free(rgb);
    return err;
}
