"""Kernels of tables with NumPy, from docs/arithmetic.md: those of the family `file`, or with samples that are given.

``docs`` is the module `written_from_the_docs`; nothing is shared with the package.
"""

import hashlib
import math

import numpy as np
from fused_arrays import fma32, fma64


def numbers_sha256(numbers):
    """The hash of kernels (kernel, y, x)."""
    line = f"qpibench kernels {' '.join(map(str, numbers.shape))}\n".encode()
    return hashlib.sha256(line + (numbers.astype("<f8") + 0.0).tobytes()).hexdigest()


class Tables:
    """Kernels of a spec that have samples, with a resolution, a reach and a core."""

    core_nm = 0.0

    def __init__(self, docs, spec, images):
        self.docs, self.spec, margin = docs, spec, max(spec["scatterers"]["margin_nm"], 0.0)
        unseen = spec.get("corruptions", {}).get("unseen_scatterers")
        outside = unseen["reach_nm"] - margin if unseen else 0.0
        border = sum(images.borders(docs, spec).values())
        self.axes = [
            self._axis(spec["grid"][f"n{axis}"], spec["grid"][f"size_{axis}_nm"], margin + outside, border)
            for axis in "xy"
        ]
        self.tables = {}

    def _axis(self, n, length, beyond, border):
        """Samples per pixel, step, largest offset and the number of samples on either side."""
        pitch = length / (n - 1)
        per_pixel = self.per_pixel(pitch)
        step = length / ((n - 1) * per_pixel)
        largest = min(self.reach_nm, length + (beyond + border * pitch) + step)
        return per_pixel, step, largest, math.ceil(largest / step)

    def placed(self, places):
        return places

    def per_pixel(self, pitch):
        return max(1, math.ceil(pitch / self.resolution_nm))

    def image(self, parameters, x, y):
        values = self.samples(parameters, np.array(x), np.array(y)).astype(np.float32)
        values[np.abs(y) > self.reach_nm] = 0
        values[:, np.abs(x) > self.reach_nm] = 0
        return (values + np.float32(0)).tolist()

    def observation(self, shown, x, y):
        """The image of scatterers: the parameters of the kernel, the place and the amplitude of each."""
        x, y = np.array(x), np.array(y)
        pixels = np.zeros((len(y), len(x)), np.float32)
        for parameters, (px, py), amplitude in shown:
            (sx, step_x, largest_x, _), (sy, step_y, largest_y, _) = self.axes
            first_x, wx = _weights(self.docs, (x[0] - px) / step_x)
            first_y, wy = _weights(self.docs, (y[0] - py) / step_y)
            near_x, near_y = (
                np.flatnonzero(np.abs(a - p) <= r) for a, p, r in ((x, px, largest_x), (y, py, largest_y))
            )
            table, zero_x, zero_y = self._table(parameters)
            down = zero_y + first_y + sy * near_y[:, None]
            across = zero_x + first_x + sx * near_x
            total = np.zeros(0)
            for b in range(8):
                line = np.float32(wy[0]) * table[down, across + b]
                for a in range(1, 8):
                    line = fma32(np.float32(wy[a]), table[down + a, across + b], line)
                weight = np.float32(wx[b])
                total = weight * line if b == 0 else fma32(weight, line, total)
            at = np.ix_(near_y, near_x)
            pixels[at] = fma32(np.float32(amplitude), total, pixels[at])
        return (pixels + np.float32(0)).tolist()

    def _table(self, parameters):
        """Coefficients (y, x) float32, and the places of the sample 0 in them along x and y."""
        key = tuple(parameters.values())
        if key not in self.tables:
            ends = [outermost + 4 + self.docs.C["SPLINE_EDGE"] for *_, outermost in self.axes]
            dx, dy = (np.arange(-end, end + 1) * axis[1] for end, axis in zip(ends, self.axes, strict=True))
            spline = filtered(self.docs, self.samples(parameters, dx, dy))
            self.tables[key] = (self.docs.C["SPLINE_GAIN"] * spline).astype(np.float32), *ends
        return self.tables[key]


class Sampled(Tables):
    """Kernels whose parameters, one dictionary each, and samples are given: a function of them and of the offsets."""

    def __init__(self, docs, spec, images, given, samples):
        self.given, self.samples = given, samples
        super().__init__(docs, spec, images)

    def strata(self):
        return [parameters["fold"] for parameters in self.given]

    def parameters(self, drawn, stratum, kernel):
        return self.given[kernel]


class SurfaceState(Sampled):
    """Surface states; the ripples have no end."""

    reach_nm = math.inf

    def __init__(self, docs, spec, images, given, samples):
        kernels = spec["kernels"]
        sigma = kernels["tip_fwhm_nm"] / docs.C["FWHM_PER_SIGMA"]
        bands = [(kernels["mass"], kernels["e0_mev"])]
        if "second_mass" in kernels:
            bands.append((kernels["second_mass"], kernels["second_e0_mev"]))
        stretch = math.sqrt(math.sqrt(kernels["mass_ratio"][1]))
        short, long = (
            [docs.PI / (math.sqrt(mass * (energy - e0) / 38.09982) * factor) for mass, e0 in bands]
            for energy, factor in ((kernels["energy_mev"][1], stretch), (kernels["energy_mev"][0], 1 / stretch))
        )
        self.core_nm = max(long) / 4
        self.resolution_nm = min(min(short) / 9, max(sigma / 1.6, min(sigma / (4 / 3), self.core_nm / 6)))
        super().__init__(docs, spec, images, given, samples)


