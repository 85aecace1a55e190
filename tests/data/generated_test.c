// The importers on the generated corpora: every record is the file it comes from, every label is what the lists say (read
// here by a reader of its own) and what the generator meant.
#include "data/import.h"
#include "data/shard.h"
#include "data/synth/synth.h"
#include "nn/base/mem.h"
#include "nn/base/log.h"
#include "corpus_support.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Aff-Wild2

static const char *const roots[] = {"cropped_aligned", "cropped_aligned_new_50_vids"};
static const char *const challenge[DATA_TASKS] = {"EXPR_Recognition_Challenge", "AU_Detection_Challenge",
                                                  "VA_Estimation_Challenge"};

// The label file of a video, positioned behind its head line.
static FILE *open_labels(const corpus *p, int task, const char *video, uint8_t *split)
{
    static const char *const set[] = {"Train_Set", "Validation_Set"};
    for (int k = 0; k < 2; k++) {
        char path[900], head[400];
        snprintf(path, sizeof(path), "%s/6th ABAW Annotations/%s/%s/%s.txt", p->src, challenge[task], set[k], video);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        *split = (uint8_t)(DATA_SPLIT_TRAIN + k);
        cr_assert(corpus_line(f, head, sizeof(head)));
        return f;
    }
    return NULL;
}

static int same(float a, double b)
{
    return isnan(b) ? isnan(a) : fabs(a - b) < 1e-6;
}

static void check_row(const data_index *x, int64_t i, int task, const char *line)
{
    double v = -5, a = -5;
    int au[DATA_AUS];
    if (task == DATA_EXPR) {
        cr_assert_eq(x->expr[i], atoi(line));
        cr_assert_eq((x->mask[i] & DATA_HAS_EXPR) != 0, atoi(line) >= 0);
    } else if (task == DATA_VA) {
        cr_assert_eq(sscanf(line, "%lf,%lf", &v, &a), 2);
        cr_assert(same(x->va[2 * i], v == -5 ? NAN : v) && same(x->va[2 * i + 1], a == -5 ? NAN : a), "%s", line);
    } else {
        cr_assert_eq(sscanf(line, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d", au, au + 1, au + 2, au + 3, au + 4, au + 5,
                            au + 6, au + 7, au + 8, au + 9, au + 10, au + 11),
                     12);
        for (int k = 0; k < DATA_AUS; k++)
            cr_assert_eq(x->au[i * DATA_AUS + k], au[k]);
    }
}

static void check_labels(const corpus *p, const data_index *x, const data_video *v)
{
    for (int task = 0; task < DATA_TASKS; task++) {
        char line[200];
        int64_t rows = 0;
        uint8_t split = DATA_SPLIT_NONE;
        FILE *f = open_labels(p, task, v->name, &split);
        for (; f && corpus_line(f, line, sizeof(line)); rows++)
            check_row(x, v->first_record + rows, task, line);
        if (f) fclose(f);
        cr_assert_eq(v->labels[task], rows);
        cr_assert(f ? v->split[task] == split : v->split[task] == DATA_SPLIT_NONE || v->split[task] == DATA_SPLIT_TEST);
        cr_assert(rows <= v->n_records);
    }
}

// Labels are what the generator meant, where the annotators gave any; pictures are the files.
static void check_frames(const corpus *p, const data_synth_videos *truth, const data_shard *s, const data_video *v)
{
    const data_index *x = data_shard_index(s);
    for (int64_t i = v->first_record; i < v->first_record + v->n_records; i++) {
        data_synth_truth t;
        int found = 0;
        for (int k = 0; k < 2; k++) {
            char path[900];
            snprintf(path, sizeof(path), "%s/%s/%s/%05d.jpg", p->src, roots[k], v->name, x->frame[i]);
            if (!corpus_has(path)) continue;
            corpus_check_bytes(path, s, i);
            found = 1;
        }
        cr_assert_eq(found, data_shard_size(s, i) > 0);
        cr_assert(i == v->first_record || x->t_us[i] > x->t_us[i - 1]);
        if (data_synth_truth_at(truth, v->name, x->frame[i], &t) != MN_OK) continue; // a row behind the last frame
        if (x->expr[i] >= 0) cr_assert_eq(x->expr[i], t.expr);
        for (int k = 0; k < DATA_AUS; k++)
            if (x->au[i * DATA_AUS + k] >= 0) cr_assert_eq(x->au[i * DATA_AUS + k], t.au[k]);
        if (!isnan(x->va[2 * i])) cr_assert(fabs(x->va[2 * i] - t.valence) < 2e-3);
        if (!isnan(x->va[2 * i + 1])) cr_assert(fabs(x->va[2 * i + 1] - t.arousal) < 2e-3);
    }
}

