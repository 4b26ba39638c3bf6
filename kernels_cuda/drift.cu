// Drift and creep: the operations of _resample in qpibench/corruptions/drift.py, in the same order.
//
// Launch: one block of 256 threads for each observation. Shared memory: 35 KiB. Float64: about 150 operations a pixel.
//
// The source is overwritten by the coefficients of its spline: those of a window of 2 SPLINE_REACH + 1 rows and columns
// lie at its first row and column.
//
// start           index of the first observation; observation i shows kernel i / per_kernel
// per_kernel      observations of a kernel
// key             key of the stream
// low_drift, span_drift, low_creep, span_creep    lower ends and lengths of the ranges, nm
// pitch_x, pitch_y      of the pixels, nm
// field_nx, field_ny    pixels of the field
// nx, ny          pixels of the result: those of the field, and what later corruptions need around it
// border          largest displacement in pixels and reach of the spline
// source          (observation, ny + 2 border, nx + 2 border) float32
// image           out, (observation, ny, nx) float32
// drift_x, drift_y, creep_x, creep_y    out, (observation,) float64, nm
#include "filters.cuh"
#include "philox.cuh"

__device__ inline int clamped(int value, int most)
{
    return value < 0 ? 0 : value > most ? most : value;
}

extern "C" __global__ void __launch_bounds__(FILTER_THREADS) drift(
    u64 start, u32 per_kernel, u64 key, double low_drift, double span_drift, double low_creep, double span_creep,
    double pitch_x, double pitch_y, int field_nx, int field_ny, int nx, int ny, int border, float* source, float* image,
    double* drift_x, double* drift_y, double* creep_x, double* creep_y)
{
    __shared__ Filter filter;

    const double STEEPNESS = 16.0;
    const double PER_MINUS2LN = -0.17647806193238058;  // -1 / (2 ln 17)
    const double MIDDLE = 0.7755238700769802;          // ln 9 / ln 17
    const u64 observation = blockIdx.x;
    const u64 kernel = (start + observation) / per_kernel;
    const u32 index = (u32)(start + observation - kernel * per_kernel);
    const int stride = nx + 2 * border;
    source += observation * stride * (ny + 2 * border);
    image += observation * nx * ny;

    const Words drawn = words(key, 0, index, kernel);
    double sine, cosine;
    const double drifted = low_drift + unit(drawn.w0) * span_drift;
    sincospi_f64(2.0 * unit(drawn.w1), sine, cosine);
    const double vx = drifted * cosine, vy = drifted * sine;
    const double crawled = low_creep + unit(drawn.w2) * span_creep;
    sincospi_f64(2.0 * unit(drawn.w3), sine, cosine);
    const double kx = crawled * cosine, ky = crawled * sine;
    if (threadIdx.x == 0) {
        drift_x[observation] = vx;
        drift_y[observation] = vy;
        creep_x[observation] = kx;
        creep_y[observation] = ky;
    }
    set_spline_weights(filter);
    const int inner = border - SPLINE_REACH;
    filter_image(filter, SPLINE_REACH, source, stride, source, stride, nx + 2 * inner, ny + 2 * inner);

    for (int k = threadIdx.x; k < nx * ny; k += FILTER_THREADS) {
        const int iy = k / nx;
        const int ix = k % nx;
        const int line = clamped(iy - (ny - field_ny) / 2, field_ny - 1);
        const int place = clamped(ix - (nx - field_nx) / 2, field_nx - 1);
        const double t = ((double)(line * field_nx + place) + 0.5) / (double)(field_nx * field_ny);
        const double logarithm = (double)minus2ln_f32((float)fused(STEEPNESS, t, 1.0));
        const double crept = fused(logarithm, PER_MINUS2LN, -MIDDLE);
        const double dx = fused(t - 0.5, vx, crept * kx);
        const double dy = fused(t - 0.5, vy, crept * ky);
        const double y = (double)(iy + inner) + dy / pitch_y;
        const double x = (double)(ix + inner) + dx / pitch_x;
        image[k] = (float)spline_value(source, stride, y, x) + 0.0f;
    }
}
