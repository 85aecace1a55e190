#include "nn/cuda_epilogue.h"

#include "nn/cuda_wide.h"
#include "nn/ops/float_math.h"

enum { WARPS = NN_CUDA_THREADS / 32, RESIDENT = 6, LEAST_ROWS = 2 * WARPS };

// --- column sums -------------------------------------------------------------------------------------------------------
// Ranges of rows: as many blocks as are there at once on 132 multiprocessors, so that none is left for a second turn; at
// least two rows for each warp of a block. A function of the shape alone, so that sums are the same on any device.
static int64_t ranges_of(int64_t rows, int64_t columns)
{
    int64_t wide = (columns + 255) / 256, wanted = nn_cuda_grid(RESIDENT * 132) / wide,
            most = (rows + LEAST_ROWS - 1) / LEAST_ROWS;

    if (wanted < 1) wanted = 1;
    return most < wanted ? most : wanted;
}

size_t nn_cuda_columns_work(int64_t rows, int64_t columns)
{
    return (size_t)(ranges_of(rows, columns) * columns) * sizeof(float);
}

// A block takes 32 V columns of one range of rows, a warp every eighth row of it, V columns a lane. GELU: x is dy, and
// dz = dy gelu'(z) is summed and stored; a row of (rows, columns) is then `columns` long in all three.
template <class T, int V, bool GELU>
__global__ static void __launch_bounds__(NN_CUDA_THREADS, RESIDENT)
    sum_columns(const T *x, const T *z, T *dz, float *parts, int64_t rows, int64_t columns, int64_t apart)
{
    __shared__ float partial[WARPS][32 * V];
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int64_t column = ((int64_t)blockIdx.x * 32 + lane) * V;
    const int64_t first = rows * blockIdx.y / gridDim.y, last = rows * (blockIdx.y + 1) / gridDim.y;
    float sum[V];

    NN_UNROLL
    for (int i = 0; i < V; i++)
        sum[i] = 0;
    for (int64_t r = first + warp; r < last && column < columns; r += WARPS) {
        const int64_t here = r * apart + column;
        float d[V], at[V];
        nn_cuda_read<V>(d, x + here);
        if constexpr (GELU) {
            nn_cuda_read<V>(at, z + here);
            NN_UNROLL
            for (int i = 0; i < V; i++)
                d[i] *= sizeof(T) == 2 ? nn__gelu_grad_bf16(at[i]) : nn__gelu_grad(at[i]);
            nn_cuda_write<V>(dz + here, d, 0);
        }
        NN_UNROLL
        for (int i = 0; i < V; i++)
            sum[i] += d[i];
    }
    if (!parts) return;
    NN_UNROLL
    for (int i = 0; i < V; i++)
        partial[warp][i * 32 + lane] = sum[i]; // lanes side by side: no two in one bank
    __syncthreads();
    for (int i = (int)threadIdx.x; i < 32 * V; i += NN_CUDA_THREADS) {
        const int64_t c = ((int64_t)blockIdx.x * 32 + i % 32) * V + i / 32;
        float total = 0;
        for (int w = 0; w < WARPS; w++)
            total += partial[w][i];
        if (c < columns) parts[(int64_t)blockIdx.y * columns + c] = total;
    }
}

template <class T, bool GELU>
static mn_err launch_columns(int64_t rows, int64_t columns, int64_t apart, const void *x, const void *z, void *dz,
                             float *parts, void *stream)
{
    enum { V = 16 / sizeof(T) };
    const unsigned ranges = (unsigned)ranges_of(rows, columns);
    const int wide = columns % V == 0 && apart % V == 0 && nn_cuda_vector<T>(0, x, z, dz);
    const dim3 grid(nn_cuda_blocks(columns, 32 * (wide ? V : 1)), ranges);

    return wide ? NN_LAUNCH((sum_columns<T, V, GELU>), grid, NN_CUDA_THREADS, 0, stream, (const T *)x, (const T *)z,
                            (T *)dz, parts, rows, columns, apart)
                : NN_LAUNCH((sum_columns<T, 1, GELU>), grid, NN_CUDA_THREADS, 0, stream, (const T *)x, (const T *)z,
                            (T *)dz, parts, rows, columns, apart);
}

mn_err nn_cuda_columns(mn_dtype t, int64_t rows, int64_t columns, int64_t apart, const void *x, float *parts,
                       void *stream)
{
    return NN_BY_TYPE(t, T, launch_columns<T, false>(rows, columns, apart, x, NULL, NULL, parts, stream));
}

mn_err nn_cuda_gelu_columns(mn_dtype t, int64_t rows, int64_t columns, const void *dy, const void *z, void *dz,
                            float *parts, void *stream)
{
    return NN_BY_TYPE(t, T, launch_columns<T, true>(rows, columns, columns, dy, z, dz, parts, stream));
}

mn_err nn_cuda_columns_finish(int64_t rows, int64_t columns, const float *parts, float *sums, int acc, void *stream)
{
    return nn_cuda_add_blocks(sums, parts, ranges_of(rows, columns), columns, columns, acc, stream);
}

// --- elementwise -------------------------------------------------------------------------------------------------------
template <class T> struct gelu_of {
    __device__ float operator()(float x, float) const { return sizeof(T) == 2 ? nn__gelu_bf16(x) : nn__gelu(x); }
};

mn_err nn_cuda_gelu_forward(mn_dtype t, int64_t n, const void *z, void *y, void *stream)
{
    return NN_BY_TYPE(t, T, nn_cuda_map((T *)y, (const T *)z, (const T *)NULL, gelu_of<T>{}, n, 0, stream));
}

template <class T, int V>
__global__ static void add_bias(T *c, const float *bias, int64_t rows, int64_t columns, int64_t apart)
{
    const int64_t i = nn_cuda_index(), per_row = columns / V, row = i / per_row, column = i % per_row * V;
    float b[V];

    if (row >= rows) return;
    NN_UNROLL
    for (int k = 0; k < V; k++)
        b[k] = bias[column + k];
    nn_cuda_write<V>(c + row * apart + column, b, 1);
}

template <class T>
static mn_err launch_bias(int64_t rows, int64_t columns, int64_t apart, const float *bias, void *c, void *stream)
{
    enum { V = 16 / sizeof(T) };
    if (columns % V == 0 && apart % V == 0 && nn_cuda_vector<T>(0, c, NULL, NULL))
        return NN_LAUNCH((add_bias<T, V>), nn_cuda_blocks(rows * (columns / V), NN_CUDA_THREADS), NN_CUDA_THREADS, 0,
                         stream, (T *)c, bias, rows, columns, apart);
    return NN_LAUNCH((add_bias<T, 1>), nn_cuda_blocks(rows * columns, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, stream,
                     (T *)c, bias, rows, columns, apart);
}

mn_err nn_cuda_add_bias(mn_dtype t, int64_t rows, int64_t columns, int64_t apart, const float *bias, void *c,
                        void *stream)
{
    return NN_BY_TYPE(t, T, launch_bias<T>(rows, columns, apart, bias, c, stream));
}
