// Parameters of the kernel that each observation shows: draw_parameters of qpibench/synthesis/draws.py with parameters
// and coefficients of the FAMILY.
//
// Launch: one thread for an observation, any block size. Float64; one Philox block of 10 rounds and, for eq. 7, 4
// divisions and two polynomials of 9 and 10 terms a thread. Observations of one kernel repeat its draws, which costs
// less than finding them.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// observations    how many
// key             key of the stream
// range0...3      numbers of the family's ranges
// stratum_of_kernel  (kernel,) int32; the first is that of the first observation
// stratum         out, (observation,) int64
// parameters      out, (PARAMETERS, observation) float64
// kernel_index, index          out, (observation,) int64: which kernel, which observation
// table           out, (observation, 5) float64: cos a, sin a, two numbers of the family, -C log2(e)
#include "philox.cuh"
#ifndef FAMILY
#define FAMILY "families/eq7.cuh"
#endif
#include FAMILY

extern "C" __global__ void draw_parameters(
    u64 start, u64 observations, u32 per_kernel, u64 key, double range0, double range1, double range2, double range3,
    const int* stratum_of_kernel, long long* stratum, double* parameters, long long* kernel_index, long long* index,
    double* table)
{
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= observations) {
        return;
    }
    const u64 kernel = (start + i) / per_kernel;
    const int n = stratum_of_kernel[kernel - start / per_kernel];
    const Words drawn = words(key, 0, 0, kernel);
    const double uniform[4] = {unit(drawn.w0), unit(drawn.w1), unit(drawn.w2), unit(drawn.w3)};
    const double range[4] = {range0, range1, range2, range3};
    double parameter[PARAMETERS];
    draw_kernel(n, uniform, range, parameter, table + 5 * i);
    for (int k = 0; k < PARAMETERS; ++k) {
        parameters[k * observations + i] = parameter[k];
    }
    stratum[i] = n;
    kernel_index[i] = (long long)kernel;
    index[i] = (long long)(start + i);
}
