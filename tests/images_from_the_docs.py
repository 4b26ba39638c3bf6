"""Corruptions of images with NumPy, from docs/arithmetic.md: those of the instrument, and those that follow.

``docs`` is the module `written_from_the_docs`; nothing is shared with the package.
"""

import math

import numpy as np
from fused_arrays import fma32, fma64


def pitches(spec):
    return [spec["grid"][f"size_{axis}_nm"] / (spec["grid"][f"n{axis}"] - 1) for axis in "xy"]


def borders(docs, spec):
    """The border of each corruption of the instrument, in pixels."""
    settings, smaller, found = spec.get("corruptions", {}), min(pitches(spec)), {}
    if "tip_blur" in settings:
        widest = settings["tip_blur"]["fwhm_nm"][1]
        found["tip_blur"] = math.ceil(5 * widest / (docs.C["FWHM_PER_SIGMA"] * smaller))
    if "drift" in settings:
        farthest = settings["drift"]["drift_nm"][1] / 2 + settings["drift"]["creep_nm"][1]
        found["drift"] = math.ceil(farthest / smaller) + 2 + docs.C["SPLINE_REACH"]
    return found


def of_kernel(docs, spec, kernel, image_of):
    """The image of a kernel as the instrument shows it; ``image_of`` gives its pixels at coordinates x and y."""
    border = borders(docs, spec).get("tip_blur", 0)
    image = image_of(*docs.axes(spec, border))
    return _blurred(docs, spec, kernel, image, border)[0].tolist() if border else image


def corrupt(docs, spec, image, kernel, image_of, places, core_nm, kernel_rms):
    """The pixels of an image, and its columns; ``image_of`` gives the ideal pixels at coordinates x and y."""
    border, settings, columns = borders(docs, spec), spec.get("corruptions", {}), {}
    pixels = np.array(image_of(*docs.axes(spec, sum(border.values()))), np.float32)
    if "tip_blur" in settings:
        pixels, columns["tip_fwhm_nm"] = _blurred(docs, spec, kernel, pixels, border["tip_blur"])
    if "drift" in settings:
        pixels, vectors = _drifted(docs, spec, image, kernel, pixels, border["drift"])
        names = [f"{name}_{axis}_nm" for name in ("drift", "creep") for axis in "xy"]
        columns |= dict(zip(names, vectors, strict=True))
    variance = _variance(docs, spec, pixels, places, core_nm)
    for name, act in ACTS.items():
        if name in settings:
            pixels, more = act(docs, spec, (image, kernel), settings[name], pixels, variance, kernel_rms)
            columns |= more
    return (pixels + np.float32(0)).tolist(), columns


# The instrument.


def _filtered(image, along_y, along_x):
    image = np.asarray(image, np.float64)
    for weights in (along_y, along_x):
        b = len(weights) - 1
        total = np.zeros((len(image) - 2 * b, image.shape[1]))
        for j in range(-b, b + 1):
            total = fma64(weights[abs(j)], image[b + j :][: len(total)], total)
        image = total.T
    return image.astype(np.float32)


def _blurred(docs, spec, kernel, image, border):
    fwhm = between(
        docs, spec["corruptions"]["tip_blur"]["fwhm_nm"], _words(docs, spec, "width of the tip", 0, kernel)[0]
    )
    weights = []
    for pitch in pitches(spec):
        ratio = 2 * pitch / fwhm
        w = [docs.exp2_f64(-(ratio * ratio * (j * j))) for j in range(border + 1)]
        total = w[0]
        for each in w[1:]:
            total += 2 * each
        weights.append([each / total for each in w])
    return _filtered(image, weights[1], weights[0]) + np.float32(0), fwhm


def _drifted(docs, spec, image, kernel, pixels, border):
    settings, drawn = spec["corruptions"]["drift"], _words(docs, spec, "drift and creep", image, kernel)
    vectors = []
    for name, (length, direction) in (("drift", drawn[:2]), ("creep", drawn[2:])):
        sine, cosine = docs.sincospi_f64(2 * docs.unit(direction))
        length = between(docs, settings[f"{name}_nm"], length)
        vectors += [length * cosine, length * sine]
    weights = [docs.C["ROOT_3"]]
    for _ in range(docs.C["SPLINE_REACH"]):
        weights.append(weights[-1] * (docs.C["ROOT_3"] - 2))
    coefficients = _filtered(pixels, weights, weights).tolist()
    nx, ny = spec["grid"]["nx"], spec["grid"]["ny"]
    made = [[0.0] * nx for _ in range(ny)]
    for y in range(ny):
        for x in range(nx):
            t = (nx * y + x + 0.5) / (nx * ny)
            logarithm = docs.minus2ln_f32(docs.f32(docs.fma64(16, t, 1)))
            e = docs.fma64(logarithm, docs.C["CREEP_PER_MINUS2LN"], -docs.C["CREEP_MIDDLE"])
            moved = [
                docs.fma64(t - 0.5, vectors[k], e * vectors[2 + k]) / pitch for k, pitch in enumerate(pitches(spec))
            ]
            made[y][x] = _spline_value(docs, coefficients, *moved, x, y, border - docs.C["SPLINE_REACH"])
    return np.array(made, np.float32) + np.float32(0), vectors


