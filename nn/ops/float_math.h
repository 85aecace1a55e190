// Functions of one float for kernels of every device: no branches and no calls, so that a plain loop over them inside a
// leaf marked MN_SIMD becomes vector code, and the GPU spends no more instructions than a pass over memory hides.
//
//     MN_SIMD static void gelu_row(const float *restrict x, float *restrict y, int64_t n)
//     {
//         for (int64_t i = 0; i < n; i++) y[i] = nn__gelu(x[i]);
//     }
//
// Accuracy (tests/nn/math_test.c measures it against libm in double): exp, erf and tanh within 2 ulp; gelu
// within 9 ulp down to x = -3 (1 + erf(x / sqrt 2) in floats: 200), further out its relative error grows with x^2, and
// within 2 ulp for x > 0. NaN stays NaN.
// The polynomials are minimax fits of the stated function over the stated range.
// Threading: pure functions.
#ifndef NN_OPS_FLOAT_MATH_H
#define NN_OPS_FLOAT_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define NN__FLOAT __host__ __device__ static inline
#else
#define NN__FLOAT static inline
#endif

NN__FLOAT float nn__bits_to_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
NN__FLOAT uint32_t nn__float_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

// e^x; 0 below x = -86.9 (no subnormal results), infinity above log(FLT_MAX).
NN__FLOAT float nn__exp(float x)
{
    float c = x < -86.9f ? -86.9f : x;
    c = c > 88.8f ? 88.8f : c;
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    float k = c * 1.44269504f + 12582912.0f;
    float n = k - 12582912.0f;
    // ln 2 in two parts, the first short enough for n times it to be exact.
    float r = c - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    // (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2
    float p = 1.38131445e-3f;
    p = p * r + 8.36941883e-3f;
    p = p * r + 4.16684568e-2f;
    p = p * r + 1.66665148e-1f;
    p = p * r + 4.99999931e-1f;
    p = p * (r * r) + r + 1.0f;
    float half = nn__bits_to_float((nn__float_to_bits(k) + 126u) << 23); // 2^(n - 1): finite up to n = 128
    float y = p * half * 2.0f;
    return x < -86.9f ? 0.0f : y;
}

// Q(t) / phi(t) / sqrt(2 pi) for t >= 0: e^(-t^2/2) nn__tail_ratio(t) = P(standard normal > t).
// Polynomial in 1 / (1 + 0.35 t), fitted for t <= 13.5, where e^(-t^2/2) becomes 0.
NN__FLOAT float nn__tail_ratio(float t)
{
    float u = 1.0f / (1.0f + 0.35f * t);
    float p = -0.0291258761f;
    p = p * u + 0.143872287f;
    p = p * u + -0.25550467f;
    p = p * u + 0.158929411f;
    p = p * u + -0.0229372207f;
    p = p * u + 0.105432972f;
    p = p * u + 0.119852428f;
    p = p * u + 0.139859084f;
    p = p * u + 0.13962157f;
    return p * u;
}

NN__FLOAT float nn__erf(float x)
{
    float t = fabsf(x);
    float s = x * x;
    // erf(x) / x - 1 on |x| <= 0.9
    float p = -6.09037883e-4f;
    p = p * s + 5.01196705e-3f;
    p = p * s + -2.67789124e-2f;
    p = p * s + 1.12821409e-1f;
    p = p * s + -3.76125233e-1f;
    p = p * s + 1.2837915e-1f;
    float near = t * p + t;
    float far = 1.0f - 2.0f * nn__exp(-s) * nn__tail_ratio(1.41421356f * t);
    return copysignf(t < 0.9f ? near : far, x);
}

NN__FLOAT float nn__tanh(float x)
{
    float t = fabsf(x);
    float s = x * x;
    // (tanh(x) - x) / x^3 on |x| <= 0.6
    float p = -5.89515847e-3f;
    p = p * s + 2.0795972e-2f;
    p = p * s + -5.37838304e-2f;
    p = p * s + 1.33319241e-1f;
    p = p * s + -3.33332980e-1f;
    float near = t + t * s * p;
    float far = 1.0f - 2.0f / (nn__exp(2.0f * t) + 1.0f);
    return copysignf(t < 0.6f ? near : far, x);
}

// 1 / (1 + e^-x)
NN__FLOAT float nn__sigmoid(float x)
{
    return 1.0f / (1.0f + nn__exp(-x));
}

// x Phi(x), Phi the standard normal distribution: the exact GELU (Hendrycks and Gimpel 2016).
NN__FLOAT float nn__gelu(float x)
{
    float tail = nn__exp(-0.5f * x * x) * nn__tail_ratio(fabsf(x));
    return x * (x < 0.0f ? tail : 1.0f - tail);
}

// Phi(x) + x phi(x)
NN__FLOAT float nn__gelu_grad(float x)
{
    float e = nn__exp(-0.5f * x * x);
    float tail = e * nn__tail_ratio(fabsf(x));
    return (x < 0.0f ? tail : 1.0f - tail) + x * (e * 0.398942280f);
}

// The same two for values that are stored as bf16, in half the time: Phi(x) - 1/2 and gelu'(x) - 1/2 are odd and
// entire, so each is x times a polynomial of x^2 on |x| <= 4.75 (Chebyshev interpolants in s = 2 (x / 4.75)^2 - 1).
// Absolute error below 5e-6 and 2.5e-5; bf16 rounds 1 by 2e-3.
NN__FLOAT float nn__gelu_bf16(float x)
{
    float s = x * x * (2.0f / (4.75f * 4.75f)) - 1.0f;
    float p = -8.2947517e-4f;
    p = p * s + 1.93531908e-3f;
    p = p * s + -1.9250099e-3f;
    p = p * s + 3.6433298e-3f;
    p = p * s + -8.62425608e-3f;
    p = p * s + 1.43940513e-2f;
    p = p * s + -2.11640706e-2f;
    p = p * s + 3.01188611e-2f;
    p = p * s + -4.06314437e-2f;
    p = p * s + 5.3263006e-2f;
    p = p * s + -7.36653815e-2f;
    p = p * s + 1.48747877e-1f;
    float y = (p * x + 0.5f) * x;
    y = x > 4.75f ? x : y;
    return x < -4.75f ? 0.0f : y;
}

NN__FLOAT float nn__gelu_grad_bf16(float x)
{
    float s = x * x * (2.0f / (4.75f * 4.75f)) - 1.0f;
    float p = -1.32924295e-2f;
    p = p * s + 2.76360534e-2f;
    p = p * s + -1.63312527e-2f;
    p = p * s + 2.34879118e-2f;
    p = p * s + -6.48111277e-2f;
    p = p * s + 8.65652358e-2f;
    p = p * s + -8.70283342e-2f;
    p = p * s + 8.77391232e-2f;
    p = p * s + -8.31962693e-2f;
    p = p * s + 7.59831736e-2f;
    p = p * s + -8.16482606e-2f;
    p = p * s + 1.5016176e-1f;
    float y = p * x + 0.5f;
    y = x > 4.75f ? 1.0f : y;
    return x < -4.75f ? 0.0f : y;
}

#endif