static void check_sounds(const corpus *p, int64_t media)
{
    data_folder *f;
    int silent = 0;
    must(data_folder_open(&f, p->out, NULL, DATA_TASKS, "audio"));
    cr_assert_eq(data_folder_count(f), media);
    for (int64_t i = 0; i < media; i++) {
        static int16_t pcm[1 << 20];
        int64_t r;
        size_t n;
        const data_shard *s = data_folder_at(f, i, &r);
        int sound = 0;
        must(data_shard_read(s, r, pcm, sizeof(pcm), &n));
        for (size_t k = 0; k < n / 2; k++)
            sound |= pcm[k] > 200;
        cr_assert_eq(sound, data_shard_index(s)->videos[data_shard_index(s)->video[r]].has_audio);
        silent += !sound;
    }
    cr_assert(silent < media);
    data_folder_close(f);
}

static int64_t media_files(const corpus *p)
{
    int64_t n = 0;
    for (int batch = 1; batch <= 2; batch++) {
        char path[700];
        snprintf(path, sizeof(path), "%s/batch%d", p->src, batch);
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));)
            n += strstr(e->d_name, ".mp4") != NULL || strstr(e->d_name, ".avi") != NULL;
        if (d) closedir(d);
    }
    return n;
}

Test(generated, affwild2)
{
    json_t *report;
    corpus p = corpus_import("affwild2", &report);
    data_synth_cfg synth = corpus_config(&p, "affwild2");
    data_synth_videos *truth;
    data_folder *f;
    must(data_synth_videos_open(&truth, &synth));
    must(data_folder_open(&f, p.out, NULL, DATA_TASKS, "image"));
    int64_t labelled = 0, videos = 0;
    for (int k = 0; k < data_folder_shards(f); k++) {
        const data_shard *s = data_folder_shard(f, k);
        for (int v = 0; v < data_shard_index(s)->n_videos; v++, videos++) {
            const data_video *video = &data_shard_index(s)->videos[v];
            check_labels(&p, data_shard_index(s), video);
            check_frames(&p, truth, s, video);
            labelled += video->labels[0] + video->labels[1] + video->labels[2];
        }
    }
    cr_assert(videos >= 8 && labelled == corpus_number(report, "rows") && corpus_number(report, "rejected") == 0);
    data_folder_close(f);
    check_sounds(&p, media_files(&p));
    data_synth_videos_close(truth);
    json_decref(report);
    support_remove(p.top);
}

// CelebA: name, values, one row a line

Test(generated, celeba)
{
    json_t *report;
    corpus p = corpus_import("celeba", &report);
    char path[700], line[2000], name[64];
    int64_t rows = 0;
    data_folder *f;
    must(data_folder_open(&f, p.out, NULL, 0, "image"));
    snprintf(path, sizeof(path), "%s/list_attr_celeba.txt", p.src);
    FILE *list = fopen(path, "r");
    cr_assert(list && corpus_line(list, line, sizeof(line)) && corpus_line(list, line, sizeof(line)));
    for (; corpus_line(list, line, sizeof(line)); rows++) {
        const data_shard *s;
        int at, used, value;
        cr_assert_eq(sscanf(line, "%63s%n", name, &at), 1);
        int64_t i = corpus_record(f, name, &s);
        cr_assert(i >= 0, "%s", name);
        for (int a = 0; a < 40; a++, at += used) {
            cr_assert_eq(sscanf(line + at, "%d%n", &value, &used), 1);
            cr_assert_eq(data_shard_index(s)->attr[i * 40 + a], value);
        }
        snprintf(path, sizeof(path), "%s/img_align_celeba/%s", p.src, name);
        corpus_check_bytes(path, s, i);
    }
    fclose(list);
    cr_assert(rows == data_folder_count(f) && rows == corpus_number(report, "records"));
    data_folder_close(f);
    json_decref(report);
    support_remove(p.top);
}

