"""Superposed tables against direct evaluation in float64: presets, and the extremes of what specs may ask for."""

import numpy as np
import pytest

from qpibench.families import get_family
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.synthesis import get_backend

PRESETS = [f"{name}_{px}" for name in ("ag111", "cu111", "square", "hexagonal", "nematic") for px in (64, 128)]
FEW = ["kernels.count=3", "observations_per_kernel=4", "scatterers.max=1"]


def _errors(spec):
    """Errors outside the core over the largest value outside it, and inside over the largest value, at their worst."""
    family, backend = get_family(spec.kernels.family), get_backend("cpu")[0]
    kernels = backend.kernels(spec)
    made = backend.observations(spec, kernels, 0, spec.observation_count)
    core = family.core_radius_nm(spec.kernels)
    is_far = np.hypot(spec.grid.x_nm, spec.grid.y_nm[:, None]) > core
    worst = np.zeros(2)
    for image, ((x, y), *_), row in zip(made.image, made.position_nm, made.kernel.tolist(), strict=True):
        dx, dy = spec.grid.x_nm - x, spec.grid.y_nm - y
        parameters = {name: values[row : row + 1] for name, values in kernels.parameters.items()}
        error = np.abs(image - family.samples(spec.kernels, parameters, dx, dy)[0])
        outside = np.hypot(dx, dy[:, None]) > core
        shown = np.abs(kernels.image[row])
        worst = np.maximum(worst, [error[outside].max() / shown[is_far].max(), error[~outside].max() / shown.max()])
    return worst


def _finest(family, kernels, pixels=100):
    """A spec whose table has one sample per pixel, at the largest distance that the family allows."""
    kernels = {"family": family, "count": 3, **kernels}
    size = 0.9999 * (pixels - 1) * get_family(family).resolution_nm(get_family(family).Ranges.model_validate(kernels))
    return ReleaseSpec.model_validate(
        {
            "name": "fine",
            "grid": {"ny": pixels, "nx": pixels, "size_y_nm": size, "size_x_nm": size},
            "kernels": kernels,
            "observations_per_kernel": 4,
            "scatterers": {"max": 1},
        }
    )


@pytest.mark.parametrize("name", PRESETS)
def test_tables_of_presets_are_exact_to_1e_5_outside_the_core_and_1e_4_inside(name):
    outside, inside = _errors(load_spec(name, overrides=FEW))
    assert outside < 1e-5
    assert inside < 1e-4


@pytest.mark.parametrize("mass_ratio", [1.0, 4.0])
@pytest.mark.parametrize("delta", [0.3, 1.0, 1.5, 3.1])
@pytest.mark.parametrize("tip_in_periods", [1 / 19, 1 / 8, 1 / 5, 1 / 2.1])
def test_tables_of_surface_states_are_exact_for_every_tip_and_phase_shift(mass_ratio, delta, tip_in_periods):
    kernels = {"energy_mev": [0.0, 1.0], "e0_mev": -440.0, "mass": 0.38, "linewidth_mev": [0.0, 10.0]}
    kernels |= {"delta_rad": [delta, delta + 1e-3], "mass_ratio": [mass_ratio, mass_ratio]}
    kernels |= {"tip_fwhm_nm": 1.4969 * mass_ratio**-0.25 * tip_in_periods}
    spec = _finest("surface_state", kernels, pixels=160)
    outside, inside = _errors(spec)
    assert outside < 1e-5
    assert inside < 1e-4


@pytest.mark.parametrize("lattice", ["square", "hexagonal", "nematic"])
@pytest.mark.parametrize("width", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("broadening", [20.0, 400.0])
def test_tables_of_lattices_are_exact_for_every_orbital(lattice, width, broadening):
    kernels = {"lattice": lattice, "lattice_nm": 0.4, "hopping_mev": 100.0, "energy_mev": [-300.0, -100.0]}
    kernels |= {"anisotropy": 0.2 if lattice == "nematic" else 0.0, "broadening_mev": broadening}
    kernels |= {"scatterer_mev": [100.0, 400.0], "orbital_fwhm_nm": 0.4 * width}
    outside, inside = _errors(_finest("tight_binding", kernels))
    assert outside < 1e-5
    assert inside < 1e-5
