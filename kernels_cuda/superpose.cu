// Observations with one species of scatterers; see superpose.cuh.
#include "superpose.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 3) superpose(
    const double* x, const double* y, int nx, int ny, int across, int down, const double* position,
    const long long* n_scatterers, int most, const float* amplitude, int stride, const long long* stratum,
    const double* table, float* image)
{
    superpose_observation<1>(
        x, y, nx, ny, across, down, position, n_scatterers, most, amplitude, stride, nullptr, stratum, table, image);
}
