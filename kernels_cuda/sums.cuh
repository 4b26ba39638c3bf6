// Sums over the pixels of an image in one fixed tree: the operations of qpibench/arithmetic/sums.py in the same order.
// A block of 256 threads adds the pixels of an image; each thread is one lane.
#pragma once

#include "elementary.cuh"
#include "integers.cuh"

#define LANES 256
#define VARIANCE_FLOOR 0x1p-120
#define DEVIATION_FLOOR 0x1p-60

// The sum of the lanes, one of each thread; all threads get the sum.
__device__ inline double tree_sum(double (&lanes)[LANES], double mine)
{
    const u32 lane = threadIdx.x;
    __syncthreads();
    lanes[lane] = mine;
    for (u32 width = LANES / 2; width > 0; width /= 2) {
        __syncthreads();
        if (lane < width) {
            lanes[lane] += lanes[lane + width];
        }
    }
    __syncthreads();
    return lanes[0];
}

// So many standard deviations of an image; 0 if its variance or the result is below a floor.
__device__ inline float deviation(double variance, double strength)
{
    const double value = strength * __dsqrt_rn(variance);
    const double size = value < 0.0 ? -value : value;
    return variance >= VARIANCE_FLOOR && size >= DEVIATION_FLOOR ? (float)value : 0.0f;
}
