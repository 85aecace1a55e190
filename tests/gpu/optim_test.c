// AdamW on the GPU against the CPU: several updates with clipping, layer decay and short chunks; steps that are not
// finite between them change nothing; padding is never touched.
#include "gpu_support.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Chunks begin at multiples of 16 elements; counts: a whole one, one that ends inside an access, two short ones.
static const nn_adamw_chunk chunks[] = {{.offset = 0, .count = NN_ADAMW_CHUNK, .lr_scale = 1, .decay = 0.05},
                                        {.offset = NN_ADAMW_CHUNK, .count = 301, .lr_scale = 0.5, .decay = 0.05},
                                        {.offset = NN_ADAMW_CHUNK + 320, .count = 8, .lr_scale = 1, .decay = 0},
                                        {.offset = NN_ADAMW_CHUNK + 336, .count = 3, .lr_scale = 0.25, .decay = 0.1}};
enum { CHUNKS = (int)(sizeof chunks / sizeof *chunks), N = NN_ADAMW_CHUNK + 352 };

// A step of one of the two sides: what is fed, and what came of it.
typedef struct side {
    const nn_device *device;
    nn_adamw a;
    float *grad, *m, *v, *master;
    nn_optim_step_args *args;
    double *loss;
} side;

static void *room(const nn_device *d, size_t bytes, int byte)
{
    void *p;
    cr_assert_eq(d->alloc(d, &p, bytes, "a test"), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(d->fill(d, p, byte, bytes), MN_OK);
    return p;
}

static side side_open(const nn_device *d)
{
    side s = {.device = d,
              .grad = room(d, N * sizeof(float), 0xff),
              .m = room(d, N * sizeof(float), 0),
              .v = room(d, N * sizeof(float), 0),
              .master = room(d, N * sizeof(float), 0),
              .args = room(d, sizeof(nn_optim_step_args), 0),
              .loss = room(d, sizeof(double), 0)};
    nn_adamw_chunk *table = room(d, sizeof chunks, 0);
    cr_assert_eq(d->copy(d, table, chunks, sizeof chunks), MN_OK);
    s.a = (nn_adamw){.beta1 = 0.9,
                     .beta2 = 0.999,
                     .eps = 1e-8,
                     .chunk = table,
                     .n_chunks = CHUNKS,
                     .master = s.master,
                     .work = room(d, N * sizeof(mn_bf16), 0),
                     .grad = s.grad,
                     .m = s.m,
                     .v = s.v,
                     .square = room(d, (CHUNKS + NN_ADAMW_SCRATCH) * sizeof(double), 0xff),
                     .args = s.args,
                     .result = room(d, sizeof(nn_optim_result), 0),
                     .loss = s.loss};
    return s;
}

static void side_close(side *s)
{
    const nn_device *d = s->device;
    d->release(d, s->grad, N * sizeof(float));
    d->release(d, s->m, N * sizeof(float));
    d->release(d, s->v, N * sizeof(float));
    d->release(d, s->master, N * sizeof(float));
    d->release(d, s->args, sizeof(nn_optim_step_args));
    d->release(d, s->loss, sizeof(double));
    d->release(d, (void *)s->a.chunk, sizeof chunks);
    d->release(d, s->a.work, N * sizeof(mn_bf16));
    d->release(d, s->a.square, (CHUNKS + NN_ADAMW_SCRATCH) * sizeof(double));
    d->release(d, s->a.result, sizeof(nn_optim_result));
}

// NaN in the padding between chunks.
static void gradients(float *g, int step)
{
    for (int i = 0; i < N; i++)
        g[i] = NAN;
    for (int k = 0; k < CHUNKS; k++)
        for (int64_t i = chunks[k].offset; i < chunks[k].offset + chunks[k].count; i++)
            g[i] = (float)(sin((double)(i + 1) * 0.37 + step) * (1 + step % 3));
}

static nn_optim_result step(side *s, const float *grad, double loss, double clip)
{
    const nn_device *d = s->device;
    nn_optim_step_args args = {.lr = 1e-2, .clip = clip, .grad_scale = 0.5};
    nn_optim_result r;

    cr_assert_eq(d->copy(d, s->grad, grad, N * sizeof(float)), MN_OK);
    cr_assert_eq(d->copy(d, s->args, &args, sizeof args), MN_OK);
    cr_assert_eq(d->copy(d, s->loss, &loss, sizeof loss), MN_OK);
    cr_assert_eq(d->adamw(d, &s->a), MN_OK, "%s", mn_errmsg());
    gpu_read(d, &r, s->a.result, sizeof r);
    return r;
}

static void expect_close(const side *gpu, const float *a, const float *b, const char *what, int at)
{
    float *x = mn_calloc(N, sizeof *x);
    gpu_read(gpu->device, x, a, N * sizeof *x);
    for (int i = 0; i < N; i++)
        cr_assert(fabsf(x[i] - b[i]) <= 2e-6f * (1 + fabsf(b[i])), "step %d: %s[%d] is %.9g, on the CPU %.9g", at, what,
                  i, (double)x[i], (double)b[i]);
    free(x);
}

static void expect_narrow(const side *s)
{
    float *w = mn_calloc(N, sizeof *w);
    mn_bf16 *h = mn_calloc(N, sizeof *h);
    gpu_read(s->device, w, s->master, N * sizeof *w);
    gpu_read(s->device, h, s->a.work, N * sizeof *h);
    for (int k = 0; k < CHUNKS; k++)
        for (int64_t i = chunks[k].offset; i < chunks[k].offset + chunks[k].count; i++)
            cr_assert_eq(h[i], mn_f32_to_bf16(w[i]));
    for (int i = NN_ADAMW_CHUNK + 301; i < NN_ADAMW_CHUNK + 320; i++)
        cr_assert(h[i] == 0 && w[i] == 0, "padding was written");
    free(w);
    free(h);
}

Test(gpu_optim, updates_as_the_cpu_does)
{
    enum { STEPS = 8 };
    const nn_device *d = gpu_open();
    side gpu = side_open(d), cpu = side_open(nn_device_cpu());
    float *grad = mn_calloc(N, sizeof *grad);
    int64_t done = 0;

    for (int k = 0; k < STEPS; k++) {
        int bad_loss = k == 2, bad_grad = k == 5;
        gradients(grad, k);
        if (bad_grad) grad[chunks[1].offset + 300] = INFINITY;
        double loss = bad_loss ? (double)NAN : 1.0 / (k + 1), clip = k % 2 ? 1.5 : 0;
        nn_optim_result r = step(&gpu, grad, loss, clip), want = step(&cpu, grad, loss, clip);
        done += !bad_loss && !bad_grad;
        cr_expect(r.skipped == (bad_loss || bad_grad) && r.skipped == want.skipped, "step %d", k);
        cr_expect_eq(r.updates, done, "step %d: %lld updates", k, (long long)r.updates);
        if (!bad_grad) cr_expect_float_eq(r.grad_norm, want.grad_norm, 1e-9 * want.grad_norm);
        if (!bad_loss) cr_expect_eq(r.loss, loss);
        expect_close(&gpu, gpu.m, cpu.m, "m", k);
        expect_close(&gpu, gpu.v, cpu.v, "v", k);
        expect_close(&gpu, gpu.master, cpu.master, "weight", k);
        expect_narrow(&gpu);
    }
    free(grad);
    side_close(&gpu);
    side_close(&cpu);
    gpu_close(d);
}

Test(gpu_optim, narrows_masters)
{
    const nn_device *d = gpu_open();
    enum { COUNT = 1003 };
    float x[COUNT], *from = room(d, sizeof x, 0);
    mn_bf16 y[COUNT], *to = room(d, sizeof y, 0xff);

    for (int i = 0; i < COUNT; i++)
        x[i] = (float)sin(i * 0.7) * 3;
    cr_assert_eq(d->copy(d, from, x, sizeof x), MN_OK);
    cr_assert_eq(d->narrow(d, to, from, COUNT), MN_OK);
    gpu_read(d, y, to, sizeof y);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(y[i], mn_f32_to_bf16(x[i]), "element %d", i);
    d->release(d, from, sizeof x);
    d->release(d, to, sizeof y);
    gpu_close(d);
}
