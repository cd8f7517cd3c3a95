/* What the kernels need of a compiler: CUDA (nvcc, NVRTC) or plain C.

   In CUDA a kernel's loop over its items is spread over the grid. In C it is an ordinary loop, so
   that the same source makes the same bits on a machine without a GPU. Items must not depend on
   each other; KAISAR_REVERSED turns the C loop round, which shows when they do.

   Every kernel parameter is 64 bits wide (pointers and u64), so that callers need no signatures. */

#ifndef KAISAR_PORTABLE_H
#define KAISAR_PORTABLE_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef __CUDACC__

#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__
#define CONSTANT static __constant__ const
#define RESTRICT __restrict__
#define UNROLL _Pragma("unroll")
#define FOR_EACH(item, count)                                                              \
    for (u64 item = (u64)blockIdx.x * blockDim.x + threadIdx.x; item < (count);            \
         item += (u64)gridDim.x * blockDim.x)

#else

#define KERNEL void
#define DEVICE static inline
#define CONSTANT static const
#define RESTRICT restrict
#define UNROLL _Pragma("GCC unroll 64")
#ifdef KAISAR_REVERSED
#define FOR_EACH(item, count) for (u64 item = (count); item-- > 0;)
#else
#define FOR_EACH(item, count) for (u64 item = 0; item < (count); item++)
#endif

#endif

/* Two words that are stored with one instruction. */
typedef struct {
    u64 low, high;
} __attribute__((aligned(16))) u64_pair;

DEVICE u64 multiply_high(u64 a, u64 b) {
#ifdef __CUDACC__
    return __umul64hi(a, b);
#else
    __extension__ typedef unsigned __int128 u128;
    return (u64)(((u128)a * b) >> 64);
#endif
}

DEVICE u32 swap_bytes(u32 x) {
    return x << 24 | (x & 0xff00u) << 8 | (x >> 8 & 0xff00u) | x >> 24;
}

#endif
