// The generated corpora: the same bytes every time, labels with the promised statistics, the real layouts, nobody in two
// splits, and nothing about a label outside the pixels and samples.
#include "data/media.h"
#include "data/synth/synth.h"
#include "data/synth/voice.h"
#include "data/synth/wild.h"

#include "data/image.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static char folder[64];

static void enter(void)
{
    snprintf(folder, sizeof folder, "/tmp/mien-synth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s;
    (void)kind;
    (void)at;
    return remove(path);
}

static void leave(void)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(synth, .init = enter, .fini = leave, .timeout = 60);

// A hash of every path and byte below a folder that does not depend on the order of the walk.
static uint64_t tree_hash;
static int64_t tree_files;
static size_t tree_prefix;

static int hash_one(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)at;
    if (kind != FTW_F) return 0;
    int fd = open(path, O_RDONLY);
    uint8_t *bytes = malloc((size_t)s->st_size + 1);
    if (fd < 0 || !bytes || read(fd, bytes, (size_t)s->st_size) != s->st_size) return 1;
    const char *name = path + tree_prefix;
    tree_hash += XXH3_64bits_withSeed(bytes, (size_t)s->st_size, XXH3_64bits(name, strlen(name)));
    tree_files++;
    free(bytes);
    close(fd);
    return 0;
}

static uint64_t hash_tree(const char *path)
{
    tree_hash = 0;
    tree_files = 0;
    tree_prefix = strlen(path);
    cr_assert_eq(nftw(path, hash_one, 16, FTW_PHYS), 0);
    return tree_hash;
}

static char *below(const char *name)
{
    return mn_sprintf("%s/%s", folder, name);
}

Test(synth, same_bytes_for_any_number_of_threads)
{
    data_synth_report r;
    uint64_t hash[3];
    for (int k = 0; k < 3; k++) {
        char *out = below(k == 0 ? "one" : k == 1 ? "four" : "other");
        data_synth_cfg cfg = {.out = out,
                              .seed = k == 2 ? 8 : 7,
                              .videos = 4,
                              .frames = 16,
                              .images = 24,
                              .size = 48,
                              .threads = k == 1 ? 4 : 1};
        cr_assert_eq(data_synth(&cfg, &r), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(r.videos, 4);
        hash[k] = hash_tree(out);
        cr_assert_gt(tree_files, 100);
        free(out);
    }
    cr_assert_eq(hash[0], hash[1]);
    cr_assert_neq(hash[0], hash[2]);
}

Test(synth, a_corpus_is_kept_or_refused)
{
    data_synth_report r;
    data_synth_cfg cfg = {.out = folder, .kinds = "folder", .images = 8, .size = 32};
    cr_assert_eq(data_synth(&cfg, &r), MN_OK);
    cr_assert_eq(r.pictures, 8);
    cr_assert_eq(data_synth(&cfg, &r), MN_OK);
    cr_assert(r.pictures == 0 && r.skipped == 1);
    cfg.seed = 1;
    cr_assert_eq(data_synth(&cfg, &r), MN_ECREATE);
    cfg.kinds = "folder,celebb";
    cr_assert_eq(data_synth(&cfg, &r), MN_EUSAGE);
    cfg = (data_synth_cfg){.out = folder, .kinds = "folder", .size = 7};
    cr_assert_eq(data_synth(&cfg, &r), MN_EUSAGE);
}

typedef struct counts {
    double frames, expr[DATA_EXPRESSIONS], au[DATA_AUS];
} counts;

static counts count_labels(const data_synth_videos *v)
{
    counts c = {0};
    for (int64_t i = 0; i < v->n; i++) {
        const data__wild_video *w = &v->video[i];
        for (int64_t frame = 1; frame <= w->frames; frame += 3) {
            data__affect a;
            data__wild_affect(v, w, &w->subject[0], frame, &a);
            cr_assert(a.valence >= -1 && a.valence <= 1 && a.arousal >= -1 && a.arousal <= 1);
            c.frames++;
            c.expr[a.expr]++;
            for (int u = 0; u < DATA_AUS; u++)
                c.au[u] += a.au[u] >= (float)DATA__AU_THRESHOLD;
        }
    }
    return c;
}

Test(synth, expressions_and_units_are_all_frequent_enough)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        data_synth_videos *v;
        cr_assert_eq(data_synth_videos_open(&v, &(data_synth_cfg){.seed = seed, .videos = 60, .frames = 150}), MN_OK);
        counts c = count_labels(v);
        for (int e = 0; e < DATA_EXPRESSIONS; e++)
            cr_assert_gt(c.expr[e] / c.frames, 0.06, "seed %d, expression %d: %.3f", (int)seed, e,
                         c.expr[e] / c.frames);
        for (int u = 0; u < DATA_AUS; u++)
            cr_assert(c.au[u] / c.frames > 0.10 && c.au[u] / c.frames < 0.40, "seed %d, unit %d: %.3f", (int)seed, u,
                      c.au[u] / c.frames);
        data_synth_videos_close(v);
    }
}

