"""Elementary functions with defined bits: minimax polynomials with written-out fused multiply-adds.

``docs/minimax.py`` derives the coefficients (Remez exchange in 60 digits). The errors stated here are those of the
polynomials in exact arithmetic. ``kernels_cuda/`` has the same coefficients for the GPU; a test compares the two.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from qpibench.arithmetic.ieee import bits_of_f32, bits_of_f64, f32_of_bits, f64_of_bits, fma, rint

_f32 = np.float32

# sin^2(pi t) = z Q(z), z = t^2 <= 1/4; relative error 1.4e-8.
SIN2PI_F32 = tuple(
    _f32(c)
    for c in (
        9.869604264303665694589,
        -32.46966236070844175138,
        42.7269274375430472509,
        -30.09855320722772633954,
        13.0371118037704117947,
        -3.336210975430560390422,
    )
)

# The same in float64; relative error 7.2e-22.
SIN2PI_F64 = (
    9.869604401089358618827,
    -32.46969701133414573784,
    42.72840860334686249389,
    -30.12232068593823254246,
    13.21312839168359020838,
    -3.951768185580110499794,
    0.8571953544393019721224,
    -0.1410029740263897588737,
    0.0181913574983312709969,
    -0.00188965846429392035601,
    0.0001608194062284791358655,
    -0.00001052491310754034681827,
)

# 2^g, |g| <= 1/2; relative error 1.9e-9.
EXP2_F32 = tuple(
    _f32(c)
    for c in (
        1.000000000554166463326,
        0.6931472057372680801129,
        0.2402264689063408776353,
        0.05550328776964725606484,
        0.009618488957115070934814,
        0.001339993121934089035776,
        0.0001534581200290334755113,
    )
)

# The same in float64; relative error 4.1e-20.
EXP2_F64 = (
    0.9999999999999999999871,
    0.6931471805599453084039,
    0.2402265069591007160124,
    0.05550410866482169501982,
    0.009618129107628308181967,
    0.001333355814639124426297,
    0.0001540353039366214874391,
    0.00001525273385547728620859,
    0.000001321548658447155626543,
    1.0178051519776955086e-7,
    7.054976869269257415436e-9,
    4.456627764047427451844e-10,
    2.56234144981309729053e-11,
)

# sin(pi t) = t S(z), z = t^2 <= 1/4; relative error 2.6e-19.
SINPI_F64 = (
    3.141592653589793237655,
    -5.167712780049969528684,
    2.550164039877293940154,
    -0.5992645293187382530107,
    0.08214588656989290160401,
    -0.007370430478763411620336,
    0.000466299688773189809352,
    -0.00002190318541432337187368,
    7.694727227424692589653e-7,
)

# cos(pi t) = C(z), z = t^2 <= 1/4; absolute error 6.4e-21.
COSPI_F64 = (
    0.9999999999999999999936,
    -4.934802200544679304321,
    4.058712126416767545092,
    -1.335262768854555012736,
    0.2353306303579960154199,
    -0.02580689137660446723889,
    0.001929574187359314286576,
    -0.0001046374171263971125668,
    0.000004300724831651041079833,
    -1.343527151981543367243e-7,
)

# sin(pi t) = t S(z) and cos(pi t) = C(z), z = t^2 <= 1/16; relative errors 3.2e-9 and 5.6e-11.
SINPI_F32 = tuple(
    _f32(c)
    for c in (
        3.141592643416681569731,
        -5.167707681865557995155,
        2.549761048593169695076,
        -0.58901220958039244458,
    )
)
COSPI_F32 = tuple(
    _f32(c)
    for c in (
        0.9999999999439373218052,
        -4.934802158259036086426,
        4.058706921538003685795,
        -1.335035905833434404452,
        0.2312609223178219720835,
    )
)

# -2 ln(1 + f) = f P(f), sqrt(1/2) <= 1 + f < sqrt(2); relative error 4.1e-9.
MINUS2LN_F32 = tuple(
    _f32(c)
    for c in (
        -1.999999999918184451232,
        0.9999997657935989915506,
        -0.6666665198447657512579,
        0.5000317311953399747671,
        -0.4000393714542036547074,
        0.3321802545675095393722,
        -0.2836366765063924876823,
        0.264869217401756765666,
        -0.2580933589339734351438,
        0.1524225238587497221753,
    )
)

# ln((1 + s)/(1 - s)) = s L(z), z = s^2, for results between ln sqrt(1/2) and ln sqrt(2); relative error 7.6e-21.
LN_F64 = (
    2.000000000000000000015,
    0.6666666666666665833081,
    0.4000000000000753422019,
    0.2857142856880816816427,
    0.2222222267839310554879,
    0.1818177363188727256062,
    0.1538716518906521339161,
    0.1324867392820011277447,
    0.1326286112379325403429,
)

# 1/h for h in 0.9375..1.0332, the range of x times its seed; relative error 2.9e-5.
RECIPROCAL_F32 = (_f32(3.048195101534416077643), _f32(-3.095334416912519387775), _f32(1.047116254924851302549))
RECIPROCAL_SEED = np.int32(0x7EF00000)

EXP2_FLOOR = -40
"""Exponents below this give exactly 0, on every backend, because such factors could make pixels denormal."""

_FLOOR_F32 = _f32(EXP2_FLOOR)
_s0, _s1, _s2, _s3, _s4, _s5 = SIN2PI_F32
_e0, _e1, _e2, _e3, _e4, _e5, _e6 = EXP2_F32
_r0, _r1, _r2 = RECIPROCAL_F32
_MINUS2LN_2_F32 = _f32(-1.3862943611198906)
_SQRT_HALF_BITS = np.int32(0x3F3504F3)
LN2 = 0.6931471805599453
_SQRT_HALF_BITS_F64 = 0x3FE6A09E667F3BCD
# Adding and subtracting 1.5 x 2^23 rounds a float32 below 2^22 to the nearest integer, ties to even, as rint does. The
# two additions are faster than the rounding instruction.
_ROUNDER_F32 = _f32(12582912.0)


@nb.njit(inline="always")
def sin2pi_f32(t):  # type: ignore[no-untyped-def]
    """sin^2(pi t) in float32, |t| < 2^22."""
    t = t - ((t + _ROUNDER_F32) - _ROUNDER_F32)
    z = t * t
    return z * fma(fma(fma(fma(fma(_s5, z, _s4), z, _s3), z, _s2), z, _s1), z, _s0)


@nb.njit(inline="always")
def exp2_f32(x):  # type: ignore[no-untyped-def]
    """2^x in float32 for x <= 0; exactly 0 below ``EXP2_FLOOR``."""
    below = x < _FLOOR_F32
    x = _FLOOR_F32 if below else x
    n = rint(x)
    g = x - n
    p = fma(fma(fma(fma(fma(fma(_e6, g, _e5), g, _e4), g, _e3), g, _e2), g, _e1), g, _e0)
    scale = f32_of_bits(nb.int32((nb.int32(n) + nb.int32(127)) << nb.int32(23)))
    return _f32(0) if below else p * scale


@nb.njit(inline="always")
def reciprocal_f32(x):  # type: ignore[no-untyped-def]
    """1/x in float32 within one unit in the last place, for x in 2^-120..2^120.

    Integer arithmetic on the bits of x gives a first estimate, refined by six multiplications and fused multiply-adds.
    Without a division, the processor's division unit is free for square roots. The result for 0 is meaningless; callers
    handle that case.
    """
    y = f32_of_bits(nb.int32(RECIPROCAL_SEED - bits_of_f32(x)))
    h = x * y
    y = y * fma(fma(_r2, h, _r1), h, _r0)
    return fma(y, fma(-x, y, _f32(1)), y)


@nb.njit(inline="always")
def minus2ln_f32(x):  # type: ignore[no-untyped-def]
    """-2 ln x in float32 for normal x, accurate to its last digits near 1 too."""
    offset = nb.int32(bits_of_f32(x) - _SQRT_HALF_BITS)
    exponent = offset >> nb.int32(23)
    f = f32_of_bits(nb.int32((offset & nb.int32(0x7FFFFF)) + _SQRT_HALF_BITS)) - _f32(1)
    return fma(_f32(exponent), _MINUS2LN_2_F32, f * horner(MINUS2LN_F32, f))


@nb.njit(inline="always")
def sincospi_f32(t):  # type: ignore[no-untyped-def]
    """sin(pi t) and cos(pi t) in float32, |t| <= 1/4."""
    z = t * t
    return t * horner(SINPI_F32, z), horner(COSPI_F32, z)


@nb.njit(inline="always")
def horner(coefficients, z):  # type: ignore[no-untyped-def]
    """Value of a polynomial, constant coefficient first, by Horner's rule with fused multiply-adds."""
    total = coefficients[-1]
    for k in range(len(coefficients) - 2, -1, -1):
        total = fma(total, z, coefficients[k])
    return total


