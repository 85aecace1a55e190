#include "data/synth/face_rig.h"

#include <math.h>
#include <stddef.h>

static data__colour times(data__colour a, float s)
{
    return (data__colour){{a.rgb[0] * s, a.rgb[1] * s, a.rgb[2] * s}};
}

static float positive(float x)
{
    return x > 0 ? x : 0;
}

// Where skin is folded it reddens, where it is pushed up it flushes, where it is pressed it pales.
static const data__colour shadow_only = {{1, 1, 1}}, folded = {{0.6f, 1.2f, 1.1f}}, flushed = {{0.9f, -0.45f, -0.2f}},
                          pressed = {{0.5f, 1.1f, 1.4f}};

// A line of the skin: `length` long and `width` wide around (x, y), bent by `bend`; amount < 0: a crease.
static void furrow(const data__rig *g, float x, float y, float angle, int side, float length, float width, float bend,
                   float amount)
{
    if (fabsf(amount) < 0.01f) return;
    data__frame f = data__rig_frame(g, x, y, angle, side);
    data__band b = {.half = length / 2, .top = {-width / 2, 0, bend, 0, 0}, .bottom = {width / 2, 0, bend, 0, 0}};
    data__shade_band(g->canvas, &f, &b, amount * g->p->crease, folded);
}

static void bump(const data__rig *g, float x, float y, float a, float b, float amount, data__colour tint)
{
    if (fabsf(amount) < 0.01f) return;
    data__frame f = data__rig_frame(g, x, y, 0, 1);
    data__shade_ellipse(g->canvas, &f, &(data__ellipse){0, 0, a, b}, amount, tint);
}

// ---- Behind and around the face

static void paint_behind(const data__rig *g, const data__frame *f)
{
    const data__person *p = g->p;
    data__canvas *c = g->canvas;
    data__paint_background(c, g->shot->corner, g->shot->background_key, g->shot->cells, g->shot->clutter);
    if (p->hair == DATA__HAIR_LONG)
        data__paint_ellipse(c, f, &(data__ellipse){0, 0.15f, p->half * 1.28f, 1.3f}, times(p->hair_colour, 0.8f), 1, 0);
    data__paint_ellipse(c, f, &(data__ellipse){0, 1.75f, 1.35f, 0.62f}, p->clothes, 1, 0);
    data__paint_band(c, f, &(data__band){0, p->half * 0.56f, {0.4f}, {1.32f}}, times(p->skin, 0.66f), 1, 0);
    for (int side = -1; side <= 1; side += 2) {
        float x = (float)side * p->half * 0.99f;
        data__paint_ellipse(c, f, &(data__ellipse){x, 0.06f, 0.09f, 0.19f}, times(p->skin, 0.85f), 1, 1);
        if (p->earrings)
            data__paint_ellipse(c, f, &(data__ellipse){x, 0.28f, 0.035f, 0.05f}, (data__colour){{0.95f, 0.85f, 0.4f}},
                                1, 0);
    }
}

static void paint_skin(const data__rig *g, const data__frame *f)
{
    const data__person *p = g->p;
    float flush = 0.05f * g->own[1];
    data__colour skin = {
        {p->skin.rgb[0] * (1 + 0.3f * flush), p->skin.rgb[1] * (1 - flush), p->skin.rgb[2] * (1 - flush)}};
    data__paint_head(g->canvas, f, &g->head, skin);
}

static void paint_hair(const data__rig *g, const data__frame *f)
{
    const data__person *p = g->p;
    if (p->hair == DATA__HAIR_NONE && !p->hat) return;
    float line = p->hair == DATA__HAIR_BANGS ? p->hairline + 0.16f : p->hairline;
    float fall = p->hair == DATA__HAIR_SHORT ? 0.36f : 0.62f, top = -g->head.up * 1.1f;
    data__band cap = {0, p->half * 1.05f, {top, 0, 0.22f, 0, 0.55f}, {line, 0, -0.06f, 0, fall + 0.06f}};
    data__paint_band(g->canvas, f, &cap, p->hair_colour, 1, 1);
    if (!p->hat) return;
    data__band hat = {0, p->half * 1.2f, {top - 0.1f, 0, 0.15f, 0, 0.35f}, {-0.6f, 0, 0.08f, 0, 0}};
    data__paint_band(g->canvas, f, &hat, p->clothes, 1, 1);
}

// ---- Skin that moves

