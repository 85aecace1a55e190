// MN_SIMD before a function compiles it for AVX-512, AVX2 and plain x86-64, and picks one at load time from what the
// processor has: one binary for all. It goes on leaf kernels (one row, one tile), not on functions with an OpenMP
// pragma: the outlined parallel body would not be cloned. Off for other compilers and architectures.
#ifndef MN_SIMD_H
#define MN_SIMD_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__OPTIMIZE__) &&                        \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MN_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MN_SIMD
#endif

#endif
