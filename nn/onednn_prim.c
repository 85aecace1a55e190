#include "nn/onednn_prim.h"

#include "nn/base/mem.h"
#include "nn/onednn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mn_err failed(dnnl_status_t s, const char *what)
{
    if (s == dnnl_success) return MN_OK;
    if (s == dnnl_out_of_memory) return mn_fail(MN_EMEM, "oneDNN is out of memory (%s)", what);
    return mn_fail(MN_EINTERNAL, "oneDNN refused: %s (status %d)", what, (int)s);
}

// "Not implemented" is an answer the caller can act on; anything else is a failure.
static mn_err found(dnnl_status_t s, const char *what)
{
    return s == dnnl_unimplemented ? MN_EDEVICE : failed(s, what);
}

static dnnl_data_type_t type_of(mn_dtype t)
{
    mn_assert(t == MN_F32 || t == MN_BF16);
    return t == MN_F32 ? dnnl_f32 : dnnl_bf16;
}

static dnnl_status_t new_attr(dnnl_primitive_attr_t *attr)
{
    dnnl_status_t s = dnnl_primitive_attr_create(attr);
    return s != dnnl_success ? s : dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
}

// --- what differs between versions 2 and 3 of the library -----------------------------------------------------------
// Version 3 made memory descriptors opaque and dropped operation descriptors. Debian 12 has 2.6, Debian 13 has 3.7.
#if DNNL_VERSION_MAJOR >= 3

mn_err nn__layout_make(nn__layout *l, mn_dtype t, int n, const int64_t *dims, const int64_t *strides)
{
    *l = NULL;
    return failed(strides ? dnnl_memory_desc_create_with_strides(l, n, dims, type_of(t), strides)
                          : dnnl_memory_desc_create_with_tag(l, n, dims, type_of(t), dnnl_format_tag_any),
                  "memory layout");
}

void nn__layout_free(nn__layout *l)
{
    if (*l) (void)dnnl_memory_desc_destroy(*l);
    *l = NULL;
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
}

static dnnl_status_t matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nn__layout_ref a, nn__layout_ref b,
                            nn__layout_ref bias, nn__layout_ref c, const_dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, e, a, b, bias, c, attr);
}

static dnnl_status_t conv(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_prop_kind_t pass, const nn__conv_pd *c,
                          const_dnnl_primitive_attr_t attr, const_dnnl_primitive_desc_t forward)
{
    dnnl_dims_t strides = {c->stride}, dilates = {0}, left = {c->left}, right = {c->right};
    const dnnl_alg_kind_t alg = dnnl_convolution_direct;

    if (pass == dnnl_backward_data)
        return dnnl_convolution_backward_data_primitive_desc_create(pd, e, alg, c->x, c->weight, c->y, strides, dilates,
                                                                    left, right, forward, attr);
    if (pass == dnnl_backward_weights)
        return dnnl_convolution_backward_weights_primitive_desc_create(pd, e, alg, c->x, c->weight, c->bias, c->y,
                                                                       strides, dilates, left, right, forward, attr);
    return dnnl_convolution_forward_primitive_desc_create(pd, e, pass, alg, c->x, c->weight, c->bias, c->y, strides,
                                                          dilates, left, right, attr);
}

#else

mn_err nn__layout_make(nn__layout *l, mn_dtype t, int n, const int64_t *dims, const int64_t *strides)
{
    return failed(strides ? dnnl_memory_desc_init_by_strides(l, n, dims, type_of(t), strides)
                          : dnnl_memory_desc_init_by_tag(l, n, dims, type_of(t), dnnl_format_tag_any),
                  "memory layout");
}

void nn__layout_free(nn__layout *l)
{
    *l = (nn__layout){0};
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1);
}

static dnnl_status_t matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nn__layout_ref a, nn__layout_ref b,
                            nn__layout_ref bias, nn__layout_ref c, const_dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t d;
    dnnl_status_t s = dnnl_matmul_desc_init(&d, a, b, bias, c);

    return s != dnnl_success ? s : dnnl_primitive_desc_create(pd, &d, attr, e, NULL);
}

static dnnl_status_t conv(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_prop_kind_t pass, const nn__conv_pd *c,
                          const_dnnl_primitive_attr_t attr, const_dnnl_primitive_desc_t forward)
{
    dnnl_dims_t strides = {c->stride}, dilates = {0}, left = {c->left}, right = {c->right};
    const dnnl_alg_kind_t alg = dnnl_convolution_direct;
    dnnl_convolution_desc_t d;
    dnnl_status_t s;

    if (pass == dnnl_backward_data)
        s = dnnl_dilated_convolution_backward_data_desc_init(&d, alg, c->x, c->weight, c->y, strides, dilates, left,
                                                             right);
    else if (pass == dnnl_backward_weights)
        s = dnnl_dilated_convolution_backward_weights_desc_init(&d, alg, c->x, c->weight, c->bias, c->y, strides,
                                                                dilates, left, right);
    else
        s = dnnl_dilated_convolution_forward_desc_init(&d, pass, alg, c->x, c->weight, c->bias, c->y, strides, dilates,
                                                       left, right);
    return s != dnnl_success ? s : dnnl_primitive_desc_create(pd, &d, attr, e, forward);
}

#endif

// --- descriptors ----------------------------------------------------------------------------------------------------
mn_err nn__matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nn__layout_ref a, nn__layout_ref b,
                     nn__layout_ref bias, nn__layout_ref c, int add)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = new_attr(&attr);

    if (s == dnnl_success && add) {
        s = dnnl_post_ops_create(&ops);
        if (s == dnnl_success) s = append_sum(ops);
        if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(attr, ops);
    }
    if (s == dnnl_success) s = matmul(pd, e, a, b, bias, c, attr);
    if (ops) (void)dnnl_post_ops_destroy(ops);
    if (attr) (void)dnnl_primitive_attr_destroy(attr);
    return found(s, "matrix product");
}