// AffectNet: its own order of expressions here, independent of the importer's table.
Test(generated, affectnet)
{
    static const char *const list[] = {"training", "validation"};
    static const int8_t ours[] = {0, 4, 5,  6,  3, 2,
                                  1, 7, -1, -1, -1}; // Neutral Happy Sad Surprise Fear Disgust Anger ...
    json_t *report;
    corpus p = corpus_import("affectnet", &report);
    int64_t rows = 0;
    for (int k = 0; k < 2; k++) {
        char path[900], line[8000];
        data_folder *f;
        must(data_folder_open(&f, p.out, k ? "validation" : "train", 0, "image"));
        snprintf(path, sizeof(path), "%s/Manually_Annotated/Manually_Annotated_file_lists/%s.csv", p.src, list[k]);
        FILE *csv = fopen(path, "r");
        cr_assert(csv && corpus_line(csv, line, sizeof(line)));
        for (int64_t i = 0; corpus_line(csv, line, sizeof(line)); i++, rows++) {
            int64_t r;
            const data_shard *s = data_folder_at(f, i, &r);
            char *arousal = strrchr(line, ',');
            *arousal++ = 0;
            char *valence = strrchr(line, ',');
            *valence++ = 0;
            char *expression = strrchr(line, ',') + 1;
            *strchr(line, ',') = 0;
            cr_assert_str_eq(data_shard_name(s, r), line);
            cr_assert_eq(data_shard_index(s)->expr[r], ours[atoi(expression)]);
            double v = atof(valence), a = atof(arousal);
            cr_assert(same(data_shard_index(s)->va[2 * r], v == -2 ? NAN : v));
            cr_assert(same(data_shard_index(s)->va[2 * r + 1], a == -2 ? NAN : a));
            snprintf(path, sizeof(path), "%s/Manually_Annotated/Manually_Annotated_Images/%.200s", p.src, line);
            corpus_check_bytes(path, s, r);
        }
        fclose(csv);
        data_folder_close(f);
    }
    cr_assert(rows == corpus_number(report, "records") && rows == corpus_number(report, "rows"));
    json_decref(report);
    support_remove(p.top);
}

// AffectNet of 2021: one number out of a .npy file, by the types that the generator writes.
static int npy_number(const char *path, double *v)
{
    size_t size;
    if (!corpus_has(path)) return 0;
    unsigned char *bytes = support_read(path, &size);
    size_t at = bytes[6] == 1 ? 10 + bytes[8] + 256u * bytes[9] : 12 + bytes[8] + 256u * bytes[9];
    char head[200] = {0}, text[64] = {0}, type;
    memcpy(head, bytes + 10, at - 10 < sizeof(head) - 1 ? at - 10 : sizeof(head) - 1);
    int step, known = sscanf(strstr(head + 2, "descr") + 9, "%*c%c%d", &type, &step) == 2;
    float single;
    int64_t whole;
    for (size_t i = at, n = 0; i < size && n < 63; i += type == 'U' ? 4 : 1)
        text[n++] = (char)bytes[i];
    if (type == 'f' && step == 8) {
        memcpy(v, bytes + at, 8);
    } else if (type == 'f') {
        memcpy(&single, bytes + at, 4);
        *v = single;
    } else if (type == 'i') {
        memcpy(&whole, bytes + at, 8);
        *v = (double)whole;
    } else {
        *v = atof(text);
    }
    free(bytes);
    return known;
}

typedef struct numbered { // what became of the annotated ids of one set
    int64_t good, pickled, range, no_annotation, no_picture;
} numbered;

static void check_id(const corpus *p, const data_folder *f, const char *set, int id, numbered *n)
{
    static const int8_t ours[] = {0, 4, 5, 6, 3, 2, 1, 7};
    char path[900], name[100];
    double exp, va[2];
    const data_shard *s = NULL;
    snprintf(name, sizeof(name), "%s/images/%d.jpg", set, id);
    int64_t r = corpus_record(f, name, &s);
    snprintf(path, sizeof(path), "%s/%s", p->src, name);
    int picture = corpus_has(path);
    snprintf(path, sizeof(path), "%s/%s/annotations/%d_val.npy", p->src, set, id);
    if (!npy_number(path, &va[0])) return; // no such id
    snprintf(path, sizeof(path), "%s/%s/annotations/%d_aro.npy", p->src, set, id);
    cr_assert(npy_number(path, &va[1]));
    snprintf(path, sizeof(path), "%s/%s/annotations/%d_exp.npy", p->src, set, id);
    int annotated = corpus_has(path), corpus_number = npy_number(path, &exp),
        bad = !picture || !corpus_number || exp > 7;
    cr_assert_eq(r < 0, bad, "%s", name);
    n->no_picture += !picture;
    n->no_annotation += picture && !annotated;
    n->pickled += picture && annotated && !corpus_number;
    n->range += picture && corpus_number && exp > 7;
    if (bad) return;
    n->good++;
    cr_assert_eq(data_shard_index(s)->expr[r], ours[(int)exp]);
    for (int k = 0; k < 2; k++)
        cr_assert(same(data_shard_index(s)->va[2 * r + k], va[k] == -2 ? NAN : va[k]), "%s", name);
    snprintf(path, sizeof(path), "%s/%s", p->src, name);
    corpus_check_bytes(path, s, r);
}

