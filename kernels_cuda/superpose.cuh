// Observations from their scatterers: superpose_tiles of qpibench/arithmetic/superposition.py with the formulas of the
// FAMILY's header, the same operations in the same order. superpose.cu is for one species of scatterers, and
// superpose_species.cu for two.
//
// Launch: one block for each tile of each observation, observations * tiles blocks in one dimension, x first. A thread
// owns a patch of 4 x 4 neighbouring pixels, in registers. A tile is across x down patches, at most 16 x 16. A block
// has a thread for each patch and at least 4 * (across + down), in whole warps: tiles of one size that just cover the
// image leave few threads idle. Shared memory: 32.4 KiB. Registers: 80 and no spills, so that three blocks of 256
// threads share a multiprocessor.
//
// Scatterers are processed in index order, as many at a time as the block has threads. The block lists those whose
// envelope is not exactly 0 in the whole tile, and processes the list in chunks. It computes the rows and columns of a
// chunk in shared memory. Then every thread adds the chunk to its pixels, without scatterers whose envelope is 0 in its
// whole patch. A skipped scatterer would add zeros, which could only change the sign of a zero, and the last step
// removes negative zeros. All pixels of a block have one stratum, and the block branches on it once. A launch may therefore
// mix kernels of all strata without sorting. The kernels of two species have the same stratum.
//
// Per evaluation (one pixel, one scatterer) of eq. 7, besides about 1/2 for loads and 1/2 for the choice of the root:
//
//     fold               0    2    3    4    6
//     FP32              21   32   33   32   39
//     integer            0    1    1    1    1
//     special function   1    1    1    1    1
//
// x, y            (nx,), (ny,) float64: pixel coordinates, nm, ascending
// position        (observation, most, xy) float64: scatterers, nm; those after n_scatterers are not read
// n_scatterers    (observation,) int64
// amplitude       (observation, stride) float32, factors of the scatterers; with stride 0 one number for all
// species         (observation, most) int32: which of the kernels of the observation a scatterer has; of two species
// stratum         (observation,) int64
// table           (observation, species, 5) float64: cos a, sin a, two numbers of the family, -C log2(e)
// across, down    patches of a tile
// image           out, (observation, ny, nx) float32, at an address that 16 divides
#pragma once
#ifndef FAMILY
#define FAMILY "families/eq7.cuh"
#endif
#include FAMILY

#define PATCH 4  // pixels per thread and direction
#define TILE 64  // most pixels of a tile in a direction
#define THREADS 256
#define CHUNK 16
#define WORD 32

// Values of rows and columns that a pixel needs: arrays of a tile's length.
enum { D2, COS, SIN, ENVELOPE, VALUES };

struct alignas(16) Axes {
    float column[CHUNK][VALUES][TILE];
    float row[CHUNK][VALUES][TILE];
};

struct Wave {
    float first, second, decay;
    float reach2;  // an envelope is exactly 0 at greater squared distances along one axis, nm^2
};

// Values that are the same for all threads of a block.
template <int SPECIES>
struct Block {
    float* corner;      // first pixel of the tile, in the image
    int columns, rows;  // of the image, from there on
    double left, right, top, bottom;  // outermost pixels of the tile, nm
    double ca[SPECIES], sa[SPECIES];
    Wave wave[SPECIES];  // not used for one species
    const int* species;  // of the observation's scatterers
    int stride;  // of the threads that make a chunk's rows and columns
    int amplitudes;  // per observation, or 0
    // Scatterers with a non-zero envelope in the tile, out of as many as the block has threads: bits, and a list.
    u32 bits[THREADS / WORD];
    unsigned char listed[THREADS];
};

// Number of the kernel of a scatterer.
template <int SPECIES>
__device__ inline int kernel_of(const Block<SPECIES>& block, int scatterer)
{
    return SPECIES == 1 ? 0 : block.species[scatterer];
}

// The wave of a kernel; a single one is in registers.
template <int SPECIES>
__device__ inline const Wave& wave_of(const Block<SPECIES>& block, const Wave& only, int kernel)
{
    if constexpr (SPECIES == 1) {
        return only;
    } else {
        return block.wave[kernel];
    }
}

// The row or column that a thread computes for every stride-th scatterer of a chunk.
struct Line {
    double at;
    bool is_row;
    u32 place;
    int first;
};

// Envelope along one axis at the nearest point of the tile. Rounding is monotonic, so no pixel has a larger one.
__device__ inline float largest_envelope(double first, double last, double position, float decay)
{
    const double d = position - fmin(fmax(position, first), last);
    return exp2_f32((float)(d * d) * decay);
}

// List the scatterers with a non-zero envelope in the tile, in order; each thread tests one. Returns their number.
template <int SPECIES>
__device__ inline int list_reaching(bool reaches, Block<SPECIES>& block)
{
    const u32 thread = threadIdx.x;
    if (thread < THREADS / WORD) {
        block.bits[thread] = 0;
    }
    __syncthreads();
    if (reaches) {
        atomicOr(&block.bits[thread / WORD], 1u << thread % WORD);
    }
    __syncthreads();
    int before = 0, all = 0;
    for (u32 word = 0; word < THREADS / WORD; ++word) {
        const u32 bits = block.bits[word];
        all += __popc(bits);
        before += word < thread / WORD ? __popc(bits) : 0;
    }
    if (reaches) {
        before += __popc(block.bits[thread / WORD] & ((1u << thread % WORD) - 1));
        block.listed[before] = (unsigned char)thread;
    }
    __syncthreads();
    return all;
}

