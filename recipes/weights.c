// mien weights info FILE | diff A B | import IN OUT.safetensors [--form F] [--window N] | export FROM OUT.safetensors --form F
#include "recipes/verbs.h"

#include "dist/ckpt.h"
#include "nn/base/mem.h"
#include "nn/bias_table.h"
#include "nn/safetensors.h"
#include "nn/weights.h"
#include "recipes/usage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct argp_option options[] = {
    {"form", 'f', "NAME", 0,
     "Whose names the tensors have: of the input of info, diff and import (found out without it), of the output of "
     "export. mien, simmim (microsoft/SimMIM), swin (microsoft/Swin-Transformer), timm, hf-swin, hf-wav2vec2, abaw2024",
     0},
    {"window", 'W', "N", 0,
     "import: resize the tables of relative positions to windows of N x N tokens (training does so by itself)", 0},
    {"runs", 'r', "DIR", 0, "Where runs are (default ./runs)", 0},
    {"last", 'l', 0, 0, "Of a run, the newest checkpoint instead of the best", 0},
    {"json", 'j', 0, 0, "info, diff: one JSON object", 0},
    {0},
};

typedef struct weights_arguments {
    const char *what, *file[2], *runs;
    int files, last, json;
    nn_weights_form form; // NN_WEIGHTS_AUTO: not given
    int64_t window;
} weights_arguments;

