"""Standing waves of surface states: samples, reference, published limits, tip, presets and refused spectra."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import j0, y0

from qpibench.errors import UsageError
from qpibench.families import surface_state
from qpibench.families.surface_state.ranges import HBAR2_OVER_2M, Ranges
from qpibench.specs import load_spec

PRESETS = ("ag111_64", "ag111_128", "cu111_64", "cu111_128")
CU = {
    "energy_mev": (0.0, 0.0),
    "e0_mev": -440.0,
    "mass": 0.38,
    "delta_rad": (1.1, 1.1),
    "linewidth_mev": (0.0, 0.0),
    "tip_fwhm_nm": 0.4,
}
TWO_BANDS = {"second_e0_mev": -300.0, "second_mass": 0.3, "linewidth_mev": (20.0, 20.0), "alpha": (0.6, 0.6)}
ELLIPTIC = {"mass_ratio": (1.8, 1.8), "axis_rad": (0.4, 0.4)}
CASES = {
    "elastic": {},
    "absorbing and short-lived": {"alpha": (0.3, 0.3), "linewidth_mev": (24.0, 24.0)},
    "two bands": TWO_BANDS,
    "elliptic": ELLIPTIC,
    "two elliptic bands, narrow tip": {**TWO_BANDS, "mass_ratio": (4.0, 4.0), "tip_fwhm_nm": 0.1},
    "very wide tip": {"tip_fwhm_nm": 0.7},
}


def kernel_of(**changes):
    """Ranges and the columns of one kernel of Cu(111) at the Fermi level, with changes."""
    ranges = Ranges(count=1, **{**CU, **changes})
    return ranges, surface_state.parameters(ranges, surface_state.strata(ranges, 0, 1), np.full((1, 7), 0.5))


def one(columns):
    return {name: values[0] for name, values in columns.items()}


def sampled(dx, dy, **changes):
    ranges, columns = kernel_of(**changes)
    return surface_state.samples(ranges, columns, np.asarray(dx, float), np.asarray(dy, float))[0]


def without_tip(r, **changes):
    _, columns = kernel_of(**changes)
    wave = {name: columns[name][0] for name in ("k", "damping", "alpha", "delta")}
    return surface_state.point_scatterer(r, **wave), wave["k"] * r


@pytest.mark.parametrize("case", CASES)
def test_samples_are_the_reference(case):
    dx, dy = np.linspace(-9, 9, 61), np.linspace(-7, 8, 50)
    reference = surface_state.reference(dx, dy[:, None], **one(kernel_of(**CASES[case])[1]))
    assert np.abs(sampled(dx, dy, **CASES[case]) - reference).max() < 5e-9 * np.abs(reference).max()


@pytest.mark.parametrize("case", ["elastic", "two bands", "elliptic"])
@pytest.mark.parametrize("at", [(0.0, 0.0), (0.15, -0.1), (0.9, 1.3)])
def test_the_reference_is_the_mean_of_the_density_of_states_over_the_tip(case, at):
    columns = one(kernel_of(**CASES[case])[1])
    sigma = columns["tip_fwhm"] / np.sqrt(8 * np.log(2))

    def change(x, y):
        u = (np.cos(columns["axis"]) * x + np.sin(columns["axis"]) * y) * columns["mass_ratio"] ** -0.25
        v = (np.cos(columns["axis"]) * y - np.sin(columns["axis"]) * x) * columns["mass_ratio"] ** 0.25
        total = 0.0
        for suffix, share in (("", 1 - columns["share_2"]), ("_2", columns["share_2"])):
            if share:
                band = [columns[name + suffix] for name in ("k", "damping")]
                total += share * surface_state.point_scatterer(
                    np.hypot(u, v), *band, columns["alpha"], columns["delta" + suffix]
                )
        return total

    def integrand(r, angle):  # around the scatterer, where the logarithm is
        x, y = r * np.cos(angle), r * np.sin(angle)
        return change(x, y) * r * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))

    far = np.hypot(*at) + 8 * sigma
    around = np.arctan2(at[1], at[0])
    direct, _ = dblquad(integrand, around - np.pi, around + np.pi, 0, far, epsabs=1e-8, epsrel=1e-8)
    reference = float(surface_state.reference(*at, **columns))
    assert reference == pytest.approx(direct / (2 * np.pi * sigma**2), abs=2e-6)


@pytest.mark.parametrize("delta", [0.4, 1.1, np.pi / 2, 2.9])
def test_far_ripples_of_an_elastic_scatterer_have_the_published_amplitude_and_phase(delta):
    change, kr = without_tip(np.linspace(200, 202, 400), delta_rad=(delta, delta))
    published = 2 * np.sin(delta) / (np.pi * kr) * np.cos(2 * kr + delta)
    assert np.abs(change - published).max() < 1.1 / kr[0] * np.abs(published).max()


def test_far_ripples_of_a_black_dot_have_the_published_amplitude_and_phase():
    change, kr = without_tip(np.linspace(200, 202, 400), alpha=(0.0, 0.0))
    published = -np.sin(2 * kr) / (np.pi * kr)
    assert np.abs(change - published).max() < 1.1 / kr[0] * np.abs(published).max()


def test_samples_far_out_have_the_published_amplitude_that_a_tip_leaves():
    x = np.linspace(60, 62, 300)
    _, kr = without_tip(x)
    sigma = 0.1 / np.sqrt(8 * np.log(2))
    left = np.exp(-((2 * kr[0] / x[0] * sigma) ** 2) / 2)
    published = left * 2 * np.sin(1.1) / (np.pi * kr) * np.cos(2 * kr + 1.1)
    assert np.abs(sampled(x, [0.0], tip_fwhm_nm=0.1) - published).max() < 0.01 * np.abs(published).max()


def test_an_elastic_scatterer_turns_the_s_wave_and_leaves_no_negative_density():
    change, kr = without_tip(np.geomspace(1e-3, 20, 2000))
    s_wave = (j0(kr) * np.cos(1.1) - y0(kr) * np.sin(1.1)) ** 2
    np.testing.assert_allclose(change, s_wave - j0(kr) ** 2, atol=1e-12)
    assert (change > -1).all()


def test_a_linewidth_damps_ripples_as_a_complex_energy_does():
    from scipy.special import hankel1

    r = np.linspace(5, 25, 500)
    change, _ = without_tip(r, linewidth_mev=(24.0, 24.0))
    k = np.sqrt(0.38 * (440 + 12j) / HBAR2_OVER_2M)
    exact = 0.5 * np.real((np.exp(2.2j) - 1) * hankel1(0, k * r) ** 2)
    assert np.abs(change - exact).max() < 0.02 * np.abs(exact).max()
    damping = kernel_of(linewidth_mev=(24.0, 24.0))[1]["damping"][0]
    assert damping == pytest.approx(2 * k.imag, rel=1e-3)


def test_a_second_band_is_weighted_by_its_mass():
    _, both = kernel_of(**TWO_BANDS)
    assert both["share_2"][0] == pytest.approx(0.3 / 0.68)
    assert both["k_2"][0] == pytest.approx(np.sqrt(0.3 * 300 / HBAR2_OVER_2M))
    same = {"second_e0_mev": CU["e0_mev"], "second_mass": CU["mass"]}
    x = np.linspace(-5, 5, 40)
    np.testing.assert_allclose(sampled(x, x, **same), sampled(x, x), rtol=0, atol=1e-13)


def test_an_elliptic_band_has_longer_periods_along_the_light_mass():
    light, heavy = (sampled(x, y, mass_ratio=(4.0, 4.0), axis_rad=(0.0, 0.0), tip_fwhm_nm=0.06) for x, y in _axes(4.0))
    np.testing.assert_allclose(light.ravel(), heavy.ravel(), atol=2e-3)


def _axes(mass_ratio):
    r = np.linspace(3, 9, 200)
    return (r * mass_ratio**0.25, [0.0]), ([0.0], r * mass_ratio**-0.25)


def test_a_kernel_in_another_unit_is_the_same_kernel():
    x = np.linspace(-5, 5, 30)
    np.testing.assert_allclose(sampled(x, x, unit=0.04) * 0.04, sampled(x, x), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("case", CASES)
def test_a_sample_depends_on_its_own_offset_only(case):
    x, y = 0.3 * np.arange(-30, 31), 0.4 * np.arange(-20, 21)
    whole = sampled(x, y, **CASES[case])
    np.testing.assert_array_equal(whole[7:9, 20:], sampled(x[20:], y[7:9], **CASES[case]))
    np.testing.assert_array_equal(whole, whole[::-1, ::-1])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_stated_periods_and_pixels(name):
    spec = load_spec(name)
    grid, ranges = spec.grid, spec.kernels
    shortest, longest = surface_state.shortest_period_nm(ranges), 4 * surface_state.core_radius_nm(ranges)
    assert grid.size_x_nm / longest >= 6
    assert grid.size_x_nm / shortest <= (10 if grid.nx == 64 else 15)
    assert shortest >= 6 * grid.pitch_x_nm
    at_fermi_level = np.pi / np.sqrt(ranges.mass * -ranges.e0_mev / HBAR2_OVER_2M)
    assert at_fermi_level == pytest.approx(3.8 if name.startswith("ag") else 1.5, abs=0.02)


DIGEST = """
import hashlib
import numpy as np
from qpibench.families import get_family
from qpibench.families.surface_state import EXAMPLE, Ranges, parameters, samples, strata
x = np.linspace(-8.0, 8.0, 101)
for changes in ({}, {"mass_ratio": (1.0, 1.0)}):
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in EXAMPLE.items()}
    ranges = Ranges(count=3, **{**fields, **changes})
    uniform = (np.arange(21).reshape(3, 7) * 0.377) % 1
    values = samples(ranges, parameters(ranges, strata(ranges, 0, 3), uniform), x, x)
    print(hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()[:16])
