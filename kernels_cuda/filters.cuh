// Separable symmetric filters of images: the operations of qpibench/arithmetic/filters.py in the same order. A block of
// 256 threads filters an image.
#pragma once

#include "elementary.cuh"
#include "integers.cuh"

#define FILTER_THREADS 256
#define MAX_BORDER 1024
#define SPLINE_REACH 12

// Memory of a filter: weights of the offsets 0, 1, ... along y and x, and a strip filtered along y.
struct Filter {
    double along_y[MAX_BORDER + 1];
    double along_x[MAX_BORDER + 1];
    double column[FILTER_THREADS + 2 * MAX_BORDER];
};

__device__ inline int magnitude(int a)
{
    return a < 0 ? -a : a;
}

// Filter along y, then along x. The source has the border on every side and stride pixels in a row. The target may be
// the source, with the same stride: the strip of a row is written to the upper left of its own window, after it was read.
__device__ inline void filter_image(
    Filter& filter, int border, const float* source, int stride, float* target, int target_stride, int nx, int ny)
{
    for (int row = 0; row < ny; ++row) {
        for (int left = 0; left < nx; left += FILTER_THREADS) {
            const int width = nx - left < FILTER_THREADS ? nx - left : FILTER_THREADS;
            __syncthreads();
            for (int k = threadIdx.x; k < width + 2 * border; k += FILTER_THREADS) {
                double total = 0.0;
                for (int j = 0; j < 2 * border + 1; ++j) {
                    const double pixel = (double)source[(u64)(row + j) * stride + left + k];
                    total = fused(filter.along_y[magnitude(j - border)], pixel, total);
                }
                filter.column[k] = total;
            }
            __syncthreads();
            if ((int)threadIdx.x < width) {
                double total = 0.0;
                for (int j = 0; j < 2 * border + 1; ++j) {
                    total = fused(filter.along_x[magnitude(j - border)], filter.column[threadIdx.x + j], total);
                }
                target[(u64)row * target_stride + left + threadIdx.x] = (float)total;
            }
        }
    }
    __syncthreads();
}

// Weights that give the coefficients of the interpolating cubic B-spline of samples.
__device__ inline void set_spline_weights(Filter& filter)
{
    const double ROOT_3 = 1.7320508075688772;
    if (threadIdx.x == 0) {
        double weight = ROOT_3;
        for (int k = 0; k <= SPLINE_REACH; ++k) {
            filter.along_y[k] = weight;
            filter.along_x[k] = weight;
            weight = weight * (ROOT_3 - 2.0);
        }
    }
}

struct Basis {
    double w0, w1, w2, w3;
};

__device__ inline Basis spline_basis(double f)
{
    const double g = 1.0 - f;
    const double sixth = 1.0 / 6.0;
    return {
        g * g * g * sixth, fused(f * f, fused(0.5, f, -1.0), 2.0 / 3.0), fused(g * g, fused(0.5, g, -1.0), 2.0 / 3.0),
        f * f * f * sixth};
}

__device__ inline double spline_line(const float* line, const Basis& x)
{
    double total = x.w0 * (double)line[-1];
    total = fused(x.w1, (double)line[0], total);
    total = fused(x.w2, (double)line[1], total);
    return fused(x.w3, (double)line[2], total);
}

// Value of a cubic B-spline at row y and column x, at least one from the edges.
__device__ inline double spline_value(const float* coefficients, int stride, double y, double x)
{
    const int iy = (int)y;
    const int ix = (int)x;
    const Basis wy = spline_basis(y - (double)iy);
    const Basis wx = spline_basis(x - (double)ix);
    const float* const line = coefficients + (u64)iy * stride + ix;
    double total = wy.w0 * spline_line(line - stride, wx);
    total = fused(wy.w1, spline_line(line, wx), total);
    total = fused(wy.w2, spline_line(line + stride, wx), total);
    return fused(wy.w3, spline_line(line + 2 * (u64)stride, wx), total);
}
