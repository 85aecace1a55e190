#include "data/sheet.h"

#include "data/image.h"
#include "data/label.h"
#include "data/shard.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/base/utf8.h"

#include <cairo.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PICTURE = 128, CELL = 152, GAP = 12, LINE = 15, LINES_MOST = 5, HEAD = 46, TEXT = 160 };

typedef struct drawn {
    const data_shard *shard;
    int64_t record, number; // in its shard, in the folder
} drawn;

typedef struct caption {
    int n;
    char line[LINES_MOST][TEXT];
} caption;

// Which records

static int has_label(const data_index *x, int64_t i)
{
    return x->mask[i] != 0 || (x->age && !isnan(x->age[i])) || (x->gender && x->gender[i] >= 0);
}

static int is_wanted(const data_index *x, int64_t i, int labelled)
{
    int picture = x->codec[i] == DATA_CODEC_JPEG || x->codec[i] == DATA_CODEC_PNG;
    return picture && (!labelled || has_label(x, i));
}

static int64_t count_wanted(const data_folder *f, int labelled)
{
    int64_t n = 0, record;
    for (int64_t i = 0; i < data_folder_count(f); i++) {
        const data_shard *s = data_folder_at(f, i, &record);
        n += is_wanted(data_shard_index(s), record, labelled);
    }
    return n;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int by_place(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

// Expression, then identity, then valence: like beside like.
static int by_label(const void *a, const void *b)
{
    const drawn *p = a, *q = b;
    const data_index *x = data_shard_index(p->shard), *y = data_shard_index(q->shard);
    int order = 0;
    if (x->expr && y->expr) order = by_place(x->expr[p->record], y->expr[q->record]);
    if (order == 0 && x->identity && y->identity) order = by_place(x->identity[p->record], y->identity[q->record]);
    if (order == 0 && x->va && y->va && x->va[2 * p->record] < y->va[2 * q->record]) order = -1;
    if (order == 0 && x->va && y->va && x->va[2 * p->record] > y->va[2 * q->record]) order = 1;
    return order ? order : by_place(p->number, q->number);
}

// n of the `of` wanted records, each at most once, sorted by label.
static drawn *draw_records(const data_folder *f, int labelled, int64_t of, int n, uint64_t seed)
{
    int64_t *rank = mn_calloc((size_t)n, sizeof(*rank)), seen = 0, record;
    drawn *d = mn_calloc((size_t)n, sizeof(*d));
    uint64_t key = mn_rng_key(seed, "sheet");
    for (int k = 0; k < n; k++)
        rank[k] = mn_rng_permute(key, of, k);
    qsort(rank, (size_t)n, sizeof(*rank), by_number);
    for (int64_t i = 0, k = 0; k < n; i++) {
        const data_shard *s = data_folder_at(f, i, &record);
        if (is_wanted(data_shard_index(s), record, labelled) && seen++ == rank[k])
            d[k++] = (drawn){.shard = s, .record = record, .number = i};
    }
    qsort(d, (size_t)n, sizeof(*d), by_label);
    free(rank);
    return d;
}

// Captions

static char *add_line(caption *c)
{
    return c->line[c->n < LINES_MOST - 1 ? c->n++ : LINES_MOST - 1];
}

static void caption_affect(caption *c, const float *va)
{
    char v[16] = "-", a[16] = "-";
    if (isnan(va[0]) && isnan(va[1])) return;
    if (!isnan(va[0])) (void)snprintf(v, sizeof(v), "%+.2f", (double)va[0]);
    if (!isnan(va[1])) (void)snprintf(a, sizeof(a), "%+.2f", (double)va[1]);
    (void)snprintf(add_line(c), TEXT, "val %s, aro %s", v, a);
}

static void caption_units(caption *c, const int8_t *au)
{
    char text[TEXT] = "AU";
    int known = 0, active = 0;
    for (int k = 0; k < DATA_AUS; k++) {
        known += au[k] >= 0;
        if (au[k] != 1) continue;
        size_t at = strlen(text);
        (void)snprintf(text + at, TEXT - at, " %s", data_au[k] + 2); // without "AU"
        active++;
    }
    if (known) (void)snprintf(add_line(c), TEXT, "%s", active ? text : "no AU active");
}

static void caption_person(caption *c, const data_index *x, int64_t i)
{
    char text[TEXT] = "";
    size_t at = 0;
    if (x->identity && (x->mask[i] & DATA_HAS_IDENTITY))
        at += (size_t)snprintf(text, TEXT, "person %d", x->identity[i]);
    if (x->gender && x->gender[i] >= 0)
        at += (size_t)snprintf(text + at, TEXT - at, "%s%s", at ? ", " : "", x->gender[i] ? "male" : "female");
    if (x->age && !isnan(x->age[i]))
        at += (size_t)snprintf(text + at, TEXT - at, "%sage %.0f", at ? ", " : "", (double)x->age[i]);
    if (at) (void)snprintf(add_line(c), TEXT, "%s", text);
}

static caption caption_of(const drawn *d)
{
    const data_index *x = data_shard_index(d->shard);
    int64_t i = d->record;
    caption c = {0};
    if (x->expr)
        (void)snprintf(add_line(&c), TEXT, "%s", x->expr[i] >= 0 ? data_expression[x->expr[i] & 7] : "no expression");
    if (x->va) caption_affect(&c, x->va + 2 * i);
    if (x->au) caption_units(&c, x->au + i * DATA_AUS);
    caption_person(&c, x, i);
    c.n = c.n < LINES_MOST - 1 ? c.n : LINES_MOST - 1;
    (void)snprintf(c.line[c.n++], TEXT, "%s", data_shard_name(d->shard, i)); // last, in grey
    return c;
}

// Drawing

// What is no printable UTF-8 becomes a question mark.
static size_t make_plain(const char *text, char plain[TEXT])
{
    size_t n = 0, left = strlen(text);
    while (left > 0) {
        uint32_t code = 0;
        size_t bytes = mn_utf8(text, left, &code), step = bytes ? bytes : 1;
        int fine = bytes > 0 && code >= 0x20 && (code < 0x7f || code >= 0xa0);
        if (n + (fine ? bytes : 1) >= TEXT) break;
        memcpy(plain + n, fine ? text : "?", fine ? bytes : 1);
        n += fine ? bytes : 1;
        text += step;
        left -= step;
    }
    plain[n] = 0;
    return n;
}

// Text at (x, y), cut to fit `width`; `tail`: the end is kept instead of the beginning.
static void show_text(cairo_t *cr, double x, double y, double width, const char *text, int tail)
{
    char plain[TEXT], shown[TEXT + 8];
    size_t n = make_plain(text, plain), cut = 0;
    memcpy(shown, plain, n + 1);
    for (;;) {
        cairo_text_extents_t e;
        cairo_text_extents(cr, shown, &e);
        if (e.x_advance <= width || cut >= n) break;
        if (tail) {
            cut += mn_utf8(plain + cut, n - cut, NULL);
            (void)snprintf(shown, sizeof(shown), "\u2026%s", plain + cut);
        } else {
            while (n > 0 && ((unsigned char)plain[n - 1] & 0xc0) == 0x80)
                n--;
            plain[n > 0 ? --n : 0] = 0;
            (void)snprintf(shown, sizeof(shown), "%s\u2026", plain);
        }
    }
    cairo_move_to(cr, x, y);
    cairo_show_text(cr, shown);
}

// The picture scaled into PICTURE x PICTURE at (x, y), with its face box.
static void show_image(cairo_t *cr, double x, double y, const data_image *im, const float *box)
{
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, im->width, im->height);
    if (cairo_surface_status(s) == CAIRO_STATUS_SUCCESS) {
        unsigned char *rows = cairo_image_surface_get_data(s);
        int stride = cairo_image_surface_get_stride(s);
        for (int r = 0; r < im->height; r++)
            for (int c = 0; c < im->width; c++) {
                const uint8_t *p = im->rgb + 3 * ((size_t)r * (size_t)im->width + (size_t)c);
                uint32_t pixel = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
                memcpy(rows + (size_t)r * (size_t)stride + 4 * (size_t)c, &pixel, 4);
            }
        cairo_surface_mark_dirty(s);
    }
    int longer = im->width > im->height ? im->width : im->height;
    double scale = (double)PICTURE / longer;
    cairo_save(cr);
    cairo_translate(cr, x + (PICTURE - im->width * scale) / 2, y + (PICTURE - im->height * scale) / 2);
    cairo_scale(cr, scale, scale);
    cairo_set_source_surface(cr, s, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cr), CAIRO_FILTER_GOOD);
    cairo_pattern_set_extend(cairo_get_source(cr), CAIRO_EXTEND_PAD); // sharp borders
    cairo_rectangle(cr, 0, 0, im->width, im->height);
    cairo_fill(cr);
    if (box && !isnan(box[0])) {
        cairo_set_source_rgb(cr, 1, 0.85, 0);
        cairo_set_line_width(cr, 1.5 / scale);
        cairo_rectangle(cr, (double)box[0], (double)box[1], (double)box[2], (double)box[3]);
        cairo_stroke(cr);
    }
    cairo_restore(cr);
    cairo_surface_destroy(s);
}

