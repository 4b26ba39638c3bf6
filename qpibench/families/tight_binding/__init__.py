r"""A point scatterer on a lattice: T-matrix of one tight-binding band.

The band of a square, a hexagonal (triangular Bravais lattice, six neighbours) or a nematic lattice (square, two-fold
hopping) and its retarded Green function between the sites are

.. math::

    \varepsilon(\mathbf{k}) = -2 \sum_j t_j \cos(\mathbf{k} \cdot \mathbf{d}_j), \qquad
    G_0(\mathbf{R}, E) = \frac{1}{M^2} \sum_\mathbf{k}
        \frac{e^{i \mathbf{k} \cdot \mathbf{R}}}{E + \mu + i \eta - \varepsilon(\mathbf{k})},

with one term for each pair of opposite neighbours at d_j: hopping t to the nearest ones (in a nematic lattice
t (1 + anisotropy) along a1 and t (1 - anisotropy) along a2) and t' to the next-nearest ones. A scatterer that raises
the level of the site at the origin by V changes the density of states of a site by

.. math::

    \delta N(\mathbf{R}) = -\frac{1}{\pi} \operatorname{Im}
        \left[ G_0(\mathbf{R}) \, T \, G_0(-\mathbf{R}) \right], \qquad T = \frac{V}{1 - V G_0(0)}, \qquad
    N_0 = -\frac{1}{\pi} \operatorname{Im} G_0(0).

The kernel is the local density of states of Gaussian orbitals on the sites,

.. math::

    A(\mathbf{r}) = \frac{1}{\mathrm{unit}} \sum_\mathbf{R} |w(\mathbf{r} - \mathbf{R})|^2
        \frac{\delta N(\mathbf{R})}{N_0}, \qquad
    |w(\mathbf{r})|^2 = \frac{4 \ln 2}{\pi F^2} \Omega \, e^{-4 \ln 2 \, r^2 / F^2},

where F is the full width at half maximum and Omega the area of the unit cell: the density of states without the
scatterer then has the mean N_0, so A is in units of the mean density of states times `unit`. Products of orbitals on
different sites are neglected. The width may include the resolution of the tip.

The mesh of M x M wavevectors is at least 8 decay lengths of G_0 wide, and the sites are those with indices below M/2.
The decay length in lattice constants is v/eta, with the velocity v of :func:`qpibench.arithmetic.bands.fastest`.

With ``scatterers.superposition = "multiple"`` an image of scatterers on the sites R_i has

.. math::

    \delta N(\mathbf{R}) = -\frac{1}{\pi} \operatorname{Im} \sum_{ij}
        G_0(\mathbf{R} - \mathbf{R}_i) \, M_{ij} \, G_0(\mathbf{R}_j - \mathbf{R}), \qquad
    M = (T^{-1} - G)^{-1}, \quad G_{ij} = G_0(\mathbf{R}_i - \mathbf{R}_j), \quad G_{ii} = 0,

which is exact for the potentials V on these sites. G_0 is taken as 0 beyond half the mesh, as in a kernel.

Sources: L. Capriotti, D. J. Scalapino, R. D. Sedgewick, Phys. Rev. B 68, 014508 (2003), arXiv:cond-mat/0302563 (change
of the density of states to first order in V); A. V. Balatsky, I. Vekhter, J.-X. Zhu, Rev. Mod. Phys. 78, 373 (2006) (T
of a point scatterer); E. N. Economou, Green's Functions in Quantum Physics, 3rd ed., Springer 2006, chapters 5 and 6
(lattices, one impurity); L. L. Foldy, Phys. Rev. 67, 107 (1945), doi:10.1103/PhysRev.67.107, and M. Lax, Rev. Mod.
Phys. 23, 287 (1951), doi:10.1103/RevModPhys.23.287 (several scatterers); A. Kreisel et al.,
Phys. Rev. Lett. 114, 217002 (2015) (density of states between the sites).
Signs of G_0, T and the density of states are those of the code calcQPI (P. Wahl et al., arXiv:2507.22137).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.arithmetic.bands import SQRT_3, contour, energies, hoppings
from qpibench.arithmetic.bands import band_edges as band_edges
from qpibench.arithmetic.bands import fastest as fastest
from qpibench.arithmetic.bands import lattice_vectors as lattice_vectors
from qpibench.arithmetic.lattice import (
    TAIL,
    count_closer,
    count_sites,
    density_change,
    green_function,
    image_of_orbitals,
    move_to_sites,
)
from qpibench.arithmetic.scattered_sites import density_change_of_many, nearest_sites
from qpibench.arithmetic.superposition import Axes
from qpibench.columns import FOLD, fold_label, parameter_column
from qpibench.families import Parameters
from qpibench.families.tight_binding.ranges import LATTICE_FOLD, Ranges, hoppings_of, mesh_of, vectors_of
from qpibench.ranges import between

LN_2 = 0.6931471805599453

MESH_TOLERANCE = 5e-4
"""Largest change of a kernel if the mesh is doubled, in units of its largest value outside the core."""

SAMPLES_PER_WIDTH = 5.25
"""Samples of a table in the full width of an orbital of up to a lattice constant; one more in twice this width."""

COLUMNS = (
    FOLD,
    parameter_column("energy", "meV", "energy relative to the Fermi energy"),
    parameter_column("V", "meV", "energy by which the scatterer raises the level of its site"),
    parameter_column("eta", "meV", "broadening, the imaginary part of the energy"),
    parameter_column("mu", "meV", "Fermi energy relative to the level of a site"),
    parameter_column("t", "meV", "hopping between nearest neighbours"),
    parameter_column("t2", "meV", "hopping between next-nearest neighbours"),
    parameter_column("anisotropy", "1", "half the relative difference of the hoppings along the two axes"),
    parameter_column("a", "nm", "lattice constant"),
    parameter_column("angle", "rad", "angle from the x axis to the lattice vector a1"),
    parameter_column("orbital_fwhm", "nm", "full width at half maximum of the density of an orbital"),
    parameter_column("mesh", "1", "number of wavevectors along an axis"),
    parameter_column("unit", "1", "relative change of the density of states that has the value 1"),
)

STRATUM = FOLD.name
stratum_label = fold_label
UNIFORMS = 2
OF_SCATTERER = (1,)  # V
EXAMPLE = {
    "lattice": "hexagonal",
    "lattice_nm": 0.6,
    "angle_rad": 0.3,
    "origin_nm": [0.1, -0.2],
    "hopping_mev": 60.0,
    "energy_mev": [-300.0, -200.0],
    "broadening_mev": 20.0,
    "scatterer_mev": [100.0, 400.0],
    "orbital_fwhm_nm": 0.5,
}


def strata(ranges: Ranges, start: int, stop: int) -> NDArray[np.int32]:
    """Fold of the lattice, for each kernel."""
    return np.full(stop - start, LATTICE_FOLD[ranges.lattice], np.int32)


def parameters(ranges: Ranges, stratum: NDArray[np.int32], uniform: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The columns: energy and V are uniform in their ranges, and the others are constants of the release."""
    constant = {
        "eta": ranges.broadening_mev,
        "mu": ranges.chemical_potential_mev,
        "t": ranges.hopping_mev,
        "t2": ranges.second_hopping_mev,
        "anisotropy": ranges.anisotropy,
        "a": ranges.lattice_nm,
        "angle": ranges.angle_rad,
        "orbital_fwhm": ranges.orbital_fwhm_nm,
        "mesh": float(mesh_of(ranges)),
        "unit": ranges.unit,
    }
    return {
        "fold": stratum,
        "energy": between(ranges.energy_mev, uniform[:, 0]),
        "V": between(ranges.scatterer_mev, uniform[:, 1]),
        **{name: np.full(len(stratum), value) for name, value in constant.items()},
    }


