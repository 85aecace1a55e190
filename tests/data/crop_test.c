// Faces cut out of their pictures: where, and on the generated corpora that have boxes, record by record beside the import
// of whole pictures.
#include "data/image.h"
#include "data/import/cut.h"
#include "corpus_support.h"
#include "nn/base/log.h"
#include "shard_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

Test(crop, where)
{
    static const struct {
        float box[4];
        double margin;
        int width, height;
        data__cut want;
    } row[] = {{{10, 20, 30, 30}, 0, 100, 100, {DATA__CUT_FACE, 10, 20, 30, 30}},
               {{10, 20, 30, 10}, 0, 100, 100, {DATA__CUT_FACE, 10, 10, 30, 30}}, // a square
               {{40, 40, 20, 20}, 0.5, 100, 100, {DATA__CUT_FACE, 30, 30, 40, 40}},
               {{10.5f, 20.25f, 10, 10}, 0, 100, 100, {DATA__CUT_FACE, 10, 20, 11, 11}}, // whole pixels
               {{-10, 80, 30, 30}, 0.5, 100, 90, {DATA__CUT_FACE, 0, 65, 35, 25}},       // as far as there is a picture
               {{-1e6f, -1e6f, 2e6f, 2e6f}, 4, 7, 5, {DATA__CUT_FACE, 0, 0, 7, 5}},
               {{99.5f, 0, 5, 5}, 0, 100, 100, {DATA__CUT_FACE, 99, 0, 1, 5}},
               {{0, 0, 0.01f, 0.01f}, 0, 1, 1, {DATA__CUT_FACE, 0, 0, 1, 1}},
               {{100, 0, 5, 5}, 1, 100, 100, {.kind = DATA__CUT_OUTSIDE}},
               {{-5, 0, 5, 5}, 1, 100, 100, {.kind = DATA__CUT_OUTSIDE}},
               {{0, 0, -5, 5}, 1, 100, 100, {.kind = DATA__CUT_NO_BOX}},
               {{0, 0, 5, 0}, 1, 100, 100, {.kind = DATA__CUT_NO_BOX}},
               {{NAN, NAN, NAN, NAN}, 1, 100, 100, {.kind = DATA__CUT_NO_BOX}},
               {{0, 0, INFINITY, 5}, 1, 100, 100, {.kind = DATA__CUT_NO_BOX}}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        data__cut c = data__cut_of(row[i].box, row[i].margin, row[i].width, row[i].height);
        cr_assert(memcmp(&c, &row[i].want, sizeof(c)) == 0, "row %zu: %d: %d %d, %d x %d", i, c.kind, c.x, c.y, c.width,
                  c.height);
    }
}

static size_t decode(data_coder *c, const data_shard *s, int64_t i, data_image *im, uint64_t *hash)
{
    static unsigned char bytes[1 << 20];
    size_t n;
    must(data_shard_read(s, i, bytes, sizeof(bytes), &n));
    must(data_image_decode(c, bytes, n, 0, im));
    *hash = XXH3_64bits(bytes, n);
    return n;
}

// Mean difference of the face to that part of the whole picture: what the JPEG costs.
static double difference(const data_image *whole, const data_image *face, int x0, int y0)
{
    double sum = 0;
    for (int y = 0; y < face->height; y++)
        for (int x = 0; x < face->width * 3; x++)
            sum += abs(face->rgb[(size_t)y * (size_t)face->width * 3 + (size_t)x] -
                       whole->rgb[((size_t)(y + y0) * (size_t)whole->width + (size_t)x0) * 3 + (size_t)x]);
    return sum / face->width / face->height / 3;
}

typedef struct tally {
    int64_t cut, no_box, outside, shrunk;
} tally;

// Record i of the whole pictures, and the one of that name among the faces.
static void check_face(data_coder *c, const data_shard *whole, int64_t i, const data_folder *faces, double margin,
                       int most, tally *t)
{
    static data_image picture, face;
    uint64_t source, made;
    const data_shard *s;
    const data_index *x = data_shard_index(whole);
    const float *box = x->box + 4 * i;
    int64_t r = corpus_record(faces, data_shard_name(whole, i), &s);
    if (isnan(box[0])) {
        t->no_box++;
        cr_assert(r < 0, "%s", data_shard_name(whole, i));
        return;
    }
    decode(c, whole, i, &picture, &source);
    double half = (box[2] > box[3] ? box[2] : box[3]) * (0.5 + margin);
    int left = (int)floor(box[0] + box[2] / 2 - half), top = (int)floor(box[1] + box[3] / 2 - half);
    int right = (int)ceil(box[0] + box[2] / 2 + half), bottom = (int)ceil(box[1] + box[3] / 2 + half);
    left = left < 0 ? 0 : left;
    top = top < 0 ? 0 : top;
    right = right > picture.width ? picture.width : right;
    bottom = bottom > picture.height ? picture.height : bottom;
    if (r < 0) {
        cr_assert(box[0] >= (float)picture.width || box[1] >= (float)picture.height);
        t->outside++;
        return;
    }
    const data_index *y = data_shard_index(s);
    int longer = right - left > bottom - top ? right - left : bottom - top;
    decode(c, s, r, &face, &made);
    t->cut++;
    cr_assert(face.width == y->width[r] && face.height == y->height[r] && y->orientation[r] == 0 &&
              y->codec[r] == DATA_CODEC_JPEG);
    cr_assert(y->original[r] == source && memcmp(y->box + 4 * r, box, 4 * sizeof(float)) == 0);
    cr_assert(y->source_row[r] == x->source_row[i] && y->mask[r] == x->mask[i]);
    if (most == 0 || longer <= most) {
        cr_assert(abs(face.width - (right - left)) <= 1 && abs(face.height - (bottom - top)) <= 1,
                  "%s: %d x %d", // rounding
                  data_shard_name(s, r), face.width, face.height);
        if (face.width == right - left && face.height == bottom - top)
            cr_assert(difference(&picture, &face, left, top) < 4, "%s: %g", data_shard_name(s, r),
                      difference(&picture, &face, left, top));
    } else {
        cr_assert((face.width > face.height ? face.width : face.height) == most);
        t->shrunk++;
    }
}

