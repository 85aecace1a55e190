// s-Aff-Wild2: lists as they may come, and a generated corpus in the layouts of ABAW4 and ABAW3: every record against the
// lists, read here by a reader of its own.
#include "data/import/s_affwild2_list.h"
#include "corpus_support.h"
#include "nn/base/file.h"
#include "shard_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct seen {
    int rows, bads;
    char image[8][40];
    data__sa_labels labels[8];
    data__reason reason[8];
    int64_t line[8];
} seen;

static void take_row(void *ctx, int64_t line, data__text image, const data__sa_labels *l)
{
    seen *s = ctx;
    (void)line;
    cr_assert(s->rows < 8);
    snprintf(s->image[s->rows], 40, "%.*s", (int)image.n, image.p);
    s->labels[s->rows++] = *l;
}

static void take_bad(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    seen *s = ctx;
    (void)detail;
    cr_assert(s->bads < 8);
    s->line[s->bads] = line;
    s->reason[s->bads++] = reason;
}

static seen read_text(const char *text, int labelled)
{
    static const data__sa_ops ops = {take_row, take_bad};
    seen s = {0};
    data__sa_read(text, strlen(text), labelled, &ops, &s);
    return s;
}

Test(s_affwild2, lists)
{
    seen s = read_text("\xef\xbb\xbfimage,valence,arousal,expression,aus\r\n"
                       "7/00001.jpg, 0.5, -0.25, 7, 0.0, 1.0,0,0,0,0,0,0,0,0,0,1\r\n"
                       "\r\n"
                       "7/00002.jpg,-5,0.1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,\r\n"
                       "7/00003.jpg,-5,-5,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1\n"
                       "7/00004.jpg,2,0.5,8,x,0,0,0,0,0,0,0,0,0,0,2\n"
                       "7/00005.jpg,0,0,0,0,0,0,0,0,0,0,0,0,0,0\n"
                       ",0,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
                       1);
    cr_assert(s.rows == 4 && s.bads == 3);
    cr_assert_str_eq(s.image[1], "7/00002.jpg");
    const data__sa_labels *l = s.labels;
    cr_assert(l[0].va[0] == 0.5f && l[0].va[1] == -0.25f && l[0].expr == 7 && l[0].au[1] == 1 && l[0].au[11] == 1);
    cr_assert(l[0].au[0] == 0 && l[0].invalid == 0 && !l[0].none);
    cr_assert(isnan(l[1].va[0]) && l[1].va[1] == 0.1f && l[1].expr == -1 && l[1].invalid == 14 && !l[1].none);
    cr_assert(l[2].none && l[2].invalid == 15);
    cr_assert(isnan(l[3].va[0]) && l[3].va[1] == 0.5f && l[3].expr == -1 && l[3].au[0] == -1 && l[3].au[1] == 0 &&
              l[3].au[11] == -1);
    cr_assert(s.line[0] == 6 && s.reason[0] == DATA__REJECT_RANGE); // once a row
    cr_assert(s.line[1] == 7 && s.reason[1] == DATA__REJECT_COLUMNS && s.line[2] == 8);
    s = read_text("7/00001.jpg,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", 1); // without a head line
    cr_assert(s.rows == 1 && s.bads == 0);
    s = read_text("image,arousal,valence,expression,aus\n7/00001.jpg,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", 1);
    cr_assert(s.rows == 0 && s.bads == 1 && s.reason[0] == DATA__REJECT_LIST);
    s = read_text("image\n7/00001.jpg,\n7/00002.jpg\n", 0);
    cr_assert(s.rows == 2 && s.bads == 0 && s.labels[0].none && strcmp(s.image[0], "7/00001.jpg") == 0);
    s = read_text("", 1);
    cr_assert(s.rows == 0 && s.bads == 0);
}

// The generated corpus

typedef struct tally {
    int64_t rows, records, missing, same, other, none, range, columns, invalid, test;
} tally;

static int same(float a, double b)
{
    return isnan(b) ? isnan(a) : fabs(a - b) < 1e-6;
}

// v: 15 values of a row.
static void check_labels(const data_index *x, int64_t i, const double *v)
{
    uint32_t mask = 0;
    for (int k = 0; k < 2; k++) {
        int valid = v[k] >= -1 && v[k] <= 1;
        cr_assert(same(x->va[2 * i + k], valid ? v[k] : (double)NAN));
        if (valid) mask |= k ? DATA_HAS_AROUSAL : DATA_HAS_VALENCE;
    }
    cr_assert(x->expr[i] == (int)v[2]);
    if (v[2] >= 0) mask |= DATA_HAS_EXPR;
    for (int k = 0; k < DATA_AUS; k++) {
        cr_assert(x->au[i * DATA_AUS + k] == (int)v[3 + k]);
        if (v[3 + k] >= 0) mask |= 1u << (16 + k);
    }
    cr_assert_eq(x->mask[i], mask);
}

