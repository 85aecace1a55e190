#include "data/synth/canvas.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/base/simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void data__canvas_size(data__canvas *c, int width, int height)
{
    size_t plane = (size_t)width * (size_t)height, need = 4 * plane + (size_t)width;
    if (need > c->capacity) {
        free(c->memory);
        c->memory = mn_calloc(need, sizeof(float));
        c->capacity = need;
    }
    c->width = width;
    c->height = height;
    for (int k = 0; k < 3; k++)
        c->plane[k] = c->memory + (size_t)k * plane;
    c->light = c->memory + 3 * plane;
    c->row = c->memory + 4 * plane;
    for (size_t i = 0; i < plane; i++)
        c->light[i] = 1;
}

void data__canvas_free(data__canvas *c)
{
    free(c->memory);
    *c = (data__canvas){0};
}

static inline float clamp01(float x)
{
    x = x < 0 ? 0 : x;
    return x > 1 ? 1 : x;
}

// The pixels whose centres may lie in the box [u0 - a, u0 + a] x [v0 - b, v0 + b] of a frame, with a margin of 1.
typedef struct extent {
    int x0, x1, y0, y1;
} extent;

static int clip(float x, int limit)
{
    return x < 0 ? 0 : x > (float)limit ? limit : (int)x;
}

static extent cover(const data__canvas *c, const data__frame *f, float u0, float v0, float a, float b)
{
    float det = f->ux * f->vy - f->uy * f->vx;
    float xu = f->vy / det, xv = -f->uy / det, yu = -f->vx / det, yv = f->ux / det; // the inverse map
    float cx = f->cx + xu * u0 + xv * v0, cy = f->cy + yu * u0 + yv * v0;
    float rx = fabsf(xu) * a + fabsf(xv) * b + 1, ry = fabsf(yu) * a + fabsf(yv) * b + 1;
    return (extent){clip(cx - rx, c->width), clip(cx + rx + 1, c->width), clip(cy - ry, c->height),
                    clip(cy + ry + 1, c->height)};
}

// (u, v) at the first pixel of a row, and the step from pixel to pixel.
typedef struct ray {
    float u, v, du, dv;
} ray;

static ray row_ray(const data__frame *f, int x, int y)
{
    float dx = (float)x + 0.5f - f->cx, dy = (float)y + 0.5f - f->cy;
    return (ray){f->ux * dx + f->uy * dy, f->vx * dx + f->vy * dy, f->ux, f->vx};
}

MN_SIMD static void blend_row(float *restrict pixel, const float *restrict alpha, const float *restrict light, int n,
                              float colour)
{
    for (int i = 0; i < n; i++)
        pixel[i] += alpha[i] * (colour * light[i] - pixel[i]);
}

MN_SIMD static void blend_plain_row(float *restrict pixel, const float *restrict alpha, int n, float colour)
{
    for (int i = 0; i < n; i++)
        pixel[i] += alpha[i] * (colour - pixel[i]);
}

MN_SIMD static void shade_row(float *restrict pixel, const float *restrict amount, int n, float tint)
{
    for (int i = 0; i < n; i++)
        pixel[i] *= 1 + tint * amount[i];
}

static void blend(data__canvas *c, const extent *e, int y, data__colour colour, int lit)
{
    size_t at = (size_t)y * (size_t)c->width + (size_t)e->x0;
    for (int k = 0; k < 3; k++) {
        if (lit)
            blend_row(c->plane[k] + at, c->row, c->light + at, e->x1 - e->x0, colour.rgb[k]);
        else
            blend_plain_row(c->plane[k] + at, c->row, e->x1 - e->x0, colour.rgb[k]);
    }
}

static void shade(data__canvas *c, const extent *e, int y, data__colour tint)
{
    size_t at = (size_t)y * (size_t)c->width + (size_t)e->x0;
    for (int k = 0; k < 3; k++)
        shade_row(c->plane[k] + at, c->row, e->x1 - e->x0, tint.rgb[k]);
}

