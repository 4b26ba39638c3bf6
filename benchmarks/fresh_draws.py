"""Images on which extraction entries are measured: draws of their own seed, which belong to no release and no test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.foreign_kernels import KERNELS
from qpibench.grid import Grid
from qpibench.physics.bound import least_error
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.contract import Observations
from qpibench.tasks import Batch, view_batch

SEED = 20261128
"""Seed of all draws. Releases and streams of other seeds share no random number with them."""

SNR_DB = 10.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Images that are drawn in one way, with one view.

    Attributes
    ----------
    what
        The images in words.
    view
        View of the entry. The view ``positions`` has a raster of the scatterers too, for entries that need one.
    noise
        Whether the images have white noise of :data:`SNR_DB`.
    kernel
        Kind of the kernels: ``eq7``, or a name in :data:`benchmarks.foreign_kernels.KERNELS`.
    changes
        Settings of the spec.
    """

    what: str
    view: str = "positions"
    noise: bool = False
    kernel: str = "eq7"
    changes: tuple[str, ...] = ()


def _told_wrongly(what: str, setting: str) -> Cell:
    """A cell like those of the track ``robust``: 20 dB, and at least 10 scatterers."""
    changes = ("scatterers.min=10", "corruptions.white_noise.snr_db=20", setting)
    return Cell(what=f"eq. 7, positions, 20 dB, {what}", changes=changes)


CELLS = {
    "positions": Cell(what="eq. 7, positions, clean"),
    "noise": Cell(what="eq. 7, positions, 10 dB", noise=True),
    "raster": Cell(what="eq. 7, raster, clean", view="raster"),
    "hankel": Cell(what="electron gas (Hankel), positions, clean", kernel="hankel"),
    "mixed": Cell(what="two harmonics (mixed), positions, clean", kernel="mixed"),
    "position": _told_wrongly("errors of 0.1 nm", "corruptions.position_error.sigma_nm=0.1"),
    "missing": _told_wrongly("a tenth missing", "corruptions.missing_scatterers.share=0.1"),
    "spurious": _told_wrongly("a tenth spurious", "corruptions.spurious_scatterers.share=0.1"),
    "large": Cell(
        what="eq. 7, positions, 20 dB, 256 x 256 pixels on 40 nm, 500 scatterers",
        changes=(
            *("grid.ny=256", "grid.nx=256", "grid.size_y_nm=40", "grid.size_x_nm=40"),
            *("scatterers.min=500", "scatterers.max=500", "corruptions.white_noise.snr_db=20"),
        ),
    ),
    "strengths": _told_wrongly("strengths spread by 0.3", "corruptions.amplitude_spread.relative_std=0.3"),
}
"""Cells by name. Image i has the same scatterers in the first five, and the same kernel in all of eq. 7 but `large`,
which has the same parameters on a larger field."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The images of a cell.

    Attributes
    ----------
    grid
        Grid of images and kernels.
    truth
        (image, y, x) true kernels; every image has a kernel of its own.
    batch
        Function from the number of an image to the inputs of the entry, a batch of one.
    bound
        (image,) bounds of the mean absolute error, see :func:`qpibench.physics.bound.least_error`; None without noise.
    """

    grid: Grid
    truth: NDArray[np.floating]
    batch: Callable[[int], Batch]
    bound: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.truth)


def spec_of(cell: Cell, images: int) -> ReleaseSpec:
    """Return the spec of the draws: that of `paper` with another seed and one image of every kernel."""
    changes = [f"seed={SEED}", f"kernels.count={images}", "observations_per_kernel=1", "name='extraction'"]
    return load_spec(
        "paper", overrides=[*changes, *([f"corruptions.white_noise.snr_db={SNR_DB}"] * cell.noise), *cell.changes]
    )


def draw(cell: Cell, images: int) -> Draws:
    """Draw the images of a cell."""
    spec = spec_of(cell, images)
    backend, _ = get_backend("cpu")
    kernels = backend.kernels(spec)
    observations = backend.observations(spec, kernels, 0, images)
    truth: NDArray[np.floating] = kernels.image
    if cell.kernel != "eq7":
        truth, image = foreign_images(cell.kernel, spec, observations.position_nm)
        observations = replace(observations, image=image)
    bound = None
    if cell.noise:
        rows = [{name: values[k] for name, values in kernels.parameters.items()} for k in range(images)]
        sigma = observations.extra["noise_sigma"]
        bound = np.array(
            [
                least_error(spec.grid, observations.position_nm[k], rows[k], noise_sigma=float(sigma[k]))
                for k in range(images)
            ]
        )
    columns = observations.columns()

    def batch(image: int) -> Batch:
        one = Observations.of_columns({name: values[[image]] for name, values in columns.items()})
        return view_batch(one, spec.grid, view=cell.view, map_mode="paper")

    return Draws(grid=spec.grid, truth=truth, batch=batch, bound=bound)


def foreign_images(
    name: str, spec: ReleaseSpec, position_nm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Draw kernels outside eq. 7, one for each row of positions, and superpose them.

    Every kernel is evaluated in float64 at the offsets of all pixels from all scatterers, nothing is interpolated on
    the lattice.

    Returns
    -------
    (image, y, x) float64
        The kernels.
    (image, y, x) float32
        The images.
    """
    rng = np.random.default_rng([SEED, list(KERNELS).index(name)])
    x, y = spec.grid.x_nm, spec.grid.y_nm[:, None]
    truth, image = np.empty((2, len(position_nm), *spec.grid.shape))
    for row, positions in enumerate(position_nm):
        kernel = KERNELS[name].draw(rng, spec)
        truth[row] = kernel(x, y)
        image[row] = sum(kernel(x - x0, y - y0) for x0, y0 in positions if not np.isnan(x0 + y0))
    return truth, image.astype(np.float32)
