// Superposition of tabulated kernels: superpose_table of qpibench/arithmetic/tables.py, the same operations in the same
// order for every pixel.
//
// Launch: a block of 256 threads for each tile of SIDE x SIDE pixels of each observation. Scatterers are staged in
// chunks: 64 threads compute their weights in float64. For each scatterer in its order, the block first weights the
// rows of the table along y, for every row of pixels and every phase that the tile needs (eight reads and as many fused
// multiply-adds a number), then each thread weights eight of these numbers along x for each of its four pixels.
//
// x, y            (nx,), (ny,) float64: pixel coordinates, nm, ascending
// position        (observation, most, xy) float64: scatterers, nm; those after n_scatterers are not read
// n_scatterers    (observation,) int64
// amplitude       (observation, stride) float32, factors of the scatterers; with stride 0 one number for all
// species         (observation, stride of species) int32: which of the tables of the observation a scatterer has; with stride 0
//                 one number for all
// kernel          (observation, kernels) int64: the tables of each
// values          (table, row, phase, column) float32: coefficients of the splines
// rows, phases, columns        shape of a table; phases are samples per pixel along x
// first_x, first_y             numbers of the first samples
// per_y           samples per pixel along y
// step_x, step_y  distances of the samples, nm
// reach_x, reach_y             pixels at larger offsets are skipped, nm
// image           out, (observation, ny, nx) float32
#include "elementary.cuh"
#include "integers.cuh"

namespace table {

enum { TAPS = 8, BEFORE = 3, SIDE = 32, STAGED = 32, BLOCK = 256, PIXELS = SIDE * SIDE / BLOCK };

// Weights of a scatterer along one axis, and the pixels of the tile that it reaches.
struct Axis {
    float weight[TAPS];
    int sample;         // of the first tap at the first pixel, in the table
    int begin, end;     // of the pixels of the tile within reach
};

__device__ inline double tail(double t)
{
    const double t2 = t * t;
    return t2 * t2 * t2 * t / 5040.0;
}

__device__ inline double foot(double t)
{
    return (((((((7.0 - 7.0 * t) * t + 21.0) * t + 35.0) * t + 35.0) * t + 21.0) * t + 7.0) * t + 1.0) / 5040.0;
}

__device__ inline double shoulder(double t)
{
    const double t2 = t * t;
    return (((((21.0 * t - 42.0) * t - 84.0) * t2 + 280.0) * t + 504.0) * t2 + 392.0 * t + 120.0) / 5040.0;
}

__device__ inline double summit(double t)
{
    const double t2 = t * t;
    return ((((35.0 * t - 140.0) * t2 + 560.0) * t2 - 1680.0) * t2 + 2416.0) / 5040.0;
}

__device__ inline void prepare(
    const double* at, int first, int last, double place, double step, double reach, int per_pixel, int first_sample,
    Axis& axis)
{
    const double u = (at[0] - place) / step;
    const double k = rint(u - 0.5);
    const double t = u - k;
    const double s = 1.0 - t;
    axis.weight[0] = (float)tail(s);
    axis.weight[1] = (float)foot(s);
    axis.weight[2] = (float)shoulder(s);
    axis.weight[3] = (float)summit(t);
    axis.weight[4] = (float)summit(s);
    axis.weight[5] = (float)shoulder(t);
    axis.weight[6] = (float)foot(t);
    axis.weight[7] = (float)tail(t);
    int begin = first, end = last;
    while (begin < end && at[begin] - place < -reach) {
        ++begin;
    }
    while (end > begin && at[end - 1] - place > reach) {
        --end;
    }
    axis.begin = begin - first;
    axis.end = end - first;
    axis.sample = (int)k - BEFORE - first_sample + per_pixel * begin;
}

// Eight numbers, weighted.
__device__ inline float weighted(const float (&w)[TAPS], const float (&v)[TAPS])
{
    float total = w[0] * v[0];
#pragma unroll
    for (int tap = 1; tap < TAPS; ++tap) {
        total = fused(w[tap], v[tap], total);
    }
    return total;
}

__device__ inline int least_of(int a, int b)
{
    return a < b ? a : b;
}

}  // namespace table

