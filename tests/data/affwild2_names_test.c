// Aff-Wild2 in the namings of its editions: a generated tree, renamed, is imported to the same dataset.
#include "corpus_support.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "shard_support.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOVES = 10 };
#define SIX "6th ABAW Annotations"
#define LISTS "names_of_videos_in_each_test_set"
#define EXPR_LIST LISTS "/Expression_Recognition_Challenge_test_set_release.txt"
#define AU_LIST LISTS "/Action_Unit_Detection_Challenge_test_set_release.txt"
#define VA_LIST LISTS "/Valence_Arousal_Estimation_Challenge_test_set_release.txt"

typedef struct naming {
    const char *text;
    const char *move[MOVES][2]; // from, to: one after another
} naming;

static const naming namings[] = {
    {"ABAW6, underscores", {{SIX, "6th_ABAW_Annotations"}}},
    {"ABAW5",
     {{SIX, "5th ABAW Annotations"},
      {"5th ABAW Annotations/EXPR_Recognition_Challenge", "5th ABAW Annotations/EXPR_Classification_Challenge"}}},
    {"ABAW4, the annotations of the third",
     {{SIX, "annotations"},
      {"annotations/EXPR_Recognition_Challenge", "annotations/EXPR_Classification_Challenge"},
      {EXPR_LIST, "testset/EXPR_test_set_release.txt"},
      {AU_LIST, "testset/AU_test_set_release.txt"},
      {VA_LIST, "testset/VA_test_set_release.txt"}}},
    {"ABAW3",
     {{SIX, "Third ABAW Annotations"},
      {"Third ABAW Annotations/EXPR_Recognition_Challenge", "Third ABAW Annotations/EXPR_Classification_Challenge"},
      {EXPR_LIST, "testset/EXPR_test_set_release.txt"},
      {AU_LIST, "testset/AU_ABAW_Challenge_test_files_expected_frames.txt"},
      {VA_LIST, "testset/VA_test_set_release.txt"},
      {"batch1", "videos"},
      {"batch2", "new_vids"}}},
    {"ABAW3, underscores, all unpacked twice",
     {{SIX, "3rd_ABAW_Annotations"},
      {"3rd_ABAW_Annotations", "3rd_ABAW_Annotations/3rd_ABAW_Annotations"},
      {"cropped_aligned", "cropped_aligned/cropped_aligned"},
      {"cropped_aligned_new_50_vids", "cropped_aligned_new_50_vids/cropped_aligned_new_50_vids"}}},
    {"ABAW1, crops that are not aligned",
     {{SIX "/EXPR_Recognition_Challenge", "annotations/EXPR_Set"},
      {SIX "/AU_Detection_Challenge", "annotations/AU_Set"},
      {SIX "/VA_Estimation_Challenge", "annotations/VA_Set"},
      {"annotations/EXPR_Set/Train_Set", "annotations/EXPR_Set/Training_Set"},
      {"annotations/AU_Set/Train_Set", "annotations/AU_Set/Training_Set"},
      {"annotations/VA_Set/Train_Set", "annotations/VA_Set/Training_Set"},
      {"cropped_aligned", "cropped"},
      {"batch1", "videos/batch1"}}},
    {"sets unpacked twice, in lower case",
     {{SIX "/EXPR_Recognition_Challenge/Train_Set", SIX "/EXPR_Recognition_Challenge/train_set/train_set"},
      {SIX "/AU_Detection_Challenge/Validation_Set", SIX "/AU_Detection_Challenge/val/val"},
      {SIX "/VA_Estimation_Challenge", SIX "/va_estimation_challenge/va_estimation_challenge"},
      {"batch1", "Aff-Wild2/videos/batch1"}}}};

