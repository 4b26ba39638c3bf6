"""Evidence, posterior and hyper-parameters of linear models, held against dense normal distributions in float64."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from shared.evidence import Layout, LinearModel, posterior, posterior_of_amplitudes
from shared.hyperparameters import (
    Hyperparameters,
    evidence_and_gradients,
    expected_noise,
    fit,
    maximise,
    spread_by_hyperparameters,
)
from shared.radial_prior import NAMES, RadialPrior, bounds

R_NM = np.arange(7) * 0.4
PIXELS = 40
LAYOUTS = {
    "one function": Layout.whole(R_NM, 1),
    "two functions": Layout.whole(R_NM, 2),
    "tapers and missing splines": Layout(
        R_NM,
        (np.arange(7), np.arange(2, 7), np.arange(4, 7)),
        (np.ones(7), np.array([0.1, 0.4, 0.9, 1.0, 1.0]), np.array([0.2, 0.8, 1.0])),
    ),
}
AT = Hyperparameters(
    RadialPrior(
        log_scale=0.2,
        log_decay=log(2.0),
        power=1.3,
        log_core=log(0.7),
        core_power=0.6,
        log_wavenumber=log(3.0),
        log_coherence=log(0.9),
        log_background=log(0.3),
        log_roughness=log(0.45),
    ),
    log(0.2),
)


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def drawn(layout, at=AT, *, seed=0, pixels=PIXELS):
    """Columns, coefficients and an image from the prior."""
    rng = np.random.default_rng(seed)
    covariance = dense_covariance(layout, at)
    columns = rng.normal(size=(pixels, len(covariance)))
    coefficient = rng.multivariate_normal(np.zeros(len(covariance)), covariance)
    return columns, coefficient, columns @ coefficient + np.sqrt(at.noise) * rng.normal(size=pixels)


def dense_covariance(layout, at):
    """C, whose radial functions are independent."""
    radial, size = at.prior.covariance(layout.r_nm), sum(map(len, layout.splines))
    dense, start = np.zeros((size, size)), 0
    for i, w in zip(layout.splines, layout.tapers, strict=True):
        rows = slice(start, start + len(i))
        dense[rows, rows] = radial[i][:, i] * np.outer(w, w)
        start += len(i)
    return dense


def model_of(columns, image):
    return LinearModel(columns.T @ columns, columns.T @ image, float(image @ image), len(image))


def log_density(columns, image, layout, at):
    """log p(y) without the constant that is the same for all models."""
    covariance = columns @ dense_covariance(layout, at) @ columns.T + at.noise * np.eye(len(image))
    density = multivariate_normal(np.zeros(len(image)), covariance).logpdf(image)
    return density + 0.5 * len(image) * log(2 * np.pi)


def mean_of(columns, image, layout, at):
    """Posterior mean of the coefficients."""
    prior = dense_covariance(layout, at)
    return prior @ columns.T @ np.linalg.solve(columns @ prior @ columns.T + at.noise * np.eye(len(image)), image)


def moved(at, name, step):
    if name == "log_noise":
        return replace(at, log_noise=at.log_noise + step)
    return replace(at, prior=replace(at.prior, **{name: getattr(at.prior, name) + step}))


def difference(function, name, *, step=1e-4):
    """Derivative of a function of the hyper-parameters at AT."""
    return (function(moved(AT, name, step)) - function(moved(AT, name, -step))) / (2 * step)


def test_the_evidence_is_the_density_of_the_image(layout):
    columns, _, image = drawn(layout)
    assert fit(model_of(columns, image), layout, AT).evidence == pytest.approx(
        log_density(columns, image, layout, AT), abs=1e-5
    )


def test_the_posterior_is_that_of_the_normal_distribution(layout):
    columns, _, image = drawn(layout)
    prior = dense_covariance(layout, AT)
    gain = prior @ columns.T @ np.linalg.inv(columns @ prior @ columns.T + AT.noise * np.eye(PIXELS))
    found = fit(model_of(columns, image), layout, AT).posterior
    assert found.mean == pytest.approx(gain @ image, abs=1e-6)
    assert found.covariance == pytest.approx(prior - gain @ columns @ prior, abs=1e-6)


def test_functions_that_an_image_says_nothing_of_change_nothing(layout):
    columns, _, image = drawn(layout)
    model, at = model_of(columns, image), moved(AT, "log_noise", 6.0)
    prior = layout.factors(at.prior.covariance(layout.r_nm))
    kept = prior.seen((columns**2).sum(axis=0) / at.noise, least=0.01)
    every, some = posterior(model, prior, at.noise), posterior_of_amplitudes(kept.whitening(model), kept, at.noise)
    assert 0 < len(some.factor) < len(every.factor)
    assert some.evidence == pytest.approx(every.evidence, abs=0.03)
    assert some.mean == pytest.approx(every.mean, abs=0.02 * np.abs(every.mean).max())
    left_out = np.diagonal(every.covariance) - np.diagonal(some.covariance)
    assert (left_out > -1e-9).all()
    assert left_out.max() < 0.3 * np.diagonal(every.covariance).max()


@pytest.mark.parametrize("name", [*NAMES, "log_noise"])
def test_the_derivatives_of_the_evidence_are_those_of_the_density(layout, name):
    columns, _, image = drawn(layout)
    expected = difference(lambda at: log_density(columns, image, layout, at), name)
    assert evidence_and_gradients(model_of(columns, image), layout, AT)[1][name] == pytest.approx(
        expected, rel=1e-3, abs=1e-3
    )


def test_a_climb_finds_hyper_parameters_of_greater_density():
    layout = LAYOUTS["two functions"]
    columns, _, image = drawn(layout, pixels=200)
    model = model_of(columns, image)
    found = maximise(model, layout, moved(moved(AT, "log_noise", 2.0), "log_scale", -1.0), steps=50).hyperparameters
    assert log_density(columns, image, layout, found) > log_density(columns, image, layout, AT)
    assert found.noise == pytest.approx(AT.noise, rel=0.3)


def test_a_climb_keeps_what_is_not_free_and_stays_within_the_bounds():
    layout = LAYOUTS["one function"]
    columns, _, image = drawn(layout)
    start = moved(AT, "power", 9.0)
    found = maximise(model_of(columns, image), layout, start, steps=5, free=["log_noise"]).hyperparameters
    assert found.log_noise != AT.log_noise
    assert found.prior == replace(AT.prior, power=bounds(R_NM[-1], 0.4)["power"][1])


def test_rounds_of_the_expected_noise_climb_to_the_noise_of_greatest_evidence():
    layout, at = LAYOUTS["two functions"], moved(AT, "log_noise", 1.0)
    columns, _, image = drawn(layout, pixels=100)
    model = model_of(columns, image)
    wanted = maximise(model, layout, at, steps=50, free=["log_noise"]).hyperparameters.noise
    evidences = []
    for _ in range(60):
        evidences.append(fit(model, layout, at).evidence)
        at = replace(at, log_noise=log(expected_noise(model, fit(model, layout, at).posterior, at.noise)))
    assert np.diff(evidences).min() > -1e-9
    assert at.noise == pytest.approx(wanted, rel=1e-3)


def test_the_noise_of_an_image_that_is_explained_is_not_below_rounding():
    layout = LAYOUTS["one function"]
    columns, coefficient, _ = drawn(layout)
    model = replace(model_of(columns, columns @ coefficient), rounding=1e-6)
    least = pytest.approx(1e-6 * model.energy / PIXELS)
    at = moved(AT, "log_noise", -20)
    assert expected_noise(model, fit(model, layout, at).posterior, at.noise) == least
    assert maximise(model, layout, AT, steps=50, free=["log_noise"]).hyperparameters.noise == least


def test_the_spread_by_hyper_parameters_is_laplaces_approximation():
    layout = LAYOUTS["one function"]
    columns, _, image = drawn(layout)
    model = model_of(columns, image)
    start = np.array([*AT.prior.vector, AT.log_noise])

    def at(vector):
        return Hyperparameters(AT.prior.with_vector(vector[:-1]), float(vector[-1]))

    def density(vector):
        return log_density(columns, image, layout, at(vector))

    steps = 1e-3 * np.eye(len(start))
    curvature = [
        [
            (density(start + a + b) - density(start + a - b) - density(start - a + b) + density(start - a - b))
            for b in steps
        ]
        for a in steps
    ]
    powers, axes = np.linalg.eigh(-np.array(curvature) / 4e-6)
    spread = axes / (np.maximum(powers, 0) + 1) @ axes.T  # with a prior of unit width
    slopes = np.array(
        [mean_of(columns, image, layout, at(start + a)) - mean_of(columns, image, layout, at(start - a)) for a in steps]
    )
    slopes /= 2e-3
    rows = spread_by_hyperparameters(model, layout, fit(model, layout, AT))
    expected = slopes.T @ spread @ slopes
    assert rows.T @ rows == pytest.approx(expected, abs=0.02 * expected.max())


def test_the_number_of_determined_amplitudes_is_that_of_their_posterior_variances():
    layout = LAYOUTS["one function"]
    columns, _, image = drawn(layout)
    model = model_of(columns, image)
    found, again = (fit(model, layout, AT).posterior for _ in range(2))
    expected = len(found.factor) - np.trace(np.linalg.inv(found.factor @ found.factor.T))
    assert found.determined == pytest.approx(expected)
    assert np.trace(again.inverse) + again.determined == pytest.approx(len(again.factor))


def test_sums_that_are_no_sums_of_squares_are_refused():
    columns, _, image = drawn(LAYOUTS["one function"])
    model = model_of(columns, image)
    with pytest.raises(ValueError, match="the sums of an image are no sums of squares"):
        fit(replace(model, gram=-model.gram), LAYOUTS["one function"], AT)


def test_rounding_of_the_sums_does_not_matter_to_a_prior_of_very_different_variances():
    layout = LAYOUTS["one function"]
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(4, len(R_NM)))  # leaves three coefficients undetermined
    exact = model_of(columns, columns @ rng.normal(size=len(R_NM)))
    lost = rng.normal(size=exact.gram.shape) * 3e-6 * np.abs(exact.gram).max()
    at = replace(AT, prior=replace(AT.prior, log_scale=9.0, log_core=log(0.4), core_power=4.0), log_noise=log(1e-5))
    rounded = replace(exact, gram=exact.gram + lost + lost.T)
    found = maximise(rounded, layout, at, steps=3, free=["log_noise"])
    assert np.isfinite(spread_by_hyperparameters(rounded, layout, found)).all()
    assert rounded.misfit(found.posterior.mean) < 1e-4 * exact.energy


def test_sums_without_their_rounding_have_the_other_eigenvalues():
    powers, axes = np.array([-1e-5, 0.5, 2.0]), np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    model = LinearModel((axes * powers) @ axes.T, np.zeros(3), 1.0, 9)
    assert model.positive == pytest.approx((axes * np.maximum(powers, 0)) @ axes.T, abs=1e-12)


def test_a_climb_steps_back_from_hyper_parameters_whose_matrices_are_not_positive_definite():
    layout = LAYOUTS["one function"]
    columns, _, image = drawn(layout)
    model = model_of(columns, image)
    broken = replace(model, gram=-model.gram)
    start = moved(AT, "log_scale", -8.0)
    found = maximise(broken, layout, start, steps=20)
    assert np.isfinite(found.posterior.mean).all()
    assert found.evidence > fit(broken, layout, start).evidence
