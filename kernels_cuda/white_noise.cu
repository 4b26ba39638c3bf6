// White noise: the operations of _add_white_noise in qpibench/corruptions/white_noise.py, in the same order.
//
// Launch: one block of 256 threads for each observation.
//
// Float32: half a logarithm, root, sine and cosine, about 25 operations a pixel; a quarter of a Philox block.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// ratio_key, normal_key    keys of the two streams
// of_rms          whether the ratio is that of sigma to the kernel's rms; otherwise it is in dB
// low, span       lower end and length of the range of the ratio
// nx, ny          pixels of an image
// variance        (observation,) float64: variance of the clean image
// rms             (observation,) float64: that of the kernel; read if of_rms
// image           (observation, ny, nx) float32
// snr_db          out, (observation,) float64, dB
// noise_sigma     out, (observation,) float32
#include "normals.cuh"
#include "philox.cuh"
#include "sums.cuh"

// 10 log10(variance / sigma^2).
__device__ inline double decibels(double variance, float sigma)
{
    const double infinity = __longlong_as_double(0x7FF0000000000000);
    const double DB_PER_MINUS2LN = -4.342944819032518;  // -10 / ln 10
    if (sigma == 0.0f) {
        return infinity;
    }
    if (variance < VARIANCE_FLOOR) {
        return -infinity;
    }
    return DB_PER_MINUS2LN * (double)minus2ln_f32((float)(__dsqrt_rn(variance) / (double)sigma));
}

extern "C" __global__ void __launch_bounds__(LANES) white_noise(
    u64 start, u32 per_kernel, u64 ratio_key, u64 normal_key, int of_rms, double low, double span, int nx, int ny,
    const double* variance, const double* rms, float* image, double* snr_db, float* noise_sigma)
{
    const double LOG2_PER_DB = -0.33219280948873623;  // log2(10) / 10: the noise's share is 10^(-dB/10)
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    const int pixels = nx * ny;
    image += observation * pixels;

    const double ratio = low + unit(words(ratio_key, 0, index, kernel).w0) * span;
    const double clean = variance[observation];
    float sigma = 0.0f;
    if (of_rms) {
        sigma = deviation(rms[observation] * rms[observation], ratio);
    } else if (clean >= VARIANCE_FLOOR) {
        sigma = (float)__dsqrt_rn(clean * exp2_f64(ratio * LOG2_PER_DB));
    }
    if (threadIdx.x == 0) {
        snr_db[observation] = of_rms ? decibels(clean, sigma) : ratio;
        noise_sigma[observation] = sigma;
    }

    const int quarter = (pixels + 3) / 4;
    for (int q = threadIdx.x; q < quarter; q += LANES) {
        const Words drawn = words(normal_key, q, index, kernel);
        const Normals near = normal_pair(drawn.w0, drawn.w1);
        const Normals far = normal_pair(drawn.w2, drawn.w3);
        const float normal[4] = {near.first, near.second, far.first, far.second};
        for (int place = 0; place < 4; ++place) {
            const int k = place * quarter + q;
            if (k < pixels) {
                // Adding 0 turns a negative zero into 0.
                image[k] = fused(sigma, normal[place], image[k]) + 0.0f;
            }
        }
    }
}