// Distance to an ellipse's edge, inside positive: (1 - F) / |grad F|.
MN_SIMD static void ellipse_row(float *restrict alpha, int n, ray r, float ia, float ib, float sharp, float opacity)
{
    for (int i = 0; i < n; i++) {
        float p = (r.u + (float)i * r.du) * ia, q = (r.v + (float)i * r.dv) * ib;
        float square = p * p + q * q, gradient = 2 * sqrtf(p * p * ia * ia + q * q * ib * ib) + 1e-6f;
        alpha[i] = opacity * clamp01(0.5f + sharp * (1 - square) / gradient);
    }
}

MN_SIMD static void ring_row(float *restrict alpha, int n, ray r, float ia, float ib, float half, float sharp,
                             float opacity)
{
    for (int i = 0; i < n; i++) {
        float p = (r.u + (float)i * r.du) * ia, q = (r.v + (float)i * r.dv) * ib;
        float square = p * p + q * q, gradient = 2 * sqrtf(p * p * ia * ia + q * q * ib * ib) + 1e-6f;
        alpha[i] = opacity * clamp01(0.5f + sharp * (half - fabsf(1 - square) / gradient));
    }
}

MN_SIMD static void bump_row(float *restrict alpha, int n, ray r, float ia, float ib, float amount)
{
    for (int i = 0; i < n; i++) {
        float p = (r.u + (float)i * r.du) * ia, q = (r.v + (float)i * r.dv) * ib;
        float inside = 1 - (p * p + q * q);
        inside = inside < 0 ? 0 : inside;
        alpha[i] = amount * inside * inside;
    }
}

static inline float curve(const float k[5], float s)
{
    return k[0] + s * (k[1] + s * (k[2] + s * (k[3] + s * k[4])));
}

MN_SIMD static void band_row(float *restrict alpha, int n, ray r, const data__band *b, float sharp, float opacity)
{
    float inverse = 1 / b->half, half = b->half, u0 = b->u0;
    float top[5], bottom[5];
    memcpy(top, b->top, sizeof top);
    memcpy(bottom, b->bottom, sizeof bottom);
    for (int i = 0; i < n; i++) {
        float s = (r.u + (float)i * r.du - u0) * inverse, v = r.v + (float)i * r.dv;
        float end = (1 - fabsf(s)) * half;
        s = s < -1 ? -1 : s > 1 ? 1 : s;
        float above = v - curve(top, s), below = curve(bottom, s) - v;
        float d = above < below ? above : below;
        d = d < end ? d : end;
        alpha[i] = opacity * clamp01(0.5f + sharp * d);
    }
}

MN_SIMD static void furrow_row(float *restrict alpha, int n, ray r, const data__band *b, float amount)
{
    float inverse = 1 / b->half, u0 = b->u0;
    float top[5], bottom[5];
    memcpy(top, b->top, sizeof top);
    memcpy(bottom, b->bottom, sizeof bottom);
    for (int i = 0; i < n; i++) {
        float s = (r.u + (float)i * r.du - u0) * inverse, v = r.v + (float)i * r.dv;
        float along = 1 - s * s;
        along = along < 0 ? 0 : along;
        s = s < -1 ? -1 : s > 1 ? 1 : s;
        float a = curve(top, s), z = curve(bottom, s);
        float across = (v - a) * (z - v) * 4 / ((z - a) * (z - a) + 1e-6f);
        across = across < 0 ? 0 : across;
        alpha[i] = amount * along * across;
    }
}

void data__paint_ellipse(data__canvas *c, const data__frame *f, const data__ellipse *s, data__colour colour,
                         float alpha, int lit)
{
    extent e = cover(c, f, s->u0, s->v0, s->a, s->b);
    for (int y = e.y0; y < e.y1; y++) {
        ray r = row_ray(f, e.x0, y);
        r.u -= s->u0;
        r.v -= s->v0;
        ellipse_row(c->row, e.x1 - e.x0, r, 1 / s->a, 1 / s->b, f->sharp, alpha);
        blend(c, &e, y, colour, lit);
    }
}

void data__paint_ring(data__canvas *c, const data__frame *f, const data__ellipse *s, float half_width,
                      data__colour colour, float alpha)
{
    extent e = cover(c, f, s->u0, s->v0, s->a + half_width, s->b + half_width);
    for (int y = e.y0; y < e.y1; y++) {
        ray r = row_ray(f, e.x0, y);
        r.u -= s->u0;
        r.v -= s->v0;
        ring_row(c->row, e.x1 - e.x0, r, 1 / s->a, 1 / s->b, half_width, f->sharp, alpha);
        blend(c, &e, y, colour, 1);
    }
}