Test(generated, affectnet8)
{
    json_t *report;
    corpus p = corpus_import("affectnet8", &report);
    numbered n = {0};
    for (int k = 0; k < 2; k++) {
        data_folder *f;
        int64_t before = n.good;
        must(data_folder_open(&f, p.out, k ? "validation" : "train", 0, "image"));
        for (int id = 0; id < 200; id++)
            check_id(&p, f, k ? "val_set" : "train_set", id, &n);
        cr_assert(n.good > before && n.good - before == data_folder_count(f));
        data_folder_close(f);
    }
    const json_t *rejects = json_object_get(report, "rejects");
    cr_assert(n.pickled && n.range && n.no_annotation && n.no_picture);
    cr_assert_eq(n.good + n.pickled + n.range + n.no_annotation + n.no_picture, 60);
    cr_assert_eq(corpus_number(rejects, "unusable annotation file"), n.pickled);
    cr_assert_eq(corpus_number(rejects, "label out of range"), n.range);
    cr_assert_eq(corpus_number(rejects, "missing file"), n.no_annotation + n.no_picture);
    cr_assert_eq(corpus_number(report, "rejected"), 60 - n.good);
    cr_assert_eq(corpus_number(report, "records"), n.good);
    json_decref(report);
    support_remove(p.top);
}

// ExpW: columns read by their numbers here, from the left; the names of the generator have no blanks.
Test(generated, expw)
{
    static const int8_t ours[] = {1, 2, 3, 4, 5, 6, 0}; // angry disgust fear happy sad surprise neutral
    json_t *report;
    corpus p = corpus_import("expw", &report);
    char path[900], line[400], file[200], name[220], last[200] = "";
    int64_t rows = 0, missing = 0, over = 0, again = 0, labels[7] = {0};
    data_folder *f;
    must(data_folder_open(&f, p.out, "train", 0, "image"));
    snprintf(path, sizeof(path), "%s/label/label.lst", p.src);
    FILE *list = fopen(path, "r");
    cr_assert_not_null(list);
    for (; corpus_line(list, line, sizeof(line)); rows++) {
        int face, top, left, right, bottom, label;
        double confidence;
        const data_shard *s;
        cr_assert_eq(
            sscanf(line, "%199s %d %d %d %d %d %lf %d", file, &face, &top, &left, &right, &bottom, &confidence, &label),
            8);
        cr_assert(right > left && bottom > top && confidence > 0);
        again += strcmp(file, last) == 0;
        strcpy(last, file);
        labels[label]++;
        snprintf(name, sizeof(name), "%s#%d", file, face);
        snprintf(path, sizeof(path), "%s/image/origin/%s", p.src, file);
        int64_t i = corpus_record(f, name, &s);
        cr_assert_eq(i >= 0, corpus_has(path), "%s", name);
        missing += i < 0;
        if (i < 0) continue;
        const data_index *x = data_shard_index(s);
        const float box[] = {(float)left, (float)top, (float)(right - left), (float)(bottom - top)};
        over += left < 0 || top < 0 || right > x->width[i] || bottom > x->height[i];
        cr_assert(x->expr[i] == ours[label] && x->mask[i] == DATA_HAS_EXPR && x->source_row[i] == rows + 1);
        cr_assert(memcmp(x->box + 4 * i, box, sizeof(box)) == 0, "%s", name);
        corpus_check_bytes(path, s, i);
    }
    fclose(list);
    for (int k = 0; k < 7; k++)
        cr_assert(labels[k] > 0);
    const json_t *notes = json_object_get(report, "notes");
    cr_assert(rows == corpus_number(report, "rows") && rows - missing == data_folder_count(f));
    cr_assert(missing > 0 && corpus_number(json_object_get(report, "rejects"), "missing file") == missing);
    cr_assert(corpus_number(report, "rejected") == missing && corpus_number(report, "records") == rows - missing);
    cr_assert(again > 0 && corpus_number(notes, "rows that repeat a picture") == again);
    cr_assert(over > 0 && corpus_number(notes, "face boxes that reach over the edge of the picture") == over);
    data_folder_close(f);
    json_decref(report);
    support_remove(p.top);
}

// A folder with labels.csv: its rows, read here by place, against the records; odd rows are told by what they lack.

typedef struct folder_counts {
    int64_t rows, good, twice, range, number, columns, missing, split[4];
} folder_counts;

