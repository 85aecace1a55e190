#include "gpu_support.h"

#include "nn/base/mem.h"
#include "nn/device_cuda.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const nn_cuda_api nn_cuda_module __attribute__((weak)); // of the port; NULL: not part of this program

static const nn_op *const ops[] = {
#define NN_OP(name) &nn_op_##name,
#include "nn/ops.def"
#undef NN_OP
};

static nn_device wrapped;
static const nn_device *inner;

int gpu_is_port(void)
{
    const char *which = getenv("GPU_TEST");
    return &nn_cuda_module && (!which || strcmp(which, "module") != 0);
}

// --- an op of the test: its operands to the host, its CPU kernel, its results back ---

static size_t bytes_of(const nn_tensor *t)
{
    return (size_t)mn_count(t->shape) * mn_dtype_size(t->dtype);
}

static void *fetched(const void *p, size_t bytes)
{
    if (!p) return NULL;
    void *host = mn_calloc(1, bytes + 1);
    gpu_read(inner, host, p, bytes);
    return host;
}

static mn_err run_on_host(const nn_call *c, int backward)
{
    const nn_node *n = c->node;
    nn_call host = *c;
    nn_tick tick;
    gpu_read(inner, &tick, c->tick, sizeof tick);
    host.tick = &tick;
    for (int k = 0; k < n->n_in; k++) {
        host.in[k] = n->in[k] ? fetched(c->in[k], bytes_of(n->in[k])) : NULL;
        host.din[k] = n->in[k] ? fetched(c->din[k], bytes_of(n->in[k])) : NULL;
    }
    for (int k = 0; k < n->n_out; k++) {
        host.out[k] = fetched(c->out[k], bytes_of(n->out[k]));
        host.dout[k] = fetched(c->dout[k], bytes_of(n->out[k]));
    }
    mn_err err = backward ? n->op->cpu.bwd(&host) : n->op->cpu.fwd(&host);
    for (int k = 0; k < n->n_in && backward; k++)
        if (c->din[k] && err == MN_OK) err = inner->copy(inner, c->din[k], host.din[k], bytes_of(n->in[k]));
    for (int k = 0; k < n->n_out && !backward; k++)
        if (err == MN_OK) err = inner->copy(inner, c->out[k], host.out[k], bytes_of(n->out[k]));
    if (err == MN_OK) err = inner->wait(inner);
    for (int k = 0; k < NN_MAX_IN; k++) {
        if (k < n->n_in) free((void *)host.in[k]);
        if (k < n->n_in) free(host.din[k]);
    }
    for (int k = 0; k < n->n_out; k++) {
        free(host.out[k]);
        free((void *)host.dout[k]);
    }
    return err;
}

static mn_err forward_on_host(const nn_call *c)
{
    return run_on_host(c, 0);
}

static mn_err backward_on_host(const nn_call *c)
{
    return run_on_host(c, 1);
}

static const nn_kernels *kernels(const nn_device *d, const nn_op *op)
{
    static const nn_kernels host = {.fwd = forward_on_host, .bwd = backward_on_host};
    (void)d;
    const nn_kernels *k = inner->kernels(inner, op);
    return k ? k : &host;
}

const nn_device *gpu_open(void)
{
    if (gpu_is_port()) {
        cr_assert_eq(nn_cuda_module.open(&inner, 0, ops), MN_OK, "%s", mn_errmsg());
    } else if (nn_device_cuda_open(&inner, 0) != MN_OK) {
        fprintf(stderr, "no GPU: %s\n", mn_errmsg()); // Criterion keeps the reason to itself
        cr_skip_test("no GPU: %s", mn_errmsg());
    }
    wrapped = *inner;
    wrapped.kernels = kernels;
    return &wrapped;
}

void gpu_close(const nn_device *d)
{
    (void)d;
    if (gpu_is_port())
        nn_cuda_module.close(inner);
    else
        nn_device_cuda_close(inner);
}

void gpu_read(const nn_device *d, void *to, const void *from, size_t bytes)
{
    mn_err err = d->copy(d, to, from, bytes);
    if (err == MN_OK) err = d->wait(d);
    cr_assert_eq(err, MN_OK, "%s", mn_errmsg());
}
