"""Derives the polynomial coefficients of qpibench/arithmetic (elementary.py, bessel.py): Remez exchange in 60 digits.

Run ``python docs/minimax.py`` (needs mpmath, in the dev extra); it prints each polynomial's coefficients and error.
"""

from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 60
EXTREMA_GRID = 400


def remez(
    function: Callable[[mp.mpf], mp.mpf], low: float, high: float, degree: int, *, relative: bool
) -> tuple[list[mp.mpf], mp.mpf]:
    """Coefficients (constant first) and error of the minimax polynomial of ``function`` on ``low..high``."""
    low, high = mp.mpf(low), mp.mpf(high)
    count = degree + 2
    middle, half = (low + high) / 2, (high - low) / 2
    weight = (lambda x: 1 / function(x)) if relative else (lambda x: mp.mpf(1))
    nodes = [middle + half * mp.cos(mp.pi * (count - 1 - i) / (count - 1)) for i in range(count)]
    while True:
        matrix, values = mp.matrix(count, count), mp.matrix(count, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                matrix[i, j] = x**j
            matrix[i, degree + 1] = (-1) ** i / weight(x)
            values[i] = function(x)
        solution = mp.lu_solve(matrix, values)
        coefficients = [solution[j] for j in range(degree + 1)]

        def error(x: mp.mpf, descending: list[mp.mpf] = coefficients[::-1]) -> mp.mpf:
            return (mp.polyval(descending, x) - function(x)) * weight(x)

        moved = _extrema(error, low, high, count)
        if max(abs(a - b) for a, b in zip(moved, nodes, strict=True)) < mp.mpf(10) ** -20:
            return coefficients, abs(solution[degree + 1])
        nodes = moved


def _extrema(error: Callable[[mp.mpf], mp.mpf], low: mp.mpf, high: mp.mpf, count: int) -> list[mp.mpf]:
    """The ``count`` alternating extrema of the error."""
    half = (high - low) / 2
    grid = [low + half * (1 - mp.cos(mp.pi * i / EXTREMA_GRID)) for i in range(EXTREMA_GRID + 1)]
    values = [error(x) for x in grid]
    runs: list[int] = []
    for i, value in enumerate(values):
        if runs and values[runs[-1]] * value > 0:
            if abs(value) > abs(values[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        runs.pop(0 if abs(values[runs[0]]) < abs(values[runs[-1]]) else -1)
    refined = []
    for i in runs:
        left, right = grid[max(i - 1, 0)], grid[min(i + 1, EXTREMA_GRID)]
        for _ in range(60):
            a, b = left + (right - left) / 3, right - (right - left) / 3
            left, right = (a, right) if abs(error(a)) < abs(error(b)) else (left, b)
        refined.append((left + right) / 2)
    return refined


def _sinc(z: mp.mpf) -> mp.mpf:
    return mp.pi if z == 0 else mp.sin(mp.pi * mp.sqrt(z)) / mp.sqrt(z)


def _minus2ln(f: mp.mpf) -> mp.mpf:
    return mp.mpf(-2) if f == 0 else -2 * mp.log(1 + f) / f


def _ln_over_s(z: mp.mpf) -> mp.mpf:
    """ln((1 + s)/(1 - s))/s, z = s^2."""
    return mp.mpf(2) if z == 0 else 2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z)


def _y0_regular(z: mp.mpf) -> mp.mpf:
    """Y0(x) - (2/pi) ln(x) J0(x), z = x^2."""
    if z == 0:
        return 2 / mp.pi * (mp.euler - mp.log(2))
    x = mp.sqrt(z)
    return mp.bessely(0, x) - 2 / mp.pi * mp.log(x) * mp.besselj(0, x)


def _modulation(x: mp.mpf) -> mp.mpc:
    """P + i Q of H0(x) = sqrt(2/(pi x)) (P + i Q) exp(i (x - pi/4)), H0 the Hankel function of the first kind."""
    return mp.hankel1(0, x) * mp.sqrt(mp.pi * x / 2) * mp.expj(mp.pi / 4 - x)


def _p0(z: mp.mpf) -> mp.mpf:
    """P, z = (5/x)^2."""
    return mp.mpf(1) if z == 0 else _modulation(5 / mp.sqrt(z)).real


def _q0(z: mp.mpf) -> mp.mpf:
    """Q x/5, z = (5/x)^2."""
    return -mp.mpf(1) / 40 if z == 0 else _modulation(5 / mp.sqrt(z)).imag / mp.sqrt(z)


def _i0e_large(w: mp.mpf) -> mp.mpf:
    """sqrt(x) exp(-x) I0(x), w = 8/x."""
    return 1 / mp.sqrt(2 * mp.pi) if w == 0 else mp.sqrt(8 / w) * mp.exp(-8 / w) * mp.besseli(0, 8 / w)


def main() -> None:
    """Print every polynomial of the package."""
    wanted = (
        ("SIN2PI_F32", lambda z: _sinc(z) ** 2, 0, 0.25, 5, True),
        ("SIN2PI_F64", lambda z: _sinc(z) ** 2, 0, 0.25, 11, True),
        ("EXP2_F32", lambda g: mp.mpf(2) ** g, -0.5, 0.5, 6, True),
        ("EXP2_F64", lambda g: mp.mpf(2) ** g, -0.5, 0.5, 12, True),
        ("SINPI_F64", _sinc, 0, 0.25, 8, True),
        ("COSPI_F64", lambda z: mp.cos(mp.pi * mp.sqrt(z)), 0, 0.25, 9, False),
        ("SINPI_F32", _sinc, 0, 0.0625, 3, True),
        ("COSPI_F32", lambda z: mp.cos(mp.pi * mp.sqrt(z)), 0, 0.0625, 4, True),
        # Significands are taken from sqrt(1/2) to sqrt(2).
        ("MINUS2LN_F32", _minus2ln, mp.sqrt(0.5) - 1 - 1e-7, mp.sqrt(2) - 1, 9, True),
        # The seed 0x7EF00000 - bits(x) leaves x times seed in 15/16..1.0332.
        ("RECIPROCAL_F32", lambda h: 1 / h, 0.9375 * (1 - 1e-5), 1.033203125 * (1 + 1e-5), 2, True),
        # s = f/(2 + f), sqrt(1/2) <= 1 + f < sqrt(2)
        ("LN_F64", _ln_over_s, 0, ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2, 8, True),
        ("J0_F64", lambda z: mp.besselj(0, mp.sqrt(z)), 0, 25, 13, False),
        ("Y0_F64", _y0_regular, 0, 25, 13, False),
        ("P0_F64", _p0, 0, 1, 18, False),
        ("Q0_F64", _q0, 0, 1, 18, False),
        ("I0_F64", lambda z: mp.besseli(0, mp.sqrt(z)), 0, 64, 16, True),
        ("I0E_F64", _i0e_large, 0, 1, 22, True),
    )
    for name, function, low, high, degree, relative in wanted:
        coefficients, error = remez(function, low, high, degree, relative=relative)
        print(f"{name}: error {mp.nstr(error, 2)}")
        for coefficient in coefficients:
            print(f"    {mp.nstr(coefficient, 22)},")


if __name__ == "__main__":
    main()