static json_t *import_into(const corpus *p, const char *kind, const char *name, char out[600], int crop, double margin,
                           int size)
{
    data_import_cfg cfg = {
        .kind = kind, .src = p->src, .out = out, .crop = crop, .margin = margin, .size = size, .reject_most = 0.5};
    data_import_report r;
    snprintf(out, 600, "%s/%s", p->top, name);
    must(data_import(&cfg, &r));
    return r.json;
}

static const char *const splits[] = {"train", "validation"};

static void check_kind(const char *kind)
{
    corpus p = corpus_new(kind);
    data_synth_cfg synth = corpus_config(&p, kind);
    data_coder *c;
    must(data_synth(&synth, NULL));
    must(data_coder_open(&c));
    if (strcmp(kind, "imdb-wiki") == 0) strcat(p.src, "/wiki"); // only there the pictures are not cut yet
    char out[600], faces[600];
    json_decref(import_into(&p, kind, "whole", out, 0, 0, 0));
    for (int form = 0; form < 2; form++) {
        double margin = form ? 0 : 0.2;
        tally t = {0};
        json_t *report = import_into(&p, kind, form ? "small" : "faces", faces, 1, margin, form ? 24 : 0);
        for (int k = 0; k < 2; k++) {
            data_folder *w, *f;
            must(data_folder_open(&w, out, splits[k], 0, "image"));
            must(data_folder_open(&f, faces, splits[k], 0, "image"));
            if (data_folder_shards(f) > 0)
                cr_assert(strstr(data_shard_about(data_folder_shard(f, 0))->options,
                                 form ? "\"crop_margin\": 0" : "\"crop_margin\": 0.2"));
            for (int64_t i = 0; i < data_folder_count(w); i++) {
                int64_t r;
                const data_shard *s = data_folder_at(w, i, &r);
                if (i > 0) { // of a picture that is there twice, the first row's record is found by name
                    int64_t before;
                    const data_shard *q = data_folder_at(w, i - 1, &before);
                    if (strcmp(data_shard_name(q, before), data_shard_name(s, r)) == 0) continue;
                }
                check_face(c, s, r, f, margin, form ? 24 : 0, &t);
            }
            data_folder_close(f);
            data_folder_close(w);
        }
        const json_t *rejects = json_object_get(report, "rejects"), *notes = json_object_get(report, "notes");
        cr_assert(t.cut > 10 && t.cut <= corpus_number(report, "records"), "%s", kind);
        cr_assert(corpus_number(notes, "faces cut out of their pictures") >= corpus_number(report, "records"), "%s",
                  kind);
        cr_assert(corpus_number(notes, "pictures encoded anew") >= corpus_number(report, "records"), "%s", kind);
        cr_assert(t.no_box == corpus_number(rejects, "no face box to cut out"), "%s: %lld", kind, (long long)t.no_box);
        cr_assert(form == 0 || t.shrunk > 10);
        json_decref(report);
    }
    data_coder_close(c);
    support_remove(p.top);
}

Test(crop, affectnet)
{
    check_kind("affectnet");
}

Test(crop, expw)
{
    check_kind("expw");
}

Test(crop, aihub)
{
    check_kind("aihub");
}

Test(crop, imdb_wiki)
{
    check_kind("imdb-wiki");
}

Test(crop, whole_pictures_of_imdb_wiki_are_preferred_and_faces_stay_as_they_are)
{
    corpus p = corpus_new("imdb-wiki");
    data_synth_cfg synth = corpus_config(&p, "imdb-wiki");
    char out[600];
    must(data_synth(&synth, NULL));
    json_t *report = import_into(&p, "imdb-wiki", "faces", out, 1, 0.2, 0);
    int64_t cut = corpus_number(json_object_get(report, "notes"), "faces cut out of their pictures");
    int64_t records = corpus_number(report, "records"), imdb = 0;
    data_folder *f;
    must(data_folder_open(&f, out, "train", 0, "image"));
    for (int64_t i = 0; i < data_folder_count(f); i++) {
        int64_t r;
        char path[900];
        const data_shard *s = data_folder_at(f, i, &r);
        if (strncmp(data_shard_name(s, r), "imdb/", 5) != 0) continue;
        snprintf(path, sizeof(path), "%s/imdb_crop/%s", p.src, data_shard_name(s, r) + 5);
        corpus_check_bytes(path, s, r);
        imdb++;
    }
    cr_assert(imdb > 20 && cut > 5 && imdb + cut == records);
    data_folder_close(f);
    json_decref(report);
    support_remove(p.top);
}

Test(crop, a_dataset_without_boxes_is_refused)
{
    corpus p = corpus_new("celeba");
    data_import_cfg cfg = {.kind = "celeba", .src = p.top, .out = p.out, .crop = 1, .margin = 0.2};
    data_import_report r;
    cr_assert(data_import(&cfg, &r) == MN_EUSAGE && strstr(mn_errmsg(), "celeba"));
    support_remove(p.top);
}
