// 1/f noise along scan lines: the operations of _add_line_noise in qpibench/corruptions/line_noise.py, in the same order.
//
// Launch: one block of 256 threads for each observation. A thread makes whole lines, because a sequence runs along its
// line. It advances all octaves together, four pixels at a time. Float32: for each octave and pixel half a logarithm,
// root, sine and cosine, about 30 operations; a quarter of a Philox block.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// strength_key, key    keys of the two streams
// low, span       lower end and length of the range of the strength
// octaves         number of sequences, at most 16
// nx, ny          pixels of an image
// variance        (observation,) float64: variance of the clean image
// rms             not read
// image           (observation, ny, nx) float32
// sigma           out, (observation,) float32: standard deviation of the noise
#include "normals.cuh"
#include "philox.cuh"
#include "sums.cuh"

#define MOST_OCTAVES 16

extern "C" __global__ void __launch_bounds__(LANES) line_noise(
    u64 start, u32 per_kernel, u64 strength_key, u64 key, double low, double span, int octaves, int nx, int ny,
    const double* variance, const double* rms, float* image, float* sigma)
{
    __shared__ float rho[MOST_OCTAVES];
    __shared__ float step[MOST_OCTAVES];

    (void)rms;
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    image += observation * nx * ny;

    if (threadIdx.x < (u32)octaves) {
        const double exact = exp2_f64(-4.0 / (double)(1 << threadIdx.x));
        rho[threadIdx.x] = (float)exact;
        step[threadIdx.x] = (float)__dsqrt_rn(1.0 - exact * exact);
    }
    const double strength = low + unit(words(strength_key, 0, index, kernel).w0) * span;
    const float spread = deviation(variance[observation], strength);
    const float factor = (float)((double)spread / __dsqrt_rn((double)octaves));
    if (threadIdx.x == 0) {
        sigma[observation] = spread;
    }
    __syncthreads();

    const int quads = (nx + 3) / 4;
    for (int line = threadIdx.x; line < ny; line += LANES) {
        float value[MOST_OCTAVES];
        float* const pixel = image + (u64)line * nx;
        for (int q = 0; q < quads; ++q) {
            float noise[4] = {};
            for (int k = 0; k < octaves; ++k) {
                const Words drawn = words(key, (u32)((k * ny + line) * quads + q), index, kernel);
                const Normals near = normal_pair(drawn.w0, drawn.w1);
                const Normals far = normal_pair(drawn.w2, drawn.w3);
                const float normal[4] = {near.first, near.second, far.first, far.second};
                for (int place = 0; place < 4; ++place) {
                    value[k] = q == 0 && place == 0 ? normal[0]
                                                    : fused(rho[k], value[k], step[k] * normal[place]);
                    noise[place] += value[k];
                }
            }
            for (int place = 0; place < 4; ++place) {
                if (4 * q + place < nx) {
                    pixel[4 * q + place] = fused(factor, noise[place], pixel[4 * q + place]) + 0.0f;
                }
            }
        }
    }
}
