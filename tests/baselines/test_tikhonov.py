"""Tikhonov deconvolution recovers kernels without knowing their family."""

from dataclasses import replace

import numpy as np
import pytest
from shared.extractor import Observation
from shared.scatterers import scatterers_of
from tikhonov import Model

from qpibench import Batch
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.activation import activation_map
from qpibench.physics.superposition import kernel_image, superpose

SQUARE = Grid(ny=48, nx=48, size_y_nm=10.0, size_x_nm=10.0)
OBLONG = Grid(ny=40, nx=56, size_y_nm=10.0, size_x_nm=9.0)
# With phi2 = 0 the kernel has no jump of the angular factor at its centre.
THREEFOLD = {"fold": 3, "phi1": 0.4, "B": 1.8, "phi2": 0.0, "C": 0.12}
TWOFOLD = {"fold": 2, "phi1": 1.1, "B": 2.5, "phi2": 0.0, "C": 0.2}


@pytest.fixture
def tikhonov():
    return Model()


def make_batch(grid, kernels, *, count=60, margin=0.0, view="positions", map_mode="exact", kernel_grid=None, seed=3):
    half = np.array([grid.size_x_nm, grid.size_y_nm]) / 2 + margin
    position_nm = np.random.default_rng(seed).uniform(-half, half, (len(kernels), count, 2))
    images = [superpose(grid, eq7, p, **kernel) for p, kernel in zip(position_nm, kernels, strict=True)]
    return Batch(
        image=np.array(images, dtype=np.float32),
        activation_map=activation_map(grid, position_nm, mode=map_mode),
        position_nm=position_nm if view == "positions" else None,
        grid=grid,
        kernel_grid=kernel_grid or grid,
    )


