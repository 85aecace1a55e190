#include "data/mix.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct mix {
    data_set base;
    int n;
    data_set **set;
    int64_t *first; // (n + 1): sample of the mixture where each set starts
    data_source *source;
} mix;

int data_mix_part(const data_set *base, int64_t i, int64_t *index)
{
    const mix *m = (const mix *)base;
    mn_assert(i >= 0 && i < base->count);
    int k = 0;
    while (m->first[k + 1] <= i)
        k++;
    *index = i - m->first[k];
    return k;
}

const data_set *data_mix_set(const data_set *base, int k)
{
    const mix *m = (const mix *)base;
    mn_assert(k >= 0 && k < m->n);
    return m->set[k];
}

static void close_scratch(data_set *base, void *memory)
{
    const mix *m = (const mix *)base;
    void **scratch = memory;
    for (int t = 0; t < DATA_STAGES; t++)
        base->stage[t] = 0;
    for (int k = 0; k < m->n; k++) {
        if (scratch[k]) m->set[k]->ops->scratch_close(m->set[k], scratch[k]);
        for (int t = 0; t < DATA_STAGES; t++)
            base->stage[t] += m->set[k]->stage[t];
    }
    free(scratch);
}

static mn_err open_scratch(data_set *base, void **out)
{
    const mix *m = (const mix *)base;
    void **scratch = mn_calloc((size_t)m->n, sizeof *scratch);
    for (int k = 0; k < m->n; k++) {
        if (!m->set[k]->ops->scratch_open) continue;
        mn_err err = m->set[k]->ops->scratch_open(m->set[k], &scratch[k]);
        if (err != MN_OK) {
            close_scratch(base, scratch);
            return err;
        }
    }
    *out = scratch;
    return MN_OK;
}

static mn_err read_mixed(data_set *base, void *memory, int64_t index, data_draw draw, void *const *field)
{
    const mix *m = (const mix *)base;
    int64_t i;
    int k = data_mix_part(base, index, &i);
    return m->set[k]->ops->read(m->set[k], ((void **)memory)[k], i, draw, field);
}

static void prefetch_mixed(const data_set *base, int64_t index)
{
    const mix *m = (const mix *)base;
    int64_t i;
    const data_set *set = m->set[data_mix_part(base, index, &i)];
    if (set->ops->prefetch) set->ops->prefetch(set, i);
}

static uint64_t id_of(const data_set *base, int64_t index)
{
    const mix *m = (const mix *)base;
    int64_t i;
    int k = data_mix_part(base, index, &i);
    uint64_t record = m->set[k]->ops->id(m->set[k], i) & (((uint64_t)1 << 48) - 1);
    return (uint64_t)k << 48 | record;
}

static void close_mix(data_set *base)
{
    mix *m = (mix *)base;
    for (int k = 0; k < m->n; k++)
        data_set_close(m->set[k]);
    free(m->set);
    free(m->first);
    free(m->source);
    free(m);
}

static void copy_shard(const data_set *base, struct data_copies *to, int source, int shard)
{
    const mix *m = (const mix *)base;
    int k = 0; // sources are in the order of the sets; a set without samples has none
    while (m->first[k + 1] <= m->source[source].first)
        k++;
    int of_set = 0;
    while (source - of_set > 0 && m->source[source - of_set - 1].first >= m->first[k])
        of_set++;
    if (m->set[k]->ops->copy) m->set[k]->ops->copy(m->set[k], to, of_set, shard);
}

static const data_set_ops mix_ops = {.name = "mixture",
                                     .copy = copy_shard,
                                     .read = read_mixed,
                                     .prefetch = prefetch_mixed,
                                     .id = id_of,
                                     .scratch_open = open_scratch,
                                     .scratch_close = close_scratch,
                                     .close = close_mix};

static mn_err check_fields(const data_set *a, const data_set *b, int k)
{
    int same = a->n_fields == b->n_fields && a->weight_field == b->weight_field;
    for (int f = 0; same && f < a->n_fields; f++)
        same = strcmp(a->field[f].name, b->field[f].name) == 0 && a->field[f].dtype == b->field[f].dtype &&
               mn_shape_equal(a->field[f].shape, b->field[f].shape);
    return same ? MN_OK : mn_fail(MN_ECONFIG, "set %d of the mixture has other fields than the first", k + 1);
}

static mn_err add_sources(mix *m, const data_set *s, double weight, int k)
{
    data_source all = {.count = s->count, .per_epoch = s->count};
    const data_source *from = s->source ? s->source : &all;
    int n = s->source ? s->n_sources : 1;
    if (!(weight > 0) || !isfinite(weight))
        return mn_fail(MN_ECONFIG, "weight %g of set %d of the mixture is not positive", weight, k + 1);
    if (s->count == 0) return MN_OK;
    m->source = mn_realloc(m->source, (size_t)(m->base.n_sources + n), sizeof *m->source);
    for (int i = 0; i < n; i++) {
        data_source *to = &m->source[m->base.n_sources++];
        double samples = rint(weight * (double)from[i].per_epoch);
        if (samples > 0x1p53) return mn_fail(MN_ECONFIG, "weight %g of set %d makes an endless epoch", weight, k + 1);
        *to = from[i];
        to->first += m->first[k];
        to->per_epoch = samples < 1 ? 1 : (int64_t)samples;
    }
    return MN_OK;
}

static mn_err open_mix(mix *m, const double *weights)
{
    uint64_t digest = XXH3_64bits(weights, (size_t)m->n * sizeof *weights);
    for (int k = 0; k < m->n; k++) {
        const data_set *s = m->set[k];
        MN_TRY(check_fields(m->set[0], s, k));
        MN_TRY(add_sources(m, s, weights[k], k));
        m->first[k + 1] = m->first[k] + s->count;
        digest = XXH3_64bits_withSeed(&s->digest, sizeof s->digest, digest);
    }
    m->base.count = m->first[m->n];
    m->base.source = m->base.n_sources ? m->source : NULL;
    m->base.digest = digest;
    m->base.n_fields = m->set[0]->n_fields;
    m->base.weight_field = m->set[0]->weight_field;
    memcpy(m->base.field, m->set[0]->field, sizeof m->base.field);
    return MN_OK;
}

mn_err data_mix_open(data_set **out, data_set *const *sets, const double *weights, int n)
{
    mn_assert(n >= 1);
    mix *m = mn_calloc(1, sizeof *m);
    m->base.ops = &mix_ops;
    m->n = n;
    m->set = mn_calloc((size_t)n, sizeof *m->set);
    m->first = mn_calloc((size_t)n + 1, sizeof *m->first);
    memcpy(m->set, sets, (size_t)n * sizeof *sets);
    mn_err err = open_mix(m, weights);
    if (err != MN_OK) {
        close_mix(&m->base);
        return err;
    }
    *out = &m->base;
    return MN_OK;
}
