// Weights files of other projects under our names, into a model and out again. The files of tests/golden/weights are
// written by the projects' own code with the closed-form values of our names.
#include "nn/weights.h"
#include "golden_support.h"

#include "nn/base/mem.h"
#include "nn/bias_table.h"
#include "nn/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *fixture(const char *file)
{
    return mn_sprintf("%s/weights/%s", GOLDEN_DIR, file);
}

static nn_weights *open_fixture(const char *file)
{
    nn_weights *w;
    char *path = fixture(file);
    cr_assert_eq(nn_weights_open(&w, path, NN_WEIGHTS_AUTO), MN_OK, "%s: %s", file, mn_errmsg());
    free(path);
    return w;
}

static float *read_item(const nn_weights *w, int i)
{
    float *x = mn_calloc((size_t)mn_count(nn_weights_at(w, i)->shape) + 1, sizeof *x);
    cr_assert_eq(nn_weights_read(w, i, x), MN_OK, "%s", mn_errmsg());
    return x;
}

// --- models that the fixtures fit ---

typedef struct model {
    nn_params *ps;
    nn_graph *g;
} model;

static void close_model(model *m)
{
    nn_graph_free(m->g);
    nn_params_free(m->ps);
}

static nn_graph *graph(model *m)
{
    m->ps = nn_params_new(1);
    m->g = nn_graph_new(m->ps, &(nn_graph_cfg){.mode = NN_EVAL, .dtype = MN_F32, .seed = 1});
    return m->g;
}

static void lay_out(model *m)
{
    cr_assert_eq(nn_params_layout(m->ps, m->g, &(nn_layout_cfg){.dtype = MN_F32, .forward_only = 1}), MN_OK, "%s",
                 mn_errmsg());
}

static model swin_model(int64_t window, int64_t image, int simmim)
{
    model m;
    nn_graph *g = graph(&m);
    nn_swin_cfg cfg = {image, 2, window, 4, {2, 1}, {1, 2}, 2, 0, 4};
    nn_tensor *mask = simmim ? nn_input(g, "mask", MN_U8, MN_SHAPE(1, image * image / 4)) : NULL;
    nn_tensor *z = nn_swin(g, &cfg, nn_input(g, "image", MN_F32, MN_SHAPE(1, image, image, 3)), mask);
    if (simmim) z = nn_simmim_decoder(g, &cfg, z);
    nn_output(g, "z", z);
    lay_out(&m);
    return m;
}

static model wav2vec2_model(void)
{
    model m;
    nn_graph *g = graph(&m);
    nn_wav2vec2_cfg cfg;
    nn_wav2vec2_base(&cfg);
    cfg.width = 8, cfg.layers = 1, cfg.heads = 2, cfg.ffn = 16, cfg.conv_channels = 4;
    cfg.pos_kernel = 4, cfg.pos_groups = 2;
    nn_output(g, "z", nn_wav2vec2(g, &cfg, nn_input(g, "wave", MN_F32, MN_SHAPE(1, 800)), NULL));
    lay_out(&m);
    return m;
}

static void expect_closed_form(const model *m, const char *file)
{
    for (int i = 0; i < nn_params_count(m->ps); i++) {
        const nn_param *p = nn_params_at(m->ps, i);
        const float *x = nn_param_master(m->ps, p);
        cr_expect(p->loaded, "%s: %s was not loaded", file, p->name);
        for (int64_t k = 0; k < p->count; k++)
            if (x[k] != golden_value(p->name, p->spec.shape, k)) {
                cr_expect(0, "%s: %s[%lld] is %g", file, p->name, (long long)k, (double)x[k]);
                break;
            }
    }
}

static const struct {
    const char *file;
    nn_weights_form form;
    const char *container;
    int simmim; // 0, 1: SimMIM's decoder and mask token are there; -1: wav2vec2
} files[] = {{"simmim.safetensors", NN_WEIGHTS_SIMMIM, "safetensors", 1},
             {"timm.safetensors", NN_WEIGHTS_TIMM_SWIN, "safetensors", 0},
             {"hf_swin.safetensors", NN_WEIGHTS_HF_SWIN, "safetensors", 1},
             {"hf_wav2vec2.safetensors", NN_WEIGHTS_HF_WAV2VEC2, "safetensors", -1},
             {"hf_wav2vec2_old.safetensors", NN_WEIGHTS_HF_WAV2VEC2, "safetensors", -1},
             {"simmim.pth", NN_WEIGHTS_SIMMIM, "zip of pickle", 1},
             {"simmim_legacy.pth", NN_WEIGHTS_SIMMIM, "legacy pickle", 1}};
enum { FILES = sizeof files / sizeof files[0] };

static model model_for(int i)
{
    return files[i].simmim < 0 ? wav2vec2_model() : swin_model(2, 16, files[i].simmim);
}