static void shade_upper(const data__rig *g)
{
    const data__person *p = g->p;
    const float *d = g->d;
    float brow_y = p->eye_y - p->brow_gap, raised = d[DATA__AU1] > d[DATA__AU2] ? d[DATA__AU1] : d[DATA__AU2];
    for (int i = 0; i < 3; i++) { // forehead: across when raised
        float y = brow_y - 0.13f - 0.085f * (float)i;
        float strength = 0.5f * positive(raised - 0.2f) + 0.08f * p->age_lines;
        furrow(g, 0, y, 0, 1, d[DATA__AU2] > 0.3f ? 0.8f : 0.42f, 0.05f, -0.02f, -strength);
    }
    for (int side = -1; side <= 1; side += 2) {
        float s = (float)side;
        furrow(g, s * 0.055f, brow_y + 0.01f, 1.45f, side, 0.24f, 0.065f, 0.01f, -0.6f * d[DATA__AU4]);
        bump(g, s * p->eye_x, p->eye_y, 0.27f, 0.17f, -0.14f, shadow_only); // socket
        // Cheek raised: the apple catches light, a bag under the eye and crow's feet.
        bump(g, s * 0.40f, 0.22f - 0.05f * d[DATA__AU6], 0.22f, 0.15f, p->cheek + 0.36f * d[DATA__AU6], flushed);
        furrow(g, s * p->eye_x, p->eye_y + 0.135f, 0, side, 0.38f, 0.08f, -0.05f, -0.45f * d[DATA__AU6]);
        for (int i = -1; i <= 1; i++)
            furrow(g, s * (p->eye_x + 0.27f), p->eye_y + 0.055f * (float)i, 0.35f * (float)i, side, 0.18f, 0.036f, 0,
                   -0.36f * d[DATA__AU6] - 0.06f * p->age_lines);
    }
    for (int i = 0; i < 3; i++) // nose wrinkled
        furrow(g, 0, p->eye_y + 0.02f + 0.065f * (float)i, 0, 1, 0.26f, 0.05f, -0.02f, -0.6f * d[DATA__AU9]);
}

static void shade_lower(const data__rig *g)
{
    const data__person *p = g->p;
    const float *d = g->d;
    float corner = p->mouth_half * (1 + 0.22f * d[DATA__AU12]);
    float fold = 0.05f + 0.16f * p->age_lines + 0.32f * d[DATA__AU12] + 0.34f * d[DATA__AU10] + 0.2f * d[DATA__AU9];
    for (int side = -1; side <= 1; side += 2) {
        float s = (float)side;
        furrow(g, s * (0.5f * (p->nose_half + corner) + 0.055f), 0.5f * (p->nose_y + p->mouth_y) - 0.03f, 1.15f, side,
               0.42f, 0.08f, -0.03f, -data__limit(fold, 0, 0.6f));
        furrow(g, s * (corner + 0.03f), p->mouth_y + 0.11f, 1.3f, side, 0.24f, 0.08f, 0,
               -0.6f * d[DATA__AU15] - 0.08f * p->age_lines);
        bump(g, s * 0.30f, p->mouth_y + 0.02f, 0.12f, 0.12f, 0.10f * d[DATA__AU24] - 0.16f * d[DATA__AU23], pressed);
    }
    bump(g, 0, p->mouth_y - 0.115f, 0.20f, 0.06f, 0.34f * d[DATA__AU24], pressed);
    bump(g, 0, p->mouth_y + 0.125f, 0.20f, 0.06f, 0.34f * d[DATA__AU24], pressed);
    float chin = p->mouth_y + 0.24f + 0.12f * d[DATA__AU26];
    bump(g, 0, chin, 0.18f, 0.11f, 0.08f + 0.16f * d[DATA__AU17], folded);
    furrow(g, 0, chin - 0.09f, 0, 1, 0.34f, 0.05f, 0.03f, -0.12f - 0.34f * d[DATA__AU17]);
}

// ---- Features

static void paint_beard(const data__rig *g)
{
    const data__person *p = g->p;
    if (p->beard != DATA__STUBBLE && p->beard != DATA__FULL_BEARD) return;
    float opacity = p->beard == DATA__STUBBLE ? 0.28f : 0.88f, drop = 0.1f * g->d[DATA__AU26];
    data__frame f = data__rig_frame(g, 0, p->mouth_y, 0, 1);
    float bottom = g->head.down - p->mouth_y - 0.02f;
    data__band jaw = {0, p->half * 0.72f, {0.05f + drop, 0, -0.32f, 0, -0.1f}, {bottom, 0, -0.18f, 0, -0.33f}};
    data__paint_band(g->canvas, &f, &jaw, p->hair_colour, opacity, 1);
}

