// Lattice corrugation: the operations of _corrugate in qpibench/corruptions/corrugation.py, in the same order.
//
// Launch: one block of 256 threads for each observation. The block computes sine and cosine of 256 rows at a time; a
// thread computes those of its columns. Float64: 3 operations for each wave and pixel.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// key             key of the stream
// waves           2: square lattice; 3: hexagonal lattice
// per_nm          1 over the distance of lattice planes, 1/nm
// low, span       lower end and length of the range of the strength
// low_angle, span_angle    the same of the angle over pi
// half_x, half_y  half the pitch of the pixels, nm
// nx, ny          pixels of an image
// variance        (observation,) float64: variance of the clean image
// rms             not read
// image           (observation, ny, nx) float32
// sigma           out, (observation,) float32
// angle           out, (observation,) float64, rad
#include "philox.cuh"
#include "sums.cuh"

#define WAVES 3

extern "C" __global__ void __launch_bounds__(LANES) corrugation(
    u64 start, u32 per_kernel, u64 key, int waves, double per_nm, double low, double span, double low_angle,
    double span_angle, double half_x, double half_y, int nx, int ny, const double* variance, const double* rms,
    float* image, float* sigma, double* angle)
{
    __shared__ double sin_y[WAVES][LANES];
    __shared__ double cos_y[WAVES][LANES];

    (void)rms;
    const double PI = 3.141592653589793;
    const double square[WAVES] = {0.0, 0.5, 0.0};
    const double hexagonal[WAVES] = {1.0 / 6.0, 5.0 / 6.0, 3.0 / 2.0};
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    image += observation * nx * ny;

    const Words drawn = words(key, 0, index, kernel);
    const float spread = deviation(variance[observation], low + unit(drawn.w0) * span);
    const double half_turns = low_angle + unit(drawn.w1) * span_angle;
    if (threadIdx.x == 0) {
        sigma[observation] = spread;
        angle[observation] = PI * half_turns;
    }
    const double first = unit(drawn.w2), second = unit(drawn.w3);
    const double phase[WAVES] = {first, second, -(first + second)};
    double along_x[WAVES] = {}, along_y[WAVES] = {};
    for (int wave = 0; wave < waves; ++wave) {
        double sine, cosine;
        sincospi_f64(half_turns + (waves == 2 ? square[wave] : hexagonal[wave]), sine, cosine);
        along_x[wave] = per_nm * cosine * half_x;
        along_y[wave] = per_nm * sine * half_y;
    }
    const float factor = waves == 2 ? spread : spread * 0.816496580927726f;
    for (int top = 0; top < ny; top += LANES) {
        const int rows = ny - top < LANES ? ny - top : LANES;
        __syncthreads();
        if ((int)threadIdx.x < rows) {
            const double y = (double)(2 * (top + (int)threadIdx.x) - (ny - 1));
            for (int wave = 0; wave < waves; ++wave) {
                sincospi_f64(2.0 * (along_y[wave] * y), sin_y[wave][threadIdx.x], cos_y[wave][threadIdx.x]);
            }
        }
        __syncthreads();
        for (int column = threadIdx.x; column < nx; column += LANES) {
            double sin_x[WAVES] = {}, cos_x[WAVES] = {};
            for (int wave = 0; wave < waves; ++wave) {
                const double t = fused(along_x[wave], (double)(2 * column - (nx - 1)), phase[wave]);
                sincospi_f64(2.0 * t, sin_x[wave], cos_x[wave]);
            }
            for (int row = 0; row < rows; ++row) {
                double total = 0.0;
                for (int wave = 0; wave < waves; ++wave) {
                    total += fused(cos_x[wave], cos_y[wave][row], -(sin_x[wave] * sin_y[wave][row]));
                }
                float& pixel = image[(u64)(top + row) * nx + column];
                pixel = fused(factor, (float)total, pixel) + 0.0f;
            }
        }
    }
}
