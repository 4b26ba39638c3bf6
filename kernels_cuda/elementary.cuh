// Elementary functions with defined bits: the operations of qpibench/arithmetic/elementary.py in the same order, with
// the same coefficients (tests/synthesis/test_cuda_bits.py compares them).
//
// The compiler must neither fuse operations nor flush denormals to zero (--fmad=false --ftz=false): * and + are single
// IEEE operations, and only fused() is fused.
#pragma once

#ifdef __CUDACC__
// 1/sqrt(x) by the special function unit, for normal x. Its error is at most 2^-22.9; its bits are not specified.
__device__ inline float rsqrt_estimate(float x)
{
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

__device__ inline float fused(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
}

__device__ inline double fused(double a, double b, double c)
{
    return __fma_rn(a, b, c);
}

template <class Number, int N>
__device__ inline Number horner(const Number (&coefficients)[N], Number z)
{
    Number total = coefficients[N - 1];
#pragma unroll
    for (int k = N - 2; k >= 0; --k) {
        total = fused(total, z, coefficients[k]);
    }
    return total;
}

// sin^2(pi t), |t| < 2^22.
__device__ inline float sin2pi_f32(float t)
{
    const float SIN2PI_F32[] = {
        9.869604264303665694589f, -32.46966236070844175138f, 42.7269274375430472509f,
        -30.09855320722772633954f, 13.0371118037704117947f, -3.336210975430560390422f,
    };
    const float rounder = 12582912.0f;  // 1.5 x 2^23: adding and subtracting it rounds to the nearest integer
    t = t - ((t + rounder) - rounder);
    const float z = t * t;
    return z * horner(SIN2PI_F32, z);
}

__device__ inline double sin2pi_f64(double t)
{
    const double SIN2PI_F64[] = {
        9.869604401089358618827, -32.46969701133414573784, 42.72840860334686249389, -30.12232068593823254246,
        13.21312839168359020838, -3.951768185580110499794, 0.8571953544393019721224, -0.1410029740263897588737,
        0.0181913574983312709969, -0.00188965846429392035601, 0.0001608194062284791358655,
        -0.00001052491310754034681827,
    };
    t = t - rint(t);
    const double z = t * t;
    return z * horner(SIN2PI_F64, z);
}

// sin(pi t) and cos(pi t), |t| < 2^53.
__device__ inline void sincospi_f64(double t, double& sine, double& cosine)
{
    const double SINPI_F64[] = {
        3.141592653589793237655, -5.167712780049969528684, 2.550164039877293940154, -0.5992645293187382530107,
        0.08214588656989290160401, -0.007370430478763411620336, 0.000466299688773189809352,
        -0.00002190318541432337187368, 7.694727227424692589653e-7,
    };
    const double COSPI_F64[] = {
        0.9999999999999999999936, -4.934802200544679304321, 4.058712126416767545092, -1.335262768854555012736,
        0.2353306303579960154199, -0.02580689137660446723889, 0.001929574187359314286576,
        -0.0001046374171263971125668, 0.000004300724831651041079833, -1.343527151981543367243e-7,
    };
    const double n = rint(t);
    const double g = t - n;
    const double z = g * g;
    const double sign = 1.0 - 2.0 * (double)((long long)n & 1);
    sine = sign * (g * horner(SINPI_F64, z));
    cosine = sign * horner(COSPI_F64, z);
}

// sin(pi t) and cos(pi t), |t| <= 1/4.
__device__ inline void sincospi_f32(float t, float& sine, float& cosine)
{
    const float SINPI_F32[] = {
        3.141592643416681569731f, -5.167707681865557995155f, 2.549761048593169695076f, -0.58901220958039244458f,
    };
    const float COSPI_F32[] = {
        0.9999999999439373218052f, -4.934802158259036086426f, 4.058706921538003685795f, -1.335035905833434404452f,
        0.2312609223178219720835f,
    };
    const float z = t * t;
    sine = t * horner(SINPI_F32, z);
    cosine = horner(COSPI_F32, z);
}

// -2 ln x for normal x.
__device__ inline float minus2ln_f32(float x)
{
    const float MINUS2LN_F32[] = {
        -1.999999999918184451232f, 0.9999997657935989915506f, -0.6666665198447657512579f, 0.5000317311953399747671f,
        -0.4000393714542036547074f, 0.3321802545675095393722f, -0.2836366765063924876823f, 0.264869217401756765666f,
        -0.2580933589339734351438f, 0.1524225238587497221753f,
    };
    const int SQRT_HALF = 0x3F3504F3;  // bits of sqrt(1/2), the least significand
    const int offset = __float_as_int(x) - SQRT_HALF;
    const float f = __int_as_float((offset & 0x7FFFFF) + SQRT_HALF) - 1.0f;
    return fused((float)(offset >> 23), -1.3862943611198906f, f * horner(MINUS2LN_F32, f));
}

// 2^x for x <= 0; exactly 0 below 2^-40, so that no product is denormal.
__device__ inline float exp2_f32(float x)
{
    const float EXP2_F32[] = {
        1.000000000554166463326f, 0.6931472057372680801129f, 0.2402264689063408776353f, 0.05550328776964725606484f,
        0.009618488957115070934814f, 0.001339993121934089035776f, 0.0001534581200290334755113f,
    };
    const bool below = x < -40.0f;
    x = below ? -40.0f : x;
    const float n = rintf(x);
    const float p = horner(EXP2_F32, x - n);
    return below ? 0.0f : p * __int_as_float(((int)n + 127) << 23);
}

// The same for x < 1024.
__device__ inline double exp2_f64(double x)
{
    const double EXP2_F64[] = {
        0.9999999999999999999871, 0.6931471805599453084039, 0.2402265069591007160124, 0.05550410866482169501982,
        0.009618129107628308181967, 0.001333355814639124426297, 0.0001540353039366214874391,
        0.00001525273385547728620859, 0.000001321548658447155626543, 1.0178051519776955086e-7,
        7.054976869269257415436e-9, 4.456627764047427451844e-10, 2.56234144981309729053e-11,
    };
    const bool below = x < -40.0;
    x = below ? -40.0 : x;
    const double n = rint(x);
    const double p = horner(EXP2_F64, x - n);
    return below ? 0.0 : p * __longlong_as_double(((long long)n + 1023) << 52);
}

// 1/x within one unit in the last place, for x in 2^-120..2^120. 6 FP32, 1 integer.
__device__ inline float reciprocal_f32(float x)
{
    const float RECIPROCAL_F32[] = {3.048195101534416077643f, -3.095334416912519387775f, 1.047116254924851302549f};
    float y = __int_as_float(0x7EF00000 - __float_as_int(x));
    y = y * horner(RECIPROCAL_F32, x * y);
    return fused(y, fused(-x, y, 1.0f), y);
}

// For smaller arguments root_f32 is not correctly rounded.
#define ROOT_FLOOR 0x1p-90f

// The correctly rounded root of x in 2^-90..2^120. 7 FP32, 1 special function.
//
// __fsqrt_rn gives the same number, but has a branch that prevents the compiler from interleaving pixels. The bits do
// not depend on the estimate: a test tries every significand with every estimate within 2^-21.
__device__ inline float root_f32(float x)
{
    const float y = rsqrt_estimate(x);
    float s = x * y;
    float h = 0.5f * y;
    const float g = fused(h, -s, 0.5f);
    s = fused(s, g, s);
    h = fused(h, g, h);
    return fused(fused(-s, s, x), h, s);
}
