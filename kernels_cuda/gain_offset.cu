// Gain and offset: the operations of _scale in qpibench/corruptions/gain_offset.py, in the same order.
//
// Launch: one block of 256 threads for each observation. Float32: one operation a pixel.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// key             key of the stream
// low_gain, span_gain, low_offset, span_offset    lower ends and lengths of the ranges
// nx, ny          pixels of an image
// variance        (observation,) float64: variance of the clean image
// rms             not read
// image           (observation, ny, nx) float32
// gain            out, (observation,) float64
// offset          out, (observation,) float32
#include "philox.cuh"
#include "sums.cuh"

extern "C" __global__ void __launch_bounds__(LANES) gain_offset(
    u64 start, u32 per_kernel, u64 key, double low_gain, double span_gain, double low_offset, double span_offset,
    int nx, int ny, const double* variance, const double* rms, float* image, double* gain, float* offset)
{
    (void)rms;
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    image += observation * nx * ny;

    const Words drawn = words(key, 0, index, kernel);
    const double scale = low_gain + unit(drawn.w0) * span_gain;
    const float shift = deviation(variance[observation], low_offset + unit(drawn.w1) * span_offset);
    if (threadIdx.x == 0) {
        gain[observation] = scale;
        offset[observation] = shift;
    }
    const float factor = (float)scale;
    for (int k = threadIdx.x; k < nx * ny; k += LANES) {
        image[k] = fused(factor, image[k], shift) + 0.0f;
    }
}
