"""The CPU backend: Numba, strict IEEE, without the global interpreter lock."""

from __future__ import annotations

import functools
import threading

import numpy as np

from qpibench.errors import UnavailableError
from qpibench.specs import ReleaseSpec
from qpibench.synthesis.contract import Domain, Kernels, Observations
from qpibench.synthesis.draws import draw_kernels, observation_draws
from qpibench.synthesis.flush import flushes_to_zero
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
        draws = observation_draws(spec, domain=domain)
        n_scatterers = np.empty(stop - start, np.int32)
        position = np.empty((stop - start, draws.most, 2), np.float64)
        image = np.empty((stop - start, *spec.grid.shape), np.float32)
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
            kernels.fold,
            _table(spec, domain),
            n_scatterers,
            position,
            image,
        )
        return Observations(
            image=image,
            kernel=(np.arange(start, stop) // draws.per_kernel).astype(np.int32),
            n_scatterers=n_scatterers,
            position_nm=position,
        )


@functools.lru_cache(maxsize=4)
def _table(spec: ReleaseSpec, domain: Domain) -> Coefficients:
    return coefficients(draw_kernels(spec, domain=domain))


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
