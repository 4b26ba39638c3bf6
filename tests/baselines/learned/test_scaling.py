import numpy as np
import pytest
import torch
from learned.observation import add_white_noise, observation_channels
from learned.scaling import gain_and_offset, min_max, superpose
from shared.scatterers import Scatterers, scatterers_of

from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics import superposition as reference
from qpibench.synthesis.contract import Observations
from qpibench.tasks import view_batch

GRID = Grid(ny=64, nx=64, size_y_nm=10.0, size_x_nm=10.0)
SHORT = {"fold": 4, "phi1": 0.3, "B": 2.0, "phi2": 0.0, "C": 0.6}
LONG = {"fold": 3, "phi1": 1.0, "B": 1.5, "phi2": 0.2, "C": 0.05}


def batch_of(position_nm, image, *, view, map_mode="paper"):
    count = np.array([len(position_nm)], dtype=np.int32)
    kernel = np.zeros(1, dtype=np.int32)
    observations = Observations(image=image[None], kernel=kernel, n_scatterers=count, position_nm=position_nm[None])
    return view_batch(observations, GRID, view=view, map_mode=map_mode)


def observation(parameters, count, seed=0):
    position_nm = np.random.default_rng(seed).uniform(-5, 5, (count, 2))
    return position_nm, reference.superpose(GRID, eq7, position_nm, **parameters).astype(np.float32)


def scaled(kernel):
    return (kernel - kernel.min()) / np.ptp(kernel)


def test_every_image_is_scaled_by_its_own_minimum_and_maximum():
    image = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[-1.0, 0.0], [0.0, 0.0]]])
    expected = torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 1.0], [1.0, 1.0]]])
    torch.testing.assert_close(min_max(image), expected)


def test_a_constant_image_becomes_zero():
    assert torch.equal(min_max(torch.full((1, 2, 2), 7.0)), torch.zeros(1, 2, 2))


def test_the_encoder_sees_the_scaled_image_and_the_map_as_it_is():
    channels = observation_channels(torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[0.0, 3.0]]]))
    torch.testing.assert_close(channels, torch.tensor([[[[0.0, 1.0]], [[0.0, 3.0]]]]))


@pytest.mark.parametrize("count", [1, 5, 60])
def test_the_superposition_is_that_of_the_reference(count):
    position_nm, image = observation(SHORT, count)
    scatterers = scatterers_of(batch_of(position_nm, image, view="positions"), 0)
    shown, _ = superpose(reference.kernel_image(GRID, eq7, **SHORT), scatterers)
    assert np.abs(shown - image).mean() < 0.01 * np.abs(image).mean()


def test_the_count_says_how_many_windows_show_a_pixel():
    scatterers = Scatterers(np.array([31.5, 0.0]), np.array([31.5, 0.0]), np.ones(2))
    _, count = superpose(np.zeros(GRID.shape), scatterers)
    np.testing.assert_allclose(count[5, 5], 2, atol=1e-9)
    np.testing.assert_allclose(count[50, 50], 1, atol=1e-9)


def test_a_scatterer_far_outside_shows_nothing():
    scatterers = Scatterers(np.array([500.0]), np.array([31.5]), np.ones(1))
    shown, count = superpose(np.ones(GRID.shape), scatterers)
    assert np.abs(shown).max() == np.abs(count).max() == 0


@pytest.mark.parametrize(("count", "tolerance"), [(1, 0.01), (10, 0.01), (100, 0.05)])
@pytest.mark.parametrize("parameters", [SHORT, LONG], ids=["short", "long"])
def test_gain_and_offset_come_back_from_the_image(parameters, count, tolerance):
    position_nm, image = observation(parameters, count)
    kernel = reference.kernel_image(GRID, eq7, **parameters)
    scatterers = scatterers_of(batch_of(position_nm, 3 * image, view="positions"), 0)
    gain, offset = gain_and_offset(scaled(kernel), 3 * image, scatterers)
    assert gain == pytest.approx(3 * np.ptp(kernel), rel=tolerance)
    assert offset == pytest.approx(3 * kernel.min(), abs=tolerance * gain)


@pytest.mark.parametrize("map_mode", ["paper", "exact"])
def test_a_rasterised_map_gives_nearly_the_same_gain(map_mode):
    errors = []
    for seed in range(10):
        position_nm, image = observation(LONG, 20, seed)
        kernel = reference.kernel_image(GRID, eq7, **LONG)
        scatterers = scatterers_of(batch_of(position_nm, image, view="raster", map_mode=map_mode), 0)
        gain, _ = gain_and_offset(scaled(kernel), image, scatterers)
        errors.append(gain / np.ptp(kernel) - 1)
    assert np.abs(errors).max() < 0.1
    assert abs(np.mean(errors)) < 0.03


def test_an_image_without_scatterers_gives_finite_numbers():
    empty = Scatterers(np.empty(0), np.empty(0), np.empty(0))
    assert gain_and_offset(np.ones(GRID.shape), np.ones(GRID.shape), empty) == (0.0, 0.0)


def test_noise_has_the_snr_that_is_asked_for():
    torch.manual_seed(0)
    image = torch.rand(3, 128, 128) * torch.tensor([1.0, 5.0, 0.1])[:, None, None]
    noise = add_white_noise(image, (10.0, 10.0)) - image
    snr_db = 10 * torch.log10(image.var(dim=(1, 2)) / noise.var(dim=(1, 2)))
    torch.testing.assert_close(snr_db, torch.full((3,), 10.0), rtol=0, atol=0.2)


def test_noise_is_drawn_over_the_whole_range_and_none_is_none():
    torch.manual_seed(0)
    image = torch.rand(200, 16, 16)
    noise = add_white_noise(image, (0.0, 20.0)) - image
    snr_db = 10 * torch.log10(image.var(dim=(1, 2)) / noise.var(dim=(1, 2)))
    assert snr_db.min() < 3
    assert snr_db.max() > 17
    assert add_white_noise(image, None) is image
