// Roots of the mean squares of kernels' images: the operations of root_mean_squares in qpibench/arithmetic/sums.py, in
// the same order.
//
// Launch: one block of 256 threads for each kernel. Shared memory: 2 KiB. Float64: one operation a pixel.
//
// pixels          ny * nx
// image           (kernel, ny, nx) float32
// rms             out, (kernel,) float64
#include "sums.cuh"

extern "C" __global__ void __launch_bounds__(LANES) kernel_rms(int pixels, const float* image, double* rms)
{
    __shared__ double lanes[LANES];

    const u64 kernel = blockIdx.x;
    image += kernel * pixels;
    double squares = 0.0;
    for (int k = threadIdx.x; k < pixels; k += LANES) {
        const double value = (double)image[k];
        squares = fused(value, value, squares);
    }
    squares = tree_sum(lanes, squares);
    if (threadIdx.x == 0) {
        rms[kernel] = __dsqrt_rn(squares / pixels);
    }
}