"""
DIGESTS = ["07739b29a255050b", "ea17f80924f81874"]


@pytest.mark.parametrize(
    "processor",
    [
        pytest.param("", id="this processor"),
        pytest.param("haswell", marks=pytest.mark.slow, id="AVX2"),
        pytest.param("generic", marks=pytest.mark.slow, id="no fused multiply-add in hardware"),
    ],
)
def test_samples_have_the_same_bits_on_every_instruction_set(processor):
    cache = {"NUMBA_CACHE_DIR": str(Path(__file__).parent / "__pycache__" / processor)}
    chosen = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", **cache} if processor else {}
    command = [sys.executable, "-c", DIGEST]
    child = subprocess.run(command, env=os.environ | chosen, capture_output=True, text=True, check=True)
    assert child.stdout.split() == DIGESTS


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["energy_mev=[-500,0]"],
            "energy_mev must be at least -439, 1 meV above e0_mev, found -500 to 0",
        ),
        (["second_e0_mev=-100", "second_mass=0.3"], "energy_mev must be at least -99, 1 meV above second_e0_mev"),
        (["linewidth_mev=[-1,3]"], "'kernels.linewidth_mev.0': input should be greater than or equal to 0, found -1"),
        (["linewidth_mev=[1,300]"], "linewidth_mev reaches 300, but must be below 240, the lowest energy above e0_mev"),
        (["tip_fwhm_nm=2"], "tip_fwhm_nm must be from 0.067685 to 0.67685, 0.05 to 0.5 of the shortest period"),
        (["tip_fwhm_nm=0.01"], "of the shortest period, 1.35 nm, found 0.01"),
        (["delta_rad=[-0.1,1]"], "delta_rad from -0.1 to 1 contains a multiple of pi"),
        (["second_mass=0.3"], "a second band needs both second_e0_mev and second_mass"),
        (["mass_ratio=[0.5,1]"], "'kernels.mass_ratio.0': input should be greater than or equal to 1, found 0.5"),
        (["alpha=[0,1.5]"], "'kernels.alpha.1': input should be less than or equal to 1, found 1.5"),
        (["mass=0"], "'kernels.mass': input should be greater than or equal to 0.01, found 0"),
        (["unit=0"], "'kernels.unit': input should be greater than or equal to 0.000001, found 0"),
        (["delta=3"], "did you mean 'kernels.delta_rad'?"),
    ],
)
def test_an_unphysical_spec_is_refused_with_the_allowed_range(overrides, words):
    with pytest.raises(UsageError) as caught:
        load_spec("cu111_64", overrides=[f"kernels.{override}" for override in overrides])
    assert words in str(caught.value)