static int class_of(const char *word)
{
    static const char *const ours[] = {"Neutral",   "Anger",   "Disgust",  "Fear",
                                       "Happiness", "Sadness", "Surprise", "Other"};
    for (int k = 0; k < 8; k++)
        if (strcmp(word, ours[k]) == 0) return k;
    return *word ? atoi(word) : -1;
}

static void check_folder_row(const corpus *p, char *const *field, folder_counts *n)
{
    static const char *const split[] = {"train", "validation", "test"};
    data_folder *f = NULL;
    const data_shard *s;
    int64_t i = -1;
    int k = 0;
    while (k < 3 && strcmp(split[k], *field[1] ? field[1] : "train") != 0)
        k++;
    must(data_folder_open(&f, p->out, split[k], 0, "image"));
    i = corpus_record(f, field[0], &s);
    cr_assert(i >= 0, "%s", field[0]);
    const data_index *x = data_shard_index(s);
    uint32_t mask = 0;
    int expr = class_of(field[2]);
    if (expr >= 0) mask |= DATA_HAS_EXPR;
    cr_assert_eq(x->expr[i], expr, "%s", field[0]);
    for (int v = 0; v < 2; v++) {
        float have = x->va[2 * i + v];
        cr_assert(*field[3 + v] ? fabsf(have - strtof(field[3 + v], NULL)) < 1e-6F : isnan(have), "%s", field[0]);
        if (*field[3 + v]) mask |= v ? DATA_HAS_AROUSAL : DATA_HAS_VALENCE;
    }
    for (int a = 0; a < DATA_AUS; a++) {
        cr_assert_eq(x->au[i * DATA_AUS + a], atoi(field[5 + a]), "%s", field[0]);
        if (x->au[i * DATA_AUS + a] >= 0) mask |= (uint32_t)DATA_HAS_AU0 << a;
    }
    cr_assert_eq(x->mask[i], mask, "%s", field[0]);
    char path[1200];
    snprintf(path, sizeof(path), "%s/%s", p->src, field[0]);
    corpus_check_bytes(path, s, i);
    n->good++;
    n->split[k]++;
    data_folder_close(f);
}

Test(generated, folder_with_labels)
{
    enum { COLUMNS = 5 + DATA_AUS };
    json_t *report;
    corpus p = corpus_import("folder", &report);
    char path[700], line[2000], seen[64] = "";
    folder_counts n = {0};
    snprintf(path, sizeof(path), "%s/labels.csv", p.src);
    FILE *list = fopen(path, "r");
    cr_assert(list && corpus_line(list, line, sizeof(line)) &&
              strncmp(line,
                      "\xef\xbb\xbf"
                      "file,split,",
                      14) == 0);
    while (corpus_line(list, line, sizeof(line))) {
        char *field[COLUMNS] = {NULL}, *rest = line;
        int columns = 0;
        while (rest && columns < COLUMNS)
            field[columns++] = strsep(&rest, ",");
        size_t length = strlen(field[0]);
        if (field[0][0] == '"') {
            field[0][length - 1] = 0;
            field[0]++;
        }
        n.rows++;
        int good = columns == COLUMNS && *field[5] != 0 && strcmp(field[0], seen) != 0;
        if (good) {
            check_folder_row(&p, field, &n);
            snprintf(seen, sizeof(seen), "%s", field[0]);
            continue;
        }
        n.columns += columns < COLUMNS;
        n.missing += strncmp(field[0], "lost/", 5) == 0;
        if (columns < COLUMNS || strncmp(field[0], "lost/", 5) == 0) continue;
        n.range += strcmp(field[2], "8") == 0;
        n.number += strcmp(field[3], "high") == 0;
        n.twice += strcmp(field[2], "0") == 0;
    }
    fclose(list);
    const json_t *rejects = json_object_get(report, "rejects");
    cr_assert(n.rows == corpus_number(report, "rows") && n.good < 60 && corpus_number(report, "records") == 60);
    cr_assert(n.split[0] > 0 && n.split[1] > 0 && n.split[2] > 0);
    cr_assert(n.twice == 1 && corpus_number(rejects, "duplicate") == 1);
    cr_assert(n.range == 1 && corpus_number(rejects, "label out of range") == 1);
    cr_assert(n.number == 1 && corpus_number(rejects, "not a number") == 1);
    cr_assert(n.columns == 1 && corpus_number(rejects, "wrong number of columns") == 1);
    cr_assert(n.missing == 1 && corpus_number(rejects, "missing file") == 1);
    cr_assert_eq(corpus_number(rejects, "not a JPEG or PNG"), 1);
    json_decref(report);
    support_remove(p.top);
}

// FER+: the lists in both forms, and the expressions by a rule of its own: sorted votes.