extern "C" __global__ void __launch_bounds__(256) superpose_table(
    const double* x, const double* y, int nx, int ny, const double* position, const long long* n_scatterers, int most,
    const float* amplitude, int stride, const int* species, int species_stride, const long long* kernel, int kernels,
    const float* values, int rows, int phases, int columns, int first_x, int first_y, int per_y, double step_x, double step_y, double reach_x, double reach_y,
    float* image)
{
    using namespace table;
    __shared__ Axis across[STAGED];
    __shared__ Axis down[STAGED];
    __shared__ float factor[STAGED];
    __shared__ const float* spline[STAGED];
    __shared__ float band[SIDE * TAPS * SIDE];

    const u32 tiles_x = (nx + SIDE - 1) / SIDE;
    const u32 tiles = tiles_x * ((ny + SIDE - 1) / SIDE);
    const u32 observation = blockIdx.x / tiles;
    const u32 tile = blockIdx.x % tiles;
    const int left = SIDE * (tile % tiles_x);
    const int top = SIDE * (tile / tiles_x);
    const int right = least_of(left + SIDE, nx);
    const int bottom = least_of(top + SIDE, ny);
    const int thread = threadIdx.x;
    const int column = thread % SIDE;
    const int planes = least_of(phases, TAPS);  // phases that the taps of a pixel read
    const int line = phases * columns;

    const double* const places = position + 2 * (u64)observation * most;
    const float* const factors = amplitude + (u64)observation * stride;
    const int* const kinds = species + (u64)observation * species_stride;
    const long long* const tables = kernel + (u64)observation * kernels;
    const int count = (int)n_scatterers[observation];

    float pixel[PIXELS] = {};
    for (int chunk = 0; chunk < count; chunk += STAGED) {
        const int scatterers = least_of(STAGED, count - chunk);
        __syncthreads();
        if (thread < STAGED && thread < scatterers) {
            prepare(x, left, right, places[2 * (chunk + thread)], step_x, reach_x, phases, first_x, across[thread]);
            factor[thread] = factors[stride ? chunk + thread : 0];
            const u64 table = tables[kinds[species_stride ? chunk + thread : 0]];
            spline[thread] = values + table * rows * phases * columns;
        } else if (thread >= STAGED && thread < STAGED + scatterers) {
            const int mine = thread - STAGED;
            prepare(y, top, bottom, places[2 * (chunk + mine) + 1], step_y, reach_y, per_y, first_y, down[mine]);
        }
        __syncthreads();
        for (int scatterer = 0; scatterer < scatterers; ++scatterer) {
            const Axis& h = across[scatterer];
            const Axis& v = down[scatterer];
            // Rows of the lattice weighted along y, by row of pixels, phase and column.
            const int width = h.end - h.begin;
            const int wide = width + (TAPS - 1) / phases;
            const int needed = width > 0 && v.begin < v.end ? (v.end - v.begin) * planes * wide : 0;
            for (int k = thread; k < needed; k += BLOCK) {
                const int row = k / (planes * wide);
                const int plane = k / wide % planes;
                const int at = k % wide;
                if (at < width + (TAPS - 1 - plane) / phases) {
                    const int sample = h.sample + plane;
                    const float* const first = spline[scatterer] + (u64)(v.sample + row * per_y) * line
                                               + sample % phases * columns + sample / phases + at;
                    float read[TAPS];
#pragma unroll
                    for (int tap = 0; tap < TAPS; ++tap) {
                        read[tap] = first[tap * line];
                    }
                    band[k] = weighted(v.weight, read);
                }
            }
            __syncthreads();
            if (column >= h.begin && column < h.end) {
#pragma unroll
                for (int k = 0; k < PIXELS; ++k) {
                    const int row = thread / SIDE + k * (BLOCK / SIDE);
                    if (row >= v.begin && row < v.end) {
                        float read[TAPS];
#pragma unroll
                        for (int tap = 0; tap < TAPS; ++tap) {
                            read[tap] = band[((row - v.begin) * planes + tap % planes) * wide + tap / planes + column
                                             - h.begin];
                        }
                        pixel[k] = fused(factor[scatterer], weighted(h.weight, read), pixel[k]);
                    }
                }
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int k = 0; k < PIXELS; ++k) {
        const int row = top + thread / SIDE + k * (BLOCK / SIDE);
        if (row < ny && left + column < nx) {
            image[((u64)observation * ny + row) * nx + left + column] = pixel[k] + 0.0f;  // no negative zero
        }
    }
}
