"""Separable kernels: found by their evidence, with a covariance that dense algebra and repeated draws confirm."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
from shared.evidence import Layout, LinearModel
from shared.hyperparameters import Hyperparameters, spread_by_hyperparameters
from shared.radial_prior import RadialPrior
from shared.separable import separable

R_NM = np.arange(8) * 0.4
PATTERN = np.array([0.5, -0.3, 0.4]) / np.sqrt(0.5)
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
    log(0.05),
)


def drawn(seed, *, noise=AT.noise, pattern=PATTERN, pixels=300):
    """Coefficients (harmonic, spline) of a separable kernel from the prior, and the sums of its image."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(pixels, len(pattern) * len(R_NM)))
    profile = rng.multivariate_normal(np.zeros(len(R_NM)), AT.prior.covariance(R_NM))
    truth = np.outer(pattern, profile)
    image = columns @ truth.ravel() + np.sqrt(noise) * rng.normal(size=pixels)
    return truth, LinearModel(columns.T @ columns, columns.T @ image, float(image @ image), pixels)


def found_in(model, *, noise=AT.noise, steps=0):
    start = replace(AT, log_noise=log(noise))
    return separable(model, R_NM, start, np.linalg.solve(model.gram, model.linear).reshape(-1, len(R_NM)), steps=steps)


@pytest.mark.parametrize("pattern", [PATTERN, np.array([0.0, 0.6, 0.8]), np.array([-0.6, 0.0, 0.8]), np.ones(1)])
def test_a_separable_kernel_is_found(pattern):
    truth, model = drawn(0, noise=1e-6, pattern=pattern)
    found = found_in(model, noise=1e-4, steps=10)
    assert found.coefficient.reshape(truth.shape) == pytest.approx(truth, abs=0.002)
    assert np.outer(found.pattern, found.pattern) == pytest.approx(np.outer(pattern, pattern), abs=0.002)
    assert np.linalg.norm(found.pattern) == pytest.approx(1)
    assert found.fit.hyperparameters.noise == pytest.approx(1e-6, rel=0.3)


def test_a_harmonic_that_rounding_hides_keeps_its_part_of_the_pattern():
    _, model = drawn(3)
    own = slice(len(R_NM), 2 * len(R_NM))
    gram, linear = model.gram.copy(), model.linear.copy()
    gram[own], gram[:, own], linear[own] = 0, 0, 0
    gram[own, own] = -1e-9 * np.eye(len(R_NM))
    found = separable(replace(model, gram=gram, linear=linear), R_NM, AT, np.ones((3, len(R_NM))), steps=3)
    assert np.isfinite(found.coefficient).all()
    assert np.isfinite(found.root).all()
    assert np.linalg.norm(found.pattern) == pytest.approx(1)


def test_the_pattern_that_is_found_has_the_least_expected_residual():
    _, model = drawn(1, noise=0.5, pixels=60)
    found = found_in(model, noise=0.5)
    profile = found.fit.posterior
    moment = profile.covariance + np.outer(profile.mean, profile.mean)
    gram = np.einsum("aibj,ij->ab", model.gram.reshape(3, len(R_NM), 3, len(R_NM)), moment)
    best = np.linalg.solve(gram, model.linear.reshape(3, -1) @ profile.mean)
    assert found.pattern == pytest.approx(best / np.linalg.norm(best), abs=5e-3)


def test_the_covariance_is_the_inverse_of_the_second_derivatives():
    _, model = drawn(2)
    found = found_in(model)
    pattern, profile = found.pattern, found.fit.posterior.mean
    across = np.linalg.svd(pattern[None])[2][1:].T
    changes = np.hstack([np.kron(pattern[:, None], np.eye(len(R_NM))), np.kron(across, profile[:, None])])
    precision = changes.T @ model.gram @ changes / found.fit.hyperparameters.noise
    precision[: len(R_NM), : len(R_NM)] += np.linalg.inv(found.fit.hyperparameters.prior.covariance(R_NM))
    expected = changes @ np.linalg.solve(precision, changes.T)
    of_hyperparameters = spread_by_hyperparameters(of_profile(found), Layout.whole(R_NM, 1), found.fit)
    moves = of_hyperparameters @ np.kron(pattern[:, None], np.eye(len(R_NM))).T
    assert found.root.T @ found.root == pytest.approx(expected + moves.T @ moves, abs=1e-6 * expected.max())


def of_profile(found):
    """The linear model of the radial function, with the pattern that was found."""
    change = np.kron(found.pattern[:, None], np.eye(len(R_NM)))
    gram = change.T @ found.blocks.gram @ change
    return replace(found.blocks, gram=gram, linear=change.T @ found.blocks.linear)


def test_errors_of_many_draws_are_as_large_as_stated():
    errors = []
    for seed in range(30):
        truth, model = drawn(seed)
        found = found_in(model)
        errors.append((found.coefficient - truth.ravel()) / np.sqrt(np.diagonal(found.root.T @ found.root)))
    assert 0.8 < np.mean(np.square(errors)) < 1.3  # 1.1 with 300 draws


def test_other_sums_keep_the_pattern():
    _, model = drawn(3)
    _, other = drawn(4)
    found = found_in(model)
    again = found.again(other, R_NM)
    assert again.pattern is found.pattern
    assert again.blocks is other
    assert again.fit.hyperparameters == found.fit.hyperparameters
    expected = found.again(model, R_NM)
    assert expected.evidence == pytest.approx(found.evidence)
    assert again.evidence != pytest.approx(found.evidence)
