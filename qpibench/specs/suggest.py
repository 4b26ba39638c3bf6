"""Suggestions for unknown keys of a spec: the right path for a misspelling, a synonym or a key in the wrong table."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "noise": ("corruptions.white_noise.snr_db",),
    "snr": ("corruptions.white_noise.snr_db",),
    "sigma": ("corruptions.white_noise.snr_db",),
    "noise_sigma": ("corruptions.white_noise.snr_db",),
    "noise_level": ("corruptions.white_noise.snr_db",),
    "images": ("observations_per_kernel",),
    "n_images": ("observations_per_kernel",),
    "samples": ("observations_per_kernel",),
    "n_observations": ("observations_per_kernel",),
    "images_per_kernel": ("observations_per_kernel",),
    "n_kernels": ("kernels.count",),
    "fold": ("kernels.folds",),
    "symmetry": ("kernels.folds",),
    "q": ("kernels.wavelength_nm",),
    "period": ("kernels.wavelength_nm",),
    "lambda": ("kernels.wavelength_nm",),
    "lambda_nm": ("kernels.wavelength_nm",),
    "n_scatterers": ("scatterers.count",),
    "scatterers.n": ("scatterers.count",),
    "scatterers.number": ("scatterers.count",),
    "kernels.n": ("kernels.count",),
    "kernels.number": ("kernels.count",),
    "max_scatterers": ("scatterers.max",),
    "min_scatterers": ("scatterers.min",),
    "defects": ("scatterers.count",),
    "n_defects": ("scatterers.count",),
    "density": ("scatterers.count",),
    "size": ("grid.ny", "grid.nx", "grid.size_y_nm", "grid.size_x_nm"),
    "field": ("grid.size_x_nm", "grid.size_y_nm"),
    "fov": ("grid.size_x_nm", "grid.size_y_nm"),
    "width": ("grid.size_x_nm",),
    "height": ("grid.size_y_nm",),
    "pixels": ("grid.nx", "grid.ny"),
    "n_pixels": ("grid.nx", "grid.ny"),
    "resolution": ("grid.nx", "grid.ny"),
    "shape": ("grid.nx", "grid.ny"),
    "test": ("splits.id_test", "splits.ood_kernels"),
    "train": ("splits.id_test", "splits.validation"),
    "val": ("splits.validation",),
    "ood": ("splits.ood_kernels",),
    "random_state": ("seed",),
}
"""Synonyms of keys of a spec, by the last name of a path or by the whole path."""

_MOST = 4


def suggestions(path: str, value: Any, known: Sequence[str], *, synonyms: bool) -> tuple[str, ...]:
    """Return the keys that an unknown key may stand for.

    Parameters
    ----------
    path
        The key with its tables, such as ``"noise.snr_db"``.
    value
        Its value; the keys of a table are hints.
    known
        All valid keys.
    synonyms
        Whether to use the synonyms of a spec's keys.

    Returns
    -------
    tuple of str
        At most four keys, the most likely first; empty if none is similar.
    """
    meant = next((found for found in _guesses(path, value, known, synonyms=synonyms) if found), ())
    return tuple(meant[:_MOST])


def _guesses(path: str, value: Any, known: Sequence[str], *, synonyms: bool) -> Iterator[Sequence[str]]:
    """Return groups of keys, the most likely first."""
    tables = {key.rpartition(".")[0] for key in known if "." in key}
    # A table that holds the wrong key is right already.
    every = [*known, *sorted(table for table in tables if not path.startswith(f"{table}."))]
    leaf = _leaf(path)
    yield [key for key in every if _leaf(key) == leaf]
    if synonyms:
        words = [word for word in (path.lower(), leaf.lower(), *path.lower().split(".")) if word in _SYNONYMS]
        yield [key for word in words[:1] for key in _SYNONYMS[word] if key in known]
    yield difflib.get_close_matches(path, every, n=2, cutoff=0.8)
    inner = value if isinstance(value, dict) else {}
    yield [key for key in known if _leaf(key) in inner and key.count(".") > 1]
    yield difflib.get_close_matches(path, every, n=1)
    yield [key for key in known if _leaf(key).startswith(f"{leaf}_")]
    near = difflib.get_close_matches(leaf, [_leaf(key) for key in known], n=1)
    yield [key for key in known if _leaf(key) in near]


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]
