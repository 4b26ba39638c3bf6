// White noise at a given signal-to-noise ratio: the operations of _add_white_noise in
// qpibench/corruptions/white_noise.py, in the same order.
//
// Launch: one block of 256 threads for each observation. Shared memory: 2 KiB.
//
// A thread is one lane of the sums over an image's pixels, and the block adds the lanes in a tree. Float64: 3 operations
// a pixel. Float32: half a logarithm, root, sine and cosine, about 25 operations a pixel; a quarter of a Philox block.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// ratio_key, normal_key    keys of the two streams
// low_db, span_db lower end and length of the range of the ratio, dB
// pixels          ny * nx
// image           (observation, ny, nx) float32: clean, and noisy afterwards
// snr_db          out, (observation,) float64, dB
// noise_sigma     out, (observation,) float32
#include "elementary.cuh"
#include "philox.cuh"

#define LANES 256
#define VARIANCE_FLOOR 0x1p-120

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

// The sum of the lanes, one of each thread; all threads get the sum.
__device__ inline double tree_sum(double (&lanes)[LANES], double mine)
{
    const u32 lane = threadIdx.x;
    __syncthreads();
    lanes[lane] = mine;
    for (u32 width = LANES / 2; width > 0; width /= 2) {
        __syncthreads();
        if (lane < width) {
            lanes[lane] += lanes[lane + width];
        }
    }
    __syncthreads();
    return lanes[0];
}

extern "C" __global__ void __launch_bounds__(LANES) white_noise(
    u64 start, u32 per_kernel, u64 ratio_key, u64 normal_key, double low_db, double span_db, int pixels, float* image,
    double* snr_db, float* noise_sigma)
{
    __shared__ double lanes[LANES];

    const double LOG2_PER_DB = -0.33219280948873623;  // log2(10) / 10: the noise's share is 10^(-dB/10)
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    image += observation * pixels;

    double sum = 0.0;
    for (int k = threadIdx.x; k < pixels; k += LANES) {
        sum += (double)image[k];
    }
    const double mean = tree_sum(lanes, sum) / pixels;
    double squares = 0.0;
    for (int k = threadIdx.x; k < pixels; k += LANES) {
        const double deviation = (double)image[k] - mean;
        squares = fused(deviation, deviation, squares);
    }
    const double variance = tree_sum(lanes, squares) / pixels;

    const double ratio = low_db + unit(words(ratio_key, 0, index, kernel).w0) * span_db;
    const float sigma =
        variance < VARIANCE_FLOOR ? 0.0f : (float)__dsqrt_rn(variance * exp2_f64(ratio * LOG2_PER_DB));
    if (threadIdx.x == 0) {
        snr_db[observation] = ratio;
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
