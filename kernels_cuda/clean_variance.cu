// Variances of images over the pixels outside the cores of scatterers: the operations of clean_variance in
// qpibench/arithmetic/sums.py, in the same order.
//
// Launch: one block of 256 threads for each observation. Shared memory: 2 KiB.
//
// A thread is one lane of the sums over an image's pixels, and the block adds the lanes in a tree. Float64: 3 operations
// a pixel, and with cores up to 8 for each scatterer and pixel.
//
// x, y            (nx,), (ny,) float64: pixel coordinates, nm
// position        (observation, most, xy) float64: scatterers, nm; those after n_scatterers are not read
// n_scatterers    (observation,) int64
// core            radius of the cores, nm; 0 if there are none
// image           (observation, ny, nx) float32
// variance        out, (observation,) float64
#include "sums.cuh"

__device__ inline bool is_outside(double x, double y, const double* position, int count, double core2)
{
    for (int scatterer = 0; scatterer < count; ++scatterer) {
        const double dy = y - position[2 * scatterer + 1];
        const double dx = x - position[2 * scatterer];
        if (dx * dx + dy * dy < core2) {
            return false;
        }
    }
    return true;
}

extern "C" __global__ void __launch_bounds__(LANES) clean_variance(
    const double* x, const double* y, int nx, int ny, const double* position, const long long* n_scatterers, int most,
    double core, const float* image, double* variance)
{
    __shared__ double lanes[LANES];

    const u64 observation = blockIdx.x;
    const int pixels = nx * ny;
    const double core2 = core * core;
    image += observation * pixels;
    position += 2 * observation * most;
    const int all = (int)n_scatterers[observation];

    int scatterers = core > 0.0 ? all : 0;
    double outside = pixels;
    if (scatterers != 0) {
        double mine = 0.0;
        for (int k = threadIdx.x; k < pixels; k += LANES) {
            mine += is_outside(x[k % nx], y[k / nx], position, scatterers, core2) ? 1.0 : 0.0;
        }
        outside = tree_sum(lanes, mine);
        if (outside == 0.0) {
            scatterers = 0;
            outside = pixels;
        }
    }
    double sum = 0.0;
    for (int k = threadIdx.x; k < pixels; k += LANES) {
        if (is_outside(x[k % nx], y[k / nx], position, scatterers, core2)) {
            sum += (double)image[k];
        }
    }
    const double mean = tree_sum(lanes, sum) / outside;
    double squares = 0.0;
    for (int k = threadIdx.x; k < pixels; k += LANES) {
        if (is_outside(x[k % nx], y[k / nx], position, scatterers, core2)) {
            const double difference = (double)image[k] - mean;
            squares = fused(difference, difference, squares);
        }
    }
    squares = tree_sum(lanes, squares);
    if (threadIdx.x == 0) {
        variance[observation] = squares / outside;
    }
}
