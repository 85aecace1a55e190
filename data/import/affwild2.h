// Aff-Wild2 as its users have it: what a folder holds (affwild2_tree.c), what a label file says (affwild2_labels.c), one video
// (affwild2_video.c).
#ifndef DATA_IMPORT_AFFWILD2_H
#define DATA_IMPORT_AFFWILD2_H

#include "data/import/importer.h"
#include "data/media.h"

// Label files

typedef struct data__aw_labels { // row i is frame i + 1
    int64_t n;
    int8_t *expr, *au; // (n), (n, 12); -1 none
    float *va;         // (n, 2); NaN none
    int64_t invalid;   // values that the annotators marked: -1, or -5 for VA
} data__aw_labels;

typedef void (*data__aw_bad)(void *ctx, int64_t line, data__reason reason, const char *detail);
// Pure function over (text, size): a head line, then one row a frame. What is wrong with a row is given to `bad` and
// leaves the frame without that label; rows never shift. A head line that is not the task's leaves no rows. task:
// DATA_EXPR, DATA_AU or DATA_VA.
void data__aw_read(const char *text, size_t size, int task, data__aw_bad bad, void *ctx, data__aw_labels *out);
void data__aw_free(data__aw_labels *l);

// Folders

typedef struct data__aw_video {
    char *name;                // of crops and labels, suffix included
    int n_crops, crop_root;    // folders of its crops, all of one kind of root
    char **crops;              // they share the numbers of its frames; the first that has a frame gives it
    char *labels[DATA_TASKS];  // label files, NULL: none
    uint8_t split[DATA_TASKS]; // DATA_SPLIT_*
    int media;                 // of data__aw_tree.media, -1: none
} data__aw_video;
typedef struct data__aw_media {
    char *stem, *path;
} data__aw_media;
typedef struct data__aw_tree {
    int64_t n_videos, n_media, n_crop_folders, n_labels[DATA_TASKS][2]; // label files of train, validation
    data__aw_video *videos;                                             // by name
    data__aw_media *media;                                              // by stem
} data__aw_tree;

// Finds crops, label files, test lists and media files below im->cfg->src, wherever the archives were unpacked. Duplicates
// and lists that cannot be used are rejected by name.
MN_MUST_CHECK mn_err data__aw_tree_read(data__import *im, data__aw_tree *out);
void data__aw_tree_free(data__aw_tree *t);

// What scanning found of one video, summed over the ranks that each looked at some.
typedef struct data__aw_survey {
    int64_t crops, last_frame, crop_bytes, rows, digest;
} data__aw_survey;

typedef struct data__aw_state { // of an import
    data__aw_tree tree;
    data__aw_survey *surveys; // (n_videos)
} data__aw_state;

enum { DATA__AW_FPS = 30 }; // where no media file says better
#define DATA__AW_LABELS_MOST ((size_t)256 << 20)

// The records of a video (at most u->records where there is a limit), and the sound of a media file.
MN_MUST_CHECK mn_err data__aw_write_video(data__import *im, const data__unit *u, data_writer *w);
MN_MUST_CHECK mn_err data__aw_write_sound(data__import *im, const data__unit *u, data_writer *w);

// Frame number of a crop's file name ("00001.jpg", at most six digits), 0 if it is none.
int64_t data__aw_frame(const char *name);

#endif
