// Normal numbers out of random words: the operations of qpibench/arithmetic/normals.py in the same order.
#pragma once

#include "elementary.cuh"
#include "integers.cuh"

struct Normals {
    float first, second;
};

// Two normal numbers by Box-Muller.
__device__ inline Normals normal_pair(u32 radius_word, u32 angle_word)
{
    const float below_one = 0x1.fffffep-1f;
    float u = fused((float)radius_word, 0x1p-32f, 0x1p-33f);
    u = u < 1.0f ? u : below_one;
    const float radius = __fsqrt_rn(minus2ln_f32(u));
    float sine, cosine;
    sincospi_f32((float)(int)(angle_word << 2) * 0x1p-33f, sine, cosine);
    const float across = radius * sine;
    const float along = __int_as_float(__float_as_int(radius * cosine) ^ (int)(angle_word & 0x80000000u));
    const bool swapped = (angle_word & 0x40000000u) != 0;
    return {swapped ? across : along, swapped ? along : across};
}
