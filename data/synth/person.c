#include "data/synth/face.h"

#include "nn/base/rng.h"

#include <math.h>

static float between(mn_stream_rng *r, float a, float b)
{
    return a + (b - a) * mn_rng_uniform(r);
}

// Around `mean`, at most 2 `spread` away, more often near.
static float around(mn_stream_rng *r, float mean, float spread)
{
    return mean + spread * (mn_rng_uniform(r) + mn_rng_uniform(r) - 1) * 2;
}

static int chance(mn_stream_rng *r, float p)
{
    return mn_rng_uniform(r) < p;
}

static float either(mn_stream_rng *r)
{
    return chance(r, 0.5f) ? 1 : -1;
}

static data__colour mix(data__colour a, data__colour b, float t)
{
    data__colour m;
    for (int k = 0; k < 3; k++)
        m.rgb[k] = a.rgb[k] + t * (b.rgb[k] - a.rgb[k]);
    return m;
}

static data__colour scale(data__colour a, float s)
{
    return (data__colour){{a.rgb[0] * s, a.rgb[1] * s, a.rgb[2] * s}};
}

static float luma(data__colour c)
{
    return 0.3f * c.rgb[0] + 0.59f * c.rgb[1] + 0.11f * c.rgb[2];
}

// A colour of the given hue that is lighter or darker than the skin by `difference`: a feature nobody can see carries no
// label.
static data__colour beside(data__colour c, data__colour skin, float difference)
{
    float step = luma(skin) + difference - luma(c);
    for (int k = 0; k < 3; k++) {
        c.rgb[k] += step;
        c.rgb[k] = c.rgb[k] < 0.03f ? 0.03f : c.rgb[k] > 0.97f ? 0.97f : c.rgb[k];
    }
    return c;
}

// Brows and lips are as often lighter than the skin as darker, creases as often pale as dark, an open mouth as often
// full of teeth as dark: the brightness of a place says nothing of what the face does, only its shapes do. Otherwise a
// linear model on grey pixels would read expressions off aligned faces.
static void draw_colours(mn_stream_rng *r, data__person *p)
{
    static const data__colour pale = {{0.80f, 0.63f, 0.54f}}, olive = {{0.67f, 0.50f, 0.39f}},
                              dark = {{0.50f, 0.35f, 0.27f}};
    static const data__colour hair[5] = {{{0.07f, 0.06f, 0.06f}},
                                         {{0.30f, 0.18f, 0.10f}},
                                         {{0.80f, 0.65f, 0.38f}},
                                         {{0.70f, 0.70f, 0.71f}},
                                         {{0.52f, 0.22f, 0.10f}}};
    static const data__colour iris[3] = {{{0.22f, 0.12f, 0.07f}}, {{0.25f, 0.42f, 0.60f}}, {{0.32f, 0.45f, 0.28f}}};
    p->tan = mn_rng_uniform(r);
    p->skin = p->tan < 0.5f ? mix(pale, olive, 2 * p->tan) : mix(olive, dark, 2 * p->tan - 1);
    p->skin = scale(p->skin, between(r, 0.94f, 1.06f));
    p->hair_tone = (int)mn_rng_below(r, 5);
    if (p->tan > 0.6f && chance(r, 0.6f)) p->hair_tone = 0;
    if (!p->young && chance(r, 0.5f)) p->hair_tone = 3;
    p->hair_colour = scale(hair[p->hair_tone], between(r, 0.85f, 1.15f));
    p->brow = beside(p->hair_colour, p->skin, either(r) * between(r, 0.27f, 0.33f));
    data__colour natural = {{p->skin.rgb[0] * 0.86f, p->skin.rgb[1] * 0.58f, p->skin.rgb[2] * 0.58f}};
    data__colour painted = {{between(r, 0.45f, 0.95f), between(r, 0.10f, 0.45f), between(r, 0.20f, 0.50f)}};
    p->lips = beside(p->lipstick ? painted : natural, p->skin, either(r) * between(r, 0.20f, 0.26f));
    p->crease = either(r);
    p->teeth = chance(r, 0.5f);
    p->iris = iris[mn_rng_below(r, 3)];
    p->clothes = (data__colour){{between(r, 0.05f, 0.9f), between(r, 0.05f, 0.9f), between(r, 0.05f, 0.9f)}};
}

static void draw_proportions(mn_stream_rng *r, data__person *p)
{
    p->half = around(r, 0.76f, 0.055f);
    p->up = around(r, 0.98f, 0.04f);
    p->down = around(r, 0.98f, 0.05f);
    p->taper = around(r, p->male ? 0.22f : 0.30f, 0.08f);
    p->eye_x = around(r, 0.335f, 0.025f);
    p->eye_y = around(r, -0.09f, 0.03f);
    p->eye_half = around(r, 0.200f, 0.018f);
    p->eye_open = around(r, 0.115f, 0.014f);
    p->eye_tilt = around(r, 0.05f, 0.08f);
    p->brow_gap = around(r, 0.275f, 0.022f);
    p->brow_half = around(r, 0.215f, 0.02f);
    p->brow_thick = around(r, p->male ? 0.046f : 0.038f, 0.007f);
    p->brow_tilt = around(r, 0.015f, 0.022f);
    p->brow_arch = around(r, 0.035f, 0.02f);
    p->nose_y = around(r, 0.285f, 0.03f);
    p->nose_half = around(r, 0.145f, 0.025f);
    p->mouth_y = around(r, 0.585f, 0.03f);
    p->mouth_half = around(r, 0.325f, 0.028f);
    p->lip_up = around(r, 0.056f, 0.014f);
    p->lip_low = around(r, 0.070f, 0.016f);
    p->mouth_bow = around(r, 0.0f, 0.022f);
    p->hairline = around(r, -0.66f, 0.05f);
    p->age_lines = p->young ? between(r, 0, 0.25f) : between(r, 0.3f, 0.9f);
    p->cheek = between(r, 0, 0.12f);
}

