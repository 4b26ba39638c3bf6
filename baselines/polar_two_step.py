"""Polar two-step method: latents of radial profiles, aligned with the image by a descent from a linear estimate.

A kernel is a radial profile times an angular factor of known form,

    K(r, theta) = f(r) (1 - cos(n theta + phase)) / 2,    n = 2, 3, 4, 6,    or f(r) alone.

The first step trains an autoencoder of profiles f on draws of the family, without any image. The second step needs no
training. A Bayesian linear model of the image gives the fold n, the phase and a first profile; the encoder gives its
latent. Levenberg-Marquardt steps then change the latent, the phase and a small correction of what the decoder cannot
express, until the decoded kernel explains the image best. Where the scatterers are marks in a raster, their positions
are refined together with the kernel. ``docs/polar_two_step.md`` has the equations and what was tried.

Training needs PyTorch (``learned.profile_training``). Prediction is NumPy and Numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shared.extraction import Extraction, extract
from shared.learned_profiles import LearnedProfiles
from shared.scatterers import Scatterers, scatterers_of
from shared.weights import load_arrays, shipped_weights

from qpibench import Batch, Prediction
from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.run_record import RunFolder, load_run
from qpibench.grid import Grid
from qpibench.training import TrainingRun

needs = "raster"
knows = ["kernels are a radial profile times (1 - cos(n theta + phase))/2", "n is 0, 2, 3, 4 or 6"]

FOLDS = (2, 3, 4, 6)


class Model:
    """Predicts with a trained autoencoder, loaded from a run folder or from the weights shipped beside this file."""

    def __init__(self, run_folder: Path | None = None) -> None:
        folder = run_folder or shipped_weights(__file__)
        record = load_run(folder)
        if record.entry != "polar_two_step":
            raise UsageError(f"'{folder}' holds a run of {record.entry}, expected one of polar_two_step.")
        kind = "training role of the release" if record.source.kind == "release" else "stream of the spec"
        self.trained_on = f"{kind} {record.source.name}"
        weights = RunFolder(folder).weights
        try:
            self.profiles = LearnedProfiles(load_arrays(weights))
        except (KeyError, ValueError, IndexError) as error:
            found = f"there is no {error}" if isinstance(error, KeyError) else f"their shapes do not fit: {error}"
            raise InvalidDataError(
                f"'{weights}' does not hold weights of polar_two_step: expected arrays of its profiles, encoder and"
                f" decoder, but {found}. Put the file of this run back, or train again with"
                " `qpibench train polar_two_step`."
            ) from None
        self._kernel_grid: Grid | None = None

    def predict(self, batch: Batch) -> Prediction:
        """Extract the kernels of observations.

        Raises
        ------
        ValueError
            If the view has no scatterers, or a pixel is not finite.
        """
        found = [
            extract(image, batch.grid, scatterers_of(batch, i), self.profiles, FOLDS)
            for i, image in enumerate(batch.image)
        ]
        self._kernel_grid = batch.kernel_grid
        return Prediction(
            kernel=_stack([one.image(batch.kernel_grid) for one in found], batch.kernel_grid),
            std=_stack([one.std(batch.kernel_grid) for one in found], batch.kernel_grid),
            kernel_full=_stack([one.image(batch.grid.offsets) for one in found], batch.grid.offsets),
            latent=self._latents(found),
        )

    def encode_kernel(self, kernels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the latents (n, latent) of kernels (n, y, x) on the kernel grid of the last prediction."""
        return self._latents([self._extract_kernel(kernel) for kernel in kernels])

    def autoencode(self, kernels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return kernels (n, y, x) as the decoder alone expresses them, without the correction of what it lacks."""
        assert self._kernel_grid is not None
        found = [self._extract_kernel(kernel) for kernel in kernels]
        decoded = [replace(one, kernel=one.kernel.with_shape(self.profiles.decoded(one.kernel.shape))) for one in found]
        return _stack([one.image(self._kernel_grid) for one in decoded], self._kernel_grid)

    def _extract_kernel(self, kernel: NDArray[np.float32]) -> Extraction:
        assert self._kernel_grid is not None  # kernels are encoded after predictions
        ny, nx = self._kernel_grid.shape
        centre = Scatterers(np.array([(ny - 1) / 2]), np.array([(nx - 1) / 2]), np.ones(1))
        return extract(kernel, self._kernel_grid, centre, self.profiles, FOLDS)

    def _latents(self, found: Sequence[Extraction]) -> NDArray[np.float32]:
        latents = [one.kernel.shape[: self.profiles.latents] for one in found]
        return np.array(latents, dtype=np.float32).reshape(len(found), self.profiles.latents)


def _stack(images: Sequence[NDArray[np.float64]], grid: Grid) -> NDArray[np.float32]:
    return np.array(images, dtype=np.float32).reshape(len(images), *grid.shape)


def train(run: TrainingRun) -> None:
    """Train the autoencoder of profiles; see :func:`learned.profile_training.train`."""
    from learned.profile_training import train as train_profiles

    train_profiles(run)
