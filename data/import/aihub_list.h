// The lists of AI-Hub's Korean emotion pictures: JSON arrays of tens of thousands of objects, read piece by piece so that
// memory is that of one object. Pure functions over (pointer, length).
//
//     data__aihub *a = data__aihub_open(korean, cp949, &ops, ctx);
//     while (...) data__aihub_feed(a, bytes, n);
//     data__aihub_feed(a, NULL, 0); data__aihub_close(a);
//
// Threading: one list belongs to one thread.
#ifndef DATA_IMPORT_AIHUB_LIST_H
#define DATA_IMPORT_AIHUB_LIST_H

#include "data/import/importer.h"
#include "data/import/korean.h"

typedef enum data__aihub_emotion {
    DATA__AIHUB_HAPPY,       // 기쁨
    DATA__AIHUB_EMBARRASSED, // 당황
    DATA__AIHUB_ANGRY,       // 분노
    DATA__AIHUB_ANXIOUS,     // 불안
    DATA__AIHUB_HURT,        // 상처
    DATA__AIHUB_SAD,         // 슬픔
    DATA__AIHUB_NEUTRAL,     // 중립
    DATA__AIHUB_EMOTIONS
} data__aihub_emotion;
enum { DATA__AIHUB_ANNOTATORS = 3 };

typedef struct data__aihub_face {
    const char *name; // of the picture, composed UTF-8
    int uploader;     // data__aihub_emotion that was to be shown, -1: not said
    int emotion;      // that at least two annotators saw, else the uploader's
    int agreed;       // 0: no two annotators agree, or fewer than two said something
    float box[4];     // x, y, width, height: of each edge the median of the annotators'; NaN: none has a box
    float age;        // NaN: not said
    int8_t gender;    // 0 female, 1 male, -1 not said
} data__aihub_face;

typedef struct data__aihub_ops {
    void (*face)(void *ctx, int64_t element, const data__aihub_face *face); // element: from 1
    void (*bad)(void *ctx, int64_t element, data__reason reason, const char *detail);
} data__aihub_ops;

typedef struct data__aihub data__aihub;
// korean and ops are borrowed until close. cp949: the list is in CP949, else in UTF-8 with a byte order mark or without.
data__aihub *data__aihub_open(data__korean *korean, int cp949, const data__aihub_ops *ops, void *ctx);
void data__aihub_feed(data__aihub *a, const char *bytes, size_t n); // n 0: the end
void data__aihub_close(data__aihub *a);

#endif
