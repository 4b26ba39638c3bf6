// Observations from their scatterers: superpose of qpibench/synthesis/superposition.py, the same operations in the same
// order.
//
// Launch: one block of 256 threads for each tile of 64 x 64 pixels of each observation, observations * tiles blocks in
// one dimension, tiles = ceil(ny / 64) * ceil(nx / 64), x first. Shared memory: 32 KiB.
//
// A thread owns 4 x 4 neighbouring pixels, in registers. Scatterers pass in index order, in chunks: the block makes the
// values of a chunk's rows and columns in shared memory, then every thread adds the chunk to its pixels. The fold is
// the same for a whole block, which branches on it once; a launch may therefore mix kernels of all folds, and needs no
// sorting.
//
// Per evaluation (one pixel, one scatterer), besides about 1/2 for loads and 1/2 for the choice of the root:
//
//     fold               0    2    3    4    6
//     FP32              21   32   33   32   39
//     integer            0    1    1    1    1
//     special function   1    1    1    1    1
//
// x, y            (nx,), (ny,) float64: pixel coordinates, nm
// position        (observation, most, xy) float64: scatterers, nm; those behind n_scatterers are not read
// n_scatterers    (observation,) int64
// fold            (observation,) int64: 0, 2, 3, 4 or 6
// table           (observation, 5) float64: cos a, sin a, B/pi, phi2/pi, -C log2(e)
// image           out, (observation, ny, nx) float32
#include "eq7.cuh"

#define TILE 64
#define THREADS 256
#define CHUNK 16
#define PATCH 4  // pixels per thread and direction

// What a pixel needs of its row, and of its column: one array of a tile's length each.
enum { D2, COS, SIN, ENVELOPE, VALUES };

struct alignas(16) Axes {
    float column[CHUNK][VALUES][TILE];
    float row[CHUNK][VALUES][TILE];
};

struct Wave {
    double ca, sa;
    float freq, phase, decay;
};

// Rows and columns of a chunk of scatterers; a thread stays with one row or one column of the tile.
template <int FOLD>
__device__ inline void stage(
    u32 thread, double at, const double* position, int scatterers, const Wave& wave, Axes& axes)
{
    const bool is_row = thread % (2 * TILE) >= TILE;
    const u32 place = thread % TILE;
    for (int scatterer = thread / (2 * TILE); scatterer < scatterers; scatterer += THREADS / (2 * TILE)) {
        float(&values)[VALUES][TILE] = is_row ? axes.row[scatterer] : axes.column[scatterer];
        const double d = at - position[2 * scatterer + (is_row ? 1 : 0)];
        const float d2 = (float)(d * d);
        const float envelope = exp2_f32(d2 * wave.decay);
        values[D2][place] = d2;
        values[ENVELOPE][place] = is_row && FOLD == 4 ? envelope * 4.0f : envelope;
        if (FOLD == 6 || (FOLD != 0 && !is_row)) {
            values[COS][place] = (float)(d * wave.ca);
        }
        if (FOLD == 6 || (FOLD != 0 && is_row)) {
            values[SIN][place] = (float)(d * wave.sa);
        }
    }
}

// Four neighbours, read at once.
struct alignas(16) Patch {
    float v[PATCH];
};

__device__ inline Patch patch_of(const float (&values)[TILE], u32 first)
{
    return *reinterpret_cast<const Patch*>(values + first);
}

__device__ inline float least(const Patch& d2)
{
    return fminf(fminf(d2.v[0], d2.v[1]), fminf(d2.v[2], d2.v[3]));
}

struct Pixels {
    float v[PATCH][PATCH];
};

// Add a scatterer that may lie on a pixel. Almost never called, so it is kept small and out of the way.
template <int FOLD>
__device__ __noinline__ Pixels add_near(Pixels pixels, const Axes& axes, int scatterer, u32 left, u32 top, Wave wave)
{
    const float(&column)[VALUES][TILE] = axes.column[scatterer];
    const float(&row)[VALUES][TILE] = axes.row[scatterer];
#pragma unroll 1
    for (int j = 0; j < PATCH; ++j) {
#pragma unroll 1
        for (int i = 0; i < PATCH; ++i) {
            const u32 x = left + i;
            const u32 y = top + j;
            pixels.v[j][i] = add_scatterer<FOLD, false>(
                pixels.v[j][i], column[D2][x] + row[D2][y], column[COS][x] - row[SIN][y], column[SIN][x] + row[COS][y],
                row[ENVELOPE][y] * column[ENVELOPE][x], wave.freq, wave.phase);
        }
    }
    return pixels;
}

