"""The CPU backend: Numba, strict IEEE, without the global interpreter lock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.flush import flushes_to_zero
from qpibench.arithmetic.streams import Domain
from qpibench.errors import UnavailableError
from qpibench.specs import ReleaseSpec
from qpibench.synthesis.contract import Kernels, Observations
from qpibench.synthesis.draws import KernelDraws, draw_kernels, noise_draws, observation_draws
from qpibench.synthesis.noise import NOISE_FIELDS, add_white_noise, over_rms
from qpibench.synthesis.rasterise import activation_maps
from qpibench.synthesis.superposition import Coefficients, coefficients, draw_and_superpose, kernel_images

_checked = threading.local()


class CpuBackend:
    """Makes releases on the CPU; any number of threads may call it at once."""

    name = "cpu"

    def kernels(self, spec: ReleaseSpec, *, domain: Domain = "benchmark") -> Kernels:
        """All kernels of the release; see :class:`qpibench.synthesis.contract.Backend`."""
        _require_gradual_underflow()
        draws = draw_kernels(spec, domain=domain)
        image = np.empty((spec.kernels.count, *spec.grid.shape), np.float32)
        kernel_images(spec.grid.x_nm, spec.grid.y_nm, draws.fold, coefficients(draws), image)
        return Kernels(
            image=image,
            family=np.full(spec.kernels.count, spec.kernels.family.encode(), "S16"),
            fold=draws.fold,
            phi1=draws.phi1,
            B=draws.B,
            phi2=draws.phi2,
            C=draws.C,
        )

    def observations(
        self, spec: ReleaseSpec, kernels: Kernels, start: int, stop: int, *, domain: Domain = "benchmark"
    ) -> Observations:
        """Observations ``start`` to ``stop``; see :class:`qpibench.synthesis.contract.Backend`."""
        _require_gradual_underflow()
        per_kernel = spec.observations_per_kernel
        first = start // per_kernel
        shown = slice(first, (stop - 1) // per_kernel + 1)
        draws = KernelDraws(
            fold=kernels.fold[shown],
            phi1=kernels.phi1[shown],
            B=kernels.B[shown],
            phi2=kernels.phi2[shown],
            C=kernels.C[shown],
        )
        image = np.empty((stop - start, *spec.grid.shape), np.float32)
        n_scatterers, position = _observe(spec, domain, start, first, draws.fold, coefficients(draws), image)
        made = Observations(
            image=image,
            kernel=(np.arange(start, stop) // per_kernel).astype(np.int32),
            n_scatterers=n_scatterers,
            position_nm=position,
        )
        if spec.white_noise is None:
            return made
        snr_db, sigma = _corrupt(spec, domain, start, image)
        ratio = noise_over_kernel_rms(kernels, made.kernel, sigma)
        return replace(made, snr_db=snr_db, noise_sigma=sigma, noise_over_kernel_rms=ratio)

    def fresh(
        self, spec: ReleaseSpec, start: int, stop: int, *, fields: Sequence[str], map_mode: str
    ) -> dict[str, NDArray[Any]]:
        """Training images ``start`` to ``stop``; see :class:`qpibench.synthesis.contract.Backend`."""
        _require_gradual_underflow()
        grid = spec.grid
        index = np.arange(start, stop)
        kernel = index // spec.observations_per_kernel
        first = int(kernel[0])
        row = kernel - first
        draws = draw_kernels(spec, domain="training", start=first, stop=int(kernel[-1]) + 1)
        table = coefficients(draws)
        # Images of no pixels cost nothing: their scatterers are drawn all the same.
        shape = (0, 0) if {"image", *NOISE_FIELDS}.isdisjoint(fields) else grid.shape
        image = np.empty((len(index), *shape), np.float32)
        n_scatterers, position = _observe(spec, "training", start, first, draws.fold, table, image)
        snr_db, sigma = _corrupt(spec, "training", start, image)
        made: dict[str, NDArray[Any]] = {
            "image": image,
            "position_nm": position,
            "n_scatterers": n_scatterers.astype(np.int64),
            "fold": draws.fold[row].astype(np.int64),
            "phi1": draws.phi1[row],
            "B": draws.B[row],
            "phi2": draws.phi2[row],
            "C": draws.C[row],
            "snr_db": snr_db,
            "noise_sigma": sigma,
            "kernel_index": kernel,
            "index": index,
        }
        if "kernel" in fields:
            shown = np.empty((len(table), *grid.shape), np.float32)
            kernel_images(grid.x_nm, grid.y_nm, draws.fold, table, shown)
            made["kernel"] = shown if len(shown) == len(index) else shown[row]
        if "activation_map" in fields:
            made["activation_map"] = np.empty((len(index), *grid.shape), np.float32)
            activation_maps(
                map_mode == "paper", grid.size_x_nm, grid.size_y_nm, n_scatterers, position, made["activation_map"]
            )
        return {field: made[field] for field in fields}


def _observe(
    spec: ReleaseSpec,
    domain: Domain,
    start: int,
    first_kernel: int,
    fold: NDArray[np.int32],
    table: Coefficients,
    image: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Fill ``image`` with the observations from ``start`` on; return the numbers and positions of scatterers."""
    draws = observation_draws(spec, domain=domain)
    n_scatterers = np.empty(len(image), np.int32)
    position = np.empty((len(image), draws.most, 2), np.float64)
    draw_and_superpose(
        start,
        draws.per_kernel,
        draws.count_key,
        draws.position_key,
        draws.fewest,
        draws.most,
        draws.half_y_nm,
        draws.half_x_nm,
        spec.grid.x_nm,
        spec.grid.y_nm,
        first_kernel,
        fold,
        table,
        n_scatterers,
        position,
        image,
    )
    return n_scatterers, position


def _corrupt(
    spec: ReleaseSpec, domain: Domain, start: int, image: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Corrupt clean observations from ``start`` on; return their signal-to-noise ratios and sigmas of the noise."""
    snr_db = np.full(len(image), np.inf)
    sigma = np.zeros(len(image), np.float32)
    draws = noise_draws(spec, domain=domain)
    if draws is not None:
        per_kernel = spec.observations_per_kernel
        keys = (draws.ratio_key, draws.normal_key)
        add_white_noise(start, per_kernel, *keys, draws.low_db, draws.span_db, image, snr_db, sigma)
    return snr_db, sigma


def noise_over_kernel_rms(
    kernels: Kernels, kernel: NDArray[np.int32], sigma: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sigma of the noise of a run of observations, over the root mean square of the image of each one's kernel."""
    first = int(kernel[0])
    ratio = np.empty(len(sigma), np.float32)
    over_rms(sigma, kernel - first, kernels.image[first : kernel[-1] + 1], ratio)
    return ratio


def _require_gradual_underflow() -> None:
    """Refuse to work in a thread whose processor mode would change bits; the mode is a property of each thread."""
    if getattr(_checked, "passed", False):
        return
    if flushes_to_zero():
        raise UnavailableError(
            "The processor is in flush-to-zero mode, in which releases would get other bits: some library switched it"
            " on (torch.set_flush_denormal(True), or a library built with -ffast-math); run without it."
        )
    _checked.passed = True
