// Annotations, lists of the test videos and sample files of a generated Aff-Wild2, with what is odd about the real ones:
// a header of eight names over rows of one value, rows marked invalid, one row more or less than there are frames,
// folders with spaces, .DS_Store files.
#include "data/synth/wild.h"

#include "data/synth/output.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

typedef struct challenge {
    const char *folder, *header, *list, *sample, *sample_header;
} challenge;

#define EXPRESSIONS "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
#define UNITS "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
static const challenge challenges[DATA_TASKS] = {
    [DATA_EXPR] = {"EXPR_Recognition_Challenge", EXPRESSIONS, "Expression_Recognition_Challenge_test_set_release",
                   "CVPR_6th_ABAW_Expr_test_set_sample", "image_location," EXPRESSIONS},
    [DATA_AU] = {"AU_Detection_Challenge", UNITS, "Action_Unit_Detection_Challenge_test_set_release",
                 "CVPR_6th_ABAW_AU_test_set_sample", "image_location," UNITS},
    [DATA_VA] = {"VA_Estimation_Challenge", "valence,arousal", "Valence_Arousal_Estimation_Challenge_test_set_release",
                 "CVPR_6th_ABAW_VA_test_set_sample", "image_location,valence,arousal"},
};

static const char annotations[] = "6th ABAW Annotations";

static void add_row(data__text *t, int task, const data__affect *a, unsigned invalid)
{
    if (task == DATA_EXPR) {
        data__text_add(t, "%d", invalid ? -1 : a->expr);
    } else if (task == DATA_VA) {
        const double va[2] = {a->valence, a->arousal};
        for (int k = 0; k < 2; k++) {
            if (invalid >> k & 1)
                data__text_add(t, "%s-5", k ? "," : "");
            else
                data__text_add(t, "%s%.3f", k ? "," : "", va[k] == 0 ? 0.0 : va[k]);
        }
    } else {
        for (int k = 0; k < DATA_AUS; k++)
            data__text_add(t, "%s%d", k ? "," : "", invalid >> k & 1 ? -1 : a->au[k] >= (float)DATA__AU_THRESHOLD);
    }
}

static mn_err write_label_file(const char *root, const data_synth_videos *v, const data__wild_video *w,
                               const data__wild_subject *s, int task)
{
    data__text t = {0};
    data__text_add(&t, "%s", challenges[task].header);
    for (int64_t frame = 1; frame <= s->label_rows[task]; frame++) {
        data__affect a;
        data__wild_affect(v, w, s, frame, &a);
        data__text_add(&t, "\n");
        add_row(&t, task, &a, data__wild_invalid(v, s, task, frame));
    }
    if (s->row % 7 != 3) data__text_add(&t, "\n"); // some files lack the last line end
    char *path = mn_sprintf("%s/%s/%s/%s/%s.txt", root, annotations, challenges[task].folder,
                            w->split == DATA_SPLIT_TRAIN ? "Train_Set" : "Validation_Set", s->name);
    mn_err err = data__text_write(&t, path);
    free(path);
    return err;
}

typedef struct labels_ctx {
    const char *root;
    const data_synth_videos *v;
} labels_ctx;

static mn_err write_video(void *ctx, data__worker *worker, int64_t index)
{
    const labels_ctx *c = ctx;
    const data__wild_video *w = &c->v->video[index];
    (void)worker;
    if (w->split == DATA_SPLIT_TEST) return MN_OK;
    for (int k = 0; k < w->subjects; k++)
        for (int task = 0; task < DATA_TASKS; task++)
            if (w->subject[k].tasks >> task & 1) MN_TRY(write_label_file(c->root, c->v, w, &w->subject[k], task));
    return MN_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(data__wild_subject *const *)a)->name, (*(data__wild_subject *const *)b)->name);
}

// Subjects of the test set in one challenge, by name: the order in which they were made would tell nothing either, but
// the organisers' lists are sorted.
static int64_t collect_test(const data_synth_videos *v, int task, const data__wild_subject **found)
{
    int64_t n = 0;
    for (int64_t i = 0; i < v->n; i++)
        for (int k = 0; k < v->video[i].subjects; k++)
            if (v->video[i].split == DATA_SPLIT_TEST && v->video[i].subject[k].tasks >> task & 1)
                found[n++] = &v->video[i].subject[k];
    qsort(found, (size_t)n, sizeof *found, by_name);
    return n;
}

static mn_err write_test_lists(const char *root, const data_synth_videos *v, int task)
{
    const challenge *c = &challenges[task];
    const data__wild_subject **found = mn_calloc((size_t)v->n * DATA__WILD_MAX_SUBJECTS, sizeof *found);
    int64_t n = collect_test(v, task, found);
    data__text list = {0}, sample = {0};
    data__text_add(&sample, "%s\n", c->sample_header);
    for (int64_t i = 0; i < n; i++) {
        data__text_add(&list, "%s\n", found[i]->name);
        // The organisers' count of frames, which is not always ours.
        for (int64_t frame = 1; frame <= found[i]->label_rows[task]; frame++)
            data__text_add(&sample, "%s/%05lld.jpg,\n", found[i]->name, (long long)frame);
    }
    free(found);
    char *list_path = mn_sprintf("%s/names_of_videos_in_each_test_set/%s.txt", root, c->list);
    char *sample_path = mn_sprintf("%s/prediction_files_format/%s.txt", root, c->sample);
    mn_err err = data__text_write(&list, list_path), second = data__text_write(&sample, sample_path);
    free(list_path);
    free(sample_path);
    return err != MN_OK ? err : second;
}

static mn_err make_folders(const char *root)
{
    static const char *const sets[] = {"Train_Set", "Validation_Set"};
    for (int task = 0; task < DATA_TASKS; task++) {
        for (int k = 0; k < 2; k++) {
            char *path = mn_sprintf("%s/%s/%s/%s", root, annotations, challenges[task].folder, sets[k]);
            mn_err err = mn_dir_make(path);
            char *store = mn_sprintf("%s/.DS_Store", path); // what a Mac leaves
            if (err == MN_OK && k == 0) err = data__file_write(store, "\0\0\0\1Bud1", 8);
            free(path);
            free(store);
            MN_TRY(err);
        }
    }
    char *lists = mn_sprintf("%s/names_of_videos_in_each_test_set", root);
    char *samples = mn_sprintf("%s/prediction_files_format", root);
    mn_err err = mn_dir_make(lists);
    if (err == MN_OK) err = mn_dir_make(samples);
    free(lists);
    free(samples);
    return err;
}

mn_err data__wild_write_labels(const char *root, const data_synth_videos *v)
{
    labels_ctx ctx = {root, v};
    data_synth_report unused = {0};
    MN_TRY(make_folders(root));
    MN_TRY(data__spread(v->n, v->cfg.threads, write_video, &ctx, &unused));
    for (int task = 0; task < DATA_TASKS; task++)
        MN_TRY(write_test_lists(root, v, task));
    return MN_OK;
}
