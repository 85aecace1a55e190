#include "recipes/sampling.h"

#include "data/mix.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>

typedef struct part { // one dataset
    const data_selection *selection;
    double weight; // of data
    int64_t first; // its first sample in the set
    int32_t *group;
    int64_t n_groups;
} part;

int mien_sampling_columns(const mien_job *j)
{
    static const int column[] = {0, DATA_KEEP_EXPR, 0, DATA_KEEP_IDENTITY};
    return column[j->common.sampling_by];
}

static mn_err open_part(const mien_job *j, part *p)
{
    static const data_group by[] = {0, DATA_BY_EXPRESSION, DATA_BY_VIDEO, DATA_BY_IDENTITY};
    size_t bytes;
    MN_TRY(mn_mul_size((size_t)data_selection_count(p->selection) + 1, sizeof *p->group, &bytes));
    p->group = malloc(bytes);
    if (!p->group) return mn_fail(MN_EMEM, "no memory for the groups of %zu bytes of samples", bytes);
    return data_selection_groups(p->selection, by[j->common.sampling_by], p->group, &p->n_groups);
}

// Samples of each group as they are shown: of one dataset as they are there, of expressions over all datasets together.
static double *count_groups(const part *parts, int n, int together, int k)
{
    double *shown = mn_calloc((size_t)parts[k].n_groups, sizeof *shown);
    for (int i = 0; i < n; i++) {
        if (!together && i != k) continue;
        for (int64_t s = 0; s < data_selection_count(parts[i].selection); s++)
            shown[parts[i].group[s]] += together ? parts[i].weight : 1;
    }
    return shown;
}

static void weigh(const mien_job *j, const part *parts, int n, double *weights)
{
    int together = j->common.sampling_by == MIEN_SAMPLING_EXPRESSION;
    for (int k = 0; k < n; k++) {
        double *shown = count_groups(parts, n, together, k);
        for (int64_t s = 0; s < data_selection_count(parts[k].selection); s++)
            weights[parts[k].first + s] = parts[k].weight * pow(shown[parts[k].group[s]], -j->common.sampling_power);
        free(shown);
    }
}

mn_err mien_sampling_open(mien_job *j, const data_set *set, dist_train_cfg *cfg)
{
    const mien_common *c = &j->common;
    const mien_part *data = c->data.v;
    int n = (int)c->data.n;
    size_t bytes;
    double *weights = NULL;
    mn_err err;
    if (c->sampling_by == MIEN_SAMPLING_NONE) return MN_OK;
    if (!j->task->selection)
        return mn_recipe_fail(j->recipe, "sampling.by", "%s does not train on single frames", j->task->name);
    part *parts = mn_calloc((size_t)n, sizeof *parts);
    int64_t samples = 0;
    for (int k = 0; k < n; k++) {
        parts[k] = (part){.selection = j->task->selection(j, n == 1 ? set : data_mix_set(set, k)),
                          .weight = n == 1 ? 1 : data[k].weight,
                          .first = samples};
        samples += data_selection_count(parts[k].selection);
        err = open_part(j, &parts[k]);
        if (err == MN_ECONFIG) err = mn_recipe_fail(j->recipe, "sampling.by", "%s", mn_errmsg());
        if (err != MN_OK) goto out;
    }
    MN_TRY_OUT(err, mn_mul_size((size_t)samples, sizeof *weights, &bytes));
    weights = malloc(bytes);
    if (!weights) {
        err = mn_fail(MN_EMEM, "no memory for the sampling weights of %lld samples", (long long)samples);
        goto out;
    }
    weigh(j, parts, n, weights);
    cfg->weights = weights;
    cfg->epoch_samples = c->sampling_samples > 0 ? c->sampling_samples : data_set_epoch(set);
out:
    for (int k = 0; k < n; k++)
        free(parts[k].group);
    free(parts);
    return err;
}
