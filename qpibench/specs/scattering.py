"""Rules of ``scatterers.superposition = "multiple"`` and of ``scatterers.min_separation_nm``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qpibench.families import family_names, get_family, is_on_lattice, is_scattering
from qpibench.specs.lattice import lattices, outside_nm

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

MAX_SCATTERING = 100
"""Largest number of scatterers with multiple scattering between them; the time grows with its square."""

EXCLUDED_SHARE = 0.5
"""Largest share of the area that scatterers may exclude for the last one: half of the draws are then accepted."""


def check_scattering(spec: ReleaseSpec) -> None:
    """Raise ValueError if a family has no multiple scattering, or scatterers are too many or too close for it."""
    family, scatterers = get_family(spec.kernels.family), spec.scatterers
    if scatterers.superposition != "multiple":
        return
    if not is_scattering(family):
        able = [name for name in family_names() if is_scattering(get_family(name))]
        raise ValueError(
            'scatterers.superposition = "multiple" needs a family that knows the T-matrix of its scatterers,'
            f' {" or ".join(able)}, found kernels.family = "{spec.kernels.family}"; use "linear"'
        )
    if spec.species is not None:
        raise ValueError('scatterers.superposition = "multiple" needs one species of scatterers; leave out [species]')
    if not is_on_lattice(family) and scatterers.min_separation_nm is None:
        raise ValueError(
            'scatterers.superposition = "multiple" needs scatterers.min_separation_nm, because scatterers at the same'
            " place are no point scatterers; give a distance in nm above 0"
        )
    added = sum(spec.added_scatterers().values())
    if scatterers.max + added > MAX_SCATTERING:
        found = f"{scatterers.max} + {added} of corruptions" if added else f"{scatterers.max}"
        raise ValueError(
            f'scatterers.max must be at most {MAX_SCATTERING} with scatterers.superposition = "multiple", whose time'
            f" grows with the square of the number, found {found}"
        )


def check_separation(spec: ReleaseSpec) -> None:
    """Raise ValueError if not every image has a place for all its scatterers.

    An earlier scatterer excludes a disc whose radius is the smallest distance. On a lattice the sites in these discs
    must be fewer than all sites; elsewhere the discs may cover half of the area.
    """
    family, scatterers, grid = get_family(spec.kernels.family), spec.scatterers, spec.grid
    apart, most = scatterers.min_separation_nm, scatterers.max
    if apart is None or most == 1:
        return
    width, height = (size + 2 * scatterers.margin_nm for size in (grid.size_x_nm, grid.size_y_nm))
    where = f"where scatterers may lie, {width:g} x {height:g} nm"
    if is_on_lattice(family):
        closer = family.sites_closer(spec.kernels, apart) if apart < width + height else 1 << 40
        sites = family.site_count(spec.kernels, width / 2, height / 2, enough=min((most - 1) * closer + 1, 1 << 30))
        if (most - 1) * closer >= sites:
            low, high = 0.0, min(apart, 2 * math.sqrt(width * height / (most - 1)))
            for _ in range(30):
                middle = (low + high) / 2
                is_possible = (most - 1) * family.sites_closer(spec.kernels, middle) < sites
                low, high = (middle, high) if is_possible else (low, middle)
            raise ValueError(
                f"scatterers.min_separation_nm = {apart:g} leaves no site for {most} scatterers: each excludes"
                f" {min(closer, sites)} of the {sites} sites {where}; use at most {0.999 * low:.3g} or lower"
                " scatterers.max"
            )
        return
    largest = math.sqrt(EXCLUDED_SHARE * width * height / (math.pi * (most - 1)))
    if apart > largest:
        raise ValueError(
            f"scatterers.min_separation_nm = {apart:g} is too large for {most} scatterers: their discs of this radius"
            f" may cover {EXCLUDED_SHARE:g} of the area {where}; use at most {0.999 * largest:.3g} or lower"
            " scatterers.max"
        )


def reach_nm(spec: ReleaseSpec) -> tuple[float, float]:
    """Return the largest offsets of pixels and scatterers from scatterers along x and y."""
    # Scatterers lie twice as far from each other as from the centre.
    margin = max(spec.scatterers.margin_nm, 0.0) + outside_nm(spec)
    border = sum(spec.borders_px().values())
    x, y = lattices(spec)
    pixels = border * spec.grid.pitch_x_nm, border * spec.grid.pitch_y_nm
    sizes = spec.grid.size_x_nm, spec.grid.size_y_nm
    beyond = [2 * max(margin, each) for each in pixels]
    return sizes[0] + beyond[0] + 2 * x.step_nm, sizes[1] + beyond[1] + 2 * y.step_nm