def _spline_value(docs, coefficients, moved_x, moved_y, x, y, border):
    (i, along_x), (k, along_y) = (_cubic(docs, (n + border) + moved) for n, moved in ((x, moved_x), (y, moved_y)))
    lines = []
    for row in coefficients[k - 1 :][:4]:
        lines.append(_weighted(docs, along_x, row[i - 1 :][:4]))
    return _weighted(docs, along_y, lines)


def _weighted(docs, weights, values):
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = docs.fma64(weight, value, total)
    return total


def _cubic(docs, at):
    i = math.floor(at)
    f = at - i
    g = 1 - f
    middle = [docs.fma64(a * a, docs.fma64(0.5, a, -1), 2 / 3) for a in (f, g)]
    return i, [g * g * g * (1 / 6), *middle, f * f * f * (1 / 6)]


# What follows.


def _words(docs, spec, purpose, image, kernel, draw=0):
    return docs.words(spec["seed"], purpose, draw, image, kernel)


def between(docs, ends, word):
    return ends[0] + docs.unit(word) * (ends[1] - ends[0])


def _variance(docs, spec, pixels, places, core_nm):
    x, y = docs.axes(spec, 0)
    counts = [
        all((a - px) * (a - px) + (b - py) * (b - py) >= core_nm * core_nm for px, py in places) for b in y for a in x
    ]
    counts = counts if any(counts) else [True] * len(counts)
    pixels, number = pixels.ravel().tolist(), sum(counts)
    mean = docs.tree_sum(pixels, lambda lane, pixel: lane + pixel, counts) / number
    return docs.squares(pixels, mean, counts) / number


def deviation(docs, variance, strength):
    value = strength * math.sqrt(variance)
    return docs.f32(value) if variance >= docs.C["VARIANCE_FLOOR"] and abs(value) >= docs.C["DEVIATION_FLOOR"] else 0.0


