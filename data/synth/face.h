// A parametric face. A person is a set of proportions and colours drawn once (neutral geometry differs from person to
// person about a third as much as an action unit moves it); the drives of data/synth/affect.h move brows, lids, cheeks,
// nose, mouth and jaw; a shot is how it was photographed: pose, light, camera, background.
//
//     data__person p; data__person_make(seed, 17, &p);
//     data__shot shot; data__shot_make(key, video, t, size, size, &shot);
//     data__face_paint(&canvas, &p, drives, own, &shot); data__canvas_develop(...)
//
// Internal to data/synth. Threading: pure functions of their arguments.
#ifndef DATA_SYNTH_FACE_H
#define DATA_SYNTH_FACE_H

#include "data/synth/affect.h"
#include "data/synth/canvas.h"

typedef enum data__hair { DATA__HAIR_SHORT, DATA__HAIR_LONG, DATA__HAIR_BANGS, DATA__HAIR_NONE } data__hair;
typedef enum data__beard { DATA__SHAVED, DATA__STUBBLE, DATA__MOUSTACHE, DATA__FULL_BEARD } data__beard;

// Lengths in face units: the widest line of the head is y = 0, y grows downwards, the crown is near -1, the chin near 1.
typedef struct data__person {
    int male, young, glasses, lipstick, earrings, hat;
    int teeth;    // fill the open mouth
    float crease; // 1: furrows are darker than the skin, -1: lighter
    data__hair hair;
    data__beard beard;
    int hair_tone; // 0 black, 1 brown, 2 blond, 3 grey, 4 red
    float tan;     // 0 pale .. 1 dark
    data__colour skin, hair_colour, brow, lips, iris, clothes;
    float half, up, down, taper;                                 // head
    float eye_x, eye_y, eye_half, eye_open, eye_tilt;            // half: half of its width
    float brow_gap, brow_half, brow_thick, brow_tilt, brow_arch; // gap: above the eye
    float nose_y, nose_half;
    float mouth_y, mouth_half, lip_up, lip_low, mouth_bow; // bow > 0: corners up when neutral
    float hairline, age_lines, cheek;
} data__person;

typedef struct data__shot {
    int width, height;
    float cx, cy, unit;     // of the head, pixels; unit: pixels per face unit
    float yaw, pitch, roll; // radians
    float light[3], ambient, diffuse;
    float gain[3], offset, noise, softness; // softness >= 1: edges this many pixels wide
    float blink;                            // 0 open .. 1 closed
    uint64_t grain_key, background_key;
    int cells;
    float clutter;
    data__colour corner[4];
} data__shot;

void data__person_make(uint64_t seed, uint64_t person, data__person *out);
// The shot of `row` (a video: constant camera, slowly moving head) at `seconds`, with the head filling a width x height
// picture as an aligned crop does: eyes and mouth stay within a few per cent of the picture of where they are on average.
void data__shot_make(uint64_t key, uint64_t row, double seconds, int width, int height, data__shot *out);
// own: valence and arousal beyond the expression, as the face shows them.
void data__face_paint(data__canvas *c, const data__person *p, const float drive[DATA__DRIVES], const double own[2],
                      const data__shot *shot);
// The background alone.
void data__empty_paint(data__canvas *c, const data__shot *shot);
// The 68 points of the iBUG scheme in pixels: x1 y1 .. x68 y68.
void data__face_points(const data__person *p, const float drive[DATA__DRIVES], const double own[2],
                       const data__shot *shot, float xy[136]);
// x, y, width, height of the face in the picture, pixels: brows to chin, ear to ear, as a detector would say.
void data__face_box(const data__person *p, const data__shot *shot, float box[4]);

#endif
