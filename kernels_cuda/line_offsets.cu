// Line offsets: the operations of _shift_lines in qpibench/corruptions/line_offsets.py, in the same order.
//
// Launch: one block of 256 threads for each observation. Float32: one operation a pixel.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// strength_key, key    keys of the two streams
// low, span       lower end and length of the range of the strength
// nx, ny          pixels of an image
// variance        (observation,) float64: variance of the clean image
// rms             not read
// image           (observation, ny, nx) float32
// sigma           out, (observation,) float32: standard deviation of the offsets
#include "normals.cuh"
#include "philox.cuh"
#include "sums.cuh"

extern "C" __global__ void __launch_bounds__(LANES) line_offsets(
    u64 start, u32 per_kernel, u64 strength_key, u64 key, double low, double span, int nx, int ny,
    const double* variance, const double* rms, float* image, float* sigma)
{
    __shared__ float offset[LANES];

    (void)rms;
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    image += observation * nx * ny;

    const double strength = low + unit(words(strength_key, 0, index, kernel).w0) * span;
    const float spread = deviation(variance[observation], strength);
    if (threadIdx.x == 0) {
        sigma[observation] = spread;
    }
    for (int top = 0; top < ny; top += LANES) {
        __syncthreads();
        if (threadIdx.x < LANES / 4) {
            const Words drawn = words(key, top / 4 + threadIdx.x, index, kernel);
            const Normals near = normal_pair(drawn.w0, drawn.w1);
            const Normals far = normal_pair(drawn.w2, drawn.w3);
            float* const mine = offset + 4 * threadIdx.x;
            mine[0] = near.first;
            mine[1] = near.second;
            mine[2] = far.first;
            mine[3] = far.second;
        }
        __syncthreads();
        const int rows = ny - top < LANES ? ny - top : LANES;
        float* const lines = image + (u64)top * nx;
        for (int k = threadIdx.x; k < rows * nx; k += LANES) {
            lines[k] = fused(spread, offset[k / nx], lines[k]) + 0.0f;
        }
    }
}
