// A recipe that has been read: the options every task has, those of its task, and the job they make.
//
//     mien_job *j; MN_TRY(mien_job_open(&j, comm, "recipes/simmim/swin_t.yaml", overrides, n));
//     data_set *train; MN_TRY(j->task->open(j, MIEN_USE_TRAIN, NULL, &train));
//     ... j->task->build(j, graph, train, rows) ...
//     mien_job_close(j);
//
// Threading: one thread.
#ifndef RECIPES_RECIPE_H
#define RECIPES_RECIPE_H

#include "data/features.h"
#include "data/select.h"
#include "dist/train.h"
#include "nn/base/schema.h"
#include "nn/device.h"

typedef struct mien_part { // one entry of data:
    const char *set, *split;
    double weight;
} mien_part;

enum { MIEN_FP32, MIEN_BF16 };
enum { MIEN_AUTO, MIEN_CPU, MIEN_CUDA };
enum { MIEN_BEST, MIEN_LAST };
enum { MIEN_INVALID_FRAME, MIEN_INVALID_COLUMN };
enum { MIEN_SELECT_TASK, MIEN_SELECT_EXPR, MIEN_SELECT_AU, MIEN_SELECT_CCC, MIEN_SELECT_LOSS };

// Options of every task; keys and meaning: mien_common_options in recipe.c, mien train --help.
typedef struct mien_common {
    const char *task, *run, *data_dir, *runs_dir;
    uint64_t seed;
    int precision, device, wire;
    int64_t threads;
    mn_list data; // mien_part
    int data_invalid;
    int64_t data_stride;
    double lr, beta1, beta2, eps, weight_decay, clip, layer_decay;
    int decay_all;
    int64_t scale_batch;
    int schedule, quirks, lr_per_epoch;
    double warmup_epochs, warmup_lr, min_lr, gamma;
    mn_floats milestones;
    int64_t steps, epochs, batch, loader_threads;
    int recompute;
    double mixup, cutmix, mix_probability, cutmix_share;
    int64_t save_every, keep;
    int select;
    int64_t eval_every, eval_batch, eval_stride;
    const char *eval_split;
    int feature_store;
    const char *init_from;
    int init_select;
    int zero_division;
    int64_t log_every;
    int sampling_by;
    double sampling_power;
    int64_t sampling_samples;
    const char *stage_dir;
    double stage_limit;
    double step_deadline, init_deadline;
} mien_common;

// What a data set is opened for.
typedef enum mien_use {
    MIEN_USE_TRAIN,
    MIEN_USE_SCORE,  // labelled samples of eval.split
    MIEN_USE_FRAMES, // every frame in order, labelled or not, whole videos shared over ranks: prediction
    MIEN_USE_TRACKS  // the same where pictures are looked at, whole tracks in pieces where sound is heard: extraction
} mien_use;

typedef struct mien_job mien_job;

// One frame that a network has judged.
typedef struct mien_frame {
    const char *video;
    int32_t number; // 1-based
    int64_t t_us;
    const float *prediction;      // (K) logits, or valence and arousal
    const float *target, *weight; // (K) and (1) or (K), weight 0: no label; NULL: not asked
    int by_column;                // weight is (K)
} mien_frame;
typedef mn_err mien_each_frame(void *context, const mien_frame *f);
typedef mn_err mien_each_track(void *context, const data_track *t);

typedef struct mien_task {
    const char *name;
    const mn_option *options;
    size_t conf_bytes;
    mn_err (*check)(mien_job *j); // rules that an option row cannot state; may be NULL
    mn_err (*open)(mien_job *j, mien_use use, const char *split, data_set **out);
    nn_tensor *(*build)(void *job, nn_graph *g, const data_set *set, int64_t rows);
    mn_err (*init)(void *job, nn_params *params); // NULL: mien_init
    mn_err (*score_begin)(void *job);
    mn_err (*score_add)(void *job, nn_graph *g, const data_batch *b);
    mn_err (*score_end)(void *job, dist_comm *c, dist_score *out);
    int (*target)(const mien_job *j); // DATA_EXPR, DATA_AU or DATA_VA; NULL: not scored by those metrics
    // The frames of a set of pictures or sound, for sampling.by; NULL: its samples are no frames.
    const data_selection *(*selection)(const mien_job *j, const data_set *set);
    void (*close)(mien_job *j); // what the task keeps in its conf; may be NULL
    unsigned (*mixup_fields)(const data_set *set);
    // Layers below the head, for layer-wise decay; NULL: none.
    int (*layers)(const mien_job *j);
    // What its features come from, in words: extractions of other words do not share a folder. NULL: no features. With
    // job->features_only, build makes only the output "features" (B, D), or "tokens" (B, T, D) of a set of tracks.
    void (*features)(const mien_job *j, char *text, size_t size);
    // Features that need no network, and so no weights: each track of this rank's share, borrowed for the call. NULL:
    // there is a network, and everything above but target, selection, close, mixup_fields and layers is there.
    mn_err (*tracks)(mien_job *j, const char *split, mien_each_track *each, void *context);
    // The frames of a batch of MIEN_USE_FRAMES after the network has run; NULL: it predicts nothing for frames.
    mn_err (*frames)(mien_job *j, nn_graph *g, const data_set *set, const data_batch *b, mien_each_frame *each,
                     void *context);
    // What the samples are made of besides the records, as members of a JSON object, "" nothing: kept beside the
    // weights in training, and compared when they are used. Caller frees. NULL: nothing.
    char *(*sources)(const mien_job *j, const data_set *set);
} mien_task;

struct mien_job {
    mn_recipe *recipe;
    mien_common common;
    const mien_task *task;
    void *conf;               // of the task
    data_set *score_set;      // being scored, borrowed
    int64_t score_videos;     // that its samples come from, for intervals; set by the task
    struct mien_score *score; // of the task, while a set is scored (score.h)
    dist_comm *comm;
    const nn_device *device; // that the networks of the job are on
    const char *path;
    int training;      // it is that of mien train: the run's folder is there and may be written to
    int alone;         // its batches are this rank's own: nothing in the network is summed over ranks
    int features_only; // while a network is built: no head, so that weights without one serve
    // Videos and tracks that MIEN_USE_FRAMES and MIEN_USE_TRACKS leave out; NULL: none.
    int (*skip)(void *context, const char *name);
    void *skip_context;
};

// Reads and checks a recipe; the number of OpenMP threads is set from it. comm may be NULL (--dry checks).
MN_MUST_CHECK mn_err mien_job_open(mien_job **out, dist_comm *comm, const char *path, const char *const *overrides,
                                   int64_t n);
void mien_job_close(mien_job *j);
const mien_task *mien_task_find(const char *name);
const mien_task *mien_task_at(int i); // NULL after the last
extern const mn_option mien_common_options[];

// DIR of a dataset or feature folder: relative names are under paths.data. Caller frees.
char *mien_data_path(const mien_job *j, const char *name);
// init.from: loads what matches by name, lists what was not loaded (nn/weights.h). Nothing when init.from is empty.
MN_MUST_CHECK mn_err mien_init(void *job, nn_params *params);
// Values from a weights file into the parameters that have the same names; strict: every one must be in it.
MN_MUST_CHECK mn_err mien_load_weights(const mien_job *j, nn_params *params, const char *path, int strict);
// The dist_task of a job.
dist_task mien_dist_task(mien_job *j, data_set *train, data_set *eval);
// The training configuration of a job over `train`.
MN_MUST_CHECK mn_err mien_train_cfg(mien_job *j, const data_set *train, dist_train_cfg *cfg);

#endif
