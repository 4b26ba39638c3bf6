// Plane tilt: the operations of _tilt in qpibench/corruptions/plane_tilt.py, in the same order.
//
// Launch: one block of 256 threads for each observation. Float64: 2 operations a pixel.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// key             key of the stream
// low, span       lower end and length of the range of the strength
// size_x, size_y  sides of the field, nm
// half_x, half_y  half the pitch of the pixels, nm
// nx, ny          pixels of an image
// variance        (observation,) float64: variance of the clean image
// rms             not read
// image           (observation, ny, nx) float32
// height          out, (observation,) float32
// direction       out, (observation,) float64, rad
#include "philox.cuh"
#include "sums.cuh"

extern "C" __global__ void __launch_bounds__(LANES) plane_tilt(
    u64 start, u32 per_kernel, u64 key, double low, double span, double size_x, double size_y, double half_x,
    double half_y, int nx, int ny, const double* variance, const double* rms, float* image, float* height,
    double* direction)
{
    const double TWO_PI = 6.283185307179586;

    (void)rms;
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    image += observation * nx * ny;

    const Words drawn = words(key, 0, index, kernel);
    const float most = deviation(variance[observation], low + unit(drawn.w0) * span);
    if (threadIdx.x == 0) {
        height[observation] = most;
        direction[observation] = TWO_PI * unit(drawn.w1);
    }
    double sine, cosine;
    sincospi_f64(2.0 * unit(drawn.w1), sine, cosine);
    const double across_x = size_x * (cosine < 0.0 ? -cosine : cosine);
    const double across_y = size_y * (sine < 0.0 ? -sine : sine);
    const double slope = (double)most / (across_x + across_y);
    const double along_x = slope * cosine * half_x;
    const double along_y = slope * sine * half_y;
    for (int k = threadIdx.x; k < nx * ny; k += LANES) {
        const double level = along_y * (double)(2 * (k / nx) - (ny - 1));
        const double plane = fused(along_x, (double)(2 * (k % nx) - (nx - 1)), level);
        image[k] = image[k] + (float)plane + 0.0f;
    }
}
