"""Synthetic stacks of dI/dV over a surface like Ag(111), as files of a microscope: :func:`draw_stack`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from benchmarks.nanonis_files import grid_bytes
from qpibench.families import get_family
from qpibench.families.surface_state.ranges import electron_wavevector
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image, superpose

Values = NDArray[np.float64]
Range = tuple[float, float]

CHANNEL = "LI Demod 1 X (A)"


class StackSpec(BaseModel):
    """How stacks are drawn. Pairs of numbers are the ends of a uniform distribution.

    Attributes
    ----------
    seed
        The generator of stack n is seeded with (n, seed).
    energies, above_e0_mev
        Number of energies, and the first and the last above the bottom of the band.
    pixels, periods, scatterers
        Pixels along either side of the field, periods of the ripples in the field at the energy in the middle, and
        number of scatterers.
    snr_db
        Standard deviation of every noiseless layer over that of its white noise.
    e0_mev, mass, linewidth_mev, delta, alpha, tip_fwhm_nm, unit
        Bottom and mass of the band, linewidth, and the other parameters of the family ``surface_state``.
    signal_a
        Current of the lock-in that stands for a kernel of 1, in A.
    core_nm
        Radius around the scatterer that the errors of kernels leave out.
    direct_every
        Every such layer is extracted without a file, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 15
    energies: int = 40
    above_e0_mev: Range = (30.0, 330.0)
    pixels: int = 96
    periods: float = 9.0
    scatterers: int = 30
    snr_db: float = 20.0
    e0_mev: Range = (-75.0, -55.0)
    mass: Range = (0.36, 0.44)
    linewidth_mev: Range = (2.0, 6.0)
    delta: Range = (0.5, 2.6)
    alpha: Range = (0.0, 1.0)
    tip_fwhm_nm: float = 0.5
    unit: float = 0.04
    signal_a: float = 1e-12
    core_nm: float = 0.6
    direct_every: int = 8


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack with its truth.

    Attributes
    ----------
    number, e0_mev, mass
        Its number, and bottom and mass of its band.
    grid, positions_nm
        The grid, and (scatterer, 2) x and y of the scatterers.
    q
        (energy,) wavevectors of the ripples in rad/nm.
    values
        (energy, y, x): the noisy dI/dV in A.
    file
        The same as the bytes of a Nanonis grid.
    some, kernels
        Layers whose kernels are compared, and these kernels (layer, y, x) in A.
    """

    number: int
    e0_mev: float
    mass: float
    grid: Grid
    positions_nm: Values
    q: Values
    values: Values
    file: bytes
    some: NDArray[np.int64]
    kernels: Values


def draw_stack(spec: StackSpec, number: int) -> Stack:
    """Draw a stack; the same number gives the same stack."""
    rng = np.random.default_rng([number, spec.seed])
    e0_mev, mass = rng.uniform(*spec.e0_mev), rng.uniform(*spec.mass)
    energies = e0_mev + np.linspace(*spec.above_e0_mev, spec.energies)
    size = spec.periods * math.pi / float(electron_wavevector(mass, float(np.mean(spec.above_e0_mev))))
    grid = Grid(ny=spec.pixels, nx=spec.pixels, size_y_nm=size, size_x_nm=size)
    positions = rng.uniform(-size / 2, size / 2, (spec.scatterers, 2))
    scattering = {"delta": rng.uniform(*spec.delta), "alpha": rng.uniform(*spec.alpha)}
    linewidth = rng.uniform(*spec.linewidth_mev)
    family = get_family("surface_state")
    columns = [_columns(spec, energy, energy - e0_mev, mass, linewidth) | scattering for energy in energies]
    clean = np.array([superpose(grid, family, positions, **each) for each in columns])
    noise = clean.std(axis=(1, 2)) * 10 ** (-spec.snr_db / 20)
    values = spec.signal_a * (clean + noise[:, None, None] * rng.normal(size=clean.shape))
    some = np.arange(0, spec.energies, spec.direct_every)
    return Stack(
        number=number,
        e0_mev=float(e0_mev),
        mass=float(mass),
        grid=grid,
        positions_nm=positions,
        q=2 * np.array([each["k"] for each in columns]),
        values=values,
        file=_file(grid, values, energies),
        some=some,
        kernels=spec.signal_a * np.array([kernel_image(grid, family, **columns[place]) for place in some]),
    )


def _file(grid: Grid, values: Values, energies: Values) -> bytes:
    outer = grid.size_x_nm * grid.nx / (grid.nx - 1) * 1e-9  # Nanonis states the size with half a pixel at each edge
    sweep = float(1e-3 * energies[0]), float(1e-3 * energies[-1])
    return grid_bytes({CHANNEL: values.astype(np.float32)}, size_m=(outer, outer), sweep=sweep)


def _columns(spec: StackSpec, energy: float, above_mev: float, mass: float, linewidth: float) -> dict[str, float]:
    k = float(electron_wavevector(mass, above_mev))
    one_round_band = {"mass_ratio": 1.0, "axis": 0.0, "share_2": 0.0, "k_2": 1.0, "damping_2": 0.0, "delta_2": 0.0}
    return {
        "energy": energy,
        "k": k,
        "damping": linewidth * k / (2 * above_mev),
        "tip_fwhm": spec.tip_fwhm_nm,
        "unit": spec.unit,
        **one_round_band,
    }