class TightBinding(Sampled):
    """Kernels of scatterers on the sites of a lattice."""

    def __init__(self, docs, spec, images, given, samples):
        kernels = spec["kernels"]
        w, self.core_nm = kernels["orbital_fwhm_nm"], kernels["lattice_nm"]
        sine, cosine = (self.core_nm * each for each in docs.sincospi_f64(kernels["angle_rad"] / docs.PI))
        self.a1, self.a2 = (cosine, sine), (-sine, cosine)
        if kernels["lattice"] == "hexagonal":
            root_3 = math.sqrt(3)
            self.a2 = (cosine - root_3 * sine) / 2, (sine + root_3 * cosine) / 2
        widest = max(abs(first) + abs(second) for first, second in zip(self.a1, self.a2, strict=True))
        self.reach_nm = widest * (given[0]["mesh"] / 2 - 1) + math.sqrt(41) * w / 2
        self.resolution_nm = w / (5.25 + max(0, w / self.core_nm - 1))
        super().__init__(docs, spec, images, given, samples)

    def placed(self, places):
        """The nearest free sites in the area in which the places are drawn."""
        grid, margin = self.spec["grid"], self.spec["scatterers"]["margin_nm"]
        half, numbers = [grid[f"size_{axis}_nm"] / 2 + margin for axis in "xy"], range(-40, 41)
        sites = [
            [
                origin + (m * a1 + n * a2)
                for origin, a1, a2 in zip(self.spec["kernels"]["origin_nm"], self.a1, self.a2, strict=True)
            ]
            for n in numbers
            for m in numbers
        ]
        free = [site for site in sites if all(abs(at) <= most for at, most in zip(site, half, strict=True))]
        found = []
        for px, py in places:
            nearest = min(free, key=lambda site: (site[0] - px) * (site[0] - px) + (site[1] - py) * (site[1] - py))
            free.remove(nearest)
            found.append(nearest)
        return found


class File(Tables):
    """Kernels of the family `file`, with the numbers (kernel, y, x) of the file."""

    def __init__(self, docs, spec, images, numbers):
        self.numbers, kernels = numbers, spec["kernels"]
        self.pixel, self.size = kernels["pixel_nm"], kernels["size_px"]
        self.resolution_nm, self.reach_nm = self.pixel / 4, self.size * self.pixel / 2
        self.core_nm = kernels["core_radius_nm"]
        super().__init__(docs, spec, images)

    def per_pixel(self, pitch):
        is_equal = abs(pitch - self.pixel) <= 1e-6 * max(pitch, self.pixel)
        return 2 if is_equal else super().per_pixel(pitch)

    def strata(self):
        return [-1] * self.spec["kernels"]["count"]

    def parameters(self, drawn, stratum, kernel):
        kernels = self.spec["kernels"]
        row = math.floor(self.docs.unit(drawn[0]) * kernels["available"]) if kernels["drawn"] else kernel
        identity = int(kernels["sha256"][:8], 16) >> 1
        return {"fold": stratum, "file_row": row % kernels["available"], "file_id": identity, "pixel_nm": self.pixel}

    def samples(self, parameters, dx, dy):
        spline = filtered(self.docs, self.numbers[parameters["file_row"]])
        return self._along(self._along(spline.T, dx).T, dy) * self.docs.C["SPLINE_GAIN"]

    def _along(self, lines, offsets):
        """Sums over the first axis at some offsets: (offset, ...)."""
        n, made = len(lines), []
        for offset in offsets:
            first, weights = _weights(self.docs, offset / self.pixel + 0.5 * (n - 1))
            total = np.zeros(lines.shape[1:])
            for b in range(8):
                k = (first + b) % (2 * (n - 1))
                total = fma64(weights[b], lines[min(k, 2 * (n - 1) - k)], total)
            made.append(total)
        return np.array(made)


def filtered(docs, samples):
    """The coefficients over SPLINE_GAIN, float64, of samples (y, x): first along x, then along y."""
    return _filter(docs, _filter(docs, samples.T).T)


def _filter(docs, lines):
    s, n = list(lines), len(lines)
    horizon = min(docs.C["SPLINE_HORIZON"], n)
    for z in (docs.C[f"SPLINE_POLE_{k}"] for k in (1, 2, 3)):
        t = s[horizon - 1]
        for k in range(horizon - 2, -1, -1):
            t = fma64(z, t, s[k])
        s[0] = t
        for k in range(1, n):
            s[k] = fma64(z, s[k - 1], s[k])
        s[n - 1] = z / (z * z - 1) * fma64(z, s[n - 2], s[n - 1])
        for k in range(n - 2, -1, -1):
            s[k] = z * (s[k + 1] - s[k])
    return np.array(s)


def _weights(docs, u):
    """The number of the first of eight samples, and their weights."""
    k = round(u - 0.5)
    t = u - k
    s = 1 - t
    of_t, of_s = ([part(a) for part in (_tail, _foot, _shoulder, _summit)] for a in (t, s))
    return k - 3, [*of_s[:3], of_t[3], of_s[3], *of_t[2::-1]]


def _tail(a):
    return (a * a) * (a * a) * (a * a) * a / 5040


def _foot(a):
    return (((((((7 - 7 * a) * a + 21) * a + 35) * a + 35) * a + 21) * a + 7) * a + 1) / 5040


def _shoulder(a):
    return (((((21 * a - 42) * a - 84) * (a * a) + 280) * a + 504) * (a * a) + 392 * a + 120) / 5040


def _summit(a):
    return ((((35 * a - 140) * (a * a) + 560) * (a * a) - 1680) * (a * a) + 2416) / 5040
