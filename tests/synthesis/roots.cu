// Counts the floats in ROOT_FLOOR..2^120 whose root_f32 is not __fsqrt_rn, bit for bit; any launch shape.
#include "elementary.cuh"

extern "C" __global__ void roots(unsigned int* wrong)
{
    const unsigned int first = __float_as_int(ROOT_FLOOR);
    const unsigned int last = __float_as_int(0x1p120f);
    for (unsigned int bits = first + blockIdx.x * blockDim.x + threadIdx.x; bits <= last; bits += gridDim.x * blockDim.x) {
        const float x = __int_as_float(bits);
        if (__float_as_int(root_f32(x)) != __float_as_int(__fsqrt_rn(x))) {
            atomicAdd(wrong, 1u);
        }
    }
}