// The box of a band: its curves are sampled, a polynomial of degree 4 does not leave the samples by much.
static extent cover_band(const data__canvas *c, const data__frame *f, const data__band *b)
{
    float low = 1e9f, high = -1e9f;
    for (int i = -4; i <= 4; i++) {
        float s = (float)i / 4, t = curve(b->top, s), z = curve(b->bottom, s);
        low = t < low ? t : low;
        high = z > high ? z : high;
    }
    float half = (high - low) / 2 * 1.1f + 1 / f->sharp;
    return cover(c, f, b->u0, (low + high) / 2, b->half, half > 0 ? half : 0);
}

void data__paint_band(data__canvas *c, const data__frame *f, const data__band *s, data__colour colour, float alpha,
                      int lit)
{
    extent e = cover_band(c, f, s);
    for (int y = e.y0; y < e.y1; y++) {
        band_row(c->row, e.x1 - e.x0, row_ray(f, e.x0, y), s, f->sharp, alpha);
        blend(c, &e, y, colour, lit);
    }
}

void data__shade_ellipse(data__canvas *c, const data__frame *f, const data__ellipse *s, float amount, data__colour tint)
{
    extent e = cover(c, f, s->u0, s->v0, s->a, s->b);
    for (int y = e.y0; y < e.y1; y++) {
        ray r = row_ray(f, e.x0, y);
        r.u -= s->u0;
        r.v -= s->v0;
        bump_row(c->row, e.x1 - e.x0, r, 1 / s->a, 1 / s->b, amount);
        shade(c, &e, y, tint);
    }
}

void data__shade_band(data__canvas *c, const data__frame *f, const data__band *s, float amount, data__colour tint)
{
    extent e = cover_band(c, f, s);
    for (int y = e.y0; y < e.y1; y++) {
        furrow_row(c->row, e.x1 - e.x0, row_ray(f, e.x0, y), s, amount);
        shade(c, &e, y, tint);
    }
}

// Half-width at height v: an ellipse above; below, an ellipse whose width shrinks linearly towards the chin.
MN_SIMD static void head_row(float *restrict alpha, int n, ray r, const data__head *h, float sharp)
{
    float up = 1 / h->up, down = 1 / h->down, half = h->half, taper = h->taper;
    for (int i = 0; i < n; i++) {
        float u = r.u + (float)i * r.du, v = r.v + (float)i * r.dv;
        float q = v < 0 ? v * up : v * down, t = q > 0 ? q : 0;
        float ia = 1 / (half * (1 - taper * (t > 1 ? 1 : t))), ib = v < 0 ? up : down;
        float p = u * ia;
        float square = p * p + q * q, gradient = 2 * sqrtf(p * p * ia * ia + q * q * ib * ib) + 1e-6f;
        alpha[i] = clamp01(0.5f + sharp * (1 - square) / gradient);
    }
}

MN_SIMD static void light_row(float *restrict light, int n, ray r, const data__head *h, const float direction[3],
                              float ambient, float diffuse)
{
    float up = 1 / h->up, down = 1 / h->down, across = 1 / h->half, x = direction[0], y = direction[1],
          z = direction[2];
    for (int i = 0; i < n; i++) {
        float v = r.v + (float)i * r.dv;
        float p = (r.u + (float)i * r.du) * across * 0.9f, q = (v < 0 ? v * up : v * down) * 0.9f;
        float depth = 1 - p * p - q * q;
        float lambert = p * x + q * y + sqrtf(depth > 0.02f ? depth : 0.02f) * z;
        light[i] = ambient + diffuse * (lambert > 0 ? lambert : 0);
    }
}

void data__paint_head(data__canvas *c, const data__frame *f, const data__head *s, data__colour colour)
{
    extent e = cover(c, f, 0, (s->down - s->up) / 2, s->half, (s->up + s->down) / 2);
    for (int y = e.y0; y < e.y1; y++) {
        head_row(c->row, e.x1 - e.x0, row_ray(f, e.x0, y), s, f->sharp);
        blend(c, &e, y, colour, 1);
    }
}