Test(weights, every_form_fills_the_model)
{
    for (int i = 0; i < FILES; i++) {
        model m = model_for(i);
        nn_weights *w = open_fixture(files[i].file);
        nn_weights_report r;
        cr_expect_eq(nn_weights_form_of(w), files[i].form, "%s", files[i].file);
        cr_expect_str_eq(nn_weights_container(w), files[i].container);
        cr_expect_eq(nn_weights_load(w, m.ps, &(nn_weights_load_cfg){.strict = 1}, &r), MN_OK, "%s", mn_errmsg());
        cr_expect_eq(r.loaded, nn_params_count(m.ps), "%s: %d", files[i].file, r.loaded);
        cr_expect_eq(r.unexpected, 0, "%s: %s", files[i].file, r.lines ? r.line[0] : "");
        expect_closed_form(&m, files[i].file);
        nn_weights_report_free(&r);
        nn_weights_close(w);
        close_model(&m);
    }
}

static int unequal(void *ctx, const nn_weights_difference *d)
{
    int *n = ctx;
    cr_expect(d->a && d->b && d->largest == 0, "%s: %g", d->name, d->largest);
    (*n)++;
    return MN_OK;
}

static mn_err count_equal(void *ctx, const nn_weights_difference *d)
{
    return (mn_err)unequal(ctx, d);
}

// Out under their names, and in again: the same tensors.
Test(weights, writing_and_reading_agree)
{
    char path[] = "/tmp/mien_weights_XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    for (int i = 0; i < FILES; i++)
        for (int form = 0; form < 2; form++) {
            nn_weights *w = open_fixture(files[i].file), *again;
            nn_weights_form to = form ? NN_WEIGHTS_MIEN : files[i].form;
            int left_out = 0, compared = 0;
            cr_assert_eq(nn_weights_write(w, path, to, &left_out), MN_OK, "%s: %s", files[i].file, mn_errmsg());
            cr_expect_eq(left_out, 0);
            cr_assert_eq(nn_weights_open(&again, path, NN_WEIGHTS_AUTO), MN_OK, "%s: %s", files[i].file, mn_errmsg());
            cr_expect_eq(nn_weights_form_of(again), to);
            cr_assert_eq(nn_weights_diff(w, again, count_equal, &compared), MN_OK);
            cr_expect_eq(compared, nn_weights_count(w));
            nn_weights_close(again);
            nn_weights_close(w);
        }
    unlink(path);
}

