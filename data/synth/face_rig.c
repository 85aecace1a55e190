#include "data/synth/face_rig.h"

#include <math.h>

// ---- From face units to pixels: a point on an ellipsoid, turned by yaw and pitch, then rolled, scaled and placed.

void data__rig_point(const data__rig *g, float x, float y, float *px, float *py)
{
    const data__shot *s = g->shot;
    float across = x / g->head.half, down = y / (y < 0 ? g->head.up : g->head.down);
    float depth = 1 - 0.8f * (across * across + down * down);
    float z = 0.75f * sqrtf(depth > 0.05f ? depth : 0.05f);
    float turned_x = x * cosf(s->yaw) + (z - 0.4f) * sinf(s->yaw);
    float turned_y = y * cosf(s->pitch) + (z - 0.4f) * sinf(s->pitch);
    float c = cosf(s->roll) * s->unit, n = sinf(s->roll) * s->unit;
    *px = s->cx + turned_x * c - turned_y * n;
    *py = s->cy + turned_x * n + turned_y * c;
}

static data__frame invert(const data__rig *g, float cx, float cy, float xu, float yu, float xv, float yv)
{
    float det = xu * yv - xv * yu;
    return (data__frame){cx, cy, yv / det, -xv / det, -yu / det, xu / det, g->shot->unit / g->shot->softness};
}

// A frame around the point (x, y) of the face whose u axis points to `angle` from the face's own x axis; side -1
// mirrors it, so that u > 0 is outwards on both halves.
data__frame data__rig_frame(const data__rig *g, float x, float y, float angle, int side)
{
    float h = 0.02f, cx, cy, ax, ay, bx, by;
    float c = cosf(angle), n = sinf(angle);
    float mirror = (float)side;
    data__rig_point(g, x, y, &cx, &cy);
    data__rig_point(g, x + h * c * mirror, y + h * n, &ax, &ay);
    data__rig_point(g, x - h * n * mirror, y + h * c, &bx, &by);
    return invert(g, cx, cy, (ax - cx) / h, (ay - cy) / h, (bx - cx) / h, (by - cy) / h);
}

// The outline does not foreshorten: an ellipsoid looks the same from everywhere.
data__frame data__rig_head_frame(const data__rig *g)
{
    const data__shot *s = g->shot;
    float x = -0.4f * sinf(s->yaw), y = -0.4f * sinf(s->pitch);
    float c = cosf(s->roll) * s->unit, n = sinf(s->roll) * s->unit;
    return invert(g, s->cx + x * c - y * n, s->cy + x * n + y * c, c, n, -n, c);
}

data__eye data__rig_eye(const data__rig *g)
{
    const float *d = g->d;
    float open = g->p->eye_open * (1 + 0.13f * g->own[1]) * (1 - 0.92f * g->shot->blink);
    float up = open * (1 + 0.65f * d[DATA__AU5] - 0.42f * d[DATA__AU7] - 0.25f * d[DATA__AU9]);
    float low = 0.6f * open * (1 + 0.25f * d[DATA__AU5] - 0.55f * d[DATA__AU7] - 0.65f * d[DATA__AU6]);
    return (data__eye){up, low};
}

// The middle line of a brow over s from the inner (-1) to the outer end (1), in its frame.
void data__rig_brow(const data__rig *g, int side, float y[5])
{
    const data__person *p = g->p;
    const float *d = g->d;
    float skew = d[DATA__SKEW] * (side > 0 ? 1 : -0.25f);
    float inner = -0.19f * d[DATA__AU1] - 0.05f * d[DATA__AU2] + 0.10f * d[DATA__AU4],
          outer = -0.18f * d[DATA__AU2] - 0.18f * skew;
    float whole = 0.08f * d[DATA__AU4] - 0.05f * skew + 0.04f * d[DATA__AU9];
    y[0] = whole - p->brow_arch + 0.35f * (inner + outer);
    y[1] = -p->brow_tilt + 0.5f * (outer - inner);
    y[2] = p->brow_arch + 0.15f * (inner + outer);
    y[3] = y[4] = 0;
}

data__frame data__rig_brow_frame(const data__rig *g, int side)
{
    const data__person *p = g->p;
    float x = p->eye_x + 0.01f - 0.04f * g->d[DATA__AU4];
    return data__rig_frame(g, (float)side * x, p->eye_y - p->brow_gap, 0, side);
}

float data__rig_nose(const data__rig *g)
{
    return g->p->nose_y - 0.035f * g->d[DATA__AU9] - 0.02f * g->d[DATA__AU10];
}

data__mouth data__rig_mouth(const data__rig *g)
{
    const data__person *p = g->p;
    const float *d = g->d;
    data__mouth m = {.x = 0.03f * d[DATA__SKEW], .y = p->mouth_y - 0.025f * d[DATA__AU17] - 0.012f * d[DATA__AU10]};
    m.half = p->mouth_half * (1 + 0.24f * d[DATA__AU12] + 0.26f * d[DATA__AU20] - 0.24f * d[DATA__AU23] -
                              0.05f * d[DATA__AU24] - 0.16f * d[DATA__AU26]);
    float corner =
        -p->mouth_bow - 0.18f * d[DATA__AU12] + 0.19f * d[DATA__AU15] + 0.05f * d[DATA__AU20] - 0.24f * g->own[0];
    float crooked = -0.15f * d[DATA__SKEW];
    float thin = data__limit(1 - 0.40f * d[DATA__AU23] - 0.80f * d[DATA__AU24] - 0.15f * d[DATA__AU12], 0.15f, 1);
    float up = p->lip_up * thin, low = p->lip_low * thin * (1 + 0.2f * d[DATA__AU17]);
    float gap_up = 0.3f * g->gap + 0.07f * d[DATA__AU10], gap_low = 0.7f * g->gap, square = 0.5f * d[DATA__AU10];
    float middle[5] = {-0.4f * corner, crooked, corner, 0, 0};
    for (int k = 0; k < 5; k++)
        m.upper[k] = m.upper_inner[k] = m.lower_inner[k] = m.lower[k] = middle[k];
    m.upper_inner[0] -= gap_up;
    m.upper_inner[2] += gap_up * (1 - square);
    m.upper_inner[4] += gap_up * square;
    m.lower_inner[0] += gap_low;
    m.lower_inner[2] -= gap_low;
    float lift = 0.035f * d[DATA__AU10];
    m.upper[0] = m.upper_inner[0] - 0.8f * up - lift;
    m.upper[2] = m.upper_inner[2] - 0.9f * up;
    m.upper[4] = m.upper_inner[4] + 1.7f * up + lift;
    m.lower[0] = m.lower_inner[0] + low;
    m.lower[2] = m.lower_inner[2] - low;
    return m;
}

data__rig data__rig_make(data__canvas *c, const data__person *p, const float drive[DATA__DRIVES], const double own[2],
                         const data__shot *shot)
{
    data__rig g = {.canvas = c, .p = p, .shot = shot, .d = drive};
    for (int k = 0; k < 2; k++)
        g.own[k] = data__limit((float)own[k], -1.6f, 1.6f);
    g.head = (data__head){p->half, p->up, p->down + 0.10f * drive[DATA__AU26] + 0.02f * drive[DATA__AU25], p->taper};
    g.gap = (0.12f * drive[DATA__AU25] + 0.24f * drive[DATA__AU26]) * (1 - 0.9f * data__limit(drive[DATA__AU24], 0, 1));
    return g;
}