@nb.njit(inline="always")
def sin2pi_f64(t):  # type: ignore[no-untyped-def]
    """sin^2(pi t) in float64."""
    t = t - rint(t)
    z = t * t
    return z * horner(SIN2PI_F64, z)


@nb.njit(inline="always")
def sincospi_f64(t):  # type: ignore[no-untyped-def]
    """sin(pi t) and cos(pi t) in float64, |t| < 2^53."""
    n = rint(t)
    g = t - n
    z = g * g
    sign = 1.0 - 2.0 * np.float64(np.int64(n) & 1)
    return sign * (g * horner(SINPI_F64, z)), sign * horner(COSPI_F64, z)


@nb.njit(inline="always")
def exp2_f64(x):  # type: ignore[no-untyped-def]
    """2^x in float64 for x < 1024; exactly 0 below ``EXP2_FLOOR``."""
    below = x < EXP2_FLOOR
    x = np.float64(EXP2_FLOOR) if below else x
    n = rint(x)
    p = horner(EXP2_F64, x - n)
    return 0.0 if below else p * f64_of_bits((np.int64(n) + np.int64(1023)) << np.int64(52))


@nb.njit(inline="always")
def ln_f64(x):  # type: ignore[no-untyped-def]
    """The natural logarithm in float64 for normal x > 0, accurate to its last digits near 1 too."""
    offset = bits_of_f64(x) - np.int64(_SQRT_HALF_BITS_F64)
    exponent = offset >> np.int64(52)
    f = f64_of_bits((offset & np.int64(0xFFFFFFFFFFFFF)) + np.int64(_SQRT_HALF_BITS_F64)) - 1.0
    s = f / (2.0 + f)
    return fma(np.float64(exponent), LN2, s * horner(LN_F64, s * s))