Test(weights, timm_has_no_place_for_the_decoder)
{
    char path[] = "/tmp/mien_weights_XXXXXX";
    int fd = mkstemp(path), left_out = 0;
    nn_weights *w = open_fixture("simmim.safetensors"), *again;
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert_eq(nn_weights_write(w, path, NN_WEIGHTS_TIMM_SWIN, &left_out), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(left_out, 3, "%d: mask token, decoder weight and bias", left_out);
    cr_assert_eq(nn_weights_open(&again, path, NN_WEIGHTS_AUTO), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(nn_weights_form_of(again), NN_WEIGHTS_TIMM_SWIN);
    cr_expect_eq(nn_weights_write(w, path, NN_WEIGHTS_HF_WAV2VEC2, NULL), MN_ECONFIG);
    nn_weights_close(again);
    nn_weights_close(w);
    unlink(path);
}

Test(weights, another_window_is_resized)
{
    model m = swin_model(4, 16, 0); // tables of 3 x 3 distances become 7 x 7
    nn_weights *w = open_fixture("simmim.safetensors");
    nn_weights_report r;
    const char *name = "swin.layers.0.blocks.1.attn.relative_position_bias_table";
    cr_assert_eq(nn_weights_load(w, m.ps, &(nn_weights_load_cfg){.prefix = "swin.", .strict = 1}, &r), MN_OK, "%s",
                 mn_errmsg());
    cr_expect_eq(r.resized, 3, "%d", r.resized);
    cr_expect_eq(r.unexpected, 1, "%d: the mask token", r.unexpected);
    float src[9], dst[49];
    for (int i = 0; i < 9; i++)
        src[i] = golden_value(name, MN_SHAPE(9, 1), i);
    cr_assert_eq(nn_bias_table_resize(src, 3, dst, 7, 1), MN_OK);
    cr_expect_eq(memcmp(dst, nn_param_master(m.ps, nn_params_find(m.ps, name)), sizeof dst), 0);
    nn_weights_report_free(&r);
    nn_weights_close(w);
    close_model(&m);
}

Test(weights, what_does_not_fit_is_listed)
{
    model m = wav2vec2_model();
    nn_weights *w = open_fixture("simmim.safetensors");
    nn_weights_report r;
    cr_expect_eq(nn_weights_load(w, m.ps, &(nn_weights_load_cfg){.strict = 0}, &r), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(r.loaded, 0);
    cr_expect_eq(r.missing, nn_params_count(m.ps));
    cr_expect_eq(r.unexpected, nn_weights_count(w));
    cr_expect_eq(r.lines, r.missing + r.unexpected + r.dropped);
    nn_weights_report_free(&r);
    cr_expect_eq(nn_weights_load(w, m.ps, &(nn_weights_load_cfg){.strict = 1}, &r), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "are not in it"), "%s", mn_errmsg());
    nn_weights_report_free(&r);
    nn_weights_close(w);
    close_model(&m);
}

Test(weights, pickles_may_hold_views_and_halves)
{
    static const struct {
        const char *name, *stored;
        mn_shape shape;
        int row, column, step_row, step_column; // of the (4, 6) tensor
        double tolerance;
    } rows[] = {{"swin.layers.0.blocks.0.attn.qkv.weight", "F32", {2, {4, 6}}, 0, 0, 6, 1, 0},
                {"swin.transposed", "F32", {2, {6, 4}}, 0, 0, 1, 6, 0},
                {"swin.view", "F32", {2, {2, 3}}, 1, 2, 6, 1, 0},
                {"swin.half", "F16", {2, {4, 6}}, 0, 0, 6, 1, 1e-3},
                {"swin.bf16", "BF16", {2, {4, 6}}, 0, 0, 6, 1, 8e-3},
                {"swin.double", "F64", {2, {4, 6}}, 0, 0, 6, 1, 0},
                {"swin.parameter", "F32", {1, {6}}, 0, 0, 1, 0, 0}};
    nn_weights *w = open_fixture("odd.pth");
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        int i = nn_weights_find(w, rows[k].name);
        cr_assert_geq(i, 0, "%s", rows[k].name);
        cr_expect(mn_shape_equal(nn_weights_at(w, i)->shape, rows[k].shape), "%s", rows[k].name);
        cr_expect_str_eq(nn_weights_at(w, i)->stored, rows[k].stored);
        float *x = read_item(w, i);
        int64_t width = rows[k].shape.n == 2 ? rows[k].shape.d[1] : 1;
        for (int64_t e = 0; e < mn_count(rows[k].shape); e++) {
            int64_t at =
                (rows[k].row * 6 + rows[k].column) + e / width * rows[k].step_row + e % width * rows[k].step_column;
            float want = golden_value("input.whole", MN_SHAPE(4, 6), at);
            cr_expect(fabs((double)(x[e] - want)) <= rows[k].tolerance * fabs((double)want), "%s[%lld]: %g, not %g",
                      rows[k].name, (long long)e, (double)x[e], (double)want);
        }
        free(x);
    }
    const char *why = "";
    cr_assert_eq(nn_weights_dropped(w), 1);
    cr_expect_str_eq(nn_weights_dropped_at(w, 0, &why), "swin.index");
    cr_expect_str_eq(why, "not floating point");
    nn_weights_close(w);
}

// Every byte changed and every length cut: refused, or still a file whose tensors can be read.
Test(weights, damaged_pickles_do_no_harm)
{
    static const char *const names[] = {"simmim_legacy.pth", "odd.pth"};
    char path[] = "/tmp/mien_weights_XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    for (int k = 0; k < 2; k++) {
        char *original = fixture(names[k]);
        FILE *f = fopen(original, "rb");
        static unsigned char bytes[1 << 16];
        size_t size = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        free(original);
        for (size_t i = 0; i < 2 * size; i += i < 2000 ? 7 : 101) {
            size_t keep = i < size ? size : i - size;
            if (i < size) bytes[i] ^= (unsigned char)(1 + i % 255);
            cr_assert_eq(ftruncate(fd, 0), 0);
            cr_assert_eq(pwrite(fd, bytes, keep, 0), (ssize_t)keep);
            if (i < size) bytes[i] ^= (unsigned char)(1 + i % 255);
            nn_weights *w;
            if (nn_weights_open(&w, path, NN_WEIGHTS_AUTO) != MN_OK) continue;
            for (int t = 0; t < nn_weights_count(w); t++) {
                float *x = mn_calloc((size_t)mn_count(nn_weights_at(w, t)->shape) + 1, sizeof *x);
                mn_err err = nn_weights_read(w, t, x);
                cr_expect(err == MN_OK || err == MN_EDATA, "%s", mn_errmsg());
                free(x);
            }
            nn_weights_close(w);
        }
    }
    close(fd);
    unlink(path);
}

Test(weights, unknown_files_are_refused)
{
    nn_weights *w;
    char *path = mn_sprintf("%s/bias_table.safetensors", GOLDEN_DIR);
    cr_expect_eq(nn_weights_open(&w, path, NN_WEIGHTS_AUTO), MN_EDATA);
    cr_expect(strstr(mn_errmsg(), "no known form"), "%s", mn_errmsg());
    cr_expect_eq(nn_weights_open(&w, "/nowhere/at/all.pth", NN_WEIGHTS_AUTO), MN_ENOINPUT);
    free(path);
}
