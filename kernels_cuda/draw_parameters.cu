// Parameters of the kernel that each observation shows: draw_kernels of qpibench/synthesis/draws.py and coefficients of
// qpibench/synthesis/superposition.py.
//
// Launch: one thread for an observation, any block size. Float64; one Philox block of 10 rounds, 4 divisions and two
// polynomials of 9 and 10 terms a thread. Observations of one kernel repeat its numbers: that costs less than telling
// which do.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// observations    how many
// key             key of the stream
// wavelength, wavelength_span, decay, decay_span    lower ends and lengths of the ranges, nm
// fold_of_kernel  (kernel,) int32: 0, 2, 3, 4 or 6; the first is that of the first observation
// fold, phi1, B, phi2, C       out, (observation,): int64 and float64; rad, rad/nm, rad, 1/nm^2
// kernel_index, index          out, (observation,) int64: which kernel, which observation
// table           out, (observation, 5) float64: cos a, sin a, B/pi, phi2/pi, -C log2(e)
#include "elementary.cuh"
#include "philox.cuh"

extern "C" __global__ void draw_parameters(
    u64 start, u64 observations, u32 per_kernel, u64 key, double wavelength, double wavelength_span, double decay,
    double decay_span, const int* fold_of_kernel, long long* fold, double* phi1, double* B, double* phi2, double* C,
    long long* kernel_index, long long* index, double* table)
{
    const double PI = 3.141592653589793;
    const double LOG2_E = 1.4426950408889634;
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= observations) {
        return;
    }
    const u64 kernel = (start + i) / per_kernel;
    const int n = fold_of_kernel[kernel - start / per_kernel];
    const Words drawn = words(key, 0, 0, kernel);
    const double radius = decay + unit(drawn.w1) * decay_span;
    phi1[i] = n == 0 ? PI / 2 : PI * unit(drawn.w2);
    B[i] = PI / (wavelength + unit(drawn.w0) * wavelength_span);
    phi2[i] = PI * unit(drawn.w3);
    C[i] = 1.0 / (radius * radius);
    fold[i] = n;
    kernel_index[i] = (long long)kernel;
    index[i] = (long long)(start + i);

    double* const row = table + 5 * i;
    sincospi_f64(2.0 * phi1[i] / (PI * (n < 1 ? 1 : n)), row[1], row[0]);
    row[2] = B[i] / PI;
    row[3] = phi2[i] / PI;
    row[4] = -C[i] * LOG2_E;
}
