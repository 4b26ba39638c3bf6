"""The Gaussian process of radial functions, held against its formula term by term and against difference quotients."""

from math import cos, exp, log

import numpy as np
import pytest
from shared.radial_prior import NAMES, RadialPrior, Separations, bounds

R_NM = np.array([0.0, 0.1, 0.7, 1.5, 4.0])


def prior(**changes):
    values = {
        "log_scale": 0.4,
        "log_decay": log(2.5),
        "power": 1.4,
        "log_core": log(0.6),
        "core_power": 0.8,
        "log_wavenumber": log(3.0),
        "log_coherence": log(1.2),
        "log_background": log(0.3),
        "log_roughness": log(0.5),
    }
    return RadialPrior(**{**values, **changes})


def covariance_of(one, r, other):
    """C(r, r') by its definition."""
    scale, wavenumber, background = exp(one.log_scale), exp(one.log_wavenumber), exp(one.log_background)
    decay, core = exp(one.log_decay), exp(one.log_core)
    envelopes = [
        exp(-((at / decay) ** one.power)) / (1 + (at / core) ** 2) ** (one.core_power / 2) for at in (r, other)
    ]
    ripples = exp(-((r - other) ** 2) / (2 * exp(one.log_coherence) ** 2)) * (1 + cos(wavenumber * (r - other))) / 2
    rough = background**2 * exp(-((r - other) ** 2) / (2 * exp(one.log_roughness) ** 2))
    return scale**2 * envelopes[0] * envelopes[1] * (ripples + rough)


@pytest.mark.parametrize("one", [prior(), prior(power=2.0, core_power=0.0, log_scale=-3.0)])
def test_the_covariance_is_that_of_the_formula(one):
    expected = np.array([[covariance_of(one, r, other) for other in R_NM] for r in R_NM])
    assert one.covariance(R_NM) == pytest.approx(expected, rel=1e-12)
    assert np.diagonal(expected) == pytest.approx(exp(2 * one.log_scale) * one.envelope(R_NM) ** 2 * 1.09)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_difference_quotients(name):
    one, step = prior(), 1e-5
    more, less = (prior(**{name: getattr(one, name) + change}).covariance(R_NM) for change in (step, -step))
    weight = np.random.default_rng(0).normal(size=more.shape)
    found = one.at(Separations.of(R_NM)).gradients(weight + weight.T)[name]
    assert abs(found) > 1e-3
    assert found == pytest.approx(((weight + weight.T) * (more - less)).sum() / (2 * step), abs=1e-7)


def test_evenly_spaced_distances_have_few_separations():
    assert len(Separations.of(np.arange(40) * 0.1).apart) == 40


def test_a_vector_of_hyper_parameters_makes_the_same_prior():
    one = prior()
    assert prior(power=2.0, log_core=0.0).with_vector(one.vector) == one
    assert dict(zip(NAMES, one.vector, strict=True)) == vars(one)


@pytest.mark.parametrize(("reach_nm", "spacing_nm"), [(8.0, 0.2), (1.0, 0.2)], ids=["usual", "few splines"])
def test_within_the_bounds_covariances_are_finite_and_positive(reach_nm, spacing_nm):
    limits = bounds(reach_nm, spacing_nm)
    assert set(limits) == set(NAMES)
    assert all(low < high for low, high in limits.values())
    r_nm = np.arange(0, reach_nm, spacing_nm)
    for ends in np.random.default_rng(0).integers(0, 2, (40, len(NAMES))):
        one = RadialPrior(**{name: limits[name][end] for name, end in zip(NAMES, ends, strict=True)})
        found = one.at(Separations.of(r_nm))
        covariance, gradients = found.covariance, found.gradients(np.ones_like(found.covariance))
        assert np.linalg.eigvalsh(covariance).min() > -1e-12 * covariance.max()
        assert np.isfinite(list(gradients.values())).all()


def test_ripples_between_the_shortest_and_the_longest_wave_are_within_the_bounds():
    low, high = np.exp(bounds(8.0, 0.2)["log_wavenumber"])
    assert low < 2 * np.pi / 8.0 < 2 * np.pi / (4 * 0.2) < high
