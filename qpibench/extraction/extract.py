"""Extracts the kernel from one image with an entry, in this process."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.counting import agreeing, counted
from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.entries import Entry, find_entry
from qpibench.evaluation.isolation.declaration import declared_weights
from qpibench.evaluation.isolation.exchange import PredictionError, as_array
from qpibench.evaluation.isolation.failure import describe
from qpibench.evaluation.isolation.loading import InterfaceError, declarations_of, found_in, predictor_of
from qpibench.extraction.measured import Measured, doubts, measured
from qpibench.extraction.modules import modules_of
from qpibench.extraction.trained_pixels import notice, on_pixels, resampled
from qpibench.physics.activation import activation_map
from qpibench.tasks.batch import Batch, Prediction

if TYPE_CHECKING:
    from types import ModuleType

    from qpibench.extraction.measured import Origin


_MOST_MEAN = 10.0
"""Mean of an image over its standard deviation, above which there is a warning: most entries would miss the kernel."""

_LARGEST = float(np.finfo(np.float32).max)
"""Largest value of a kernel, as in a predictions file; the squares of larger ones may overflow."""


class Extraction(NamedTuple):
    """The kernel of an image. It can be unpacked: ``kernel, kernel_full, std, diagnostics = extract(...)``.

    Attributes
    ----------
    kernel
        (y, x) float64, with the scatterer at the centre of the array, in the units of the image.
    kernel_full
        (2y-1, 2x-1) float64: the kernel at every offset between two pixels of the image, element [y-1, x-1] at the
        scatterer; None if the entry does not give it.
    std
        (y, x) float64: standard deviation of every pixel of ``kernel``; None if the entry does not give it.
    diagnostics
        Other findings of the entry by name, such as the noise of the image: numbers, texts and arrays.
    """

    kernel: NDArray[np.float64]
    kernel_full: NDArray[np.float64] | None
    std: NDArray[np.float64] | None
    diagnostics: Mapping[str, object]


def extract(
    image: ArrayLike,
    positions_nm: ArrayLike,
    size_nm: float | Sequence[float],
    method: str | os.PathLike[str] = "polar",
    *,
    kernel_shape: int | Sequence[int] | None = None,
    origin: Origin = "centre",
    beyond_edge: bool = False,
    **options: object,
) -> Extraction:
    """Extract the kernel that all scatterers of an image share.

    The image is taken as the sum of one kernel, shifted to each of the scatterers.

    Parameters
    ----------
    image
        (y, x) real numbers in any unit; pixels that are not to be used are NaN. Row 0 has the lowest y.
    positions_nm
        (scatterer, 2): x and y of the scatterers, measured as ``origin`` says.
    size_nm
        Distance in nm from the centre of the first pixel to that of the last: (n - 1) times the pitch. A number, or
        (size_y, size_x).
    method
        Name of an entry, a Python file with one, or a run folder. The entry must not need training images. One that
        takes only the pixels it was trained on gets the field on that many, its kernel is brought back to the pitch of
        the image, and a warning and the diagnostic ``resampled`` say so.
    kernel_shape
        Rows and columns of the kernel, or one number for both, with the pitch of the image; the image's shape if None.
        With odd numbers the scatterer is at a pixel, with even ones between pixels.
    origin
        ``centre``: positions are in nm from the centre of the field. ``corner``: in nm from the centre of the pixel
        ``image[0, 0]``. ``pixel``: they are column and row, in pixels from that pixel.
    beyond_edge
        Whether positions outside the image are scatterers as well. Without it, they are refused.
    **options
        Options of the entry, the arguments of its class ``Model``.

    Returns
    -------
    Extraction
        Kernel, full kernel, standard deviation and diagnostics.

    Raises
    ------
    UsageError
        If an array has the wrong shape or values, or there is no such entry or option.
    InvalidDataError
        If there is no scatterer or one lies outside the image, the entry cannot extract a kernel from this image and
        says so by a ValueError, or its file is no entry.
    QpibenchError
        If the entry raises any other error.

    Examples
    --------
    >>> kernel, kernel_full, std, diagnostics = extract(image, positions_nm, 10.0)  # doctest: +SKIP
    """
    if not isinstance(method, (str, os.PathLike)):
        raise UsageError(f"method must be the name of an entry or a path, found {method!r}.")
    given = measured(image, positions_nm, size_nm, kernel_shape=kernel_shape, origin=origin, beyond_edge=beyond_edge)
    mean, spread = abs(np.nanmean(given.image)), np.nanstd(given.image)
    if mean > _MOST_MEAN * spread:
        warnings.warn(
            f"The mean of image is {mean / spread:.3g} times its standard deviation, so it is mostly background, which"
            " most entries take for kernels; subtract the background, or choose 'eq7_fit' where eq. 7 holds.",
            stacklevel=2,
        )
    for doubt in doubts(given.position_nm, given.grid):
        warnings.warn(doubt, stacklevel=2)
    entry = find_entry(os.fspath(method))
    with _loaded(entry) as module:
        model = _model(entry, found_in(module, entry.path.name, entry.target), options)
        declared = declarations_of(model, module)
        _check_taken(entry, model, module)
        shown, pixels = given, declared["takes_pixels"]
        if pixels is not None and not given.grid.shape == given.kernel_grid.shape == tuple(pixels):
            _check_seen(entry, given)
            shown = on_pixels(given, pixels, entry.name)
        found = _checked(entry, _run(entry, model, shown, declared["needs"]), shown)
    if shown is given:
        return found
    found = _brought_back(found, shown, given)
    if shown.grid == given.grid:
        return found
    said = notice(given.grid, shown.grid, entry.name)
    warnings.warn(said, stacklevel=2)
    return found._replace(diagnostics={**found.diagnostics, "resampled": said})


def takes_masked_pixels(method: str | os.PathLike[str]) -> bool:
    """Whether an entry takes images in which pixels that are not to be used are NaN.

    Raises
    ------
    UsageError, InvalidDataError
        As :func:`extract`.
    """
    entry = find_entry(os.fspath(method))
    with _loaded(entry) as module:
        found = found_in(module, entry.path.name, entry.target)
        shared = sys.modules.get("shared.extractor")
        return shared is not None and isinstance(found, type) and issubclass(found, shared.Extractor)


def weights_of(entry: Entry, options: Mapping[str, object]) -> dict[str, str]:
    """Return the SHA-256 of the files of weights that an entry uses, by name: those it declares, and those of its run.

    Raises
    ------
    UsageError, InvalidDataError
        As :func:`extract`; also if one of the files cannot be read.
    """
    with _loaded(entry) as module:
        model = _model(entry, found_in(module, entry.path.name, entry.target), options)
        declared = declarations_of(model, module)
    return declared_weights(entry, declared["weights"]) | entry.weights_sha256()


@contextmanager
def _loaded(entry: Entry) -> Iterator[ModuleType]:
    """Give the module of an entry's file, with those beside it importable; a file that is no entry is invalid data."""
    modules = modules_of(entry.path.parent)
    with modules.present():
        module = modules.load(entry.path)
        try:
            yield module
        except InterfaceError as error:
            raise InvalidDataError(f"Entry '{entry.name}' cannot be used: {error}.") from None