static void check_votes(const data_folder *f, const char *name, const char *votes, int64_t row, const char *png)
{
    static const int8_t ours[] = {0, 4, 6, 5, 1, 2, 3, 7, -1, -1};
    const data_shard *s;
    int v[10], above[10] = {0}, best = -1;
    int64_t i = corpus_record(f, name, &s);
    cr_assert(i >= 0, "%s", name);
    cr_assert_eq(sscanf(votes, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7,
                        v + 8, v + 9),
                 10);
    const data_index *x = data_shard_index(s);
    for (int a = 0; a < 10; a++) {
        cr_assert_eq(x->votes[i * 10 + a], v[a]);
        for (int b = 0; b < 10; b++)
            above[a] += v[a] > v[b];
        if (above[a] == 9) best = a;
    }
    int expr = best < 0 ? -1 : ours[best];
    cr_assert(x->expr[i] == expr && x->mask[i] == (expr < 0 ? 0u : DATA_HAS_EXPR), "%s", name);
    cr_assert(x->source_row[i] == row && x->width[i] == 48 && x->height[i] == 48 && x->channels[i] == 1);
    if (corpus_has(png)) corpus_check_bytes(png, s, i); // the same picture, whether from pixels or from the file
}

static const char *const fer_split[] = {"train", "validation", "test"};
static const char *const fer_usage[] = {"Training", "PublicTest", "PrivateTest"};
static const char *const fer_folder[] = {"FER2013Train", "FER2013Valid", "FER2013Test"};

static int64_t check_new_list(const corpus *p, data_folder *const *f, int64_t *blank)
{
    char path[900], line[200], usage[20], name[40];
    int64_t rows = 0;
    snprintf(path, sizeof(path), "%s/fer2013new.csv", p->src);
    FILE *list = fopen(path, "r");
    cr_assert(list && corpus_line(list, line, sizeof(line)));
    for (; corpus_line(list, line, sizeof(line)); rows++) {
        int at = 0, split = 0;
        if (sscanf(line, "%19[^,],%39[^,],%n", usage, name, &at) != 2 || at == 0) {
            ++*blank;
            continue;
        }
        while (strcmp(usage, fer_usage[split]) != 0)
            split++;
        snprintf(path, sizeof(path), "%s/data/%s/%s", p->src, fer_folder[split], name);
        check_votes(f[split], name, line + at, rows + 2, path);
    }
    fclose(list);
    return rows;
}

static int64_t check_label_lists(const corpus *p, data_folder *const *f)
{
    char path[900], line[200], name[40];
    int64_t rows = 0;
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof(path), "%s/data/%s/label.csv", p->src, fer_folder[k]);
        FILE *list = fopen(path, "r");
        cr_assert_not_null(list);
        for (int64_t i = 0; corpus_line(list, line, sizeof(line)); i++, rows++) {
            int at = 0;
            cr_assert(sscanf(line, "%39[^,],\"(0, 0, 48, 48)\",%n", name, &at) == 1 && at > 0, "%s", line);
            snprintf(path, sizeof(path), "%s/data/%s/%s", p->src, fer_folder[k], name);
            cr_assert(corpus_has(path));
            check_votes(f[k], name, line + at, i + 1, path);
        }
        fclose(list);
    }
    return rows;
}

Test(generated, ferplus)
{
    json_t *report;
    corpus p = corpus_import("ferplus", &report);
    for (int form = 0; form < 2; form++) {
        data_folder *f[3];
        int64_t records = 0, blank = 0, rows;
        for (int k = 0; k < 3; k++) {
            must(data_folder_open(&f[k], p.out, fer_split[k], 0, "image"));
            records += data_folder_count(f[k]);
        }
        if (form == 0) {
            rows = check_new_list(&p, f, &blank);
            cr_assert(rows == 60 && blank > 0 && corpus_number(json_object_get(report, "rejects"), "no face") == blank);
        } else {
            rows = check_label_lists(&p, f);
            cr_assert(rows < 59); // fewer than are named
        }
        cr_assert(records == rows - blank && records == corpus_number(report, "records") &&
                  rows == corpus_number(report, "rows"));
        cr_assert(corpus_number(report, "rejected") == blank);
        cr_assert(corpus_number(json_object_get(report, "notes"), "faces without an expression that most voters gave") >
                  0);
        for (int k = 0; k < 3; k++)
            data_folder_close(f[k]);
        json_decref(report);
        if (form == 1) break;
        char path[700];
        snprintf(path, sizeof(path), "%s/fer2013.csv", p.src);
        cr_assert(remove(path) == 0); // the other form is what is left
        snprintf(p.out, sizeof(p.out), "%s/shards/labels", p.top);
        data_import_cfg cfg = {.kind = "ferplus", .src = p.src, .out = p.out};
        data_import_report r;
        must(data_import(&cfg, &r));
        report = r.json;
    }
    support_remove(p.top);
}

