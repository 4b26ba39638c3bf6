// Single-scatterer images: image_of_kernel of qpibench/arithmetic/superposition.py, float64 formulas of the FAMILY's
// header, rounded once.
//
// Launch: one thread for a pixel, any block size, at least kernels * ny * nx threads. Float64, for eq. 7: about 45
// operations, a root and up to one division a pixel.
//
// x, y            (nx,), (ny,) float64: pixel coordinates, nm
// kernels         how many
// stratum         (kernel,) int64
// table           (kernel, 5) float64: cos a, sin a, two numbers of the family, -C log2(e)
// image           out, (kernel, ny, nx) float32
#ifndef FAMILY
#define FAMILY "families/eq7.cuh"
#endif
#include FAMILY

extern "C" __global__ void kernel_images(
    const double* x, const double* y, int nx, int ny, u64 kernels, const long long* stratum, const double* table,
    float* image)
{
    const u64 pixel = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    const u64 pixels = (u64)nx * ny;
    const u64 kernel = pixel / pixels;
    if (kernel >= kernels) {
        return;
    }
    const double px = x[pixel % pixels % nx];
    const double py = y[pixel % pixels / nx];
    const double r2 = px * px + py * py;
    image[pixel] = (float)kernel_value((int)stratum[kernel], px, py, r2, __dsqrt_rn(r2), table + 5 * kernel);
}