// A folder cannot be moved into itself: aside first.
static void move_one(const char *src, const char *from, const char *to)
{
    char a[900], b[900], aside[900];
    snprintf(a, sizeof(a), "%s/%s", src, from);
    snprintf(b, sizeof(b), "%s/%s", src, to);
    snprintf(aside, sizeof(aside), "%s.aside", src);
    cr_assert(rename(a, aside) == 0, "%s", a);
    char *slash = strrchr(b, '/');
    *slash = 0;
    must(mn_dir_make(b));
    *slash = '/';
    cr_assert(rename(aside, b) == 0, "%s", b);
}

// The folders that a move made must go, or they would be in the way of the move back.
static void remove_empty(const char *src, const char *path)
{
    char name[900];
    snprintf(name, sizeof(name), "%s/%s", src, path);
    for (char *slash; strlen(name) > strlen(src); *slash = 0) {
        if (remove(name) != 0 && corpus_has(name)) return;
        slash = strrchr(name, '/');
    }
}

static void rename_all(const char *src, const naming *n, int back)
{
    int moves = 0;
    while (moves < MOVES && n->move[moves][0])
        moves++;
    for (int i = 0; i < moves; i++) {
        const char *const *m = n->move[back ? moves - 1 - i : i];
        char aside[900], path[900];
        if (!back) {
            move_one(src, m[0], m[1]);
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", src, m[1]);
        snprintf(aside, sizeof(aside), "%s.back", src);
        cr_assert(rename(path, aside) == 0);
        remove_empty(src, m[1]);
        snprintf(path, sizeof(path), "%s/%s", src, m[0]);
        char *slash = strrchr(path, '/');
        *slash = 0;
        must(mn_dir_make(path));
        *slash = '/';
        cr_assert(rename(aside, path) == 0, "%s", path);
    }
}

static uint64_t import_it(const corpus *p, const char *name, int64_t counts[3])
{
    char out[900];
    data_folder *f;
    data_import_report r;
    snprintf(out, sizeof(out), "%s/%s", p->top, name);
    data_import_cfg cfg = {.kind = "affwild2", .src = p->src, .out = out};
    must(data_import(&cfg, &r));
    counts[0] = corpus_number(r.json, "records");
    counts[1] = corpus_number(r.json, "rows");
    counts[2] = corpus_number(r.json, "rejected");
    data_import_report_free(&r);
    must(data_folder_open(&f, out, NULL, 0, "image"));
    uint64_t digest = data_folder_digest(f);
    data_folder_close(f);
    return digest;
}

Test(affwild2_names, of_every_edition)
{
    corpus p = corpus_new("affwild2");
    data_synth_cfg synth = corpus_config(&p, "affwild2");
    int64_t first[3], counts[3];
    char name[40], path[900];
    synth.videos = 4;
    synth.frames = 16;
    synth.size = 32;
    must(data_synth(&synth, NULL));
    uint64_t want = import_it(&p, "as made", first);
    cr_assert(first[0] > 40 && first[1] > 60 && first[2] == 0);
    for (size_t k = 0; k < sizeof(namings) / sizeof(namings[0]); k++) {
        snprintf(name, sizeof(name), "naming %zu", k);
        rename_all(p.src, &namings[k], 0);
        uint64_t digest = import_it(&p, name, counts);
        cr_assert(digest == want && memcmp(counts, first, sizeof(counts)) == 0, "%s: %lld records, %lld rows",
                  namings[k].text, (long long)counts[0], (long long)counts[1]);
        rename_all(p.src, &namings[k], 1);
    }
    // An older edition beside it, later in byte order, and what a Mac packs with it, do not count.
    mn_log_level(MN_ERROR);
    snprintf(path, sizeof(path), "%s/Third ABAW Annotations/VA_Estimation_Challenge/Train_Set", p.src);
    must(mn_dir_make(path));
    strcat(path, "/7.txt");
    support_write(path, "valence,arousal\n0,0\n", 20);
    snprintf(path, sizeof(path), "%s/__MACOSX/" SIX "/AU_Detection_Challenge/Train_Set", p.src);
    must(mn_dir_make(path));
    cr_assert(import_it(&p, "two editions", counts) == want && memcmp(counts, first, sizeof(counts)) == 0);
    support_remove(p.top);
}
