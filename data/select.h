// Which records of a dataset folder a set is made of: the split, the frames with labels, every k-th frame, some videos.
// Shared by data/frames.h (pictures) and data/sound.h (audio around frames).
//
//     data_selection *s; MN_TRY(data_selection_open(&s, &(data_select_cfg){.dir = "mien-data/affwild2", .split = "train",
//                                                   .task = DATA_EXPR, .labelled = 1, .pictures = 1}));
//     data_frame f; data_selection_at(s, i, &f);        // video, frame number, time, shard and record of sample i
//
// What is left out is counted by reason, never silent. Memory: 8 bytes a sample; opening looks at every label once.
// Threading: immutable after open.
#ifndef DATA_SELECT_H
#define DATA_SELECT_H

#include "data/set.h"
#include "data/shard.h"
#include "data/target.h"

typedef struct data_select_cfg {
    const char *dir;      // dataset folder
    const char *split;    // "train", "validation", "test"; NULL: all
    int task;             // DATA_EXPR, DATA_AU, DATA_VA: whose split and labels; DATA_TASKS: none
    int labelled;         // 1: only frames with a valid target of the task; 0: all frames
    data_invalid invalid; // what a valid target is
    int pictures;         // 1: only records with a picture
    int64_t stride; // every k-th frame of a video (1, k + 1, ...; records where there are no videos); 0 and 1: all
    // Not NULL: only the videos it returns 1 for, called once each in order, number counting the videos of the split
    // from 0. Ranks that extract features share whole videos this way, and a restart leaves out those that are there.
    int (*keep)(void *context, int64_t number, const data_video *video);
    void *context;
    int columns; // DATA_KEEP_*: labels to have in memory besides those of the task
} data_select_cfg;

typedef struct data_select_counts {
    int64_t records;     // of the split
    int64_t other_video; // left out by keep
    int64_t strided;     // left out by stride
    int64_t no_picture;
    int64_t no_target; // no valid label of the task
    int64_t no_sound;  // of data/sound.h: the video has none
    int64_t used;
} data_select_counts;

typedef struct data_frame {
    const data_shard *shard;
    int64_t record;          // of the shard
    const data_video *video; // NULL: the dataset has no videos
    int32_t frame;           // 1-based, 0: none
    int64_t t_us;
} data_frame;

typedef struct data_selection data_selection;
// Selecting nothing is MN_ENOINPUT, with the counts in the message; unless there is a keep, which may leave nothing.
MN_MUST_CHECK mn_err data_selection_open(data_selection **out, const data_select_cfg *cfg);
void data_selection_close(data_selection *s);
int64_t data_selection_count(const data_selection *s);
void data_selection_at(const data_selection *s, int64_t i, data_frame *out);
// Where sample i is, without looking at its video: what reading it needs.
const data_shard *data_selection_place(const data_selection *s, int64_t i, int64_t *record);
int64_t data_selection_record(const data_selection *s, int64_t i); // number in the folder: the record part of its id
data_select_counts data_selection_counts(const data_selection *s);
const char *data_selection_text(const data_selection *s); // "12000 of 15000 records used, 3000 without a valid label"
const data_folder *data_selection_folder(const data_selection *s);
uint64_t data_selection_digest(const data_selection *s);
// Shard k of those that its samples come from, as the order of training counts them.
const data_shard *data_selection_shard(const data_selection *s, int k);
// For a set being opened: the fields that carry target and weight, the order of training, the count.
void data_selection_add_fields(const data_selection *s, data_set *set);
// Leaves out the samples for which drop returns 1; they count as no_sound.
void data_selection_drop(data_selection *s, int (*drop)(const void *context, const data_frame *f), const void *context);

// The target of sample i without reading its picture; cfg.task must be one.
void data_selection_target(const data_selection *s, int64_t i, float *target, float *weight);
// Samples of each expression, for class weights. cfg.task must be DATA_EXPR.
void data_selection_classes(const data_selection *s, int64_t count[DATA_EXPRESSIONS]);
// The group (count) of each sample, 0 .. *n_groups - 1, for sampling; what has no label is a group of its own. The column
// must be in memory (cfg.task, cfg.columns); MN_ECONFIG: the dataset has none.
typedef enum data_group { DATA_BY_EXPRESSION, DATA_BY_VIDEO, DATA_BY_IDENTITY } data_group;
MN_MUST_CHECK mn_err data_selection_groups(const data_selection *s, data_group by, int32_t *group, int64_t *n_groups);

#endif