// Time constant: the own processes lose most of their correlation in 1 s and little of it in a tenth.
Test(synth, labels_are_smooth)
{
    static const double lags[3] = {0.1, 1.0, 4.0};
    double product[3] = {0}, power = 0, jump = 0;
    for (uint64_t row = 0; row < 60; row++) {
        for (int i = 0; i < 40; i++) {
            data__affect a, b;
            data__affect_at(11, row, i * 0.37, &a);
            power += a.arousal * a.arousal;
            for (int k = 0; k < 3; k++) {
                data__affect_at(11, row, i * 0.37 + lags[k], &b);
                product[k] += a.arousal * b.arousal;
            }
            data__affect_at(11, row, i * 0.37 + 1.0 / 30, &b);
            jump = fmax(jump, fabs(a.valence - b.valence));
        }
    }
    cr_assert_gt(product[0] / power, 0.95);
    cr_assert(product[1] / power > 0.15 && product[1] / power < 0.65, "%.3f", product[1] / power);
    cr_assert_lt(fabs(product[2] / power), 0.2);
    cr_assert_lt(jump, 0.2); // between two frames
}

static double ccc(const double *a, const double *b, int n)
{
    double ma = 0, mb = 0, va = 0, vb = 0, cov = 0;
    for (int i = 0; i < n; i++) {
        ma += a[i] / n;
        mb += b[i] / n;
    }
    for (int i = 0; i < n; i++) {
        va += (a[i] - ma) * (a[i] - ma) / n;
        vb += (b[i] - mb) * (b[i] - mb) / n;
        cov += (a[i] - ma) * (b[i] - mb) / n;
    }
    return 2 * cov / (va + vb + (ma - mb) * (ma - mb));
}

// What synth.h says an ideal observer of the face, the voice and both could reach.
Test(synth, oracles_are_as_documented)
{
    static const double want[3][2] = {{0.94, 0.39}, {0.29, 0.92}, {0.94, 0.92}};
    enum { N = 6000 };
    double *label[2], *guess[3][2];
    for (int k = 0; k < 2; k++) {
        label[k] = mn_calloc(N, sizeof(double));
        for (int o = 0; o < 3; o++)
            guess[o][k] = mn_calloc(N, sizeof(double));
    }
    for (int i = 0; i < N; i++) {
        data__affect a;
        data__affect_at(5, (uint64_t)i / 20, i % 20 * 0.6, &a);
        label[0][i] = a.valence;
        label[1][i] = a.arousal;
        for (unsigned o = 0; o < 3; o++) {
            double va[2];
            data__affect_best(&a, o + 1, va);
            guess[o][0][i] = va[0];
            guess[o][1][i] = va[1];
        }
    }
    for (int o = 0; o < 3; o++)
        for (int k = 0; k < 2; k++)
            cr_assert_float_eq(ccc(guess[o][k], label[k], N), want[o][k], 0.04, "observer %d, %d: %.3f", o, k,
                               ccc(guess[o][k], label[k], N));
    for (int k = 0; k < 2; k++) {
        free(label[k]);
        for (int o = 0; o < 3; o++)
            free(guess[o][k]);
    }
}

