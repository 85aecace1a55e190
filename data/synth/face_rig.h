// The geometry of one face in one picture: where points of the face are in pixels, and the curves of brows, lids and
// mouth under the drives. Painting and landmarks read the same curves.
// Internal to data/synth. Threading: pure functions.
#ifndef DATA_SYNTH_FACE_RIG_H
#define DATA_SYNTH_FACE_RIG_H

#include "data/synth/face.h"

typedef struct data__rig {
    data__canvas *canvas; // may be NULL where nothing is painted
    const data__person *p;
    const data__shot *shot;
    const float *d; // drives
    float own[2];   // valence, arousal, limited
    data__head head;
    float gap; // opening of the mouth
} data__rig;

typedef struct data__eye {
    float up, low; // heights of the lids over the middle line
} data__eye;

// Curves of the mouth over s in [-1, 1]: outer and inner edges of both lips.
typedef struct data__mouth {
    float x, y, half;
    float upper[5], upper_inner[5], lower_inner[5], lower[5];
} data__mouth;

data__rig data__rig_make(data__canvas *c, const data__person *p, const float drive[DATA__DRIVES], const double own[2],
                         const data__shot *shot);
// A point of the face (face units) in pixels: on an ellipsoid, turned by yaw and pitch, then rolled, scaled and placed.
void data__rig_point(const data__rig *g, float x, float y, float *px, float *py);
// A frame around the point (x, y) of the face whose u axis points to `angle` from the face's own x axis; side -1
// mirrors it, so that u > 0 is outwards on both halves.
data__frame data__rig_frame(const data__rig *g, float x, float y, float angle, int side);
// The outline does not foreshorten: an ellipsoid looks the same from everywhere.
data__frame data__rig_head_frame(const data__rig *g);
data__eye data__rig_eye(const data__rig *g);
// The middle line of a brow over s from the inner (-1) to the outer end (1), in its frame, and where that frame is.
void data__rig_brow(const data__rig *g, int side, float y[5]);
data__frame data__rig_brow_frame(const data__rig *g, int side);
float data__rig_nose(const data__rig *g); // y of its tip
data__mouth data__rig_mouth(const data__rig *g);

static inline float data__limit(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

#endif
