r"""Scatterers found in a map: round bright or dark spots of one size, by the Laplacian of a Gaussian.

The response of a map z at the scale s is

.. math::

    R_s = -s^2 \nabla^2 (G_s * z),

with a Gaussian :math:`G_s` of the standard deviation s. A Gaussian spot of the standard deviation s has the greatest
response of all scales at s, half its height (Lindeberg, Int. J. Comput. Vis. 30, 79 (1998),
doi:10.1023/A:1008045108935). Sizes are full widths at half maximum, :math:`\sqrt{8 \ln 2}\, s`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import counted
from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import Grid
from qpibench.maps.chosen import chosen_channel, nearest_layers
from qpibench.maps.measurement import Channel, Maps
from qpibench.maps.resampling import pixels
from qpibench.maps.smoothing import gaussian_weights, smoothed

Polarity = Literal["bright", "dark", "either"]

WIDTH = float(np.sqrt(8 * np.log(2)))
"""Full width at half maximum of a Gaussian in its standard deviations."""

ROUNDNESS = 0.25
"""Smallest ratio of the two curvatures of the response at a spot; ripples and lines are less round."""

SCALES_PER_OCTAVE = 3

_LONGEST = 1024  # pixels of the part in which the scale is looked for
_LARGEST_SCALE = 32  # pixels
_SMALLEST = 8  # fewest pixels along a side

_Image = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Detected:
    """Scatterers that were found in a map, the strongest first.

    Attributes
    ----------
    position_nm
        (scatterer, 2) float64: x and y in nm from the centre of the field.
    response
        (scatterer,): response in units of its noise, the robust standard deviation of the response over the map.
    at_edge
        (scatterer,): whether the edge of the field, or a point that was not measured, is within half a size. Such
        positions are less certain.
    size_nm
        Full width at half maximum of the spots that were looked for.
    is_size_found
        Whether the size was found in the map, not told.
    polarity
        Whether the spots are bright or dark.
    channel
        Label of the channel.
    layer
        Number of the layer of a stack; None for a single map.
    """

    position_nm: NDArray[np.float64]
    response: NDArray[np.float64]
    at_edge: NDArray[np.bool_]
    size_nm: float
    is_size_found: bool
    polarity: Literal["bright", "dark"]
    channel: str
    layer: int | None

    def __len__(self) -> int:
        return len(self.position_nm)


@dataclass(frozen=True, kw_only=True)
class _Field:
    """A map on square pixels, but for a thousandth: values without a plane, whether measured, and pitches (y, x)."""

    values: _Image
    measured: NDArray[np.bool_]
    pitches_nm: tuple[float, float]

    @property
    def pitch_nm(self) -> float:
        """The smaller pitch, for lengths without a direction."""
        return min(self.pitches_nm)


def find_scatterers(
    maps: Maps,
    channel: str | None = None,
    *,
    energy_mev: float | None = None,
    polarity: Polarity = "either",
    size_nm: float | None = None,
    most: int | None = None,
    threshold: float = 4.0,
    share: float = 0.4,
) -> Detected:
    """Find scatterers in a topograph, in a map, or in one layer of a stack.

    A plane is removed first. Spots are the maxima of the response, as by :func:`skimage.feature.blob_log`, at one scale
    which

    - exceed ``threshold`` times the noise, 1.4826 times the median of abs(R - median R) over the measured points,
    - are round: the smaller curvature of R is at least a quarter of the larger one,
    - have at least ``share`` of the response of the typical one, the median of the spots weighted with R squared.

    The last two keep ripples around scatterers from being counted. Positions are the maxima of paraboloids through
    3 x 3 values of R.

    Without ``size_nm``, the scale comes from the map: spots are looked for at three scales per octave, from one pixel
    to an eighth of the shorter side and at most 32 pixels, as maxima of R over places and scales. The scale is the
    median of those that are round and exceed the threshold, weighted with R squared, then the mean logarithm of those
    near it. In maps of more than 1024 pixels along a side, this is done in their middle.

    Scatterers have one kernel, so they are all bright or all dark. If the polarity is not told, both are tried, and the
    one whose typical response is greater counts.

    Parameters
    ----------
    maps
        The maps.
    channel
        Name or label of the channel; it may be left out if there is only one.
    energy_mev
        Energy in meV of the layer of a stack; the nearest layer is taken.
    polarity
        Whether scatterers are bright or dark; ``either`` tries both.
    size_nm
        Full width at half maximum of a scatterer in nm; None: found in the map.
    most
        Largest number of scatterers; the strongest are kept. None: all.
    threshold
        Smallest response in units of its noise.
    share
        Smallest response in units of the typical one; 0 for scatterers of very different heights.

    Raises
    ------
    UsageError
        If there is no such channel or energy, a stack is given without an energy, or a setting is impossible.
    InvalidDataError
        If the map is constant or empty, or no scatterer is found.
    """
    _check(polarity, most, threshold, share)
    chosen = chosen_channel(maps, channel)
    layer = _layer(maps, chosen, energy_mev)
    name = f"Channel '{chosen.label}' of {maps.source.file}"
    image = chosen.values if layer is None else chosen.values[layer]
    field = _prepared(name, image.astype(np.float64), maps.grid)
    told = None if size_nm is None else _told_scale(size_nm, field)
    tried: tuple[Literal["bright", "dark"], ...] = ("bright", "dark") if polarity == "either" else (polarity,)
    found = [(each, *_found(_of_polarity(field, each), told, threshold, share)) for each in tried]
    kind, scale, spots = max(found, key=lambda one: _typical(one[2][:, 2]))  # bright if both are alike
    if not len(spots):
        wanted = "" if polarity == "either" else f"{polarity} "
        raise InvalidDataError(
            f"{name} has no {wanted}scatterer: no round spot exceeds {threshold:g} standard deviations of the response."
        )
    spots = spots[np.argsort(-spots[:, 2], kind="stable")][:most]
    middle = (np.array(field.values.shape) - 1) / 2
    size = WIDTH * scale * field.pitch_nm
    most_nm = np.array([maps.grid.size_x_nm, maps.grid.size_y_nm]) / 2  # a maximum at the edge may lie a bit beyond it
    return Detected(
        position_nm=np.clip(((spots[:, :2] - middle) * field.pitches_nm)[:, ::-1], -most_nm, most_nm),
        response=spots[:, 2].copy(),
        at_edge=_to_unmeasured(field, spots) * field.pitch_nm < size / 2,
        size_nm=size,
        is_size_found=size_nm is None,
        polarity=kind,
        channel=chosen.label,
        layer=layer,
    )


def _check(polarity: str, most: int | None, threshold: float, share: float) -> None:
    if polarity not in get_args(Polarity):
        raise UsageError(f"polarity must be one of {', '.join(get_args(Polarity))}; found {polarity!r}.")
    if most is not None and most < 1:
        raise UsageError(f"The largest number of scatterers must be at least 1; found {most}.")
    if not 0 < threshold < np.inf:
        raise UsageError(f"The threshold must be a positive number of standard deviations; found {threshold:g}.")
    if not 0 <= share <= 1:
        raise UsageError(f"The share of the typical response must be from 0 to 1; found {share:g}.")


def _layer(maps: Maps, channel: Channel, energy_mev: float | None) -> int | None:
    if energy_mev is not None:
        return int(nearest_layers(maps, channel, [energy_mev])[0])
    if channel.values.ndim == 2:
        return None
    if len(channel.values) == 1:
        return 0
    raise UsageError(
        f"Channel '{channel.label}' has {counted(len(channel.values), 'layer')}; choose the energy in which"
        " scatterers are found (energy_mev; --energy)."
    )


def _prepared(name: str, image: _Image, grid: Grid) -> _Field:
    """The map on square pixels without its plane; points that were not measured have values of those around them."""
    from scipy.ndimage import distance_transform_edt, map_coordinates

    if min(image.shape) < _SMALLEST:
        raise InvalidDataError(
            f"{name} has {image.shape[1]} x {image.shape[0]} points; scatterers can be found in at least {_SMALLEST} x"
            f" {_SMALLEST}."
        )
    measured = np.isfinite(image)
    if not measured.any():
        raise InvalidDataError(f"{name} has no measured point.")
    values = without_plane(image)
    largest = np.abs(image[measured] - np.median(image[measured])).max()
    values = values / largest if largest > 0 else values
    # Numbers of the file's precision: a constant with rounding errors has no spots.
    if values[measured].std() <= 1e-6:
        raise InvalidDataError(f"{name} is constant or a plane: there is nothing to find.")
    if not measured.all():
        values = np.where(measured, values, smoothed(values, gaussian_weights(3.0), gaussian_weights(3.0)))
        known = tuple(distance_transform_edt(np.isnan(values), return_distances=False, return_indices=True))
        values = values[known]
    pitches = grid.pitch_y_nm, grid.pitch_x_nm
    pitch = min(pitches)
    if max(pitches) > 1.001 * pitch:
        counts = [round(size / pitch) + 1 for size in (grid.size_y_nm, grid.size_x_nm)]
        y_nm, x_nm = ((np.arange(n) - (n - 1) / 2) * pitch for n in counts)
        rows = pixels(grid, np.stack(np.meshgrid(x_nm, y_nm)))
        values = map_coordinates(values, rows, order=3, mode="nearest")
        measured = map_coordinates(measured, rows, order=0, mode="nearest")
        pitches = pitch, pitch
    return _Field(values=values, measured=measured, pitches_nm=pitches)


def without_plane(image: _Image) -> _Image:
    """Return a map (y, x) without the plane of least squares through its measured points."""
    measured = np.isfinite(image)
    y, x = np.ogrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    terms = [np.where(measured, term, 0.0).ravel() for term in (np.ones_like(x + y), x + 0 * y, y + 0 * x)]
    values = image - np.median(image[measured])
    known = np.where(measured, values, 0.0).ravel()
    normal = np.array([[a @ b for b in terms] for a in terms])
    of_1, of_x, of_y = np.linalg.lstsq(normal, np.array([a @ known for a in terms]), rcond=None)[0]
    flat: _Image = values - (of_1 + of_x * x + of_y * y)
    return flat


def _told_scale(size_nm: float, field: _Field) -> float:
    """Standard deviation in pixels of spots whose size was told."""
    smallest, largest = field.pitch_nm, min(field.values.shape) * field.pitch_nm / 2
    if not smallest <= size_nm <= largest:
        raise UsageError(
            f"The size of a scatterer must be from one pixel to half the map, {smallest:.3g} to {largest:.3g} nm; found"
            f" {size_nm:g} nm."
        )
    return size_nm / WIDTH / field.pitch_nm


def _of_polarity(field: _Field, polarity: Literal["bright", "dark"]) -> _Field:
    return field if polarity == "bright" else replace(field, values=-field.values)


def _found(field: _Field, told: float | None, threshold: float, share: float) -> tuple[float, _Image]:
    """Scale and spots (spot, 3) of a map: row and column with fractions, and response in units of its noise."""
    scale = _scale(field, threshold) if told is None else told
    if scale is None:
        return 1.0, np.empty((0, 3))
    response = _response(field.values, scale)
    noise = _noise(response, field.measured)
    spots = []
    for _, *place in _maxima([response], threshold * noise).tolist():
        row, column, roundness, height = _peak(response, *place)
        if field.measured[tuple(place)] and roundness >= ROUNDNESS:
            spots.append((row, column, height / noise))
    found = np.array(spots).reshape(-1, 3)
    return scale, found[found[:, 2] >= share * _typical(found[:, 2])]


def _scale(field: _Field, threshold: float) -> float | None:
    """Standard deviation in pixels of the bright spots of a map; None if there is none."""
    middle = tuple(slice(max(n - _LONGEST, 0) // 2, max(n - _LONGEST, 0) // 2 + _LONGEST) for n in field.values.shape)
    values, measured = field.values[middle], field.measured[middle]
    if not measured.any():
        return None
    octaves = np.log2(np.clip(min(values.shape) / 8, 2 ** (1 / SCALES_PER_OCTAVE), _LARGEST_SCALE))
    scales = np.geomspace(1.0, 2**octaves, round(SCALES_PER_OCTAVE * octaves) + 1)
    responses = [_response(values, scale) for scale in scales]
    limits = [threshold * _noise(response, measured) for response in responses]
    steps, weights = [], []
    for step, *place in _maxima(responses, min(limits)).tolist():
        height = responses[step][tuple(place)]
        # At the last scale the response may still grow: that is a slope of the background rather than a spot.
        is_spot = step < len(scales) - 1 and measured[tuple(place)] and height > limits[step]
        if is_spot and _peak(responses[step], *place)[2] >= ROUNDNESS:
            steps.append(step)
            weights.append(height**2)
    if not steps:
        return None
    found, weight = np.array(steps), np.array(weights)
    near = np.abs(found - _weighted_median(found, weight)) <= 1
    return float(np.exp(np.average(np.log(scales[found[near]]), weights=weight[near])))


def _maxima(responses: list[_Image], threshold: float) -> NDArray[np.intp]:
    """Maxima (maximum, 3) of responses over scales, rows and columns: their numbers along each."""
    from skimage.feature import peak_local_max

    # The search of skimage.feature.blob_log without the end, which compares all pairs of maxima, most of them of noise.
    footprint = np.ones((3, 3, 3), bool)
    maxima: NDArray[np.intp] = peak_local_max(  # type: ignore[no-untyped-call]
        np.stack(responses), threshold_abs=threshold, footprint=footprint, exclude_border=False
    )
    return maxima


def _response(values: _Image, scale: float) -> _Image:
    from scipy.ndimage import gaussian_laplace

    response: _Image = -(scale**2) * gaussian_laplace(values, scale)
    return response


def _noise(response: _Image, measured: NDArray[np.bool_]) -> float:
    """Robust standard deviation of a response."""
    seen = response[measured]
    robust = 1.4826 * float(np.median(np.abs(seen - np.median(seen))))
    return max(robust, 1e-6 * float(np.abs(seen).max()))


def _peak(response: _Image, row: int, column: int) -> tuple[float, float, float, float]:
    """Row, column, roundness and height of a maximum: of the paraboloid of least squares through 3 x 3 values."""
    patch = response[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    before = (int(row == 0), int(row == len(response) - 1)), (int(column == 0), int(column == response.shape[1] - 1))
    patch = np.pad(patch, before, mode="reflect")
    rows, columns = patch.mean(axis=1), patch.mean(axis=0)
    yy, xx = (line[0] - 2 * line[1] + line[2] for line in (rows, columns))
    xy = (patch[2, 2] - patch[2, 0] - patch[0, 2] + patch[0, 0]) / 4
    slope = np.array([(rows[2] - rows[0]) / 2, (columns[2] - columns[0]) / 2])
    curvature = np.array([[yy, xy], [xy, xx]])
    steep, flat = np.linalg.eigvalsh(curvature)
    if flat >= 0:
        return float(row), float(column), 0.0, float(patch[1, 1])
    move = np.clip(-np.linalg.solve(curvature, slope), -0.75, 0.75)
    height = float(patch[1, 1] + slope @ move / 2)
    return row + float(move[0]), column + float(move[1]), float(flat / steep), height


def _typical(response: NDArray[np.float64]) -> float:
    return _weighted_median(response, response**2) if len(response) else 0.0


def _weighted_median(values: NDArray[Any], weight: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _to_unmeasured(field: _Field, spots: _Image) -> NDArray[np.float64]:
    """Distance in pixels from each spot to the edge of the field or to a point that was not measured."""
    from scipy.ndimage import distance_transform_edt

    distance = distance_transform_edt(np.pad(field.measured, 1))[1:-1, 1:-1]
    place = np.clip(np.rint(spots[:, :2]).astype(int), 0, np.array(field.values.shape) - 1)
    to: NDArray[np.float64] = distance[tuple(place.T)]
    return to