Test(synth, people_are_in_one_split_and_names_are_unique)
{
    data_synth_videos *v;
    cr_assert_eq(data_synth_videos_open(&v, &(data_synth_cfg){.seed = 3, .videos = 200}), MN_OK);
    int splits[4] = {0}, two = 0, parts = 0;
    for (int64_t i = 0; i < v->n; i++) {
        const data__wild_video *a = &v->video[i];
        splits[a->split]++;
        two += a->subjects == 2;
        for (int64_t j = 0; j < i; j++) {
            const data__wild_video *b = &v->video[j];
            cr_assert(strcmp(a->name, b->name) != 0, "%s twice", a->name);
            for (int k = 0; k < a->subjects; k++)
                for (int m = 0; m < b->subjects; m++) {
                    int same = a->subject[k].person == b->subject[m].person;
                    parts += same;
                    cr_assert(!same || a->split == b->split, "%s and %s", a->name, b->name);
                    cr_assert(a->subject[k].row != b->subject[m].row);
                }
        }
    }
    cr_assert(splits[1] == 128 && splits[2] == 40 && splits[3] == 32 && two > 2 && parts > 0);
    data_synth_truth t;
    const data__wild_video *w = &v->video[5];
    data__affect a;
    data__wild_affect(v, w, &w->subject[0], 7, &a);
    cr_assert_eq(data_synth_truth_at(v, w->subject[0].name, 7, &t), MN_OK);
    cr_assert(t.expr == a.expr && t.valence == a.valence && t.split == w->split);
    cr_assert_eq(data_synth_truth_at(v, "nobody", 1, &t), MN_ENOINPUT);
    cr_assert_eq(data_synth_truth_at(v, w->subject[0].name, w->frames + 2, &t), MN_ENOINPUT);
    data_synth_videos_close(v);
}

static char *read_text(const char *path)
{
    char *text;
    size_t size;
    cr_assert_eq(mn_file_read(path, 1 << 24, &text, &size), MN_OK, "%s", mn_errmsg());
    return text;
}

static int64_t count_lines(const char *text)
{
    int64_t n = 0;
    for (const char *p = text; *p; p++)
        n += *p == '\n' || !p[1];
    return n;
}

// Every file that the plan announces is there, with the right number of rows; the media agree with the plan.
Test(synth, affwild2_is_as_planned)
{
    data_synth_cfg cfg = {.out = folder, .kinds = "affwild2", .seed = 5, .videos = 10, .frames = 24, .size = 32};
    data_synth_videos *v;
    static const char *const names[DATA_TASKS] = {[DATA_EXPR] = "EXPR_Recognition_Challenge",
                                                  [DATA_AU] = "AU_Detection_Challenge",
                                                  [DATA_VA] = "VA_Estimation_Challenge"};
    cr_assert_eq(data_synth(&cfg, NULL), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(data_synth_videos_open(&v, &cfg), MN_OK);
    int silent = 0, avi = 0;
    for (int64_t i = 0; i < v->n; i++) {
        const data__wild_video *w = &v->video[i];
        char *path = mn_sprintf("%s/affwild2/batch%d/%s.%s", folder, w->batch, w->name, w->extension);
        data_media m;
        cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, NULL, &m), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(m.frames, w->frames, "%s", path);
        cr_assert_eq(m.has_audio, w->has_audio);
        for (int64_t f = 0; f < m.frames; f++)
            cr_assert_lt(llabs(m.t_us[f] - data__wild_time(v, w, f + 1)), 120, "%s frame %lld", path, (long long)f);
        silent += !w->has_audio;
        avi += w->extension[0] == 'a';
        data_media_free(&m);
        free(path);
        for (int k = 0; k < w->subjects; k++) {
            const data__wild_subject *s = &w->subject[k];
            int64_t crops = 0;
            for (int64_t f = 1; f <= w->frames + 1; f++) {
                path = mn_sprintf("%s/affwild2/%s/%s/%05lld.jpg", folder,
                                  w->batch == 1 ? "cropped_aligned" : "cropped_aligned_new_50_vids", s->name,
                                  (long long)f);
                int there = access(path, F_OK) == 0;
                cr_assert_eq(there, f <= w->frames && !data__wild_gap(v, s, f), "%s", path);
                crops += there;
                free(path);
            }
            for (int task = 0; task < DATA_TASKS && w->split != DATA_SPLIT_TEST; task++) {
                path = mn_sprintf("%s/affwild2/6th ABAW Annotations/%s/%s/%s.txt", folder, names[task],
                                  w->split == DATA_SPLIT_TRAIN ? "Train_Set" : "Validation_Set", s->name);
                cr_assert_eq(access(path, F_OK) == 0, (int)(s->tasks >> task & 1), "%s", path);
                if (s->tasks >> task & 1) {
                    char *text = read_text(path);
                    cr_assert_eq(count_lines(text), s->label_rows[task] + 1, "%s", path);
                    cr_assert_leq(crops, s->label_rows[task]);
                    free(text);
                }
                free(path);
            }
        }
    }
    cr_assert(silent == 1 && avi >= 1);
    char *path = below("affwild2/prediction_files_format/CVPR_6th_ABAW_VA_test_set_sample.txt"),
         *text = read_text(path);
    cr_assert_eq(strncmp(text, "image_location,valence,arousal\n", 31), 0);
    cr_assert_not_null(strstr(text, "/00001.jpg,\n"));
    free(path);
    free(text);
    data_synth_videos_close(v);
}