// CASIA-WebFace: the folders are the truth; in records, some pictures have a comment of 10 bytes behind their first two.
static void check_casia(const corpus *p, const char *out, int records, int64_t pictures)
{
    data_folder *f;
    int64_t at = 0, commented = 0;
    int person = 0;
    must(data_folder_open(&f, out, "train", 0, "image"));
    cr_assert_eq(data_folder_count(f), pictures);
    for (; at < pictures; person++)
        for (int k = 1; at < pictures; k++, at++) {
            static unsigned char have[1 << 20];
            char path[900], name[100];
            int64_t r;
            size_t n, size;
            const data_shard *s = data_folder_at(f, at, &r);
            snprintf(name, sizeof(name), "%07d/%03d.jpg", person * 3 + 45, k);
            snprintf(path, sizeof(path), "%s/CASIA-WebFace/%s", p->src, name);
            if (!corpus_has(path)) break;
            if (records) snprintf(name, sizeof(name), "%lld", (long long)at + 1);
            cr_assert_str_eq(data_shard_name(s, r), name);
            cr_assert(data_shard_index(s)->identity[r] == person && data_shard_index(s)->mask[r] == DATA_HAS_IDENTITY);
            unsigned char *want = support_read(path, &size);
            must(data_shard_read(s, r, have, sizeof(have), &n));
            if (have[3] == 0xfe) {
                cr_assert(records && memcmp(have + 2, "\xff\xfe\0\x08mn\x0a\x23\xd7\xce", 10) == 0);
                memmove(have + 2, have + 12, n - 12);
                n -= 10;
                commented++;
            }
            cr_assert(n == size && memcmp(have, want, n) == 0, "%s", name);
            free(want);
        }
    cr_assert(person > 5 && (commented > 5) == records);
    data_folder_close(f);
}

Test(generated, casia_webface)
{
    json_t *report;
    corpus p = corpus_import("casia-webface", &report); // finds train.rec; its last picture is cut off
    cr_assert(corpus_number(report, "records") == 59 && corpus_number(report, "rejected") == 1);
    cr_assert_eq(corpus_number(json_object_get(report, "rejects"), "damaged or cut off"), 1);
    json_decref(report);
    check_casia(&p, p.out, 1, 59);
    char src[700], out[700];
    snprintf(src, sizeof(src), "%s/CASIA-WebFace", p.src);
    snprintf(out, sizeof(out), "%s-folders", p.out);
    data_import_cfg cfg = {.kind = "casia-webface", .src = src, .out = out};
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(corpus_number(r.json, "records") == 60 && corpus_number(r.json, "rejected") == 0);
    data_import_report_free(&r);
    check_casia(&p, out, 0, 60);
    support_remove(p.top);
}

// One line twice, three that are wrong, one that is not there; the head of a record damaged; the last one is cut off.
Test(generated, casia_webface_damaged)
{
    corpus p = {.top = support_folder()};
    snprintf(p.corpora, sizeof(p.corpora), "%s/corpora", p.top);
    mn_log_level(MN_WARN);
    data_synth_cfg synth = corpus_config(&p, "casia-webface");
    must(data_synth(&synth, NULL));
    char index[800], records[800], src[700], out[700], *line;
    snprintf(src, sizeof(src), "%s/casia-webface/faces_webface", p.corpora);
    snprintf(index, sizeof(index), "%s/train.idx", src);
    snprintf(records, sizeof(records), "%s/train.rec", src);
    snprintf(out, sizeof(out), "%s/shards", p.top);
    static char text[1 << 16];
    size_t size;
    char *old = (char *)support_read(index, &size), *end = old + size, *fifth = NULL;
    int64_t seventh = -1;
    size_t n = 0;
    for (line = old; line < end; line = strchr(line, '\n') + 1) {
        size_t length = (size_t)(strchr(line, '\n') + 1 - line);
        if (atoi(line) == 5) fifth = line;
        if (atoi(line) == 7) seventh = atoll(strchr(line, '\t'));
        for (int k = 0; k < (line == fifth ? 0 : atoi(line) == 3 ? 2 : 1); k++, n += length)
            memcpy(text + n, line, length);
    }
    n += (size_t)snprintf(text + n, 100, "8\nx\t1\n9\t99999999\r\n");
    support_write(index, text, n);
    free(old);
    FILE *f = fopen(records, "r+b");
    cr_assert(fifth && seventh > 0 && f && fseek(f, (long)seventh, SEEK_SET) == 0 && fputc('?', f) == '?');
    fclose(f);
    data_import_cfg cfg = {.kind = "casia-webface", .src = src, .out = out};
    data_import_report r;
    must(data_import(&cfg, &r));
    const json_t *rejects = json_object_get(r.json, "rejects");
    cr_assert(corpus_number(r.json, "records") == 57 && corpus_number(r.json, "rejected") == 7);
    cr_assert(corpus_number(rejects, "duplicate") == 2 && corpus_number(rejects, "damaged or cut off") == 2);
    cr_assert(corpus_number(rejects, "wrong number of columns") == 1 && corpus_number(rejects, "not a number") == 1);
    cr_assert_eq(corpus_number(rejects, "unusable list"), 1);
    data_import_report_free(&r);
    support_remove(p.top);
}