static void paint_eye(const data__rig *g, int side)
{
    const data__person *p = g->p;
    data__canvas *c = g->canvas;
    static const data__colour white = {{0.93f, 0.92f, 0.90f}}, black = {{0.05f, 0.04f, 0.04f}};
    data__frame f = data__rig_frame(g, (float)side * p->eye_x, p->eye_y, 0, side);
    data__eye e = data__rig_eye(g);
    float tilt = -p->eye_tilt * p->eye_half, half = p->eye_half, look = -(float)side * 0.25f * g->shot->yaw;
    data__paint_band(c, &f, &(data__band){0, half, {-e.up, tilt, e.up}, {e.low, tilt, -e.low}}, white, 1, 1);
    float iris = 0.088f, centre = -0.012f;
    data__paint_ellipse(c, &f, &(data__ellipse){look, centre, iris, iris}, p->iris, 1, 0);
    data__paint_ellipse(c, &f, &(data__ellipse){look, centre, 0.045f, 0.045f}, black, 1, 0);
    data__paint_ellipse(c, &f, &(data__ellipse){look + 0.028f, centre - 0.03f, 0.017f, 0.017f}, white, 1, 0);
    // The lids cover what of the iris is outside the eye; their skin is a little darker than the face's.
    data__colour lid = times(p->skin, 0.90f);
    data__paint_band(c, &f, &(data__band){0, half, {-e.up - 0.075f, tilt, e.up + 0.03f}, {-e.up, tilt, e.up}}, lid, 1,
                     1);
    data__paint_band(c, &f, &(data__band){0, half, {e.low, tilt, -e.low}, {e.low + 0.075f, tilt, -e.low - 0.03f}}, lid,
                     1, 1);
    data__paint_band(
        c, &f, &(data__band){0, half * 1.05f, {-e.up - 0.024f, tilt, e.up + 0.012f}, {-e.up + 0.008f, tilt, e.up}},
        black, 0.85f, 0);
    data__paint_band(c, &f, &(data__band){0, half, {e.low, tilt, -e.low}, {e.low + 0.016f, tilt, -e.low}},
                     times(p->skin, 0.55f), 0.8f, 1);
}

static void paint_brow(const data__rig *g, int side)
{
    const data__person *p = g->p;
    data__frame f = data__rig_brow_frame(g, side);
    data__band b = {.half = p->brow_half};
    float y[5], t = p->brow_thick;
    data__rig_brow(g, side, y);
    for (int k = 0; k < 5; k++)
        b.top[k] = b.bottom[k] = y[k];
    b.top[0] -= t;
    b.top[1] += 0.35f * t;
    b.top[2] += 0.35f * t;
    b.bottom[0] += t;
    b.bottom[1] -= 0.35f * t;
    b.bottom[2] -= 0.35f * t;
    data__paint_band(g->canvas, &f, &b, p->brow, 0.95f, 1);
}

static void paint_nose(const data__rig *g)
{
    const data__person *p = g->p;
    float y = data__rig_nose(g), half = p->nose_half * (1 + 0.14f * g->d[DATA__AU9]);
    float shadow = g->shot->light[0] > 0 ? -1.0f : 1.0f;
    bump(g, shadow * half * 0.75f, y - 0.10f, 0.09f, 0.26f, -0.20f, shadow_only); // the side away from the light
    bump(g, 0, y - 0.14f, 0.06f, 0.24f, 0.12f, shadow_only);                      // the ridge
    bump(g, 0, y - 0.01f, 0.10f, 0.07f, 0.12f, shadow_only);                      // the tip
    bump(g, 0, y + 0.075f, half * 1.1f, 0.05f, -0.25f, shadow_only);              // under it
    for (int side = -1; side <= 1; side += 2) {
        data__frame f = data__rig_frame(g, (float)side * half * 0.5f, y + 0.04f, 0.25f, side);
        data__paint_ellipse(g->canvas, &f, &(data__ellipse){0, 0, 0.040f, 0.022f}, times(p->skin, 0.28f), 0.9f, 1);
        furrow(g, (float)side * half, y, 1.2f, side, 0.15f, 0.04f, -0.03f, -0.35f);
    }
}