typedef struct reader {
    data_coder *coder;
    data_image image;
    void *bytes;
    size_t capacity;
} reader;

static mn_err read_picture(reader *r, const drawn *d)
{
    size_t size = data_shard_size(d->shard, d->record);
    if (size > r->capacity) {
        free(r->bytes);
        r->capacity = 0;
        r->bytes = malloc(size);
        if (!r->bytes) return mn_fail(MN_EMEM, "no memory for a record of %zu bytes", size);
        r->capacity = size;
    }
    MN_TRY(data_shard_read(d->shard, d->record, r->bytes, r->capacity, &size));
    return data_image_decode(r->coder, r->bytes, size, 0, &r->image);
}

static mn_err show_cell(cairo_t *cr, double x, double y, reader *r, const drawn *d)
{
    const float *box = data_shard_index(d->shard)->box;
    mn_err err = read_picture(r, d);
    if (err == MN_EMEM) return err;
    if (err == MN_OK) {
        show_image(cr, x, y, &r->image, box ? box + 4 * d->record : NULL);
    } else { // the sheet shows that, too
        cairo_set_source_rgb(cr, 0.75, 0.1, 0.1);
        cairo_rectangle(cr, x, y, PICTURE, PICTURE);
        cairo_stroke(cr);
        show_text(cr, x + 8, y + PICTURE / 2.0, PICTURE - 16, "damaged", 0);
    }
    caption c = caption_of(d);
    for (int k = 0; k < c.n; k++) {
        int last = k == c.n - 1;
        cairo_select_font_face(cr, "sans", CAIRO_FONT_SLANT_NORMAL,
                               k == 0 && !last ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
        cairo_set_font_size(cr, last ? 10 : 12);
        cairo_set_source_rgb(cr, last ? 0.45 : 0.1, last ? 0.45 : 0.1, last ? 0.45 : 0.1);
        show_text(cr, x, y + PICTURE + (k + 1) * LINE, CELL - 6, c.line[k], last);
    }
    return MN_OK;
}

static void show_head(cairo_t *cr, const data_folder *f, const data_sheet_cfg *cfg, int n, int64_t of, int labelled,
                      double width)
{
    const data_shard_info *about = data_shard_about(data_folder_shard(f, 0));
    char text[TEXT];
    cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
    cairo_select_font_face(cr, "sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
    cairo_set_font_size(cr, 16);
    show_text(cr, GAP, 22, width - 2 * GAP, about->dataset, 0);
    cairo_select_font_face(cr, "sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, 12);
    (void)snprintf(text, sizeof(text), "%d of %lld pictures%s%s%s, seed %llu", n, (long long)of,
                   labelled ? " with a label" : " (none has a label)", cfg->split ? ", split " : "",
                   cfg->split ? cfg->split : "", (unsigned long long)cfg->seed);
    show_text(cr, GAP, 38, width - 2 * GAP, text, 0);
}

static cairo_status_t write_bytes(void *output, const unsigned char *bytes, unsigned n)
{
    return mn_output_write(output, bytes, n) == MN_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static mn_err save(cairo_surface_t *s, const char *out)
{
    mn_output o;
    mn_err err = MN_OK;
    MN_TRY(mn_output_open(&o, out));
    cairo_status_t status = cairo_surface_write_to_png_stream(s, write_bytes, &o);
    if (status == CAIRO_STATUS_WRITE_ERROR)
        err = mn_fail(MN_EIO, "%s: cannot be written", out);
    else if (status != CAIRO_STATUS_SUCCESS)
        err = mn_fail(MN_EINTERNAL, "%s: cairo: %s", out, cairo_status_to_string(status));
    return mn_output_close(&o, err);
}

static mn_err make_sheet(const data_sheet_cfg *cfg, const data_folder *f, const drawn *d, int n, int64_t of,
                         int labelled)
{
    int lines = 0, columns = (int)(sqrt(1.4 * n) + 0.5);
    reader r = {0};
    mn_err err = MN_OK;
    if (columns < 1) columns = 1;
    for (int k = 0; k < n; k++) {
        int here = caption_of(&d[k]).n;
        if (here > lines) lines = here;
    }
    int cell = PICTURE + lines * LINE + GAP, rows = (n + columns - 1) / columns;
    int width = columns * CELL + 2 * GAP, height = HEAD + rows * cell + GAP;
    if (width < 400) width = 400; // the head has room
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    cairo_t *cr = cairo_create(s);
    cairo_set_source_rgb(cr, 0.97, 0.97, 0.96);
    cairo_paint(cr);
    show_head(cr, f, cfg, n, of, labelled, width);
    MN_TRY_OUT(err, data_coder_open(&r.coder));
    for (int k = 0; k < n; k++)
        MN_TRY_OUT(err, show_cell(cr, GAP + k % columns * CELL, HEAD + k / columns * cell, &r, &d[k]));
    if (cairo_status(cr) != CAIRO_STATUS_SUCCESS)
        err = mn_fail(MN_EINTERNAL, "cairo: %s", cairo_status_to_string(cairo_status(cr)));
    else
        err = save(s, cfg->out);
out:
    data_coder_close(r.coder);
    data_image_release(&r.image);
    free(r.bytes);
    cairo_destroy(cr);
    cairo_surface_destroy(s);
    return err;
}

mn_err data_sheet(const data_sheet_cfg *cfg)
{
    data_folder *f = NULL;
    drawn *d = NULL;
    mn_err err = MN_OK;
    if (access(cfg->out, F_OK) == 0)
        return mn_fail(MN_ECREATE, "%s: is there already: name another file, or remove it", cfg->out);
    MN_TRY_OUT(err, data_folder_open(&f, cfg->dir, cfg->split, DATA_TASKS, "image"));
    int64_t of = count_wanted(f, 1);
    int labelled = of > 0;
    if (!labelled) of = count_wanted(f, 0);
    if (of == 0) {
        err = mn_fail(MN_EDATA, "%s: has no pictures to show%s%s", cfg->dir, cfg->split ? " in split " : "",
                      cfg->split ? cfg->split : "");
        goto out;
    }
    int n = of < cfg->pictures ? (int)of : cfg->pictures;
    d = draw_records(f, labelled, of, n, cfg->seed);
    err = make_sheet(cfg, f, d, n, of, labelled);
out:
    free(d);
    data_folder_close(f);
    return err;
}
