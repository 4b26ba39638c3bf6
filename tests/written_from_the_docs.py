"""The values of a release of eq. 7 in plain Python, from what docs/arithmetic.md and docs/format.md say.

All constants, tags, texts and tables are read from these two pages, and nothing is shared with the package.
Floating-point numbers are Python's (float64); a float32 number is one of them that float32 can represent.
"""

import hashlib
import math
import re
import struct
import sys
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
ARITHMETIC, FORMAT = ((DOCS / name).read_text() for name in ("arithmetic.md", "format.md"))


# What the pages say.


def _indented(page):
    return re.findall(r"^ {4}(.*)$", page, re.MULTILINE)


def _number(text):
    return float.fromhex(text) if "p" in text else int(text, 16)


def _constants():
    """Constants by name: a number or a tuple of coefficients; a line without a name continues the one before."""
    found, name = {}, None
    for line in _indented(ARITHMETIC) + _indented(FORMAT):
        head, *rest = line.split() or [""]
        if re.fullmatch(r"[A-Z][A-Z0-9_]+", head) and rest and re.fullmatch(r"-?0x[0-9A-Fa-f.p+-]+", rest[0]):
            name, numbers = head, rest
        elif name and re.fullmatch(r"-?0x[0-9a-f.p+-]+", head):
            numbers = [head, *rest]
        else:
            name = None
            continue
        found[name] = found.get(name, ()) + tuple(map(_number, numbers))
    return {name: numbers if len(numbers) > 1 else numbers[0] for name, numbers in found.items()}


def table(page, *head):
    """Rows of the table with this head, without code marks."""
    start = page.index("| " + " | ".join(head) + " |")
    lines = f"{page}\n\n"[start:].partition("\n\n")[0].splitlines()[2:]
    cells = [re.split(r" ?(?<!\\)\| ?", line.strip("|")) for line in lines]
    return [[cell.strip().strip("`").replace("\\|", "|") for cell in row] for row in cells]


CONSTANTS = _constants()
TAGS = {row[0]: row[1] for row in table(ARITHMETIC, "purpose", "tag", "draw", "image", "kernel", "words used")}
(KEY_TEXT,) = re.findall(r"^ {4}(\S+/DOMAIN/SEED/TAG)$", ARITHMETIC, re.MULTILINE)
PI, C = CONSTANTS["PI"], CONSTANTS
ABSENT = {
    row[0]: float(row[5]) for row in table(FORMAT, "column", "per", "type", "units", "meaning", "absent", "declared by")
}


# Arithmetic.


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def _rounded(exact, digits):
    """A fraction to the nearest number with so many binary digits, ties to even."""
    if not exact:
        return 0.0
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    unit = Fraction(2) ** (exponent - digits + 1)
    return float(round(exact / unit) * unit)


def fma64(a, b, c):
    return _rounded(Fraction(a) * Fraction(b) + Fraction(c), 53)


def fma32(a, b, c):
    return _rounded(Fraction(a) * Fraction(b) + Fraction(c), 24)


def product(*factors):
    """Product in float32, rounded after each factor."""
    total = factors[0]
    for factor in factors[1:]:
        total = f32(total * factor)
    return total


def bits(value):
    return struct.unpack("<i", struct.pack("<f", value))[0]


def of_bits(integer):
    return struct.unpack("<f", struct.pack("<i", integer))[0]


def poly(name, z, fma):
    *others, total = C[name]
    for coefficient in reversed(others):
        total = fma(total, z, coefficient)
    return total


def sin2pi_f64(t):
    g = t - round(t)
    z = g * g
    return z * poly("SIN2PI_F64", z, fma64)


def sincospi_f64(t):
    g = t - round(t)
    z = g * g
    sign = -1 if round(t) % 2 else 1
    return sign * (g * poly("SINPI_F64", z, fma64)), sign * poly("COSPI_F64", z, fma64)


def exp2_f64(x):
    return 0.0 if x < C["EXP2_FLOOR"] else poly("EXP2_F64", x - round(x), fma64) * 2.0 ** round(x)