// Rows and columns of a chunk of scatterers.
template <int STRATUM, int SPECIES>
__device__ inline void stage(
    const Block<SPECIES>& block, const Line& line, const double* position, const float* amplitude, int first, int chunk,
    int scatterers, const Wave& only, Axes& axes)
{
    const bool is_row = line.is_row;
    const u32 place = line.place;
    for (int scatterer = line.first; scatterer < scatterers; scatterer += block.stride) {
        float(&values)[VALUES][TILE] = is_row ? axes.row[scatterer] : axes.column[scatterer];
        const int number = block.listed[chunk + scatterer];
        const double d = line.at - position[2 * number + (is_row ? 1 : 0)];
        const float d2 = (float)(d * d);
        const int kernel = kernel_of(block, first + number);
        const float envelope = exp2_f32(d2 * wave_of(block, only, kernel).decay);
        values[D2][place] = d2;
        const float factor = is_row ? amplitude[block.amplitudes ? number : 0] * gain<STRATUM> : 1.0f;
        values[ENVELOPE][place] = envelope * factor;
        if (components<STRATUM> == 2 || (components<STRATUM> == 1 && !is_row)) {
            values[COS][place] = (float)(d * block.ca[kernel]);
        }
        if (components<STRATUM> == 2 || (components<STRATUM> == 1 && is_row)) {
            values[SIN][place] = (float)(d * block.sa[kernel]);
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

// Write the part of a patch that lies in the image: a number of columns and rows, at least one each.
__device__ inline void write(const Pixels& pixels, float* target, int nx, int columns, int rows)
{
    const bool is_aligned = nx % PATCH == 0;
#pragma unroll
    for (int j = 0; j < PATCH; ++j) {
        Patch row;
#pragma unroll
        for (int i = 0; i < PATCH; ++i) {
            row.v[i] = pixels.v[j][i] + 0.0f;  // no negative zero
        }
        if (j < rows && is_aligned) {
            *reinterpret_cast<Patch*>(target) = row;
        } else if (j < rows) {
#pragma unroll
            for (int i = 0; i < PATCH; ++i) {
                if (i < columns) {
                    target[i] = row.v[i];
                }
            }
        }
        target += nx;
    }
}

// Add a scatterer that may lie on a pixel. Almost never called, so it is kept small and out of the way.
template <int STRATUM>
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
            pixels.v[j][i] = add_scatterer<STRATUM, false>(
                pixels.v[j][i], column[D2][x] + row[D2][y], column[COS][x] - row[SIN][y], column[SIN][x] + row[COS][y],
                row[ENVELOPE][y] * column[ENVELOPE][x], wave.first, wave.second);
        }
    }
    return pixels;
}

// Add a chunk of scatterers, in their order, to the pixels of one thread.
template <int STRATUM, int SPECIES>
__device__ inline void accumulate(
    const Axes& axes, const Block<SPECIES>& block, int first, int chunk, int scatterers, u32 left, u32 top,
    const Wave& only, Pixels& pixels)
{
    for (int scatterer = 0; scatterer < scatterers; ++scatterer) {
        const int number = SPECIES == 1 ? 0 : first + block.listed[chunk + scatterer];
        const Wave& wave = wave_of(block, only, kernel_of(block, number));
        const float(&column)[VALUES][TILE] = axes.column[scatterer];
        const float(&row)[VALUES][TILE] = axes.row[scatterer];
        const Patch dx2 = patch_of(column[D2], left);
        const Patch dy2 = patch_of(row[D2], top);
        // Rounding is monotonic, so no distance in the patch is below the sum of the least ones.
        const float least_x = least(dx2);
        const float least_y = least(dy2);
        if (fmaxf(least_x, least_y) > wave.reach2) {
            continue;
        }
        if (least_x + least_y < ROOT_FLOOR) {
            pixels = add_near<STRATUM>(pixels, axes, scatterer, left, top, wave);
            continue;
        }
        const Patch ex = patch_of(column[ENVELOPE], left);
        const Patch ey = patch_of(row[ENVELOPE], top);
        Patch xc = {}, xs = {}, yc = {}, ys = {};
        if constexpr (components<STRATUM> != 0) {
            xc = patch_of(column[COS], left);
            ys = patch_of(row[SIN], top);
        }
        if constexpr (components<STRATUM> == 2) {
            xs = patch_of(column[SIN], left);
            yc = patch_of(row[COS], top);
        }
#pragma unroll
        for (int j = 0; j < PATCH; ++j) {
#pragma unroll
            for (int i = 0; i < PATCH; ++i) {
                pixels.v[j][i] = add_scatterer<STRATUM, true>(
                    pixels.v[j][i], dx2.v[i] + dy2.v[j], xc.v[i] - ys.v[j], xs.v[i] + yc.v[j], ey.v[j] * ex.v[i],
                    wave.first, wave.second);
            }
        }
    }
}