def relative_error(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("grid", [SQUARE, OBLONG], ids=["square", "oblong pixels"])
def test_a_smooth_kernel_is_recovered_to_fifteen_percent(tikhonov, grid):
    prediction = tikhonov.predict(make_batch(grid, [THREEFOLD, TWOFOLD]))
    for found, parameters in zip(prediction.kernel, [THREEFOLD, TWOFOLD], strict=True):
        assert relative_error(found, kernel_image(grid, eq7, **parameters)) < 0.15


@pytest.mark.parametrize("map_mode", ["paper", "exact"])
def test_an_activation_map_serves_where_coordinates_are_missing(tikhonov, map_mode):
    batch = make_batch(OBLONG, [THREEFOLD], count=25, view="raster", map_mode=map_mode)
    found = tikhonov.predict(batch).kernel[0]
    assert relative_error(found, kernel_image(OBLONG, eq7, **THREEFOLD)) < 0.2


def test_the_full_kernel_reproduces_the_observation(tikhonov):
    # Scatterers on pixels, so that the offset lattice holds every shift that superposition needs.
    rows, columns = np.random.default_rng(1).permuted(np.arange(48)), np.random.default_rng(2).permuted(np.arange(48))
    position_nm = np.stack([SQUARE.x_nm[columns], SQUARE.y_nm[rows]], axis=-1)
    image = superpose(SQUARE, eq7, position_nm, **TWOFOLD).astype(np.float32)
    batch = Batch(
        image=image[None],
        activation_map=None,
        position_nm=position_nm[None],
        grid=SQUARE,
        kernel_grid=SQUARE,
    )
    full = tikhonov.predict(batch).kernel_full[0]
    assert full.shape == (95, 95)
    superposed = sum(full[47 - r : 95 - r, 47 - c : 95 - c] for r, c in zip(rows, columns, strict=True))
    assert relative_error(superposed, image) < 0.03


def test_the_kernel_is_given_on_the_grid_that_is_asked_for(tikhonov):
    patch = Grid(ny=21, nx=30, size_y_nm=4.0, size_x_nm=5.0)
    found = tikhonov.predict(make_batch(SQUARE, [THREEFOLD], kernel_grid=patch)).kernel[0]
    assert relative_error(found, kernel_image(patch, eq7, **THREEFOLD)) < 0.1


def test_scatterers_outside_the_field_are_made_use_of(tikhonov):
    found = tikhonov.predict(make_batch(SQUARE, [THREEFOLD], margin=2.5)).kernel[0]
    assert relative_error(found, kernel_image(SQUARE, eq7, **THREEFOLD)) < 0.15


def test_the_answer_for_an_image_does_not_depend_on_its_batch_mates(tikhonov):
    batch = make_batch(SQUARE, [THREEFOLD, TWOFOLD])
    alone = Batch(
        image=batch.image[1:],
        activation_map=batch.activation_map[1:],
        position_nm=batch.position_nm[1:],
        grid=SQUARE,
        kernel_grid=SQUARE,
    )
    np.testing.assert_array_equal(tikhonov.predict(batch).kernel[1], tikhonov.predict(alone).kernel[0])


def test_an_image_ten_times_as_bright_has_a_kernel_ten_times_as_bright(tikhonov):
    batch = make_batch(SQUARE, [TWOFOLD])
    bright = Batch(
        image=10 * batch.image,
        activation_map=batch.activation_map,
        position_nm=batch.position_nm,
        grid=SQUARE,
        kernel_grid=SQUARE,
    )
    np.testing.assert_allclose(
        tikhonov.predict(bright).kernel, 10 * tikhonov.predict(batch).kernel, rtol=1e-2, atol=1e-2
    )


def test_an_image_without_scatterers_gives_a_kernel_of_zeros(tikhonov):
    batch = make_batch(SQUARE, [TWOFOLD], count=0)
    assert not tikhonov.predict(batch).kernel.any()


def test_a_noisy_image_gets_more_smoothing_than_a_clean_one(tikhonov):
    batch = make_batch(SQUARE, [THREEFOLD])
    clean = batch.image[0]
    noisy = clean + clean.std() * np.random.default_rng(5).normal(size=clean.shape).astype(np.float32)
    observation = observed(noisy, batch)
    found, light = tikhonov.extract(observation), Model(noise=0.0, model_error=0.001).extract(observation)
    truth = kernel_image(SQUARE, eq7, **THREEFOLD)
    assert found.diagnostics["noise"] == pytest.approx(clean.std(), rel=0.1)
    assert relative_error(found.kernel, truth) < 0.5
    assert roughness(found.kernel) < 0.85 * roughness(light.kernel)


def observed(image, batch):
    return Observation(
        image=image.astype(np.float64), grid=SQUARE, scatterers=scatterers_of(batch, 0), kernel_grid=SQUARE
    )


def test_positions_that_are_wrong_get_more_smoothing_than_right_ones(tikhonov):
    batch = make_batch(SQUARE, [THREEFOLD], count=20)
    displaced = batch.position_nm + np.random.default_rng(7).normal(0, 0.15, batch.position_nm.shape)
    right = tikhonov.extract(observed(batch.image[0], batch))
    wrong = observed(batch.image[0], replace(batch, position_nm=displaced))
    found, light = tikhonov.extract(wrong), Model(model_error=0.001).extract(wrong)
    truth = kernel_image(SQUARE, eq7, **THREEFOLD)
    assert found.diagnostics["model_error"] > 10 * right.diagnostics["model_error"]
    assert relative_error(found.kernel, truth) < 0.8 * relative_error(light.kernel, truth)


def test_a_model_error_that_is_stated_is_taken(tikhonov):
    batch = make_batch(SQUARE, [THREEFOLD])
    assert Model(model_error=0.2).extract(observed(batch.image[0], batch)).diagnostics["model_error"] == 0.2


@pytest.mark.parametrize(("option", "value"), [("noise", -1.0), ("model_error", np.nan), ("model_error", -0.1)])
def test_a_negative_variance_is_refused(option, value):
    with pytest.raises(ValueError, match=f"the option {option} is a number from 0, found {value}"):
        Model(**{option: value})


@pytest.mark.parametrize("option", ["smoothness", "confinement"])
def test_a_weight_of_zero_is_refused(option):
    with pytest.raises(ValueError, match=f"the option {option} is a factor above 0, found 0"):
        Model(**{option: 0.0})


def roughness(kernel):
    return np.linalg.norm(np.diff(kernel)) / np.linalg.norm(kernel)