// Pictures of one person in one pose: what JPEG makes of them says next to nothing about the expression.
Test(synth, sizes_do_not_tell_the_label)
{
    enum { PEOPLE = 60 };
    double mean[DATA_EXPRESSIONS] = {0}, all = 0, square = 0;
    data__canvas canvas = {0};
    data_coder *coder;
    uint8_t rgb[64 * 64 * 3];
    cr_assert_eq(data_coder_open(&coder), MN_OK);
    for (int i = 0; i < PEOPLE; i++) {
        data__person p;
        data__shot shot;
        data__person_make(1, (uint64_t)i, &p);
        data__shot_make(2, (uint64_t)i, 0, 64, 64, &shot);
        for (int e = 0; e < DATA_EXPRESSIONS; e++) {
            data__affect a;
            const uint8_t *bytes;
            size_t size;
            data__affect_still(3, (uint64_t)(8 * i + e), e, &a);
            data__face_paint(&canvas, &p, a.face, a.face_own, &shot);
            data__canvas_develop(&canvas, shot.gain, shot.offset, shot.noise, shot.grain_key, rgb);
            cr_assert_eq(data_jpeg_encode(coder, rgb, 64, 64, 90, 0, &bytes, &size), MN_OK);
            mean[e] += (double)size / PEOPLE;
            all += (double)size / (PEOPLE * DATA_EXPRESSIONS);
            square += (double)size * (double)size / (PEOPLE * DATA_EXPRESSIONS);
        }
    }
    double deviation = sqrt(square - all * all);
    for (int e = 0; e < DATA_EXPRESSIONS; e++)
        cr_assert_lt(fabs(mean[e] - all) / deviation, 0.4, "expression %d: %.0f bytes of %.0f +- %.0f", e, mean[e], all,
                     deviation);
    data_coder_close(coder);
    data__canvas_free(&canvas);
}

// A voice is louder with more arousal; how loud it is at all differs from person to person.
Test(synth, voice_follows_arousal)
{
    enum { SECONDS = 4, STEPS = SECONDS * DATA__VOICE_STEPS, SAMPLES = SECONDS * DATA__VOICE_RATE };
    float shown[STEPS * 2];
    int16_t *pcm = mn_calloc(SAMPLES, sizeof *pcm);
    int rising = 0;
    double quietest = 1e300, loudest = 0;
    for (uint64_t i = 0; i < 20; i++) {
        double energies[2];
        data__person p;
        data__person_make(1, i, &p);
        for (int loud = 0; loud < 2; loud++) {
            double energy = 0;
            for (int k = 0; k < STEPS; k++) {
                shown[2 * k] = 0;
                shown[2 * k + 1] = loud ? 0.6f : -0.6f;
            }
            data__voice_make(9, i, &p, shown, STEPS, pcm, SAMPLES);
            for (int k = 0; k < SAMPLES; k++)
                energy += (double)pcm[k] * pcm[k];
            energies[loud] = energy;
        }
        rising += energies[1] > 2 * energies[0];
        if (energies[0] < quietest) quietest = energies[0];
        if (energies[0] > loudest) loudest = energies[0];
    }
    cr_assert_eq(rising, 20);
    cr_assert_gt(loudest, 4 * quietest);
    free(pcm);
}
