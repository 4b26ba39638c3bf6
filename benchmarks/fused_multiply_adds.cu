// What the chip can do: 2 * CHAINS * DEPTH * passes floating-point operations a thread, all of them fused multiply-adds.
// Launch with one thread for every value. Eight independent chains a thread cover the latency; the values converge to 1.

#define CHAINS 8
#define DEPTH 32

extern "C" __global__ void fused_multiply_adds(float* values, int passes)
{
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    float v[CHAINS];
    for (int chain = 0; chain < CHAINS; ++chain) {
        v[chain] = values[thread] + chain;
    }
    for (int pass = 0; pass < passes; ++pass) {
#pragma unroll
        for (int depth = 0; depth < DEPTH; ++depth) {
#pragma unroll
            for (int chain = 0; chain < CHAINS; ++chain) {
                v[chain] = __fmaf_rn(v[chain], 0.75f, 0.25f);
            }
        }
    }
    float sum = 0.0f;
    for (int chain = 0; chain < CHAINS; ++chain) {
        sum += v[chain];
    }
    values[thread] = sum / CHAINS;
}
