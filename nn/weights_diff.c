// Two weights files, tensor by tensor.
#include "nn/weights.h"

#include "nn/base/mem.h"

#include <math.h>
#include <string.h>

static mn_err read_large(const nn_weights *w, int i, float **x, size_t *bytes)
{
    MN_TRY(mn_mul_size((size_t)mn_count(nn_weights_at(w, i)->shape) + 1, sizeof **x, bytes));
    MN_TRY(mn_large_alloc((void **)x, *bytes, "a tensor"));
    return nn_weights_read(w, i, *x);
}

static void measure(const float *a, const float *b, int64_t n, nn_weights_difference *d)
{
    double largest = 0, distance = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)a[i] - (double)b[i]);
        if (!(e <= largest)) largest = e; // NaN stays
        distance += e * e;
        norm += (double)b[i] * (double)b[i];
    }
    d->largest = largest;
    d->relative = distance == 0 ? 0 : sqrt(distance / norm);
}

static mn_err compare(const nn_weights *a, int i, const nn_weights *b, int j, nn_weights_difference *d)
{
    float *x = NULL, *y = NULL;
    size_t x_bytes = 0, y_bytes = 0;
    mn_err err = MN_OK;
    d->largest = d->relative = (double)NAN;
    if (i < 0 || j < 0 || !mn_shape_equal(d->a->shape, d->b->shape)) return MN_OK;
    MN_TRY_OUT(err, read_large(a, i, &x, &x_bytes));
    MN_TRY_OUT(err, read_large(b, j, &y, &y_bytes));
    measure(x, y, mn_count(d->a->shape), d);
out:
    mn_large_free(x, x_bytes);
    mn_large_free(y, y_bytes);
    return err;
}

mn_err nn_weights_diff(const nn_weights *a, const nn_weights *b, nn_weights_difference_fn *each, void *ctx)
{
    int i = 0, j = 0;
    while (i < nn_weights_count(a) || j < nn_weights_count(b)) {
        nn_weights_difference d = {.a = i < nn_weights_count(a) ? nn_weights_at(a, i) : NULL,
                                   .b = j < nn_weights_count(b) ? nn_weights_at(b, j) : NULL};
        int order = !d.a ? 1 : !d.b ? -1 : strcmp(d.a->name, d.b->name);
        if (order < 0) d.b = NULL;
        if (order > 0) d.a = NULL;
        d.name = d.a ? d.a->name : d.b->name;
        MN_TRY(compare(a, d.a ? i : -1, b, d.b ? j : -1, &d));
        MN_TRY(each(ctx, &d));
        i += d.a != NULL;
        j += d.b != NULL;
    }
    return MN_OK;
}