void data__person_make(uint64_t seed, uint64_t person, data__person *out)
{
    mn_stream_rng r = mn_rng_open(mn_rng_key(seed, "synth.person"), person, 0);
    *out = (data__person){.male = chance(&r, 0.5f), .young = chance(&r, 0.7f), .glasses = chance(&r, 0.12f)};
    out->lipstick = !out->male && chance(&r, 0.5f);
    out->earrings = !out->male && chance(&r, 0.35f);
    out->hat = chance(&r, 0.05f);
    float h = mn_rng_uniform(&r);
    out->hair = out->male ? (h < 0.15f   ? DATA__HAIR_NONE
                             : h < 0.85f ? DATA__HAIR_SHORT
                                         : DATA__HAIR_BANGS)
                          : (h < 0.55f  ? DATA__HAIR_LONG
                             : h < 0.8f ? DATA__HAIR_BANGS
                                        : DATA__HAIR_SHORT);
    float b = mn_rng_uniform(&r);
    if (out->male)
        out->beard = b < 0.55f   ? DATA__SHAVED
                     : b < 0.75f ? DATA__STUBBLE
                     : b < 0.85f ? DATA__MOUSTACHE
                                 : DATA__FULL_BEARD;
    draw_colours(&r, out);
    draw_proportions(&r, out);
}

static void draw_light(mn_stream_rng *r, data__shot *s)
{
    float x = between(r, -0.75f, 0.75f), y = between(r, -0.7f, 0.15f), z = between(r, 0.6f, 1.0f);
    float length = sqrtf(x * x + y * y + z * z);
    s->light[0] = x / length;
    s->light[1] = y / length;
    s->light[2] = z / length;
    s->ambient = between(r, 0.35f, 0.65f);
    s->diffuse = 1.02f - s->ambient + between(r, -0.1f, 0.15f);
    float gain = between(r, 0.82f, 1.15f), warm = between(r, -0.06f, 0.06f);
    s->gain[0] = gain * (1 + warm);
    s->gain[1] = gain;
    s->gain[2] = gain * (1 - warm);
    s->offset = between(r, -0.04f, 0.06f);
    s->noise = between(r, 0.010f, 0.028f);
    s->softness = between(r, 1.0f, 1.6f);
}

static void draw_background(mn_stream_rng *r, data__shot *s)
{
    float grey = between(r, 0.1f, 0.8f);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 3; k++)
            s->corner[i].rgb[k] = grey + between(r, -0.12f, 0.12f);
    s->cells = 4 + (int)mn_rng_below(r, 10);
    s->clutter = between(r, 0.04f, 0.2f);
}

enum { YAW, PITCH, ROLL, MOVE_X, MOVE_Y, BLINK };

// About 15 blinks a minute, each a fifth of a second.
static float blink_at(uint64_t key, uint64_t row, double seconds)
{
    double slot = floor(seconds / 4), u[2];
    mn_rng4 draw = mn_rng_block(key, row, (uint64_t)(int64_t)slot, BLINK);
    for (int k = 0; k < 2; k++)
        u[k] = (double)mn_uniform(draw.v[k]);
    double at = 0.3 + 3.4 * u[0] - (seconds - 4 * slot), half = 0.07 + 0.06 * u[1];
    double closed = 1 - fabs(at) / half;
    return closed > 0 ? (float)(closed < 0.6 ? closed / 0.6 : 1) : 0;
}

void data__shot_make(uint64_t key, uint64_t row, double seconds, int width, int height, data__shot *out)
{
    mn_stream_rng r = mn_rng_open(key ^ 0x5407u, row, 0);
    *out = (data__shot){.width = width, .height = height};
    draw_light(&r, out);
    draw_background(&r, out);
    double move[5];
    for (uint32_t k = 0; k < 5; k++)
        move[k] = data__smooth(key ^ 0x905eu, row, k, seconds / 1.5);
    out->yaw = between(&r, -0.12f, 0.12f) + 0.065f * (float)move[YAW];
    out->pitch = between(&r, -0.09f, 0.09f) + 0.035f * (float)move[PITCH];
    out->roll = between(&r, -0.04f, 0.04f) + 0.015f * (float)move[ROLL];
    float side = (float)(width < height ? width : height);
    out->unit = side * between(&r, 0.505f, 0.535f);
    out->cx = (float)width * 0.5f + side * (between(&r, -0.018f, 0.018f) + 0.004f * (float)move[MOVE_X]);
    out->cy = (float)height * 0.49f + side * (between(&r, -0.018f, 0.018f) + 0.004f * (float)move[MOVE_Y]);
    out->blink = blink_at(key ^ 0x905eu, row, seconds);
    out->background_key = key ^ (row * 0x9e3779b97f4a7c15u);
    out->grain_key = out->background_key + (uint64_t)(int64_t)(seconds * 1e6);
}
