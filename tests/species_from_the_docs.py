"""Two species of scatterers in plain Python, from docs/arithmetic.md: pairs of kernels, and the species of scatterers.

``docs`` is the module `written_from_the_docs`; nothing is shared with the package.
"""

import math


def pairs(docs, spec, strata, parameters_of, image_of):
    """Parameters of the kernels of all pairs, and the columns that the table of species adds.

    ``parameters_of`` gives the parameters of a kernel from its words, its stratum and its number, and ``image_of`` its
    pixels from its parameters.
    """
    parameters, columns = [], {"species": [], "contrast": []}
    for pair, fold in enumerate(strata):
        first, second, angle, contrast = pair_of(docs, spec, pair, fold, parameters_of, image_of)
        parameters += [first, second]
        columns["species"] += [0, 1]
        columns["contrast"] += [contrast] * 2
        if angle is not None:
            columns.setdefault("rotation", []).extend([0.0, angle])
    return parameters, columns


def pair_of(docs, spec, pair, fold, parameters_of, image_of):
    settings, seed = spec["species"], spec["seed"]
    for t in range(1000):
        first = parameters_of(docs.words(seed, "parameters of a kernel", t, 0, pair), fold, pair)
        if settings["second"] == "rotated":
            (low, high), (word, *_) = settings["angle_deg"], docs.words(seed, "angle of the second kernel", t, 0, pair)
            angle = (low + docs.unit(word) * (high - low)) * (docs.PI / 180)
            p = first["phi1"] - fold * angle / 2
            turned = p - docs.PI * math.floor(p / docs.PI)
            second = first | {"phi1": 0.0 if turned == docs.PI else turned}
        else:
            drawn = docs.words(seed, "parameters of the second kernel of a pair", t, 0, pair)
            angle, second = None, parameters_of(drawn, fold, pair)
        a, b = (docs.flat(image_of(each)) for each in (first, second))
        difference = docs.squares([x - y for x, y in zip(a, b, strict=True)], 0.0)
        contrast = math.sqrt(difference / (docs.squares(a, 0.0) + docs.squares(b, 0.0)))
        if contrast >= settings["min_contrast"]:
            return first, second, angle, contrast
    raise AssertionError(pair)


def share(docs, spec, image, pair):
    low, high = spec["species"]["share"]
    word, *_ = docs.words(spec["seed"], "share of the second species", 0, image, pair)
    return low + docs.unit(word) * (high - low)


def of_scatterers(docs, spec, image, pair, n, added):
    """Species of n drawn scatterers and of those that corruptions add."""
    s, least = share(docs, spec, image, pair), spec["species"]["min_each"]
    count = min(max(math.floor(s * n + 0.5), least), n - least)
    drawn = _draws(docs, spec, "which scatterers are of the second species", image, pair, n)
    second = sorted(range(n), key=lambda k: (drawn[k], k))[:count]
    words = _draws(docs, spec, "species of added scatterers", image, pair, added)
    return [int(k in second) for k in range(n)] + [int(docs.unit(word) < s) for word in words]


def of_told(docs, spec, image, pair, n, species, indices):
    """Species of told positions, from the indices of what they tell of."""
    s = share(docs, spec, image, pair)
    words = _draws(docs, spec, "species of spurious positions", image, pair, max([n, *(k + 1 for k in indices)]) - n)
    return [species[k] if k < n else int(docs.unit(words[k - n]) < s) for k in indices]


def _draws(docs, spec, purpose, image, pair, count):
    found = [word for q in range(-(-count // 4)) for word in docs.words(spec["seed"], purpose, q, image, pair)]
    return found[:count]
