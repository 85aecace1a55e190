// Sampling in proportion to weights: sums of the weights, searched. A lane draws from its share of the sums of every
// source, so that a rank reads the shards of its lanes here too, and a batch has every part of the data in its share.
#include "data/order_lanes.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>

mn_err data__weights_open(data_order *o, const double *weights)
{
    int64_t n = 0;
    size_t bytes;
    for (int i = 0; i < o->n_sources; i++)
        n += o->source[i].count;
    MN_TRY(mn_mul_size((size_t)n + 1, sizeof *o->sum, &bytes));
    o->sum = malloc(bytes);
    if (!o->sum) return mn_fail(MN_EMEM, "no memory for the sampling weights of %lld samples", (long long)n);
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(weights[i]) || weights[i] < 0)
            return mn_fail(MN_ECONFIG, "sampling weight %g of sample %lld is not a finite number of at least 0",
                           weights[i], (long long)i);
        o->sum[i] = total;
        total += weights[i];
    }
    o->sum[n] = total;
    if (!(total > 0) || !isfinite(total))
        return mn_fail(MN_ECONFIG, "the sampling weights of %lld samples sum to %g", (long long)n, total);
    o->sources_sum = mn_calloc((size_t)o->n_sources + 1, sizeof *o->sources_sum);
    n = 0;
    for (int i = 0; i < o->n_sources; i++)
        o->sources_sum[i + 1] = o->sum[n += o->source[i].count];
    return MN_OK;
}

// Last i in [0, n) with sum[i] <= value and a weight above 0; value < sum[n] but for rounding.
static int64_t find(const double *sum, int64_t n, double value)
{
    int64_t low = 0, high = n;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (sum[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    while (low > 0 && sum[low + 1] <= sum[low])
        low--;
    while (low + 1 < n && sum[low + 1] <= sum[low])
        low++;
    return low;
}

static void slice_of(const data_order *o, int source, int lane, int end, double *low, double *high)
{
    double begin = o->sources_sum[source], all = o->sources_sum[source + 1] - begin, batch = (double)o->batch;
    *low = o->is_cut[source] ? begin + all * ((double)o->lane[lane].row / batch) : begin;
    *high = o->is_cut[source] ? begin + all * ((double)o->lane[end].row / batch) : begin + all;
}

static int64_t first_of(const data_order *o, int source)
{
    int64_t first = 0;
    for (int i = 0; i < source; i++)
        first += o->source[i].count;
    return first;
}

int64_t data__weights_draw(const data_order *o, int lane, double which, double where)
{
    double low, high;
    int source = (int)find(o->sources_sum, o->n_sources, which * o->sources_sum[o->n_sources]);
    slice_of(o, source, lane, lane + 1, &low, &high);
    return o->source[source].first +
           find(o->sum + first_of(o, source), o->source[source].count, low + where * (high - low));
}

int data__weights_read(const data_order *o, int source, int64_t first, int64_t count, int lane, int end)
{
    double low, high;
    const double *sum = o->sum + first_of(o, source) + first;
    slice_of(o, source, lane, end, &low, &high);
    return sum[0] < sum[count] && sum[0] <= high && sum[count] >= low; // a shard at the border counts, for rounding
}