static void check_row(const corpus *p, const data_folder *f, char *line, int64_t number, tally *t)
{
    double v[15];
    char path[1200], *rest = line, *name = strsep(&rest, ",");
    const data_shard *s;
    int n = 0, none = 1, wrong = 0;
    for (char *field; (field = strsep(&rest, ",")) && *field && n < 15; n++)
        v[n] = atof(field);
    t->rows++;
    snprintf(path, sizeof(path), "%s/cropped_aligned/%s", p->src, name);
    int64_t i = corpus_record(f, name, &s);
    if (n < 15) {
        cr_assert(i < 0 && n == 14);
        t->columns++;
        return;
    }
    for (int k = 0; k < 15; k++) {
        none &= k < 2 ? v[k] < -1 || v[k] > 1 : v[k] < 0;
        wrong += k < 2 && v[k] > 1;
        t->invalid += k < 2 ? v[k] == -5 : v[k] == -1;
    }
    t->none += none;
    t->range += wrong;
    if (none) {
        cr_assert(i < 0);
        return;
    }
    if (i < 0) {
        cr_assert(!corpus_has(path), "%s", path);
        t->missing++;
        return;
    }
    const data_index *x = data_shard_index(s);
    if (x->source_row[i] == number - 1) { // the one before it has the picture
        if (x->expr[i] == (int)v[2])
            t->same++;
        else
            t->other++;
        return;
    }
    cr_assert_eq(x->source_row[i], number);
    t->records++;
    corpus_check_bytes(path, s, i);
    check_labels(x, i, v);
}

static void check_test(const corpus *p, const data_folder *f, char *line, tally *t)
{
    char path[1200];
    const data_shard *s;
    *strchr(line, ',') = 0;
    int64_t i = corpus_record(f, line, &s);
    snprintf(path, sizeof(path), "%s/testset/cropped_aligned/%s", p->src, line);
    t->rows++;
    t->missing += i < 0;
    cr_assert_eq(i >= 0, corpus_has(path));
    if (i < 0) return;
    t->records++;
    t->test++;
    corpus_check_bytes(path, s, i);
    cr_assert(data_shard_index(s)->mask[i] == 0 && data_shard_index(s)->expr[i] == -1);
}

static tally check_lists(const corpus *p, const char *const list[3])
{
    static const char *const split[] = {"train", "validation", "test"};
    tally t = {0};
    for (int k = 0; k < 3; k++) {
        char path[900], line[400];
        data_folder *f;
        must(data_folder_open(&f, p->out, split[k], 0, "image"));
        snprintf(path, sizeof(path), "%s/%s", p->src, list[k]);
        FILE *in = fopen(path, "r");
        cr_assert(in, "%s", path);
        for (int64_t number = 1; corpus_line(in, line, sizeof(line)); number++)
            if (strncmp(line, "image,", 6) == 0)
                continue;
            else if (k < 2)
                check_row(p, f, line, number, &t);
            else
                check_test(p, f, line, &t);
        fclose(in);
        data_folder_close(f);
    }
    return t;
}

static void check_report(const json_t *report, const tally *t)
{
    const json_t *rejects = json_object_get(report, "rejects"), *notes = json_object_get(report, "notes");
    cr_assert(t->rows == corpus_number(report, "rows") && t->records == corpus_number(report, "records"));
    cr_assert(t->missing > 0 && corpus_number(rejects, "missing file") == t->missing);
    cr_assert(t->other > 0 && corpus_number(rejects, "duplicate") == t->other);
    cr_assert(t->none > 0 && corpus_number(rejects, "no valid label") == t->none);
    cr_assert(t->range > 0 && corpus_number(rejects, "label out of range") == t->range);
    cr_assert(t->columns > 0 && corpus_number(rejects, "wrong number of columns") == t->columns);
    cr_assert_eq(corpus_number(report, "rejected"), t->missing + t->other + t->none + t->range + t->columns);
    cr_assert(t->same > 0 && corpus_number(notes, "rows that are there twice") == t->same);
    cr_assert(t->invalid > 0 && corpus_number(notes, "label values marked invalid by the annotators") == t->invalid);
    cr_assert(t->test > 0 && t->records > 150);
}

