// What goes before or after a matrix product in a pass of its own: exact GELU (cuBLASLt has the tanh form only), sums of
// columns, and the bias where the library has no kernel for it. Each reads every byte once, 16 at a time; rows that do
// not divide into 16 bytes are read one element at a time.
//
//     MN_TRY(nn_cuda_gelu_columns(MN_BF16, rows, out, dy, z, dz, parts, stream));        // dz = dy gelu'(z), and
//     MN_TRY(nn_cuda_columns_finish(rows, out, parts, d_bias, acc, stream));             // d_bias (+)= columns of dz
//
// Column sums repeat bit for bit: rows are cut into ranges that depend on the shape only, every range is summed in order
// into a row of `parts`, and those rows are added in order.
// Threading: as nn/op.h; work is only put into the stream.
#ifndef NN_CUDA_EPILOGUE_H
#define NN_CUDA_EPILOGUE_H

#include "nn/cuda_kernel.h"

// Bytes of `parts` for the column sums of (rows, columns).
size_t nn_cuda_columns_work(int64_t rows, int64_t columns);
// Parts of the column sums of x, a matrix of f32 or bf16 whose rows lie `apart` elements apart.
mn_err nn_cuda_columns(mn_dtype t, int64_t rows, int64_t columns, int64_t apart, const void *x, float *parts,
                       void *stream);
// dz = dy gelu'(z), without gaps; and parts of the column sums of dz unless parts is NULL. dz may be dy.
mn_err nn_cuda_gelu_columns(mn_dtype t, int64_t rows, int64_t columns, const void *dy, const void *z, void *dz,
                            float *parts, void *stream);
// sums (+)= the column sums whose parts were made before.
mn_err nn_cuda_columns_finish(int64_t rows, int64_t columns, const float *parts, float *sums, int acc, void *stream);

// y = gelu(z), n elements; y may be z.
mn_err nn_cuda_gelu_forward(mn_dtype t, int64_t n, const void *z, void *y, void *stream);
// Row by row: c += bias. Rows lie `apart` elements apart.
mn_err nn_cuda_add_bias(mn_dtype t, int64_t rows, int64_t columns, int64_t apart, const float *bias, void *c,
                        void *stream);

#endif
