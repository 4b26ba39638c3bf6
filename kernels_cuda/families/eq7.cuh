// Eq. 7: the operations of qpibench/families/eq7.py in the same order.
//
// The header of a family defines, for draw_parameters.cu, superpose.cuh and kernel_images.cu:
//
// STRATA(CASE)      CASE(stratum) for each formula
// PARAMETERS        columns besides the stratum, float64
// components<S>     how many components of the offset along the rotated axes the formula of stratum S uses: 0, 1 or 2
// gain<S>           a power of two that weights are multiplied by
// add_scatterer     a pixel after one more scatterer
// kernel_value      the kernel at an offset, float64
// draw_kernel       a kernel's parameters and its row of the table, from four uniform numbers
#pragma once

#include "../elementary.cuh"
#include "../integers.cuh"

#define STRATA(CASE) CASE(0) CASE(2) CASE(3) CASE(4) CASE(6)
#define PARAMETERS 4

template <int FOLD>
constexpr int components = FOLD == 0 ? 0 : FOLD == 6 ? 2 : 1;

template <int FOLD>
constexpr float gain = FOLD == 4 ? 4.0f : 1.0f;

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
        // T_6 amplifies rounding ninefold where u^2 is near 1, so the smaller of the two components is used.
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
            // The mean of the angular factor, 1/2, divided by the gain as angular_factor is.
            angular = r2 == 0.0f ? (FOLD == 4 ? 0.125f : 0.5f) : angular;
        }
        weight = weight * angular;
    }
    return fused(weight, sin2pi_f32(fused(freq, r, phase)), pixel);
}

// The kernel at an offset in nm; row is its row of the table.
__device__ inline double kernel_value(int fold, double x, double y, double r2, double r, const double* row)
{
    const double c = x * row[0] - y * row[1];
    double angular = 0.5;
    if (fold == 0) {
        angular = 1.0;
    } else if (r2 > 0.0 && fold == 3) {
        const double u = c / r;
        angular = 0.5 - u * (2.0 * (u * u) - 1.5);
    } else if (r2 > 0.0) {
        const double v = c * c / r2;
        const double w = 4.0 * v - 3.0;
        angular = fold == 2 ? 1.0 - v : fold == 4 ? 4.0 * (v - v * v) : 1.0 - v * (w * w);
    }
    return exp2_f64(row[4] * r2) * angular * sin2pi_f64(fused(row[2], r, row[3]));
}

// Parameters phi1 (rad), B (rad/nm), phi2 (rad) and C (1/nm^2), and the row of the table: cos a, sin a, B/pi, phi2/pi,
// -C log2(e). The ranges are lower end and length of the wavelength, and of the decay length, nm.
__device__ inline void draw_kernel(
    int fold, const double (&uniform)[4], const double (&range)[4], double (&parameter)[PARAMETERS], double* row)
{
    const double PI = 3.141592653589793;
    const double LOG2_E = 1.4426950408889634;
    const double radius = range[2] + uniform[1] * range[3];
    parameter[0] = fold == 0 ? PI / 2 : PI * uniform[2];
    parameter[1] = PI / (range[0] + uniform[0] * range[1]);
    parameter[2] = PI * uniform[3];
    parameter[3] = 1.0 / (radius * radius);
    sincospi_f64(2.0 * parameter[0] / (PI * (fold < 1 ? 1 : fold)), row[1], row[0]);
    row[2] = parameter[1] / PI;
    row[3] = parameter[2] / PI;
    row[4] = -parameter[3] * LOG2_E;
}
