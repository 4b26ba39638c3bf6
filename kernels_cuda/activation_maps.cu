// Positions of scatterers as images: activation_maps of qpibench/synthesis/rasterise.py.
//
// Launch: one block for an observation, any block size. A scatterer is distributed over the four pixels around it, or
// marks one cell in the mode of the published code. Shares of one pixel are added in float64, first those of all lower
// left corners, each in the order of the scatterers. The thread with the first share of a pixel adds all of them, so
// that no two threads write to one pixel. This takes (4 scatterers)^2 / 2 comparisons of integers an observation.
//
// paper           1 for the published code's cells, 0 for shares
// size_x, size_y  the field, nm
// nx, ny          pixels
// position        (observation, most, xy) float64: scatterers, nm
// n_scatterers    (observation,) int64
// most            length of the scatterer axis
// pixel           (observation, most) int32: working memory
// image           out, (observation, ny, nx) float32
#include "integers.cuh"

// A coordinate in units of the pixels' distance, and the pixel below it.
__device__ inline double place_of(double coordinate, int n, double size)
{
    return (coordinate + size / 2) / (size / (n - 1));
}

__device__ inline int pixel_below(double place, int n)
{
    const int pixel = (int)floor(place);
    return pixel < n - 2 ? pixel : n - 2;
}

__device__ inline int cell_of(double coordinate, int n, double size)
{
    const int cell = (int)floor((coordinate + size / 2) / (size / n));
    return cell < n - 1 ? cell : n - 1;
}

// Weight of a scatterer in one of its four pixels, the corners 0..3.
__device__ inline double share_of(const double* position, int corner, int nx, int ny, double size_x, double size_y)
{
    const double place_x = place_of(position[0], nx, size_x);
    const double place_y = place_of(position[1], ny, size_y);
    const double u = place_x - pixel_below(place_x, nx);
    const double v = place_y - pixel_below(place_y, ny);
    return (corner / 2 ? v : 1.0 - v) * (corner % 2 ? u : 1.0 - u);
}

extern "C" __global__ void activation_maps(
    int paper, double size_x, double size_y, int nx, int ny, const double* position, const long long* n_scatterers,
    int most, int* pixel, float* image)
{
    const u64 observation = blockIdx.x;
    const int count = (int)n_scatterers[observation];
    position += 2 * observation * most;
    pixel += observation * most;
    image += observation * ny * nx;

    for (int k = threadIdx.x; k < nx * ny; k += blockDim.x) {
        image[k] = 0.0f;
    }
    for (int k = threadIdx.x; k < count; k += blockDim.x) {
        const double x = position[2 * k];
        const double y = position[2 * k + 1];
        // A scatterer outside the field gets an index beyond all pixels, for any corner.
        pixel[k] = nx * ny;
        if (fabs(x) <= size_x / 2 && fabs(y) <= size_y / 2) {
            pixel[k] = paper
                ? cell_of(y, ny, size_y) * nx + cell_of(x, nx, size_x)
                : pixel_below(place_of(y, ny, size_y), ny) * nx + pixel_below(place_of(x, nx, size_x), nx);
        }
    }
    __syncthreads();

    if (paper) {
        for (int k = threadIdx.x; k < count; k += blockDim.x) {
            if (pixel[k] < nx * ny) {
                image[pixel[k]] = 1.0f;
            }
        }
        return;
    }
    for (int share = threadIdx.x; share < 4 * count; share += blockDim.x) {
        const int target = pixel[share % count] + share / count % 2 + share / count / 2 * nx;
        bool is_first = target < nx * ny;
        double total = 0.0;
        for (int corner = 0; is_first && corner < 4; ++corner) {
            const int base = target - corner % 2 - corner / 2 * nx;
            for (int k = 0; k < count; ++k) {
                if (pixel[k] != base) {
                    continue;
                }
                if (corner * count + k < share) {
                    is_first = false;
                    break;
                }
                total += share_of(position + 2 * k, corner, nx, ny, size_x, size_y);
            }
        }
        if (is_first) {
            image[target] = (float)total;
        }
    }
}