@functools.lru_cache(maxsize=256)
def shortest_period_nm(ranges: Ranges) -> float:
    """The spacing of lattice rows, or the shortest wavelength pi/k of the drawn energies if it is smaller."""
    rows = ranges.lattice_nm * (SQRT_3 / 2 if ranges.lattice == "hexagonal" else 1.0)
    directions = np.linspace(0.0, math.pi, 25)
    highest = ranges.energy_mev[1] + ranges.chemical_potential_mev
    k = contour(LATTICE_FOLD[ranges.lattice], hoppings_of(ranges), highest, directions) / ranges.lattice_nm
    return min(rows, math.pi / float(np.nanmax(k, initial=math.pi / rows)))


def wavevector(parameters: Parameters) -> NDArray[np.float64]:
    """Wavevectors q = 2 k (rad/nm) of nearly round contours of constant energy, else NaN.

    A contour is nearly round if k along a1 and half-way to the next equivalent direction differ by less than 2 %.
    """
    q = np.full(len(parameters["fold"]), np.nan)
    for row, fold in enumerate(parameters["fold"].tolist()):
        if fold in (4, 6):
            energy, mu, t, t2, a = (float(parameters[name][row]) for name in ("energy", "mu", "t", "t2", "a"))
            k = contour(fold, hoppings(fold, t, t2, 0.0), energy + mu, np.array([0.0, math.pi / fold]))
            if abs(k[0] - k[1]) < 0.02 * k.mean():
                q[row] = k.sum() / a
    return q


