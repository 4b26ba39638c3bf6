"""Corrupted scatterers of one image in plain Python, from docs/arithmetic.md: true ones and those that are told.

``docs`` is the module `written_from_the_docs`; nothing is shared with the package.
"""

import math

NAN = [math.nan, math.nan]


def corrupt(docs, spec, image, kernel, drawn):
    """Places, amplitudes, told places with their indices, and columns of an image with these drawn scatterers."""
    settings, columns, n = spec["corruptions"], {}, len(drawn)
    places = list(drawn)
    if "unseen_scatterers" in settings:
        unseen = unseen_scatterers(docs, spec, settings["unseen_scatterers"], image, kernel, n)
        places += unseen
        columns["n_unseen"] = len(unseen)
    amplitudes = [1.0] * len(places)
    if "amplitude_spread" in settings:
        amplitudes = spread(docs, spec, settings["amplitude_spread"]["relative_std"], image, kernel, len(places))
        columns["amplitude"] = amplitudes
    told = list(enumerate(drawn))
    if "missing_scatterers" in settings:
        count = min(rounded(settings["missing_scatterers"]["share"], n), n - 1)
        missing = shuffled(docs, spec, "which scatterers are missing", image, kernel, n)[:count]
        told = [(index, place) for index, place in told if index not in missing]
        columns |= {"n_missing": count, "is_missing": [int(index in missing) for index in range(n)]}
    if "spurious_scatterers" in settings:
        count = rounded(settings["spurious_scatterers"]["share"], n)
        flat = draws(docs, spec, "spurious positions", image, kernel, 2 * count)
        half = [spec["grid"][f"size_{axis}_nm"] / 2 for axis in "xy"]
        told += [
            (n + k, [(2 * docs.unit(flat[2 * k + axis]) - 1) * half[axis] for axis in (0, 1)]) for k in range(count)
        ]
        told = [told[i] for i in shuffled(docs, spec, "order of the told positions", image, kernel, len(told))]
        columns["n_spurious"] = count
    if "position_error" in settings:
        sigma = settings["position_error"]["sigma_nm"]
        last = max(index for index, _ in told) + 1
        normals = normal_numbers(docs, spec, "position errors", image, kernel, 2 * last)
        errors = [NAN] * last
        for place, (index, (x, y)) in enumerate(told):
            errors[index] = sigma * normals[2 * index], sigma * normals[2 * index + 1]
            told[place] = index, [x + errors[index][0], y + errors[index][1]]
        columns |= {f"position_error_{axis}_nm": [error[i] for error in errors] for i, axis in enumerate("xy")}
    if "merged_pixels" in settings:
        told, columns["n_merged"], columns["n_off_raster"] = merged(docs, spec, told)
    return places, amplitudes, told, columns


def draws(docs, spec, purpose, image, kernel, count):
    """The first words of a stream that has four in each draw."""
    found = [word for q in range(-(-count // 4)) for word in docs.words(spec["seed"], purpose, q, image, kernel)]
    return found[:count]


def shuffled(docs, spec, purpose, image, kernel, n):
    drawn = draws(docs, spec, purpose, image, kernel, n)
    return sorted(range(n), key=lambda k: (drawn[k], k))


def normal_numbers(docs, spec, purpose, image, kernel, count):
    drawn = draws(docs, spec, purpose, image, kernel, count + count % 2)
    return [number for k in range(0, len(drawn), 2) for number in docs.normal_pair(drawn[k], drawn[k + 1])]


def rounded(share, n):
    return max(math.floor(share * n + 0.5), int(n >= 10))


def spread(docs, spec, relative_std, image, kernel, count):
    v = docs.ln_f64(1 + relative_std * relative_std)
    normals = normal_numbers(docs, spec, "amplitudes", image, kernel, count)
    exponents = [(math.sqrt(v) * z - 0.5 * v) * docs.C["LOG2_E"] for z in normals[:count]]
    return [docs.f32(docs.exp2_f64(exponent)) for exponent in exponents]


def frame(spec, settings):
    """Half sides of the hole, and the width of the border."""
    hole = max(spec["scatterers"]["margin_nm"], 0.0)
    hx, hy = (spec["grid"][f"size_{axis}_nm"] / 2 + hole for axis in "xy")
    return hx, hy, settings["reach_nm"] - hole


def mean_number(spec, settings, n):
    hx, hy, t = frame(spec, settings)
    area = 4 * t * ((hx + t) + hy)
    if "density_per_nm2" in settings:
        return settings["density_per_nm2"] * area
    wide, high = (spec["grid"][f"size_{axis}_nm"] + 2 * spec["scatterers"]["margin_nm"] for axis in "xy")
    return n / (wide * high) * area


def most_unseen(mean):
    return math.ceil(mean + 6 * math.sqrt(mean) + 6)


def places_added(spec):
    """The largest numbers of unseen scatterers and of spurious positions together."""
    settings, n = spec["corruptions"], spec["scatterers"]["max"]
    added = most_unseen(mean_number(spec, settings["unseen_scatterers"], n)) if "unseen_scatterers" in settings else 0
    return added + (rounded(settings["spurious_scatterers"]["share"], n) if "spurious_scatterers" in settings else 0)


def unseen_scatterers(docs, spec, settings, image, kernel, n):
    hx, hy, t = frame(spec, settings)
    mean = mean_number(spec, settings, n)
    gaps = draws(docs, spec, "gaps, for the number of unseen scatterers", image, kernel, most_unseen(mean))
    count, total = 0, 0.0
    for word in gaps:
        total -= docs.ln_f64(docs.unit(word))
        if total > mean:
            break
        count += 1
    found = []
    for k in range(count):
        a, s, c = map(docs.unit, docs.words(spec["seed"], "positions of unseen scatterers", k, image, kernel)[:3])
        s, c = 2 * s - 1, 2 * c - 1
        if a < (hx + t) / ((hx + t) + hy):
            found.append([s * (hx + t), c * t + math.copysign(hy, c)])
        else:
            found.append([c * t + math.copysign(hx, c), s * hy])
    return found


def merged(docs, spec, told):
    side = spec["corruptions"]["merged_pixels"]["cell_px"]
    found, n_merged, n_off_raster = {}, 0, 0
    for index, place in told:
        cell = []
        for axis, coordinate in zip("xy", place, strict=True):
            n, size = spec["grid"][f"n{axis}"], spec["grid"][f"size_{axis}_nm"]
            pixel = math.floor((coordinate + size / 2) / (size / (n - 1)) + 0.5)
            cell.append(pixel // side if 0 <= pixel < n else None)
        if None in cell:
            n_off_raster += 1
        elif tuple(cell) in found:
            n_merged += 1
        else:
            axes = [docs.coordinates(spec["grid"][f"n{axis}"], spec["grid"][f"size_{axis}_nm"]) for axis in "xy"]
            ends = [(axis[k * side], axis[k * side + side - 1]) for axis, k in zip(axes, cell, strict=True)]
            found[tuple(cell)] = index, [(first + last) / 2 for first, last in ends]
    return list(found.values()), n_merged, n_off_raster