static error_t read_form(weights_arguments *a, const char *name, struct argp_state *state)
{
    a->form = nn_weights_form_parse(name);
    if (a->form != NN_WEIGHTS_FORMS) return 0;
    char forms[256] = "";
    for (int i = NN_WEIGHTS_AUTO + 1; i < NN_WEIGHTS_FORMS; i++) {
        size_t used = strlen(forms);
        snprintf(forms + used, sizeof forms - used, " %s", nn_weights_form_name((nn_weights_form)i));
    }
    return mien_usage(state, "there is no form '%s'; the forms:%s", name, forms);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    weights_arguments *a = state->input;
    switch (key) {
    case 'f':
        return read_form(a, arg, state);
    case 'W':
        return mien_int(state, "--window", arg, 2, 64, &a->window);
    case 'r':
        a->runs = arg;
        return 0;
    case 'l':
        a->last = 1;
        return 0;
    case 'j':
        a->json = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (!a->what)
            a->what = arg;
        else if (a->files < 2)
            a->file[a->files++] = arg;
        else
            return mien_usage(state, "one argument too many: '%s'", arg);
        return 0;
    case ARGP_KEY_END:
        return a->what ? 0 : mien_usage(state, "what to do is missing: info, diff, import or export");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "info FILE\ndiff A B\nimport IN OUT.safetensors\nexport FROM OUT.safetensors",
    .doc =
        "Looks into files of weights and changes the names of their tensors between this program's and those of other "
        "projects. Inputs are .safetensors, PyTorch .pth (read without running anything from it), checkpoint folders "
        "and runs.\v"
        "Example:\n  mien weights import swin_tiny_patch4_window7_224.pth swin_t.safetensors\n"
        "  mien train recipes/affwild2/expr.yaml init.from=swin_t.safetensors\n"
        "  mien weights export affwild2-expr timm.safetensors --form timm"};

// By the rules of --weights, so that a damaged checkpoint is refused here too; a file may be of any kind.
static mn_err open_input(nn_weights **out, const weights_arguments *a, const char *from, nn_weights_form form)
{
    char path[DIST_CKPT_PATH];
    MN_TRY(dist_ckpt_find_model(from, a->runs, !a->last, path, sizeof path));
    return nn_weights_open(out, path, form);
}

// --- info ---

// Names come from files: what JSON does not take as it is becomes '?'.
static const char *plain(const char *name, char text[300])
{
    snprintf(text, 300, "%s", name);
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '?';
    return text;
}

static void shape_text(const mn_shape *s, char text[160])
{
    size_t used = (size_t)snprintf(text, 160, "[");
    for (int i = 0; i < s->n; i++)
        used += (size_t)snprintf(text + used, 160 - used, i ? ", %lld" : "%lld", (long long)s->d[i]);
    snprintf(text + used, 160 - used, "]");
}

static void info_json(const nn_weights *w)
{
    char name[300], shape[160];
    const char *why;
    printf("{\"path\": \"%s\", \"container\": \"%s\", \"form\": \"%s\", \"parameters\": %lld, \"tensors\": {",
           plain(nn_weights_path(w), name), nn_weights_container(w), nn_weights_form_name(nn_weights_form_of(w)),
           (long long)nn_weights_elements(w));
    for (int i = 0; i < nn_weights_count(w); i++) {
        const nn_weight *t = nn_weights_at(w, i);
        shape_text(&t->shape, shape);
        printf("%s\"%s\": {\"shape\": %s, \"stored\": \"%s\"}", i ? ", " : "", plain(t->name, name), shape, t->stored);
    }
    printf("}, \"left_out\": {");
    for (int i = 0; i < nn_weights_dropped(w); i++) {
        printf("%s\"%s\": ", i ? ", " : "", plain(nn_weights_dropped_at(w, i, &why), name));
        printf("\"%s\"", plain(why, name));
    }
    printf("}}\n");
}

static void info_text(const nn_weights *w)
{
    char shape[160];
    const char *why;
    printf("file        %s\ncontainer   %s\nnames       %s\n", nn_weights_path(w), nn_weights_container(w),
           nn_weights_form_name(nn_weights_form_of(w)));
    printf("tensors     %d, %lld parameters\n\n", nn_weights_count(w), (long long)nn_weights_elements(w));
    for (int i = 0; i < nn_weights_count(w); i++) {
        const nn_weight *t = nn_weights_at(w, i);
        shape_text(&t->shape, shape);
        printf("  %-64s %-5s %s\n", t->name, t->stored, shape);
    }
    if (nn_weights_dropped(w) > 0) printf("\nleft out, they have no place in a network of this program:\n");
    for (int i = 0; i < nn_weights_dropped(w); i++) {
        const char *name = nn_weights_dropped_at(w, i, &why);
        printf("  %-64s %s\n", name, why);
    }
}

static mn_err info(const weights_arguments *a)
{
    nn_weights *w;
    MN_TRY(open_input(&w, a, a->file[0], a->form));
    if (a->json)
        info_json(w);
    else
        info_text(w);
    nn_weights_close(w);
    return MN_OK;
}

// --- diff ---

typedef struct comparison {
    int json, printed, same, changed, only_a, only_b, reshaped;
    double largest;
} comparison;

static mn_err print_difference(void *context, const nn_weights_difference *d)
{
    comparison *c = context;
    char name[300], a[160] = "null", b[160] = "null";
    int alike = d->a && d->b && !isnan(d->largest); // in both, with one shape
    if (d->a) shape_text(&d->a->shape, a);
    if (d->b) shape_text(&d->b->shape, b);
    if (alike && d->largest == 0) {
        c->same++;
        return MN_OK;
    }
    ++*(alike ? &c->changed : !d->b ? &c->only_a : !d->a ? &c->only_b : &c->reshaped);
    if (d->largest > c->largest) c->largest = d->largest;
    if (c->json) printf("%s\"%s\": ", c->printed++ ? ", " : "", plain(d->name, name));
    if (c->json && alike)
        printf("{\"largest\": %.9g, \"relative\": %.9g}", d->largest, d->relative);
    else if (c->json)
        printf("{\"a\": %s, \"b\": %s}", a, b);
    else if (alike)
        printf("  %-64s largest %.3g, relative %.3g\n", d->name, d->largest, d->relative);
    else if (d->a && d->b)
        printf("  %-64s %s in A, %s in B\n", d->name, a, b);
    else
        printf("  %-64s only in %s  %s\n", d->name, d->a ? "A" : "B", d->a ? a : b);
    return MN_OK;
}

static mn_err diff(const weights_arguments *a)
{
    nn_weights *w[2] = {NULL, NULL};
    comparison c = {.json = a->json};
    mn_err err;
    for (int i = 0; i < 2; i++)
        MN_TRY_OUT(err, open_input(&w[i], a, a->file[i], a->form));
    if (a->json) printf("{\"tensors\": {");
    MN_TRY_OUT(err, nn_weights_diff(w[0], w[1], print_difference, &c));
    printf(a->json ? "}, \"same\": %d, \"changed\": %d, \"reshaped\": %d, \"only_a\": %d, \"only_b\": %d, \"largest\": "
                     "%.9g}\n"
                   : "%d tensors are the same, %d differ in values, %d in shape, %d only in A, %d only in B; largest "
                     "difference %.9g\n",
           c.same, c.changed, c.reshaped, c.only_a, c.only_b, c.largest);
out:
    nn_weights_close(w[0]);
    nn_weights_close(w[1]);
    return err;
}

// --- import and export ---

static int is_table(const char *name)
{
    static const char end[] = ".relative_position_bias_table";
    size_t n = strlen(name), m = sizeof end - 1;
    return n > m && strcmp(name + n - m, end) == 0;
}

// A table (side^2, heads) for another window, in place of *data.
static mn_err resize_table(nn_safetensor *t, float **data, int64_t window)
{
    int64_t from = llround(sqrt((double)t->shape.d[0])), to = 2 * window - 1, heads = t->shape.d[1];
    if (t->shape.n != 2 || from * from != t->shape.d[0])
        return mn_fail(MN_EDATA, "%s: not a table of relative positions", t->name);
    float *resized = mn_calloc((size_t)(to * to * heads), sizeof *resized);
    mn_err err = nn_bias_table_resize(*data, from, resized, to, heads);
    free(*data);
    *data = resized;
    t->shape.d[0] = to * to;
    return err;
}

// Writes w under our names with every table resized; *tables: how many.
static mn_err write_resized(const nn_weights *w, const char *path, int64_t window, int *tables)
{
    const nn_safetensors_pair made_by[] = {{"format", "pt"}, {"producer", "mien " MIEN_VERSION}};
    int n = nn_weights_count(w);
    nn_safetensor *tensor = mn_calloc((size_t)n + 1, sizeof *tensor);
    float **data = mn_calloc((size_t)n + 1, sizeof *data);
    mn_err err = MN_OK;
    for (int i = 0; i < n && err == MN_OK; i++) {
        const nn_weight *from = nn_weights_at(w, i);
        tensor[i] = (nn_safetensor){.dtype = NN_SAFETENSORS_F32, .shape = from->shape};
        snprintf(tensor[i].name, sizeof tensor[i].name, "%s", from->name);
        data[i] = mn_calloc((size_t)mn_count(from->shape) + 1, sizeof **data);
        err = nn_weights_read(w, i, data[i]);
        if (err != MN_OK || !is_table(from->name) || from->shape.n < 2) continue;
        err = resize_table(&tensor[i], &data[i], window);
        ++*tables;
    }
    if (err == MN_OK && *tables == 0)
        err = mn_fail(MN_ECONFIG, "%s: it has no table of relative positions that --window could resize",
                      nn_weights_path(w));
    if (err == MN_OK) err = nn_safetensors_write(path, tensor, (const float *const *)data, n, made_by, 2);
    for (int i = 0; i < n; i++)
        free(data[i]);
    free(tensor);
    free(data);
    return err;
}

static mn_err check_output(const char *path)
{
    size_t n = strlen(path);
    if (n > 12 && strcmp(path + n - 12, ".safetensors") == 0) return MN_OK;
    return mn_fail(MN_EUSAGE, "%s: the output is a safetensors file: let its name end in .safetensors", path);
}

static mn_err import(const weights_arguments *a)
{
    nn_weights *w;
    int tables = 0;
    MN_TRY(check_output(a->file[1]));
    MN_TRY(open_input(&w, a, a->file[0], a->form));
    mn_err err = a->window ? write_resized(w, a->file[1], a->window, &tables)
                           : nn_weights_write(w, a->file[1], NN_WEIGHTS_MIEN, NULL);
    if (err == MN_OK) {
        printf("%s: %d tensors, %lld parameters of %s names", a->file[1], nn_weights_count(w),
               (long long)nn_weights_elements(w), nn_weights_form_name(nn_weights_form_of(w)));
        if (tables) printf(", %d tables resized to windows of %lld", tables, (long long)a->window);
        printf("; %d left out\n", nn_weights_dropped(w));
    }
    nn_weights_close(w);
    return err;
}

static mn_err export(const weights_arguments *a)
{
    nn_weights *w;
    int left_out = 0;
    MN_TRY(check_output(a->file[1]));
    if (a->form == NN_WEIGHTS_AUTO) return mn_fail(MN_EUSAGE, "export needs --form; see mien weights --help");
    MN_TRY(open_input(&w, a, a->file[0], NN_WEIGHTS_AUTO));
    mn_err err = nn_weights_write(w, a->file[1], a->form, &left_out);
    if (err == MN_OK)
        printf("%s: %d tensors under %s names; %d have none there and were left out\n", a->file[1],
               nn_weights_count(w) - left_out, nn_weights_form_name(a->form), left_out);
    nn_weights_close(w);
    return err;
}

mn_err mien_weights(int argc, char **argv)
{
    static const struct {
        const char *name;
        int files;
        mn_err (*run)(const weights_arguments *a);
    } actions[] = {{"info", 1, info}, {"diff", 2, diff}, {"import", 2, import}, {"export", 2, export}};
    weights_arguments a = {.runs = "./runs"};
    char name[] = "mien weights";
    argv[0] = name;
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(a.what, actions[i].name) != 0) continue;
        if (a.files != actions[i].files)
            return mn_fail(MN_EUSAGE, "%s takes %d file%s, here are %d; see mien weights --help", a.what,
                           actions[i].files, actions[i].files == 1 ? "" : "s", a.files);
        if (a.window && actions[i].run != import)
            return mn_fail(MN_EUSAGE, "--window is for import; see mien weights --help");
        return actions[i].run(&a);
    }
    static const char *const known[] = {"info", "diff", "import", "export"};
    return mien_unknown("mien weights", "action", a.what, known, 4);
}
