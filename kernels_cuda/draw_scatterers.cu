// Number and positions of the scatterers of each observation: draw_scatterers of qpibench/synthesis/draws.py.
//
// Launch: one thread for a pair of scatterers of an observation, any block size, at least
// observations * ((most + 1) / 2) threads. Integers and float64; 1 or 2 Philox blocks of 10 rounds a thread.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// observations    how many
// count_key, position_key    keys of the two streams
// fewest, most    range of the number of scatterers
// half_y, half_x  largest absolute coordinates, nm
// n_scatterers    out, (observation,) int64
// position        out, (observation, most, xy) float64, nm; NaN after n_scatterers
#include "philox.cuh"

extern "C" __global__ void draw_scatterers(
    u64 start, u64 observations, u32 per_kernel, u64 count_key, u64 position_key, int fewest, int most,
    double half_y, double half_x, long long* n_scatterers, double* position)
{
    const u64 thread = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    const u64 pairs = ((u64)most + 1) / 2;
    const u64 observation = thread / pairs;
    if (observation >= observations) {
        return;
    }
    const u32 pair = (u32)(thread - observation * pairs);
    const u64 kernel = (start + observation) / per_kernel;
    const u32 image = (u32)(start + observation - kernel * per_kernel);
    const int count = integer_between(words(count_key, 0, image, kernel).w0, fewest, most);
    const Words drawn = words(position_key, pair, image, kernel);
    const u32 x[2] = {drawn.w0, drawn.w2};
    const u32 y[2] = {drawn.w1, drawn.w3};
    // The same bits of NaN as on the CPU.
    const double nan = __longlong_as_double(0x7ff8000000000000LL);
    if (pair == 0) {
        n_scatterers[observation] = count;
    }
    for (int k = 0; k < 2; ++k) {
        const int scatterer = 2 * (int)pair + k;
        if (scatterer < most) {
            double* const place = position + 2 * (observation * most + scatterer);
            place[0] = scatterer < count ? (2.0 * unit(x[k]) - 1.0) * half_x : nan;
            place[1] = scatterer < count ? (2.0 * unit(y[k]) - 1.0) * half_y : nan;
        }
    }
}
