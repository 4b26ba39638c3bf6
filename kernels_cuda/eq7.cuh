// One scatterer at one pixel: the operations of _angular and _add in qpibench/synthesis/superposition.py.
#pragma once

#include "elementary.cuh"
#include "integers.cuh"

// sin^2(n theta/2 + phi1) at c = r cos(theta + a), s = r sin(theta + a); a quarter of it for fold 4.
template <int FOLD>
__device__ inline float angular_factor(float c, float s, float r2, float r)
{
    if constexpr (FOLD == 2) {
        return 1.0f - c * c * reciprocal_f32(r2);
    } else if constexpr (FOLD == 3) {
        const float u = c * reciprocal_f32(r);
        return fused(-u, fused(2.0f, u * u, -1.5f), 0.5f);
    } else if constexpr (FOLD == 4) {
        const float v = c * c * reciprocal_f32(r2);
        return fused(-v, v, v);
    } else {
        // T_6 magnifies rounding ninefold where u^2 is near 1: take whichever component is the smaller there.
        const float c2 = c * c;
        const float s2 = s * s;
        const bool steep = s2 < c2;
        const float v = (steep ? s2 : c2) * reciprocal_f32(r2);
        const float w = fused(-4.0f, v, 3.0f);
        const float value = v * w * w;
        return steep ? value : 1.0f - value;
    }
}

// A pixel after one more scatterer. FAR: r2 is known to be at least ROOT_FLOOR.
template <int FOLD, bool FAR>
__device__ inline float add_scatterer(
    float pixel, float r2, float c, float s, float weight, float freq, float phase)
{
    const float r = FAR ? root_f32(r2) : __fsqrt_rn(r2);
    if constexpr (FOLD != 0) {
        float angular = angular_factor<FOLD>(c, s, r2, r);
        if constexpr (!FAR) {
            // The mean of the angular factor, 1/2, in the units of angular_factor.
            angular = r2 == 0.0f ? (FOLD == 4 ? 0.125f : 0.5f) : angular;
        }
        weight = weight * angular;
    }
    return fused(weight, sin2pi_f32(fused(freq, r, phase)), pixel);
}