def _model(entry: Entry, found: Any, options: Mapping[str, object]) -> Any:
    """Return an instance of the entry's class with the options, or the entry's function."""
    if not isinstance(found, type):
        known: list[str] = []
        is_open = False
    else:
        parameters = inspect.signature(found).parameters
        known = [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]
        is_open = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    unknown = [name for name in options if name not in known]
    if unknown and not is_open:
        takes = f"its options are {', '.join(known)}" if known else "it has no options"
        raise UsageError(f"Entry '{entry.name}' has no option '{unknown[0]}'; {takes}.")
    if not isinstance(found, type):
        return found
    folder = () if entry.folder is None else (entry.folder.path,)
    try:
        return found(*folder, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Entry '{entry.name}' cannot be made with these options: {error}") from error


def _check_taken(entry: Entry, model: Any, module: ModuleType) -> None:
    """Refuse entries that learn from a release."""
    owner = module if inspect.isfunction(model) else model
    if callable(getattr(owner, "fit", None)):
        raise UsageError(f"Entry '{entry.name}' learns from training images, which one image does not have.")


def _check_seen(entry: Entry, given: Measured) -> None:
    """Refuse masked pixels for entries that use every pixel."""
    if masked := int(np.isnan(given.image).sum()):
        are = agreeing(masked, "is", "are")
        raise InvalidDataError(
            f"Entry '{entry.name}' uses every pixel, and {masked:,} of {given.image.size:,} {are} NaN; crop the map"
            " to the part that has values, or choose an entry that takes masked pixels, such as polar."
        )


def _run(entry: Entry, model: Any, given: Measured, needs: str | None) -> Any:
    """Return the entry's extraction, or its prediction for a batch of one image."""
    map_mode = (entry.run.map_mode if entry.run is not None else None) or "exact"
    batch = Batch(
        image=given.image[None].astype(np.float32),
        activation_map=activation_map(given.grid, given.position_nm[None], mode=map_mode),
        position_nm=given.position_nm[None].copy(),
        grid=given.grid,
        kernel_grid=given.kernel_grid,
    )
    # Only there while an entry is imported that is an Extractor.
    shared = sys.modules.get("shared.extractor")
    try:
        if shared is not None and isinstance(model, shared.Extractor):
            return model.extract(
                shared.Observation(
                    image=given.image,
                    grid=given.grid,
                    scatterers=shared.scatterers_of(batch, 0),
                    kernel_grid=given.kernel_grid,
                )
            )
        _check_seen(entry, given)
        predicted = predictor_of(model, entry.path.name, needs)(batch)
        return predicted if isinstance(predicted, Prediction) else Prediction(kernel=predicted)  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidDataError(f"Entry '{entry.name}' cannot extract the kernel: {str(error).rstrip('.')}.") from error
    except QpibenchError:
        raise
    except (Exception, SystemExit) as error:
        said, _ = describe(error, entry.path.parent)
        raise QpibenchError(f"Entry '{entry.name}' failed: {said.rstrip('.')}.") from error


def _checked(entry: Entry, found: Any, given: Measured) -> Extraction:
    """Return an entry's extraction as arrays of the right shape, finite in float32, no standard deviation negative."""
    is_batch = isinstance(found, Prediction)
    shapes = {
        "kernel": given.kernel_grid.shape,
        "kernel_full": given.grid.offsets.shape,
        "std": given.kernel_grid.shape,
    }
    arrays: dict[str, NDArray[np.float64] | None] = dict.fromkeys(shapes)
    for name, shape in shapes.items():
        if (part := getattr(found, name, None)) is None:
            continue
        expected = (1, *shape) if is_batch else shape
        try:
            array = as_array(part, f"its {name} is", expected)
        except PredictionError as error:
            raise InvalidDataError(f"Entry '{entry.name}' gave no {name}: {error}.") from None
        if np.iscomplexobj(array):
            raise InvalidDataError(f"Entry '{entry.name}' gave complex numbers for {name}; expected real ones.")
        if array.shape != expected:
            raise InvalidDataError(f"Entry '{entry.name}' gave {name} in the shape {array.shape}, expected {expected}.")
        array = array.astype(np.float64).reshape(shape)
        if bad := int((~(np.abs(array) <= _LARGEST)).sum()):
            raise InvalidDataError(
                f"Entry '{entry.name}' found no kernel in this image: {counted(bad, 'pixel')} of its {name}"
                f" {agreeing(bad, 'is', 'are')} not finite in float32."
            )
        if name == "std" and (least := array.min()) < 0:
            raise InvalidDataError(
                f"Entry '{entry.name}' gave a std of {least:.3g}; a standard deviation is 0 or more."
            )
        arrays[name] = array
    if arrays["kernel"] is None:
        raise InvalidDataError(f"Entry '{entry.name}' gave no kernel.")
    return Extraction(
        kernel=arrays["kernel"],
        kernel_full=arrays["kernel_full"],
        std=arrays["std"],
        diagnostics={name: each for name, each in getattr(found, "diagnostics", {}).items() if _is_plain(each)},
    )


def _brought_back(found: Extraction, shown: Measured, given: Measured) -> Extraction:
    """Return an extraction from resampled pixels on the grids that were asked for."""

    def kernel(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return resampled(values, shown.kernel_grid, given.kernel_grid)

    full = found.kernel_full
    return found._replace(
        kernel=kernel(found.kernel),
        kernel_full=None if full is None else resampled(full, shown.grid.offsets, given.grid.offsets),
        std=None if found.std is None else np.abs(kernel(found.std)),
    )


def _is_plain(value: object) -> bool:
    """Whether a value can be used without the modules of the entry: a number, a text, an array, or several of them."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float, np.generic, np.ndarray))
