// A small picture in planar floats (0..1) and soft-edged shapes on it. A shape is given in its own coordinates (u, v)
// by a frame: an affine map from pixels, so that pose, size and foreshortening are the frame's business. Coverage comes
// from the signed distance to the edge, divided by its gradient: anti-aliased at any size.
// Internal to data/synth. Threading: a canvas belongs to one thread.
#ifndef DATA_SYNTH_CANVAS_H
#define DATA_SYNTH_CANVAS_H

#include "nn/base/err.h"

#include <stdint.h>

typedef struct data__canvas {
    int width, height;
    float *plane[3]; // red, green, blue: (height, width)
    float *light;    // (height, width): multiplies the colour of what is painted lit
    float *row;      // (width): scratch, coverage of a row
    float *memory;
    size_t capacity; // floats
} data__canvas;

// (u, v) = ((x - cx, y - cy) in pixels) times the matrix; sharp: pixels per unit, how steep an edge is.
typedef struct data__frame {
    float cx, cy, ux, uy, vx, vy, sharp;
} data__frame;

typedef struct data__colour {
    float rgb[3];
} data__colour;

// {0} is an empty canvas; sizing keeps the memory of a larger one.
void data__canvas_size(data__canvas *c, int width, int height);
void data__canvas_free(data__canvas *c);

// Ellipse of half-axes a (along u) and b (along v) around (u0, v0).
typedef struct data__ellipse {
    float u0, v0, a, b;
} data__ellipse;
// The part between two curves, top(s) <= v <= bottom(s), polynomials of degree 4 in s = (u - u0) / half, |s| <= 1.
typedef struct data__band {
    float u0, half;
    float top[5], bottom[5];
} data__band;
// A head: half-widths and half-heights above and below the widest line, tapered towards the chin.
typedef struct data__head {
    float half, up, down, taper;
} data__head;

// alpha: opacity 0..1. lit: multiply the colour by the canvas's light.
void data__paint_ellipse(data__canvas *c, const data__frame *f, const data__ellipse *s, data__colour colour,
                         float alpha, int lit);
void data__paint_ring(data__canvas *c, const data__frame *f, const data__ellipse *s, float half_width,
                      data__colour colour, float alpha);
void data__paint_band(data__canvas *c, const data__frame *f, const data__band *s, data__colour colour, float alpha,
                      int lit);
void data__paint_head(data__canvas *c, const data__frame *f, const data__head *s, data__colour colour);
// Multiplies colours by 1 + tint * amount (1 - r^2)^2 inside the ellipse: a soft bump (> 0) or hollow (< 0), coloured
// where the parts of the tint differ (skin that is pressed or stretched reddens or pales).
void data__shade_ellipse(data__canvas *c, const data__frame *f, const data__ellipse *s, float amount,
                         data__colour tint);
// The same across a band: a furrow, darkest along its middle line.
void data__shade_band(data__canvas *c, const data__frame *f, const data__band *s, float amount, data__colour tint);
// Sets the light inside the head: ambient + diffuse * max(0, normal . direction), the head taken as an ellipsoid.
void data__light_head(data__canvas *c, const data__frame *f, const data__head *s, const float direction[3],
                      float ambient, float diffuse);
// Background: four corner colours blended, plus smooth noise of `amount` on a grid of `cells` (at most 16) a side.
void data__paint_background(data__canvas *c, const data__colour corner[4], uint64_t noise_key, int cells, float amount);
// gain * colour + offset, sensor noise of deviation `noise`, 8 bits: out (height, width, 3).
void data__canvas_develop(const data__canvas *c, const float gain[3], float offset, float noise, uint64_t noise_key,
                          uint8_t *out);

#endif