def describe(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Symmetry, energy and scatterer strength of a kernel."""
    energy, V = float(parameters["energy"]), float(parameters["V"])
    symmetry = stratum_label(int(parameters["fold"]))
    return (symmetry,) if math.isnan(energy + V) else (symmetry, f"energy {energy:.3g} meV", f"V {V:.3g} meV")


def core_radius_nm(ranges: Ranges) -> float:
    """One lattice constant."""
    return ranges.lattice_nm


def resolution_nm(ranges: Ranges) -> float:
    """Spacing of samples that resolves an orbital; see ``SAMPLES_PER_WIDTH``."""
    width = ranges.orbital_fwhm_nm
    return width / (SAMPLES_PER_WIDTH + max(0.0, width / ranges.lattice_nm - 1.0))


def reach_nm(ranges: Ranges) -> float:
    """Distance along x or y of the tail of the farthest site."""
    (x1, y1), (x2, y2) = vectors_of(ranges).tolist()
    farthest: float = max(abs(x1) + abs(x2), abs(y1) + abs(y2)) * (mesh_of(ranges) // 2 - 1)
    return farthest + TAIL * ranges.orbital_fwhm_nm / 2


def samples(
    ranges: Ranges, parameters: Parameters, dx_nm: NDArray[np.float64], dy_nm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Kernels on a lattice of offsets: (kernel, len(dy_nm), len(dx_nm)) float64; the offsets ascend."""
    vectors, width, origin = vectors_of(ranges), ranges.orbital_fwhm_nm, np.zeros(2)
    far_x, far_y = (max(abs(d[0]), abs(d[-1])) for d in (dx_nm, dy_nm))
    first = -_reach(ranges, far_x, far_y)
    image = np.zeros((len(parameters["energy"]), len(dy_nm), len(dx_nm)))
    for row, (energy, potential) in enumerate(zip(parameters["energy"], parameters["V"], strict=True)):
        change = density_change(_green_function(ranges, energy, far_x, far_y), potential)
        places = np.array([first, first]), origin, vectors, width / 2, _weight(ranges)
        image_of_orbitals(change, *places, dx_nm, dy_nm, image[row])
    return image


def _weight(ranges: Ranges) -> float:
    """Density of an orbital at its centre times the unit cell, over the unit of kernels."""
    vectors, width = vectors_of(ranges), ranges.orbital_fwhm_nm
    cell = float(vectors[0, 0] * vectors[1, 1] - vectors[0, 1] * vectors[1, 0])
    return 4.0 * LN_2 / math.pi * cell / (width * width) / ranges.unit


def _reach(ranges: Ranges, x_nm: float, y_nm: float) -> int:
    """The largest index of a site whose tail is within offsets up to these; below half the mesh."""
    vectors = vectors_of(ranges)
    cell = vectors[0, 0] * vectors[1, 1] - vectors[0, 1] * vectors[1, 0]
    far_x, far_y = (far + TAIL * ranges.orbital_fwhm_nm / 2 for far in (x_nm, y_nm))
    most = max(far_x * abs(vectors[k, 1]) + far_y * abs(vectors[k, 0]) for k in (0, 1)) / cell
    return min(int(most) + 1, mesh_of(ranges) // 2 - 1)


def _green_function(ranges: Ranges, energy: float, x_nm: float, y_nm: float) -> NDArray[np.float64]:
    level, reach = energy + ranges.chemical_potential_mev, _reach(ranges, x_nm, y_nm)
    green: NDArray[np.float64] = green_function(
        mesh_of(ranges), hoppings_of(ranges), level, ranges.broadening_mev, reach
    )
    return green


def scattering(
    ranges: Ranges, parameters: Parameters, reach_nm: tuple[float, float]
) -> tuple[NDArray[np.float64], ...]:
    """The Green function around a site; see :class:`qpibench.families.Scattering`."""
    return (_green_function(ranges, parameters["energy"][0], *reach_nm),)


def scatter(
    ranges: Ranges,
    parameters: Parameters,
    shared: tuple[NDArray[np.float64], ...],
    axes: Axes,
    position_nm: NDArray[np.float64],
    amplitude: NDArray[np.float32],
    image: NDArray[np.float64],
) -> None:
    """Fill an image with multiple scattering between sites; see :class:`qpibench.families.Scattering`."""
    vectors, origin, width = vectors_of(ranges), np.array(ranges.origin_nm), ranges.orbital_fwhm_nm
    tail = TAIL * width / 2
    corners = np.array(
        [[x, y] for x in (axes.x[0] - tail, axes.x[-1] + tail) for y in (axes.y[0] - tail, axes.y[-1] + tail)]
    )
    at_corners = nearest_sites(vectors, origin, corners)
    first, last = at_corners.min(axis=0) - 1, at_corners.max(axis=0) + 1
    sites = nearest_sites(vectors, origin, position_nm)
    change = density_change_of_many(shared[0], parameters["V"][0], amplitude, sites, first, last - first + 1)
    image[:] = 0.0
    image_of_orbitals(change, first, origin, vectors, width / 2, _weight(ranges), axes.x, axes.y, image)


def site_count(ranges: Ranges, half_x_nm: float, half_y_nm: float, *, enough: int) -> int:
    """Number of sites with |x| and |y| up to these; counting stops at ``enough``."""
    return int(count_sites(vectors_of(ranges), np.array(ranges.origin_nm), half_x_nm, half_y_nm, enough))


def snap(
    ranges: Ranges,
    position_nm: NDArray[np.float64],
    *,
    first: NDArray[np.int32],
    hole_nm: tuple[float, float],
    half_nm: tuple[float, float],
    separation_nm: float = 0.0,
) -> None:
    """Move scatterers to sites; see :class:`qpibench.families.OnLattice`."""
    origin, half, hole = map(np.array, (ranges.origin_nm, half_nm, hole_nm))
    move_to_sites(vectors_of(ranges), origin, half, hole, separation_nm, first, position_nm)


def sites_closer(ranges: Ranges, separation_nm: float) -> int:
    """Number of sites closer than a distance to a site, itself included."""
    return int(count_closer(vectors_of(ranges), separation_nm))


def reference(
    dx: ArrayLike,
    dy: ArrayLike,
    *,
    fold: int,
    energy: float,
    V: float,
    eta: float,
    mu: float,
    t: float,
    t2: float,
    anisotropy: float,
    a: float,
    angle: float,
    orbital_fwhm: float,
    mesh: float,
    unit: float,
) -> NDArray[np.float64]:
    """Evaluate the kernel at offsets from the scatterer.

    Parameters
    ----------
    dx, dy
        Offsets in nm; they broadcast against each other, and the result has the broadcast shape.
    fold, energy, V, eta, mu, t, t2, anisotropy, a, angle, orbital_fwhm, mesh, unit
        The columns of one kernel.
    """
    x, y = np.asarray(dx, dtype=np.float64), np.asarray(dy, dtype=np.float64)
    change = _density_change(int(fold), *map(float, (energy + mu, V, eta, t, t2, anisotropy)), int(mesh))
    angles = angle, angle + (np.pi / 3 if fold == 6 else np.pi / 2)
    a1, a2 = (a * np.array([np.cos(each), np.sin(each)]) for each in angles)
    m = np.arange(1 - int(mesh) // 2, int(mesh) // 2)
    site_x, site_y = (m * a1[axis] + m[:, None] * a2[axis] for axis in (0, 1))
    tail = 4 * orbital_fwhm
    near = (x.min() - tail < site_x) & (site_x < x.max() + tail)
    near &= (y.min() - tail < site_y) & (site_y < y.max() + tail)
    across = np.exp(-4 * np.log(2) * ((x[..., None] - site_x[near]) / orbital_fwhm) ** 2)
    along = np.exp(-4 * np.log(2) * ((y[..., None] - site_y[near]) / orbital_fwhm) ** 2)
    cell = a1[0] * a2[1] - a1[1] * a2[0]
    weight = 4 * np.log(2) / np.pi * cell / orbital_fwhm**2 / unit
    result: NDArray[np.float64] = weight * np.einsum("...s,...s,s", across, along, change[near])
    return result


@functools.lru_cache(maxsize=4)
def _density_change(
    fold: int, energy: float, V: float, eta: float, t: float, t2: float, anisotropy: float, mesh: int
) -> NDArray[np.float64]:
    """Relative changes of the density of states, (n, m) from 1 - mesh/2; the energy is that above a site's level."""
    angle = 2 * np.pi * np.arange(mesh) / mesh
    band = energies(hoppings(fold, t, t2, anisotropy), angle, angle[:, None])
    green = np.fft.ifft2(1 / (energy + 1j * eta - band))
    T = V / (1 - V * green[0, 0])
    return np.fft.fftshift((green * T * green).imag / green[0, 0].imag)[1:, 1:]