// Lines of train.idx that point into records (that of record 0, of a picture, of a second line for one) take nothing away.
Test(generated, casia_webface_stray_lines)
{
    corpus p = {.top = support_folder()};
    snprintf(p.corpora, sizeof(p.corpora), "%s/corpora", p.top);
    mn_log_level(MN_WARN);
    data_synth_cfg synth = corpus_config(&p, "casia-webface");
    must(data_synth(&synth, NULL));
    char index[800], src[700], out[700];
    size_t size;
    snprintf(src, sizeof(src), "%s/casia-webface/faces_webface", p.corpora);
    snprintf(index, sizeof(index), "%s/train.idx", src);
    snprintf(out, sizeof(out), "%s/shards", p.top);
    char *old = (char *)support_read(index, &size);
    old[size - 1] = 0;
    const char *third = strstr(old, "\n3\t"), *sixth = strstr(old, "\n6\t"), *ninth = strstr(old, "\n9\t");
    cr_assert(third && sixth && ninth);
    char *more = mn_sprintf("%s\n0\t20\n5\t%lld\n6\t%lld\n9\t%lld\n", old, atoll(third + 3) + 12, atoll(sixth + 3) - 40,
                            atoll(ninth + 3) + 100);
    support_write(index, more, strlen(more));
    data_import_cfg cfg = {.kind = "casia-webface", .src = src, .out = out};
    data_import_report r;
    must(data_import(&cfg, &r));
    const json_t *rejects = json_object_get(r.json, "rejects");
    cr_assert(corpus_number(r.json, "records") == 59 && corpus_number(r.json, "rejected") == 5);
    cr_assert(corpus_number(rejects, "duplicate") == 4 && corpus_number(rejects, "damaged or cut off") == 1);
    data_import_report_free(&r);
    free(more);
    // A line of its own for a place inside of record 0.
    char *alone = mn_sprintf("%s\n99999999\t16\n", old);
    support_write(index, alone, strlen(alone));
    snprintf(out, sizeof(out), "%s/again", p.top);
    must(data_import(&cfg, &r));
    cr_assert(corpus_number(r.json, "records") == 59 && corpus_number(r.json, "rejected") == 2);
    cr_assert_eq(corpus_number(json_object_get(r.json, "rejects"), "unusable list"), 1);
    data_import_report_free(&r);
    free(alone);
    free(old);
    support_remove(p.top);
}

// Half of train.rec: every picture is there or cut off; what the index says of identities is no loss.
Test(generated, casia_webface_cut_in_half)
{
    corpus p = {.top = support_folder()};
    snprintf(p.corpora, sizeof(p.corpora), "%s/corpora", p.top);
    mn_log_level(MN_WARN);
    data_synth_cfg synth = corpus_config(&p, "casia-webface");
    must(data_synth(&synth, NULL));
    char records[800], src[700], out[700];
    size_t size;
    snprintf(src, sizeof(src), "%s/casia-webface/faces_webface", p.corpora);
    snprintf(records, sizeof(records), "%s/train.rec", src);
    snprintf(out, sizeof(out), "%s/shards", p.top);
    free(support_read(records, &size));
    cr_assert(truncate(records, (off_t)(size / 2)) == 0);
    data_import_cfg cfg = {.kind = "casia-webface", .src = src, .out = out, .reject_most = 1};
    data_import_report r;
    must(data_import(&cfg, &r));
    int64_t have = corpus_number(r.json, "records"), lost = corpus_number(r.json, "rejected");
    cr_assert(have > 20 && lost > 20 && have + lost == 60);
    cr_assert_eq(corpus_number(json_object_get(r.json, "rejects"), "damaged or cut off"), lost);
    data_import_report_free(&r);
    support_remove(p.top);
}