def ln_f64(x):
    (whole,) = struct.unpack("<q", struct.pack("<d", x))
    exponent, digits = divmod(whole - C["SQRT_HALF_BITS_F64"], 2**52)
    f = struct.unpack("<d", struct.pack("<q", digits + C["SQRT_HALF_BITS_F64"]))[0] - 1
    s = f / (2 + f)
    return fma64(float(exponent), C["LN2"], s * poly("LN_F64", s * s, fma64))


def sin2pi_f32(t):
    g = f32(t - round(t))
    z = product(g, g)
    return product(z, poly("SIN2PI_F32", z, fma32))


def exp2_f32(x):
    return 0.0 if x < C["EXP2_FLOOR"] else poly("EXP2_F32", f32(x - round(x)), fma32) * 2.0 ** round(x)


def reciprocal_f32(x):
    y = of_bits(C["RECIPROCAL_SEED"] - bits(x))
    y = product(y, poly("RECIPROCAL_F32", product(x, y), fma32))
    return fma32(y, fma32(-x, y, 1.0), y)


def sincospi_f32(t):
    z = product(t, t)
    return product(t, poly("SINPI_F32", z, fma32)), poly("COSPI_F32", z, fma32)


def minus2ln_f32(x):
    offset = bits(x) - C["SQRT_HALF_BITS"]
    f = f32(of_bits(offset % 2**23 + C["SQRT_HALF_BITS"]) - 1)
    return fma32(float(offset // 2**23), C["MINUS2LN_2_F32"], product(f, poly("MINUS2LN_F32", f, fma32)))


# Draws.


@cache
def _key(seed, purpose):
    text = KEY_TEXT.replace("DOMAIN", "benchmark").replace("SEED", f"{seed:032x}").replace("TAG", TAGS[purpose])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def words(seed, purpose, draw, image, kernel):
    low = 2**32 - 1
    key = _key(seed, purpose)
    c, k0, k1 = (draw, image, kernel & low, kernel >> 32), key & low, key >> 32
    for _ in range(C["PHILOX_ROUNDS"]):
        p0, p1 = C["PHILOX_M0"] * c[0], C["PHILOX_M1"] * c[2]
        c = (p1 >> 32) ^ c[1] ^ k0, p1 & low, (p0 >> 32) ^ c[3] ^ k1, p0 & low
        k0, k1 = k0 + C["PHILOX_W0"] & low, k1 + C["PHILOX_W1"] & low
    return c


def unit(word):
    return (word + 0.5) * 2.0**-32


def folds(kernels):
    given = kernels["folds"]
    shares = {
        fold: kernels["count"] // len(given) + (i < kernels["count"] % len(given)) for i, fold in enumerate(given)
    }
    if "fold_counts" in kernels:
        shares = {fold: kernels["fold_counts"].get(str(fold), 0) for fold in (0, 2, 3, 4, 6)}
    return [fold for turn in range(max(shares.values())) for fold, share in shares.items() if turn < share]


def kernel_parameters(spec, drawn, fold):
    u = [unit(word) for word in drawn]
    wavelength, decay = (
        low + u[i] * (high - low)
        for i, (low, high) in enumerate(spec["kernels"][f"{n}_nm"] for n in ("wavelength", "decay"))
    )
    phi1 = PI * u[2] if fold else PI / 2
    return {"fold": fold, "phi1": phi1, "B": PI / wavelength, "phi2": PI * u[3], "C": 1 / (decay * decay)}


def scatterers(spec, image, kernel):
    low, high = spec["scatterers"]["min"], spec["scatterers"]["max"]
    number = low + (words(spec["seed"], "number of scatterers", 0, image, kernel)[0] * (high - low + 1) >> 32)
    half = [spec["grid"][f"size_{axis}_nm"] / 2 + spec["scatterers"]["margin_nm"] for axis in "xy"]
    drawn = [
        word
        for p in range(-(-number // 2))
        for word in words(spec["seed"], "positions of scatterers", p, image, kernel)
    ]
    placed = [[(2 * unit(drawn[2 * s + axis]) - 1) * half[axis] for axis in (0, 1)] for s in range(number)]
    apart = spec["scatterers"].get("min_separation_nm", 0.0)
    for k, place in enumerate(placed):
        attempt = 0
        while any(
            (place[0] - x) * (place[0] - x) + (place[1] - y) * (place[1] - y) < apart * apart for x, y in placed[:k]
        ):
            again = words(spec["seed"], "positions drawn again", 64 * k + attempt, image, kernel)
            place[:] = [(2 * unit(again[axis]) - 1) * half[axis] for axis in (0, 1)]
            attempt += 1
    return placed


# Images.


def coordinates(n, size, border=0):
    return [(2 * j - (n - 1)) * size / (2 * (n - 1)) for j in range(-border, n + border)]


def axes(spec, border):
    """Coordinates x and y of the pixels with a border."""
    return [coordinates(spec["grid"][f"n{axis}"], spec["grid"][f"size_{axis}_nm"], border) for axis in "xy"]


def formula(p):
    sa, ca = sincospi_f64(2 * p["phi1"] / (PI * max(p["fold"], 1)))
    return p["fold"], ca, sa, p["B"] / PI, p["phi2"] / PI, -p["C"] * C["LOG2_E"]


def kernel_pixel(n, ca, sa, frequency, phase, decay, x, y):
    r2 = x * x + y * y
    r, c = math.sqrt(r2), x * ca - y * sa
    if n == 0 or r2 == 0:
        angular = 1.0 if n == 0 else 0.5
    elif n == 3:
        u = c / r
        angular = 0.5 - u * (2 * (u * u) - 1.5)
    else:
        v = c * c / r2
        w = 4 * v - 3
        angular = {2: 1 - v, 4: 4 * (v - v * v), 6: 1 - v * (w * w)}[n]
    return f32(exp2_f64(decay * r2) * angular * sin2pi_f64(fma64(frequency, r, phase)))


def angular_f32(n, r2, c, s):
    """Angular factor in float32, n > 0, r2 > 0; a quarter of it for n = 4."""
    if n == 3:
        u = product(c, reciprocal_f32(f32(math.sqrt(r2))))
        return fma32(-u, fma32(2.0, product(u, u), -1.5), 0.5)
    c2, s2 = product(c, c), product(s, s)
    v = product(min(c2, s2) if n == 6 else c2, reciprocal_f32(r2))
    w = fma32(-4.0, v, 3.0)
    if n == 6:
        return product(v, w, w) if s2 < c2 else f32(1 - product(v, w, w))
    return f32(1 - v) if n == 2 else fma32(-v, v, v)


def observation_pixel(x, y, scatterers):
    pixel = 0.0
    for (n, ca, sa, *numbers), (px, py), amplitude in scatterers:
        frequency, phase, decay = map(f32, numbers)
        gain = 4.0 if n == 4 else 1.0
        dx, dy = x - px, y - py
        x2, xc, xs = f32(dx * dx), f32(dx * ca), f32(dx * sa)
        y2, yc, ys = f32(dy * dy), f32(dy * ca), f32(dy * sa)
        weight = product(exp2_f32(product(y2, decay)), product(amplitude, gain), exp2_f32(product(x2, decay)))
        r2, c, s = f32(x2 + y2), f32(xc - ys), f32(xs + yc)
        if n:
            weight = product(weight, angular_f32(n, r2, c, s) if r2 else 1 / (2 * gain))
        ripple = sin2pi_f32(fma32(frequency, f32(math.sqrt(r2)), phase))
        pixel = fma32(weight, ripple, pixel)
    return pixel + 0.0


class Eq7:
    """Kernels of a spec by their formula."""

    core_nm = 0.0

    def __init__(self, spec):
        self.spec = spec

    def placed(self, places):
        """The places of the drawn scatterers of an image."""
        return places

    def strata(self):
        return folds(self.spec["kernels"])

    def parameters(self, drawn, stratum, kernel):
        return kernel_parameters(self.spec, drawn, stratum)

    def image(self, parameters, x, y):
        numbers = formula(parameters)
        return [[kernel_pixel(*numbers, a, b) for a in x] for b in y]

    def observation(self, shown, x, y):
        """The image of scatterers: the parameters of the kernel, the place and the amplitude of each."""
        shown = [(formula(parameters), *rest) for parameters, *rest in shown]
        return [[observation_pixel(a, b, shown) for a in x] for b in y]


# Sums and normal numbers.


def flat(image):
    return [pixel for row in image for pixel in row]


def tree_sum(pixels, add, counts=None):
    """The sum in a fixed tree; pixels that do not count are left out."""
    lanes = [0.0] * C["LANES"]
    for k, pixel in enumerate(pixels):
        if counts is None or counts[k]:
            lanes[k % C["LANES"]] = add(lanes[k % C["LANES"]], pixel)
    width = C["LANES"] // 2
    while width:
        lanes[:width] = [lanes[i] + lanes[i + width] for i in range(width)]
        width //= 2
    return lanes[0]


def squares(pixels, mean, counts=None):
    return tree_sum(pixels, lambda lane, pixel: fma64(pixel - mean, pixel - mean, lane), counts)


def normal_pair(v, w):
    u = fma32(f32(v), 2.0**-32, 2.0**-33)
    radius = f32(math.sqrt(minus2ln_f32(u if u < 1 else C["BELOW_ONE"])))
    quarter = (4 * w) % 2**32
    sine, cosine = sincospi_f32(f32(quarter - (quarter >> 31) * 2**32) * 2.0**-33)
    across, along = product(radius, sine), product(radius, cosine) * (-1 if w >> 31 else 1)
    return (across, along) if w >> 30 & 1 else (along, across)


# Splits.


def order(n, seed, purpose):
    drawn = [words(seed, purpose, 0, 0, place) for place in range(n)]
    return sorted(range(n), key=lambda place: drawn[place][0] | drawn[place][1] << 32)


def share(n, fraction):
    return math.floor(n * fraction + 0.5)


def splits(spec, observation_kernel, strata):
    seed, fractions = spec["seed"], spec["splits"]
    members = {stratum: [k for k in range(len(strata)) if strata[k] == stratum] for stratum in strata}
    held_out = set()
    if fractions["ood_kernels"] == 1:
        held_out.update(range(len(strata)))
    elif fractions["ood_kernels"] and min(map(len, members.values())) > 1:
        ordered = order(len(strata), seed, "order of kernels")
        for kernels in members.values():
            count = min(max(1, share(len(kernels), fractions["ood_kernels"])), len(kernels) - 1)
            held_out.update([k for k in ordered if k in kernels][:count])
    unseen = [i for i, k in enumerate(observation_kernel) if k in held_out]
    pool = [i for i, k in enumerate(observation_kernel) if k not in held_out]
    shuffled = [pool[place] for place in order(len(pool), seed, "order of images")]
    tested, rest, free = [], [], []
    for kernel in range(len(strata)):
        images = [i for i in shuffled if observation_kernel[i] == kernel]
        count = max(0, min(share(len(images), fractions["id_test"]), len(images) - 1))
        tested += images[:count]
        rest += images[count:]
        free += images[count + (count > 0) :]
    mixed = [free[place] for place in order(len(free), seed, "order of the training images")]
    validation = mixed[: share(len(rest), fractions["validation"])]
    common = {"train": sorted(set(rest) - set(validation)), "validation": sorted(validation)}
    tests = {"id": sorted(tested), "ood": unseen}
    return {
        f"splits/{task}/{role}": rows
        for task, test in tests.items()
        if test
        for role, rows in {**common, "test": test}.items()
    }


# The release.


def padded(values, count, absent):
    return [*values, *[absent] * (count - len(values))]


def derive(spec, images, shown=None, corrupted=None, pairs=None):
    """All arrays of a release by name, as nested lists.

    ``images`` is the module `images_from_the_docs`, and ``shown`` has its kernels, by default those of eq. 7.
    ``corrupted`` is the module `scatterers_from_the_docs` if the spec corrupts scatterers or told positions, and
    ``pairs`` the module `species_from_the_docs` if it has two species.
    """
    shown = shown or Eq7(spec)
    per_kernel, strata = spec["observations_per_kernel"], shown.strata()
    x, y = axes(spec, 0)
    here, of_kernels = sys.modules[__name__], {}

    if pairs is None:
        drawn = [words(spec["seed"], "parameters of a kernel", 0, 0, kernel) for kernel in range(len(strata))]
        parameters = [shown.parameters(*each, kernel) for kernel, each in enumerate(zip(drawn, strata, strict=True))]
    else:
        parameters, of_kernels = pairs.pairs(here, spec, strata, shown.parameters, lambda p: shown.image(p, x, y))
    each = len(parameters) // len(strata)
    kernel_images = [images.of_kernel(here, spec, k // each, partial(shown.image, p)) for k, p in enumerate(parameters)]
    rows = [(kernel, image) for kernel in range(len(strata)) for image in range(per_kernel)]
    places = [shown.placed(scatterers(spec, image, kernel)) for kernel, image in rows]
    amplitudes, columns, most = [[1.0] * len(found) for found in places], {}, spec["scatterers"]["max"]
    n_drawn, indices = [len(found) for found in places], None
    if corrupted is not None:
        most += corrupted.places_added(spec)
        made = [
            corrupted.corrupt(here, spec, image, kernel, found)
            for (kernel, image), found in zip(rows, places, strict=True)
        ]
        places, amplitudes, told, of_image = zip(*made, strict=True)
        indices = [[index for index, _ in found] for found in told]
        told = [[place for _, place in found] for found in told]
        columns["observations/told_position_nm"] = [padded(found, most, [math.nan] * 2) for found in told]
        for name in of_image[0]:
            values = [each[name] for each in of_image]
            if isinstance(values[0], list):
                values = [padded(value, most, ABSENT[name]) for value in values]
            columns[f"observations/{name}"] = values
    kinds = [[0] * len(found) for found in places]
    if pairs is not None:
        kinds = [
            pairs.of_scatterers(here, spec, image, kernel, n, len(found) - n)
            for (kernel, image), n, found in zip(rows, n_drawn, places, strict=True)
        ]
        columns["observations/species"] = [padded(found, most, -1) for found in kinds]
        if indices is not None:
            told = zip(rows, n_drawn, kinds, indices, strict=True)
            found = [pairs.of_told(here, spec, image, kernel, *rest) for (kernel, image), *rest in told]
            columns["observations/told_species"] = [padded(kind, most, -1) for kind in found]
    rms = []
    for first in range(0, len(kernel_images), each):
        pixels = [pixel for image in kernel_images[first : first + each] for pixel in flat(image)]
        rms.append(math.sqrt(squares(pixels, 0.0) / len(pixels)))
    observed = []
    for (kernel, image), kind, *found in zip(rows, kinds, places, amplitudes, strict=True):
        scattered = [*zip([parameters[each * kernel + k] for k in kind], *found, strict=True)]
        image_of = partial(shown.observation, scattered)
        observed.append(images.corrupt(here, spec, image, kernel, image_of, found[0], shown.core_nm, rms[kernel]))
    for name in observed[0][1]:
        columns[f"observations/{name}"] = [of_image[name] for _, of_image in observed]
    of_rows = [kernel for kernel, _ in rows]
    return {
        "x": x,
        "y": y,
        "kernels/image": kernel_images,
        "kernels/family": [spec["kernels"]["family"].encode()] * len(parameters),
        **{f"kernels/{name}": values for name, values in of_kernels.items()},
        **{f"kernels/{name}": [p[name] for p in parameters] for name in parameters[0]},
        "observations/image": [pixels for pixels, _ in observed],
        "observations/kernel": of_rows if pairs is None else [[2 * pair, 2 * pair + 1] for pair in of_rows],
        "observations/n_scatterers": [len(found) for found in places],
        "observations/position_nm": [padded(found, most, [math.nan] * 2) for found in places],
        **columns,
        **splits(spec, of_rows, strata),
    }