template <int STRATUM, int SPECIES>
__device__ inline void superpose_tile(
    Axes& axes, Block<SPECIES>& block, const Line& line, const double* position, const float* amplitude, int count,
    bool is_inside, u32 left, u32 top, const Wave& only, Pixels& pixels)
{
    for (int first = 0; first < count; first += blockDim.x, position += 2 * blockDim.x) {
        const int mine = threadIdx.x;
        bool reaches = first + mine < count;
        if (reaches) {
            const float decay = wave_of(block, only, kernel_of(block, first + mine)).decay;
            reaches = largest_envelope(block.left, block.right, position[2 * mine], decay) *
                    largest_envelope(block.top, block.bottom, position[2 * mine + 1], decay) !=
                0.0f;
        }
        const int listed = list_reaching(reaches, block);
        for (int chunk = 0; chunk < listed; chunk += CHUNK) {
            const int scatterers = listed - chunk < CHUNK ? listed - chunk : CHUNK;
            stage<STRATUM>(block, line, position, amplitude, first, chunk, scatterers, only, axes);
            __syncthreads();
            if (is_inside) {
                accumulate<STRATUM>(axes, block, first, chunk, scatterers, left, top, only, pixels);
            }
            __syncthreads();
        }
        amplitude += block.amplitudes ? blockDim.x : 0;
    }
}

__device__ inline Wave wave_of_row(const double* row)
{
    const float decay = (float)row[4];
    return {(float)row[2], (float)row[3], decay, -40.001f / decay};  // exp2_f32 is 0 below -40
}

__device__ inline int smaller(int a, int b)
{
    return a < b ? a : b;
}

template <int SPECIES>
__device__ inline void superpose_observation(
    const double* x, const double* y, int nx, int ny, int across, int down, const double* position,
    const long long* n_scatterers, int most, const float* amplitude, int stride, const int* species,
    const long long* stratum, const double* table, float* image)
{
    __shared__ Axes axes;
    __shared__ Block<SPECIES> block;

    const u32 width = PATCH * across;
    const u32 height = PATCH * down;
    const u32 tiles_x = (nx + width - 1) / width;
    const u32 tiles = tiles_x * ((ny + height - 1) / height);
    const u32 observation = blockIdx.x / tiles;
    const u32 tile = blockIdx.x % tiles;
    const int tile_left = width * (tile % tiles_x);
    const int tile_top = height * (tile / tiles_x);

    const double* const row = table + 5 * SPECIES * (u64)observation;
    const Wave only = wave_of_row(row);

    const u32 thread = threadIdx.x;
    const u32 lines = width + height;
    const u32 left = PATCH * (thread % across);
    const u32 top = PATCH * (thread / across);
    const bool is_inside = top < height && tile_left + (int)left < nx && tile_top + (int)top < ny;

    // As on the CPU, rows and columns beyond the edge of the image repeat the last one, and are not written.
    const u32 number = thread % lines;
    Line line;
    line.is_row = number >= width;
    line.place = line.is_row ? number - width : number;
    const u32 lines_at_once = blockDim.x / lines;
    line.first = thread < lines_at_once * lines ? thread / lines : CHUNK;
    line.at = line.is_row ? y[smaller(tile_top + line.place, ny - 1)] : x[smaller(tile_left + line.place, nx - 1)];

    if (thread == 0) {
        block.columns = nx - tile_left;
        block.rows = ny - tile_top;
        block.corner = image + ((u64)observation * ny + tile_top) * nx + tile_left;
        for (int kernel = 0; kernel < SPECIES; ++kernel) {
            block.ca[kernel] = row[5 * kernel];
            block.sa[kernel] = row[5 * kernel + 1];
            if constexpr (SPECIES > 1) {
                block.wave[kernel] = wave_of_row(row + 5 * kernel);
            }
        }
        if constexpr (SPECIES > 1) {
            block.species = species + (u64)observation * most;
        }
        block.stride = lines_at_once;
        block.amplitudes = stride;
        block.left = x[tile_left];
        block.right = x[smaller(tile_left + width, nx) - 1];
        block.top = y[tile_top];
        block.bottom = y[smaller(tile_top + height, ny) - 1];
    }
    __syncthreads();

    Pixels pixels = {};
    const double* const places = position + 2 * (u64)observation * most;
    const float* const amplitudes = amplitude + (u64)observation * stride;
    const int count = (int)n_scatterers[observation];
#define CASE(S)                                                                                             \
    case S:                                                                                                 \
        superpose_tile<S>(axes, block, line, places, amplitudes, count, is_inside, left, top, only, pixels); \
        break;
    switch (stratum[observation]) {
        STRATA(CASE)
    }
    if (is_inside) {
        write(pixels, block.corner + (u64)top * nx + left, nx, block.columns - left, block.rows - top);
    }
}
