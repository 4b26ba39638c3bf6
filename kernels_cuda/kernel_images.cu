// Single-scatterer images: kernel_images of qpibench/synthesis/superposition.py, float64 formulas, rounded once.
//
// Launch: one thread for a pixel, any block size, at least kernels * ny * nx threads. Float64: about 45 operations, a
// root and up to one division a pixel.
//
// x, y            (nx,), (ny,) float64: pixel coordinates, nm
// kernels         how many
// fold            (kernel,) int64: 0, 2, 3, 4 or 6
// table           (kernel, 5) float64: cos a, sin a, B/pi, phi2/pi, -C log2(e)
// image           out, (kernel, ny, nx) float32
#include "elementary.cuh"
#include "integers.cuh"

extern "C" __global__ void kernel_images(
    const double* x, const double* y, int nx, int ny, u64 kernels, const long long* fold, const double* table,
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
    const double* const row = table + 5 * kernel;
    const int n = (int)fold[kernel];
    const double r2 = px * px + py * py;
    const double r = __dsqrt_rn(r2);
    const double c = px * row[0] - py * row[1];
    double angular = 0.5;
    if (n == 0) {
        angular = 1.0;
    } else if (r2 > 0.0 && n == 3) {
        const double u = c / r;
        angular = 0.5 - u * (2.0 * (u * u) - 1.5);
    } else if (r2 > 0.0) {
        const double v = c * c / r2;
        const double w = 4.0 * v - 3.0;
        angular = n == 2 ? 1.0 - v : n == 4 ? 4.0 * (v - v * v) : 1.0 - v * (w * w);
    }
    const double radial = sin2pi_f64(fused(row[2], r, row[3]));
    image[pixel] = (float)(exp2_f64(row[4] * r2) * angular * radial);
}