def white_noise(docs, spec, at, settings, pixels, variance, kernel_rms):
    ends = settings.get("snr_db") or settings["sigma_over_kernel_rms"]
    ratio = between(docs, ends, _words(docs, spec, "signal-to-noise ratio", *at)[0])
    is_flat = variance < docs.C["VARIANCE_FLOOR"]
    if "snr_db" in settings:
        snr_db = ratio
        sigma = 0.0 if is_flat else docs.f32(math.sqrt(variance * docs.exp2_f64(snr_db * docs.C["LOG2_PER_DB"])))
    else:
        sigma = deviation(docs, kernel_rms * kernel_rms, ratio)
        snr_db = -math.inf if is_flat else math.inf
        if sigma and not is_flat:
            snr_db = docs.C["DB_PER_MINUS2LN"] * docs.minus2ln_f32(docs.f32(math.sqrt(variance) / sigma))
        elif not sigma:
            snr_db = math.inf
    quarter = -(-pixels.size // 4)
    drawn = [_words(docs, spec, "normal numbers", *at, q) for q in range(quarter)]
    pairs = [(docs.normal_pair(*four[:2]), docs.normal_pair(*four[2:])) for four in drawn]
    normals = [pair[half][place] for half in (0, 1) for place in (0, 1) for pair in pairs][: pixels.size]
    columns = {"snr_db": snr_db, "noise_sigma": sigma}
    columns["noise_over_kernel_rms"] = docs.f32(sigma / kernel_rms) if kernel_rms else math.nan
    return fma32(sigma, np.array(normals).reshape(pixels.shape), pixels) + np.float32(0), columns


def line_noise(docs, spec, at, settings, pixels, variance, kernel_rms):
    ny, nx = pixels.shape
    sigma = deviation(
        docs, variance, between(docs, settings["strength"], _words(docs, spec, "strength of line noise", *at)[0])
    )
    octaves, quads, lines = math.ceil(math.log2(nx)) + 2, -(-nx // 4), []
    for y in range(ny):
        noise = [0.0] * nx
        for k in range(octaves):
            r = docs.exp2_f64(-4 / 2**k)
            rest = docs.f32(math.sqrt(1 - r * r))
            normals = []
            for q in range(quads):
                four = _words(docs, spec, "normal numbers of line noise", *at, (k * ny + y) * quads + q)
                normals += [*docs.normal_pair(*four[:2]), *docs.normal_pair(*four[2:])]
            value = normals[0]
            for x in range(nx):
                value = docs.fma32(docs.f32(r), value, docs.product(rest, normals[x])) if x else value
                noise[x] = docs.f32(noise[x] + value)
        lines.append(noise)
    factor = docs.f32(sigma / math.sqrt(octaves))
    return fma32(factor, np.array(lines), pixels) + np.float32(0), {"line_noise_sigma": sigma}


def corrugation(docs, spec, at, settings, pixels, variance, kernel_rms):
    drawn, is_square, (low, high) = (
        _words(docs, spec, "corrugation", *at),
        settings["lattice"] == "square",
        settings["angle_rad"],
    )
    sigma = deviation(docs, variance, between(docs, settings["strength"], drawn[0]))
    h = low / docs.PI + docs.unit(drawn[1]) * ((high - low) / docs.PI)
    per_nm = (1 if is_square else docs.C["PLANES_HEXAGONAL"]) / settings["lattice_constant_nm"]
    phases = [docs.unit(drawn[2]), docs.unit(drawn[3])]
    phases.append(-(phases[0] + phases[1]))
    turns = [0, 1 / 2] if is_square else [1 / 6, 5 / 6, 3 / 2]
    (ny, nx), total = pixels.shape, np.zeros(pixels.shape)
    for turn, phase in zip(turns, phases, strict=False):
        sine, cosine = docs.sincospi_f64(h + turn)
        along = [per_nm * part * (pitch / 2) for part, pitch in zip((cosine, sine), pitches(spec), strict=True)]
        columns = [docs.sincospi_f64(2 * docs.fma64(along[0], 2 * x - (nx - 1), phase)) for x in range(nx)]
        rows = [docs.sincospi_f64(2 * (along[1] * (2 * y - (ny - 1)))) for y in range(ny)]
        (sx, cx), (sy, cy) = np.array(columns).T, np.array(rows).T[..., None]
        total = total + fma64(cx, cy, -(sx * sy))
    factor = sigma if is_square else docs.product(sigma, docs.f32(docs.C["ROOT_TWO_THIRDS"]))
    made = fma32(factor, total.astype(np.float32), pixels) + np.float32(0)
    return made, {"corrugation_sigma": sigma, "lattice_angle": docs.PI * h}


def line_offsets(docs, spec, at, settings, pixels, variance, kernel_rms):
    strength = between(docs, settings["strength"], _words(docs, spec, "strength of line offsets", *at)[0])
    sigma, normals = deviation(docs, variance, strength), []
    for q in range(-(-len(pixels) // 4)):
        four = _words(docs, spec, "normal numbers of line offsets", *at, q)
        normals += [*docs.normal_pair(*four[:2]), *docs.normal_pair(*four[2:])]
    made = fma32(sigma, np.array(normals[: len(pixels)])[:, None], pixels) + np.float32(0)
    return made, {"line_offset_sigma": sigma}


def plane_tilt(docs, spec, at, settings, pixels, variance, kernel_rms):
    drawn, (ny, nx), (pitch_x, pitch_y) = _words(docs, spec, "plane tilt", *at), pixels.shape, pitches(spec)
    height = deviation(docs, variance, between(docs, settings["strength"], drawn[0]))
    sine, cosine = docs.sincospi_f64(2 * docs.unit(drawn[1]))
    slope = height / (spec["grid"]["size_x_nm"] * abs(cosine) + spec["grid"]["size_y_nm"] * abs(sine))
    x, y = 2 * np.arange(nx) - (nx - 1), 2 * np.arange(ny)[:, None] - (ny - 1)
    plane = fma64(slope * cosine * (pitch_x / 2), x, slope * sine * (pitch_y / 2) * y)
    made = pixels + plane.astype(np.float32) + np.float32(0)
    return made, {"tilt_height": height, "tilt_direction": 2 * docs.PI * docs.unit(drawn[1])}


def gain_offset(docs, spec, at, settings, pixels, variance, kernel_rms):
    drawn = _words(docs, spec, "gain and offset", *at)
    gain = between(docs, settings["gain"], drawn[0])
    offset = deviation(docs, variance, between(docs, settings["offset"], drawn[1]))
    return fma32(docs.f32(gain), pixels, offset) + np.float32(0), {"image_gain": gain, "image_offset": offset}


ACTS = {act.__name__: act for act in (white_noise, line_noise, corrugation, line_offsets, plane_tilt, gain_offset)}
"""Corruptions that follow those of the instrument, in their order."""
