#include "data/synth/face_rig.h"

#include <math.h>
#include <string.h>

typedef struct pen {
    const data__rig *g;
    float *xy;
    int n;
} pen;

static void put(pen *p, float x, float y)
{
    data__rig_point(p->g, x, y, &p->xy[2 * p->n], &p->xy[2 * p->n + 1]);
    p->n++;
}

static float curve(const float k[5], float s)
{
    return k[0] + s * (k[1] + s * (k[2] + s * (k[3] + s * k[4])));
}

// The outline is not on the ellipsoid's surface but around it: ear, chin, ear.
static void put_jaw(pen *p)
{
    const data__rig *g = p->g;
    const data__shot *s = g->shot;
    float c = cosf(s->roll) * s->unit, n = sinf(s->roll) * s->unit;
    for (int i = 0; i <= 16; i++) {
        float turn = (float)M_PI * (float)i / 16, t = sinf(turn);
        float x = -g->head.half * (1 - g->head.taper * t) * cosf(turn) - 0.4f * sinf(s->yaw);
        float y = g->head.down * t - 0.4f * sinf(s->pitch);
        p->xy[2 * p->n] = s->cx + x * c - y * n;
        p->xy[2 * p->n + 1] = s->cy + x * n + y * c;
        p->n++;
    }
}

static void put_brow(pen *p, int side)
{
    const data__person *who = p->g->p;
    float y[5];
    data__rig_brow(p->g, side, y);
    for (int i = 0; i < 5; i++) {
        float s = (float)side * ((float)i / 2 - 1); // from left to right
        put(p, (float)side * (who->eye_x + s * who->brow_half), who->eye_y - who->brow_gap + curve(y, s));
    }
}

static void put_nose(pen *p)
{
    const data__person *who = p->g->p;
    float tip = data__rig_nose(p->g);
    for (int i = 0; i < 4; i++)
        put(p, 0, who->eye_y + (tip - who->eye_y) * (float)i / 3);
    for (int i = -2; i <= 2; i++)
        put(p, who->nose_half * 0.45f * (float)i, tip + 0.07f - 0.01f * (float)(i * i));
}

static void put_eye(pen *p, int side)
{
    static const float around[6][2] = {{-1, 0}, {-0.4f, -1}, {0.4f, -1}, {1, 0}, {0.4f, 1}, {-0.4f, 1}};
    const data__person *who = p->g->p;
    data__eye e = data__rig_eye(p->g);
    for (int i = 0; i < 6; i++) {
        float s = (float)side * around[i][0], lid = around[i][1] < 0 ? -e.up : e.low * around[i][1];
        float y = lid * (1 - s * s) - who->eye_tilt * who->eye_half * s;
        put(p, (float)side * (who->eye_x + s * who->eye_half), who->eye_y + y);
    }
}

static void put_mouth(pen *p)
{
    static const float outer[12] = {-1, -0.66f, -0.33f, 0, 0.33f, 0.66f, 1, 0.66f, 0.33f, 0, -0.33f, -0.66f};
    static const float inner[8] = {-0.9f, -0.4f, 0, 0.4f, 0.9f, 0.4f, 0, -0.4f};
    data__mouth m = data__rig_mouth(p->g);
    for (int i = 0; i < 12; i++)
        put(p, m.x + outer[i] * m.half, m.y + curve(i <= 6 ? m.upper : m.lower, outer[i]));
    for (int i = 0; i < 8; i++)
        put(p, m.x + inner[i] * m.half, m.y + curve(i <= 4 ? m.upper_inner : m.lower_inner, inner[i]));
}

void data__face_points(const data__person *p, const float drive[DATA__DRIVES], const double own[2],
                       const data__shot *shot, float xy[136])
{
    data__rig g = data__rig_make(NULL, p, drive, own, shot);
    pen at = {&g, xy, 0};
    put_jaw(&at);
    put_brow(&at, -1);
    put_brow(&at, 1);
    put_nose(&at);
    put_eye(&at, -1);
    put_eye(&at, 1);
    put_mouth(&at);
}

void data__face_box(const data__person *p, const data__shot *shot, float box[4])
{
    static const float still[DATA__DRIVES];
    float xy[136], low[2] = {1e9f, 1e9f}, high[2] = {-1e9f, -1e9f};
    data__face_points(p, still, (const double[2]){0, 0}, shot, xy);
    for (int i = 0; i < 136; i++) {
        low[i % 2] = xy[i] < low[i % 2] ? xy[i] : low[i % 2];
        high[i % 2] = xy[i] > high[i % 2] ? xy[i] : high[i % 2];
    }
    float above = 0.12f * shot->unit; // detectors begin a little over the brows
    box[0] = low[0];
    box[1] = low[1] - above;
    box[2] = high[0] - low[0];
    box[3] = high[1] - low[1] + above;
}
