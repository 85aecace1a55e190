#include "nn/ops/loss.h"

#include "nn/ops.h"

#include <string.h>

// Workspace of a block: its sums and two rows of floats.
static int64_t block_doubles(int64_t sums, int64_t row_floats)
{
    return sums + row_floats;
}

static int64_t count_sums(const nn_node *n)
{
    return n->out_dtype[0] == MN_F64 ? mn_count(n->out_shape[0]) : 0;
}

mn_err nn__loss_prepare(nn_node *n)
{
    mn_shape x = n->in[0]->shape;
    n->work_bytes = (size_t)(nn__blocks(mn_rows(x)) * block_doubles(count_sums(n), mn_last(x))) * sizeof(double);
    return MN_OK;
}

mn_err nn__loss_sums(const nn_call *c, nn__sum_rows *leaf)
{
    mn_shape x = c->node->in[0]->shape;
    int64_t rows = mn_rows(x), n = count_sums(c->node), stride = block_doubles(n, mn_last(x));
    int64_t blocks = nn__blocks(rows);
    double *work = c->work;

#pragma omp parallel for schedule(static) if (mn_count(x) > NN__SERIAL / 8)
    for (int64_t b = 0; b < blocks; b++) {
        double *sums = work + b * stride;
        memset(sums, 0, (size_t)n * sizeof *sums);
        leaf(c, nn__block_start(rows, b), nn__block_start(rows, b + 1), sums, (float *)(sums + n));
    }
    nn__add_blocks_f64(c->out[0], work, blocks, stride, n);
    return MN_OK;
}

mn_err nn__loss_grad(const nn_call *c, nn__grad_row *leaf)
{
    if (nn__no_gradient(c)) return MN_OK;
    mn_shape x_shape = c->node->in[0]->shape;
    int64_t rows = mn_rows(x_shape), n = mn_last(x_shape), blocks = nn__blocks(rows);
    mn_dtype t = c->node->in[0]->dtype;
    double scale = *(const double *)c->dout[0];
    int acc = nn__acc(c, 0);

#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL / 8)
    for (int64_t b = 0; b < blocks; b++) {
        float *tmp = (float *)c->work + b * 2 * n;
        for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
            const float *x = nn__row_in(c->in[0], t, r * n, n, tmp);
            float *dx = nn__row_out(c->din[0], t, r * n, acc, tmp + n);
            leaf(c, r, scale, x, dx);
            nn__row_put(c->din[0], t, r * n, dx, n, acc);
        }
    }
    return MN_OK;
}

float nn__loss_weight(const nn_call *c, int64_t row, int64_t k)
{
    const float *weight = c->in[2];
    if (!weight) return 1;
    int64_t n = mn_last(c->node->in[0]->shape);
    int per_element = mn_count(c->node->in[2]->shape) == mn_count(c->node->in[0]->shape);
    return per_element ? weight[row * n + k] : weight[row];
}

mn_err nn__want_weights(const nn_node *n, int i)
{
    if (!n->in[i]) return MN_OK;
    int64_t have = mn_count(n->in[i]->shape);
    if (n->in[i]->dtype != MN_F32 || (have != mn_rows(n->in[0]->shape) && have != mn_count(n->in[0]->shape)))
        return nn_bad_shape(n, "the weights must be f32, one per row or per element of input 0");
    return MN_OK;
}

nn_tensor *nn__loss(nn_graph *g, const nn_op *sums, const nn_op *loss, int n_in, nn_tensor **in, const void *attr)
{
    in[n_in] = nn_all_sum(g, nn_emit(g, sums, sums->name, n_in, in, attr));
    return nn_emit(g, loss, loss->name, n_in + 1, in, attr);
}
