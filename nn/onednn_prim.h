// What the products and the convolutions share: memory layouts, and a primitive together with the memory objects of
// its arguments, so that a call sets addresses and nothing else. Inside nn/onednn_*.c only.
#ifndef NN_ONEDNN_PRIM_H
#define NN_ONEDNN_PRIM_H

#include "nn/base/err.h"
#include "nn/base/shape.h"

#include <oneapi/dnnl/dnnl.h>

#define NN__PRIM_ARGS 5

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t nn__layout;
typedef const_dnnl_memory_desc_t nn__layout_ref;
#define NN__LAYOUT_REF(l) (l)
#else
typedef dnnl_memory_desc_t nn__layout;
typedef const dnnl_memory_desc_t *nn__layout_ref;
#define NN__LAYOUT_REF(l) (&(l))
#endif

// strides NULL: whatever the primitive likes best. Layouts are released with nn__layout_free; a zeroed one too.
MN_MUST_CHECK mn_err nn__layout_make(nn__layout *l, mn_dtype t, int n, const int64_t *dims, const int64_t *strides);
void nn__layout_free(nn__layout *l);

typedef struct nn__prim {
    dnnl_primitive_t handle;
    dnnl_stream_t stream;
    int n_args; // the scratchpad, when there is one, is the last and not counted
    dnnl_exec_arg_t arg[NN__PRIM_ARGS + 1];
    void *address[NN__PRIM_ARGS + 1];
    size_t scratch_bytes;
} nn__prim;

// Takes pd over; args are the n_args numbers (DNNL_ARG_SRC, ...) whose addresses nn__prim_run will get in this order.
MN_MUST_CHECK mn_err nn__prim_make(nn__prim *p, dnnl_engine_t e, dnnl_primitive_desc_t pd, int n_args, const int *args);
void nn__prim_free(nn__prim *p);
MN_MUST_CHECK mn_err nn__prim_run(nn__prim *p, const void *const *address, void *scratch);
// Copies between layouts and types.
MN_MUST_CHECK mn_err nn__prim_copy(nn__prim *p, dnnl_engine_t e, nn__layout_ref from, nn__layout_ref to);

// Primitive descriptors. MN_EDEVICE without a message: the library has no such kernel for this processor.
MN_MUST_CHECK mn_err nn__matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nn__layout_ref a, nn__layout_ref b,
                                   nn__layout_ref bias, nn__layout_ref c, int add);
typedef struct nn__conv_pd {
    nn__layout_ref x, weight, bias, y; // bias NULL: none
    int64_t stride, left, right;
} nn__conv_pd;
MN_MUST_CHECK mn_err nn__conv_forward_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nn__conv_pd *c);
MN_MUST_CHECK mn_err nn__conv_d_x_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nn__conv_pd *c,
                                     const_dnnl_primitive_desc_t forward);
MN_MUST_CHECK mn_err nn__conv_d_weight_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nn__conv_pd *c,
                                          const_dnnl_primitive_desc_t forward);
// Layout that the primitive chose for an argument; belongs to pd.
nn__layout_ref nn__pd_layout(const_dnnl_primitive_desc_t pd, int arg);

MN_MUST_CHECK mn_err nn__engine_new(dnnl_engine_t *e);
// Makes sure that running primitives on this thread allocates nothing (nn/onednn_pool.c).
void nn__pool_fill(void);

#endif