void data__light_head(data__canvas *c, const data__frame *f, const data__head *s, const float direction[3],
                      float ambient, float diffuse)
{
    for (int y = 0; y < c->height; y++)
        light_row(c->light + (size_t)y * (size_t)c->width, c->width, row_ray(f, 0, y), s, direction, ambient, diffuse);
}

enum { MAX_CELLS = 16 };

// One row of pixels between the nodes of a row of the grid: a ramp in each cell.
static void ramp_row(float *out, int width, const float *node, int cells)
{
    for (int cell = 0; cell < cells; cell++) {
        int x0 = cell * width / cells, x1 = (cell + 1) * width / cells;
        float step = x1 > x0 ? (node[cell + 1] - node[cell]) / (float)(x1 - x0) : 0;
        for (int x = x0; x < x1; x++)
            out[x] = node[cell] + step * (float)(x - x0);
    }
}

void data__paint_background(data__canvas *c, const data__colour corner[4], uint64_t noise_key, int cells, float amount)
{
    float node[3][MAX_CELLS + 1][MAX_CELLS + 1], line[MAX_CELLS + 1];
    mn_stream_rng r = mn_rng_open(noise_key, 0, 0);
    mn_assert(cells >= 1 && cells <= MAX_CELLS);
    for (int j = 0; j <= cells; j++) {
        for (int i = 0; i <= cells; i++) {
            float x = (float)i / (float)cells, y = (float)j / (float)cells;
            float grey = amount * (2 * mn_rng_uniform(&r) - 1);
            for (int k = 0; k < 3; k++) {
                float top = corner[0].rgb[k] + x * (corner[1].rgb[k] - corner[0].rgb[k]);
                float bottom = corner[2].rgb[k] + x * (corner[3].rgb[k] - corner[2].rgb[k]);
                node[k][j][i] = top + y * (bottom - top) + grey + 0.3f * amount * (2 * mn_rng_uniform(&r) - 1);
            }
        }
    }
    for (int y = 0; y < c->height; y++) {
        float at = ((float)y + 0.5f) / (float)c->height * (float)cells;
        int j = (int)at < cells ? (int)at : cells - 1;
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i <= cells; i++)
                line[i] = node[k][j][i] + (at - (float)j) * (node[k][j + 1][i] - node[k][j][i]);
            ramp_row(c->plane[k] + (size_t)y * (size_t)c->width, c->width, line, cells);
        }
    }
}

// Sum of two 16-bit halves of a mixed counter: triangular in (-1, 1), deviation 1 / sqrt(6).
MN_SIMD static void develop_row(const float *restrict r, const float *restrict g, const float *restrict b, int n,
                                const float gain[3], float offset, float noise, uint32_t counter, uint8_t *restrict out)
{
    const float *plane[3] = {r, g, b};
    for (int k = 0; k < 3; k++) {
        const float *restrict p = plane[k];
        float scale = 255 * gain[k], base = 255 * offset + 0.5f;
        for (int i = 0; i < n; i++) {
            uint32_t h = counter + (uint32_t)(3 * i + k);
            h = (h ^ h >> 16) * 0x7feb352du; // Wellons' lowbias32
            h = (h ^ h >> 15) * 0x846ca68bu;
            h ^= h >> 16;
            float grain = (float)(int32_t)((h & 0xffff) + (h >> 16)) * (1 / 65536.0f) - 1;
            float value = p[i] * scale + base + noise * grain;
            value = value < 0 ? 0 : value > 255 ? 255 : value;
            out[3 * i + k] = (uint8_t)(int)value;
        }
    }
}

void data__canvas_develop(const data__canvas *c, const float gain[3], float offset, float noise, uint64_t noise_key,
                          uint8_t *out)
{
    uint32_t start = (uint32_t)(noise_key ^ noise_key >> 32);
    float grain = noise * 255 * 2.4494897f;
    for (int y = 0; y < c->height; y++) {
        size_t at = (size_t)y * (size_t)c->width;
        develop_row(c->plane[0] + at, c->plane[1] + at, c->plane[2] + at, c->width, gain, offset, grain,
                    start + (uint32_t)(3 * at), out + 3 * at);
    }
}
