// Weights into a model, and what did not go as it is.
#include "nn/weights.h"

#include "nn/base/mem.h"
#include "nn/bias_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_line(nn_weights_report *r, char *line)
{
    r->line = mn_realloc(r->line, (size_t)r->lines + 1, sizeof *r->line);
    r->line[r->lines++] = line;
}

void nn_weights_report_free(nn_weights_report *r)
{
    for (int i = 0; i < r->lines; i++)
        free(r->line[i]);
    free(r->line);
    *r = (nn_weights_report){0};
}

static int ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

// Side of a relative position table ((2 window - 1)^2, heads); 0: it is none.
static int64_t table_side(const char *name, mn_shape shape)
{
    if (shape.n != 2 || !ends(name, ".relative_position_bias_table")) return 0;
    int64_t side = (int64_t)lround(sqrt((double)shape.d[0]));
    return side * side == shape.d[0] && side % 2 ? side : 0;
}

static mn_err read_resized(const nn_weights *w, int i, int64_t from, float *dst, int64_t to, int64_t heads)
{
    float *table = NULL;
    size_t bytes;
    MN_TRY(mn_mul_size((size_t)mn_count(nn_weights_at(w, i)->shape), sizeof *table, &bytes));
    MN_TRY(mn_large_alloc((void **)&table, bytes, "a relative position table"));
    mn_err err = nn_weights_read(w, i, table);
    if (err == MN_OK) err = nn_bias_table_resize(table, from, dst, to, heads);
    mn_large_free(table, bytes);
    return err;
}

static mn_err load_one(const nn_weights *w, int i, nn_params *ps, nn_param *p, nn_weights_report *r)
{
    char have[96], want[96];
    const nn_weight *file = nn_weights_at(w, i);
    int64_t from = table_side(p->name, file->shape), to = table_side(p->name, p->spec.shape);
    if (mn_shape_equal(file->shape, p->spec.shape)) {
        MN_TRY(nn_weights_read(w, i, nn_param_master(ps, p)));
    } else if (from && to && file->shape.d[1] == p->spec.shape.d[1]) {
        MN_TRY(read_resized(w, i, from, nn_param_master(ps, p), to, p->spec.shape.d[1]));
        r->resized++;
        add_line(r, mn_sprintf("resized %s: %lld x %lld to %lld x %lld distances", p->name, (long long)from,
                               (long long)from, (long long)to, (long long)to));
    } else {
        r->mismatched++;
        add_line(r, mn_sprintf("mismatched %s: %s in the file, %s in the model", p->name,
                               mn_shape_text(file->shape, have, sizeof have),
                               mn_shape_text(p->spec.shape, want, sizeof want)));
        return MN_OK;
    }
    p->loaded = 1;
    r->loaded++;
    return MN_OK;
}

static int wanted(const char *name, const nn_weights_load_cfg *cfg)
{
    return !cfg->prefix || strncmp(name, cfg->prefix, strlen(cfg->prefix)) == 0;
}

static void list_rest(const nn_weights *w, const nn_params *ps, const nn_weights_load_cfg *cfg, nn_weights_report *r)
{
    const char *why;
    for (int i = 0; i < nn_weights_count(w); i++) {
        const char *name = nn_weights_at(w, i)->name;
        if (!wanted(name, cfg) || nn_params_find(ps, name)) continue;
        r->unexpected++;
        add_line(r, mn_sprintf("unexpected %s: in the file, not in the model", name));
    }
    r->dropped = nn_weights_dropped(w);
    for (int i = 0; i < r->dropped; i++) {
        const char *name = nn_weights_dropped_at(w, i, &why);
        add_line(r, mn_sprintf("dropped %s: %s", name, why));
    }
}

static mn_err check_strict(const nn_weights *w, const nn_weights_load_cfg *cfg, const nn_weights_report *r)
{
    if (!cfg->strict || (!r->missing && !r->mismatched)) return MN_OK;
    const char *first = "";
    for (int i = 0; i < r->lines && !first[0]; i++)
        if (strncmp(r->line[i], "mis", 3) == 0) first = r->line[i];
    const char *keeps = strstr(first, ", keeps"); // what would be so were this no error
    return mn_fail(MN_ECONFIG,
                   "%s does not fit the model: %d of the model's tensors are not in it and %d have another shape there "
                   "(%.*s): take weights that this recipe, with the same target and sizes, was trained to",
                   nn_weights_path(w), r->missing, r->mismatched,
                   (int)(keeps ? (size_t)(keeps - first) : strlen(first)), first);
}

mn_err nn_weights_load(const nn_weights *w, nn_params *ps, const nn_weights_load_cfg *cfg, nn_weights_report *r)
{
    *r = (nn_weights_report){0};
    for (int k = 0; k < nn_params_count(ps); k++) {
        nn_param *p = nn_params_at(ps, k);
        if (!wanted(p->name, cfg)) continue;
        int i = nn_weights_find(w, p->name);
        if (i >= 0) {
            MN_TRY(load_one(w, i, ps, p, r));
        } else {
            r->missing++;
            add_line(r, mn_sprintf("missing %s: not in the file, keeps its initial value", p->name));
        }
    }
    list_rest(w, ps, cfg, r);
    MN_TRY(nn_params_sync(ps));
    return check_strict(w, cfg, r);
}