static data__band between(const data__mouth *m, const float top[5], const float bottom[5], float raise, float sink)
{
    data__band b = {.half = m->half};
    for (int k = 0; k < 5; k++) {
        b.top[k] = top[k];
        b.bottom[k] = bottom[k];
    }
    b.top[0] -= raise;
    b.bottom[0] += sink;
    return b;
}

static void paint_mouth(const data__rig *g)
{
    const data__person *p = g->p;
    static const data__colour inside = {{0.26f, 0.05f, 0.06f}}, teeth = {{0.93f, 0.91f, 0.86f}},
                              tongue = {{0.62f, 0.25f, 0.25f}};
    data__mouth m = data__rig_mouth(g);
    data__frame f = data__rig_frame(g, m.x, m.y, 0, 1);
    data__canvas *c = g->canvas;
    bump(g, 0, m.y + m.lower[0] + 0.045f, 0.22f, 0.06f, -0.2f, shadow_only);
    if (p->beard == DATA__MOUSTACHE || p->beard == DATA__FULL_BEARD) {
        data__band b = between(&m, m.upper, m.upper, 0.085f, 0);
        b.top[2] += 0.085f;
        data__paint_band(c, &f, &b, p->hair_colour, 0.9f, 1);
    }
    data__band lips = between(&m, m.upper, m.lower, 0, 0);
    data__paint_band(c, &f, &lips, p->lips, 0.95f, 1);
    data__band open = between(&m, m.upper_inner, m.lower_inner, 0.006f, 0.006f);
    data__paint_band(c, &f, &open, p->teeth ? teeth : inside, 0.9f, 0);
    float gap = m.lower_inner[0] - m.upper_inner[0];
    if (gap < 0.025f) return;
    float shown = data__limit(gap * 0.55f, 0, 0.07f);
    data__band row = {.half = m.half * 0.86f};
    for (int k = 0; k < 5; k++)
        row.top[k] = row.bottom[k] = m.upper_inner[k] * powf(0.86f, (float)k);
    row.bottom[0] += shown;
    row.bottom[2] -= shown * 0.8f;
    data__paint_band(c, &f, &row, teeth, data__limit((gap - 0.025f) / 0.04f, 0, 0.95f), 1);
    if (gap > 0.16f)
        data__paint_ellipse(c, &f, &(data__ellipse){0, m.lower_inner[0] - 0.035f, m.half * 0.5f, 0.04f}, tongue, 0.8f,
                            0);
}

static void paint_glasses(const data__rig *g)
{
    static const data__colour dark = {{0.08f, 0.08f, 0.09f}};
    const data__person *p = g->p;
    for (int side = -1; side <= 1; side += 2) {
        data__frame f = data__rig_frame(g, (float)side * p->eye_x, p->eye_y + 0.01f, 0, side);
        data__paint_ring(g->canvas, &f, &(data__ellipse){0, 0, 0.265f, 0.195f}, 0.014f, dark, 0.85f);
        data__paint_band(g->canvas, &f, &(data__band){0.36f, 0.1f, {-0.055f}, {-0.025f}}, dark, 0.85f, 1);
    }
    data__frame f = data__rig_frame(g, 0, p->eye_y, 0, 1);
    data__paint_band(g->canvas, &f, &(data__band){0, 0.08f, {-0.04f, 0, 0.02f}, {-0.01f, 0, 0.02f}}, dark, 0.85f, 1);
}

void data__face_paint(data__canvas *c, const data__person *p, const float drive[DATA__DRIVES], const double own[2],
                      const data__shot *shot)
{
    data__canvas_size(c, shot->width, shot->height);
    data__rig g = data__rig_make(c, p, drive, own, shot);
    data__frame head = data__rig_head_frame(&g);
    paint_behind(&g, &head);
    data__light_head(c, &head, &g.head, shot->light, shot->ambient, shot->diffuse);
    paint_skin(&g, &head);
    shade_upper(&g);
    shade_lower(&g);
    paint_hair(&g, &head);
    paint_beard(&g);
    paint_nose(&g);
    for (int side = -1; side <= 1; side += 2) {
        paint_eye(&g, side);
        paint_brow(&g, side);
    }
    paint_mouth(&g);
    if (p->glasses) paint_glasses(&g);
}

void data__empty_paint(data__canvas *c, const data__shot *shot)
{
    data__canvas_size(c, shot->width, shot->height);
    data__paint_background(c, shot->corner, shot->background_key, shot->cells, shot->clutter);
}
