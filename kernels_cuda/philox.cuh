// Counter-based random words, Philox4x32-10: the operations of qpibench/arithmetic/philox.py.
#pragma once

#include "integers.cuh"

struct Words {
    u32 w0, w1, w2, w3;
};

// Four words of a stream at (draw, image within kernel, kernel).
__device__ inline Words words(u64 key, u32 draw, u32 image, u64 kernel)
{
    u32 c0 = draw, c1 = image, c2 = (u32)kernel, c3 = (u32)(kernel >> 32);
    u32 k0 = (u32)key, k1 = (u32)(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const u64 p0 = (u64)0xD2511F53u * c0;
        const u64 p1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {c0, c1, c2, c3};
}

// A word as a double in (0, 1): (word + 1/2) 2^-32, exact.
__device__ inline double unit(u32 word)
{
    return ((double)word + 0.5) * 0x1p-32;
}

// A word as an integer in low..high, both included.
__device__ inline int integer_between(u32 word, int low, int high)
{
    return low + (int)(((u64)word * (u64)(high - low + 1)) >> 32);
}
