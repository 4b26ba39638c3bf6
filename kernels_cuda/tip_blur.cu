// Blur by a Gaussian tip: the operations of _blur in qpibench/corruptions/tip_blur.py, in the same order.
//
// Launch: one block of 256 threads for each observation. Shared memory: 35 KiB. Float64: 4 border + 2 operations a pixel,
// and about (256 + 2 border) / 256 times half of them for the first pass.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// key             key of the stream
// low, span       lower end and length of the range of the width, nm
// pitch_x, pitch_y    of the pixels, nm
// nx, ny          pixels of the result
// border          reach of the tip in pixels, at most MAX_BORDER
// source          (observation, ny + 2 border, nx + 2 border) float32
// image           out, (observation, ny, nx) float32
// fwhm            out, (observation,) float64, nm
#include "filters.cuh"
#include "philox.cuh"

__device__ inline void set_tip_weights(double ratio, int border, double* weights)
{
    double total = 0.0;
    for (int j = 0; j <= border; ++j) {
        weights[j] = exp2_f64(-(ratio * ratio * (double)(j * j)));
        total += j == 0 ? weights[j] : 2.0 * weights[j];
    }
    for (int j = 0; j <= border; ++j) {
        weights[j] = weights[j] / total;
    }
}

extern "C" __global__ void __launch_bounds__(FILTER_THREADS) tip_blur(
    u64 start, u32 per_kernel, u64 key, double low, double span, double pitch_x, double pitch_y, int nx, int ny,
    int border, float* source, float* image, double* fwhm)
{
    __shared__ Filter filter;

    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const int stride = nx + 2 * border;
    const double width = low + unit(words(key, 0, 0, kernel).w0) * span;
    if (threadIdx.x == 0) {
        fwhm[observation] = width;
        set_tip_weights(2.0 * pitch_x / width, border, filter.along_x);
    } else if (threadIdx.x == 1) {
        set_tip_weights(2.0 * pitch_y / width, border, filter.along_y);
    }
    source += observation * stride * (ny + 2 * border);
    image += observation * nx * ny;
    filter_image(filter, border, source, stride, image, nx, nx, ny);
    for (int k = threadIdx.x; k < nx * ny; k += FILTER_THREADS) {
        image[k] = image[k] + 0.0f;
    }
}