Test(s_affwild2, generated_in_both_layouts)
{
    static const char *const abaw4[] = {"training_set_annotations.txt", "validation_set_annotations.txt",
                                        "testset/MTL_Challenge_test_set_release.txt"};
    static const char *const abaw3[] = {"3rd_ABAW_Annotations/MTL_Challenge/train_set.txt",
                                        "3rd_ABAW_Annotations/MTL_Challenge/validation_set.txt",
                                        "testset/MTL_Challenge_test_set_release.txt"};
    corpus p = corpus_new("s-affwild2");
    data_synth_cfg synth = corpus_config(&p, "s-affwild2");
    synth.images = 200;
    must(data_synth(&synth, NULL));
    for (int layout = 0; layout < 2; layout++) {
        data_import_cfg cfg = {.kind = "s-affwild2", .src = p.src, .out = p.out};
        data_import_report r;
        char from[900], to[900];
        if (layout == 1) { // and the crops are one folder deeper
            snprintf(to, sizeof(to), "%s/3rd_ABAW_Annotations", p.src);
            cr_assert(mkdir(to, 0777) == 0);
            snprintf(to, sizeof(to), "%s/3rd_ABAW_Annotations/MTL_Challenge", p.src);
            cr_assert(mkdir(to, 0777) == 0);
            for (int k = 0; k < 2; k++) {
                snprintf(from, sizeof(from), "%s/%s", p.src, abaw4[k]);
                snprintf(to, sizeof(to), "%s/%s", p.src, abaw3[k]);
                cr_assert(rename(from, to) == 0);
            }
            snprintf(from, sizeof(from), "%s/cropped_aligned", p.src);
            snprintf(to, sizeof(to), "%s/aside", p.src);
            cr_assert(rename(from, to) == 0 && mkdir(from, 0777) == 0);
            snprintf(from, sizeof(from), "%s/cropped_aligned/cropped_aligned", p.src);
            cr_assert(rename(to, from) == 0);
            snprintf(p.out, sizeof(p.out), "%s/shards/abaw3", p.top);
            cfg.out = p.out;
        }
        must(data_import(&cfg, &r));
        if (layout == 1) { // back, where the checks look for them
            snprintf(to, sizeof(to), "%s/aside", p.src);
            cr_assert(rename(from, to) == 0);
            snprintf(from, sizeof(from), "%s/cropped_aligned", p.src);
            cr_assert(remove(from) == 0 && rename(to, from) == 0);
        }
        tally t = check_lists(&p, layout ? abaw3 : abaw4);
        check_report(r.json, &t);
        data_import_report_free(&r);
    }
    support_remove(p.top);
}

// A test picture that is in both folders of crops: the first is taken, and counted.
Test(s_affwild2, test_pictures_in_two_roots)
{
    corpus p = corpus_new("s-affwild2");
    data_synth_cfg synth = corpus_config(&p, "s-affwild2");
    synth.images = 200;
    must(data_synth(&synth, NULL));
    char path[1200], line[400];
    snprintf(path, sizeof(path), "%s/testset/MTL_Challenge_test_set_release.txt", p.src);
    FILE *in = fopen(path, "r");
    cr_assert(in);
    for (int have = 0; !have;) {
        cr_assert(corpus_line(in, line, sizeof(line)));
        char *comma = strchr(line, ',');
        if (comma) *comma = 0;
        snprintf(path, sizeof(path), "%s/testset/cropped_aligned/%s", p.src, line);
        have = comma && corpus_has(path);
    }
    fclose(in);
    size_t size;
    unsigned char *file = support_read(path, &size);
    file = realloc(file, size + 2);
    file[size] = file[size + 1] = 0; // behind its end: the same picture in another file
    size += 2;
    snprintf(path, sizeof(path), "%s/cropped_aligned/%s", p.src, line);
    char *slash = strrchr(path, '/');
    *slash = 0;
    must(mn_dir_make(path));
    *slash = '/';
    support_write(path, file, size);
    free(file);
    data_import_cfg cfg = {.kind = "s-affwild2", .src = p.src, .out = p.out};
    data_import_report r;
    must(data_import(&cfg, &r));
    const json_t *notes = json_object_get(r.json, "notes");
    cr_assert_eq(corpus_number(notes, "pictures that another folder of crops has too: the first is taken"), 1);
    data_folder *f;
    const data_shard *s;
    must(data_folder_open(&f, p.out, "test", 0, "image"));
    int64_t i = corpus_record(f, line, &s);
    cr_assert(i >= 0);
    corpus_check_bytes(path, s, i);
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(p.top);
}