static mn_err conv_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_prop_kind_t pass, const nn__conv_pd *c,
                      const_dnnl_primitive_desc_t forward)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = new_attr(&attr);

    if (s == dnnl_success) s = conv(pd, e, pass, c, attr, forward);
    if (attr) (void)dnnl_primitive_attr_destroy(attr);
    return found(s, "convolution");
}

mn_err nn__conv_forward_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nn__conv_pd *c)
{
    return conv_pd(pd, e, dnnl_forward_training, c, NULL);
}

mn_err nn__conv_d_x_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nn__conv_pd *c,
                       const_dnnl_primitive_desc_t forward)
{
    return conv_pd(pd, e, dnnl_backward_data, c, forward);
}

mn_err nn__conv_d_weight_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nn__conv_pd *c,
                            const_dnnl_primitive_desc_t forward)
{
    return conv_pd(pd, e, dnnl_backward_weights, c, forward);
}

nn__layout_ref nn__pd_layout(const_dnnl_primitive_desc_t pd, int arg)
{
    return dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, arg);
}

// --- primitives -----------------------------------------------------------------------------------------------------
static mn_err add_argument(nn__prim *p, dnnl_engine_t e, int i, int arg, nn__layout_ref layout)
{
    p->arg[i].arg = arg;
    return failed(dnnl_memory_create(&p->arg[i].memory, layout, e, DNNL_MEMORY_NONE), "memory object");
}

mn_err nn__prim_make(nn__prim *p, dnnl_engine_t e, dnnl_primitive_desc_t pd, int n_args, const int *args)
{
    mn_err err = MN_OK;
    nn__layout_ref scratch = nn__pd_layout(pd, DNNL_ARG_SCRATCHPAD);

    mn_assert(n_args <= NN__PRIM_ARGS);
    *p = (nn__prim){.n_args = n_args};
    MN_TRY_OUT(err, failed(dnnl_primitive_create(&p->handle, pd), "primitive"));
    MN_TRY_OUT(err, failed(dnnl_stream_create(&p->stream, e, dnnl_stream_default_flags), "stream"));
    for (int i = 0; i < n_args; i++)
        MN_TRY_OUT(err, add_argument(p, e, i, args[i], nn__pd_layout(pd, args[i])));
    p->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (p->scratch_bytes) MN_TRY_OUT(err, add_argument(p, e, n_args, DNNL_ARG_SCRATCHPAD, scratch));
    nn__pool_fill();
out:
    (void)dnnl_primitive_desc_destroy(pd);
    if (err != MN_OK) nn__prim_free(p);
    return err;
}

void nn__prim_free(nn__prim *p)
{
    for (int i = 0; i <= NN__PRIM_ARGS; i++)
        if (p->arg[i].memory) (void)dnnl_memory_destroy(p->arg[i].memory);
    if (p->handle) (void)dnnl_primitive_destroy(p->handle);
    if (p->stream) (void)dnnl_stream_destroy(p->stream);
    *p = (nn__prim){0};
}

// The planner's addresses do not change, so after the first run this sets nothing.
static mn_err set_address(nn__prim *p, int i, const void *address)
{
    union {
        const void *in;
        void *out;
    } u = {address}; // the library takes inputs as void * too

    if (p->address[i] == u.out) return MN_OK;
    p->address[i] = u.out;
    return failed(dnnl_memory_set_data_handle(p->arg[i].memory, u.out), "memory address");
}

mn_err nn__prim_run(nn__prim *p, const void *const *address, void *scratch)
{
    int n = p->n_args;

    for (int i = 0; i < n; i++)
        MN_TRY(set_address(p, i, address[i]));
    if (p->scratch_bytes) MN_TRY(set_address(p, n++, scratch));
    return failed(dnnl_primitive_execute(p->handle, p->stream, n, p->arg), "run");
}

mn_err nn__prim_copy(nn__prim *p, dnnl_engine_t e, nn__layout_ref from, nn__layout_ref to)
{
    static const int args[] = {DNNL_ARG_FROM, DNNL_ARG_TO};
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = new_attr(&attr);

    if (s == dnnl_success) s = dnnl_reorder_primitive_desc_create(&pd, from, e, to, e, attr);
    if (attr) (void)dnnl_primitive_attr_destroy(attr);
    MN_TRY(failed(s, "change of layout"));
    return nn__prim_make(p, e, pd, 2, args);
}

mn_err nn__engine_new(dnnl_engine_t *e)
{
    return failed(dnnl_engine_create(e, dnnl_cpu, 0), "engine");
}

// --- what the library says of itself and the processor ---------------------------------------------------------------
const char *nn_onednn_version(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

const char *nn_onednn_isa(void)
{
    // Values of version 2 and 3; a set of bits, so the first that is contained from the top.
    static const struct {
        int bits;
        const char *name;
    } isas[] = {{0x3e7, "AVX-512 with AMX"},
                {0xe7, "AVX-512 with bf16"},
                {0x67, "AVX-512 with VNNI"},
                {0x27, "AVX-512"},
                {0x407, "AVX2 with VNNI"},
                {0x7, "AVX2"},
                {0x3, "AVX"},
                {0x1, "SSE4.1"}};
    int have = (int)dnnl_get_effective_cpu_isa();
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if ((have & isas[i].bits) == isas[i].bits) return isas[i].name;
    return "no vector extension";
}

int nn_cpu_has_bf16(void)
{
    const int bf16 = (int)dnnl_cpu_isa_avx512_core_bf16;
    return ((int)dnnl_get_effective_cpu_isa() & bf16) == bf16;
}