// Add a chunk of scatterers, in their order, to the pixels of one thread.
template <int FOLD>
__device__ inline void accumulate(
    const Axes& axes, int scatterers, u32 left, u32 top, const Wave& wave, Pixels& pixels)
{
    for (int scatterer = 0; scatterer < scatterers; ++scatterer) {
        const float(&column)[VALUES][TILE] = axes.column[scatterer];
        const float(&row)[VALUES][TILE] = axes.row[scatterer];
        const Patch dx2 = patch_of(column[D2], left);
        const Patch dy2 = patch_of(row[D2], top);
        // Rounding keeps order: no distance of the patch is below the sum of the least ones.
        if (least(dx2) + least(dy2) < ROOT_FLOOR) {
            pixels = add_near<FOLD>(pixels, axes, scatterer, left, top, wave);
            continue;
        }
        const Patch ex = patch_of(column[ENVELOPE], left);
        const Patch ey = patch_of(row[ENVELOPE], top);
        Patch xc = {}, xs = {}, yc = {}, ys = {};
        if constexpr (FOLD != 0) {
            xc = patch_of(column[COS], left);
            ys = patch_of(row[SIN], top);
        }
        if constexpr (FOLD == 6) {
            xs = patch_of(column[SIN], left);
            yc = patch_of(row[COS], top);
        }
#pragma unroll
        for (int j = 0; j < PATCH; ++j) {
#pragma unroll
            for (int i = 0; i < PATCH; ++i) {
                pixels.v[j][i] = add_scatterer<FOLD, true>(
                    pixels.v[j][i], dx2.v[i] + dy2.v[j], xc.v[i] - ys.v[j], xs.v[i] + yc.v[j], ey.v[j] * ex.v[i],
                    wave.freq, wave.phase);
            }
        }
    }
}

template <int FOLD>
__device__ inline void superpose_tile(
    Axes& axes, double at, const double* position, int count, bool is_inside, u32 left, u32 top, const Wave& wave,
    Pixels& pixels)
{
    for (int first = 0; first < count; first += CHUNK) {
        const int scatterers = count - first < CHUNK ? count - first : CHUNK;
        stage<FOLD>(threadIdx.x, at, position + 2 * first, scatterers, wave, axes);
        __syncthreads();
        if (is_inside) {
            accumulate<FOLD>(axes, scatterers, left, top, wave, pixels);
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) superpose(
    const double* x, const double* y, int nx, int ny, const double* position, const long long* n_scatterers,
    int most, const long long* fold, const double* table, float* image)
{
    __shared__ Axes axes;

    const u32 tiles_x = (nx + TILE - 1) / TILE;
    const u32 tiles = tiles_x * ((ny + TILE - 1) / TILE);
    const u64 observation = blockIdx.x / tiles;
    const u32 tile = blockIdx.x % tiles;
    const int tile_left = TILE * (tile % tiles_x);
    const int tile_top = TILE * (tile / tiles_x);

    const double* const row = table + 5 * observation;
    const Wave wave = {row[0], row[1], (float)row[2], (float)row[3], (float)row[4]};

    // As in the CPU's tiles, rows and columns behind the edge repeat the last one, and are not written.
    const int place = threadIdx.x % TILE;
    const bool is_row = threadIdx.x % (2 * TILE) >= TILE;
    const int line = (is_row ? tile_top : tile_left) + place;
    const int last = (is_row ? ny : nx) - 1;
    const double at = (is_row ? y : x)[line < last ? line : last];

    const u32 left = PATCH * (threadIdx.x % (TILE / PATCH));
    const u32 top = PATCH * (threadIdx.x / (TILE / PATCH));
    const bool is_inside = tile_left + (int)left < nx && tile_top + (int)top < ny;

    Pixels pixels = {};
    const double* const places = position + 2 * observation * most;
    const int count = (int)n_scatterers[observation];
    switch (fold[observation]) {
    case 0: superpose_tile<0>(axes, at, places, count, is_inside, left, top, wave, pixels); break;
    case 2: superpose_tile<2>(axes, at, places, count, is_inside, left, top, wave, pixels); break;
    case 3: superpose_tile<3>(axes, at, places, count, is_inside, left, top, wave, pixels); break;
    case 4: superpose_tile<4>(axes, at, places, count, is_inside, left, top, wave, pixels); break;
    default: superpose_tile<6>(axes, at, places, count, is_inside, left, top, wave, pixels);
    }

    for (int j = 0; j < PATCH; ++j) {
        for (int i = 0; i < PATCH; ++i) {
            const int iy = tile_top + (int)top + j;
            const int ix = tile_left + (int)left + i;
            if (iy < ny && ix < nx) {
                image[(observation * ny + iy) * nx + ix] = pixels.v[j][i];
            }
        }
    }
}
