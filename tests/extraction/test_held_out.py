"""The score on pixels that were held out: near 1 for the right kernel, larger for wrong ones, blind to a plane."""

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.extraction.held_out import held_out_score
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.noise import noise_of_scans, noise_plateau
from qpibench.physics.superposition import superpose

GRID = Grid(ny=40, nx=48, size_y_nm=7.8, size_x_nm=9.4)
POSITIONS = np.random.default_rng(0).uniform([-4.5, -3.8], [4.5, 3.8], (20, 2))
KERNEL = {"fold": 3, "phi1": 0.3, "B": 2.0, "phi2": 0.0, "C": 0.3}
CLEAN = superpose(GRID, eq7, POSITIONS, **KERNEL)
NOISE = 0.1 * CLEAN.std()
IMAGE = CLEAN + np.random.default_rng(1).normal(0, NOISE, GRID.shape)
SIZE = (7.8, 9.4)


def test_the_right_kernel_leaves_noise_and_a_plane_does_not_count():
    tilted = IMAGE + 3 * CLEAN.std() + 0.4 * GRID.x_nm
    for image in (IMAGE, tilted):
        found = held_out_score(image, POSITIONS, SIZE, "polar", noise=NOISE)
        assert found.score == pytest.approx(1, abs=0.1)
        assert found.interval[0] < found.score < found.interval[1]
        assert not found.is_crop
        assert np.isfinite(found.residual).all()


def test_worse_kernels_score_worse():
    scores = [held_out_score(IMAGE, POSITIONS, SIZE, name).score for name in ("polar", "tikhonov", "multi_atom")]
    assert scores == sorted(scores)
    assert scores[1] > 1.2


def test_wrong_positions_score_worse():
    moved = POSITIONS + np.random.default_rng(2).normal(0, 0.3, POSITIONS.shape)
    right, wrong = (held_out_score(IMAGE, places, SIZE, "tikhonov", beyond_edge=True) for places in (POSITIONS, moved))
    assert wrong.interval[0] > right.interval[1]


def test_pixels_that_were_not_measured_are_not_scored():
    image = IMAGE.copy()
    image[:8] = np.nan
    found = held_out_score(image, POSITIONS, SIZE, "wiener")
    assert np.isnan(found.residual[:8]).all()
    assert np.isfinite(found.score)


def test_an_entry_without_masks_gets_a_crop_and_is_marked(tmp_path):
    entry = tmp_path / "whole.py"
    entry.write_text("def predict(batch):\n    return batch.image * 0\n")
    found = held_out_score(IMAGE, POSITIONS, SIZE, entry, noise=NOISE)
    assert found.is_crop
    assert np.isnan(found.residual[:32]).all()
    assert np.isfinite(found.residual[32:]).all()
    assert found.score > 5


def test_the_noise_is_that_which_was_added():
    assert noise_plateau(IMAGE) == pytest.approx(NOISE, rel=0.15)
    second = CLEAN + np.random.default_rng(3).normal(0, NOISE, GRID.shape)
    assert noise_of_scans(IMAGE, second) == pytest.approx(NOISE, rel=0.05)


def test_pixels_that_were_not_measured_do_not_change_the_noise():
    cut, strong, discs, crowded = (IMAGE.copy() for _ in range(4))
    cut[:13], cut[:, 40:] = np.nan, np.nan
    strong.flat[np.argsort(CLEAN, axis=None)[-58:]] = np.nan  # 3 %
    for x, y in POSITIONS:
        discs[np.hypot(GRID.x_nm - x, GRID.y_nm[:, None] - y) < 0.4] = np.nan
    crowded[np.random.default_rng(4).random(GRID.shape) < 0.2] = np.nan
    for masked, tolerance in ((cut, 0.2), (strong, 0.1), (discs, 0.1), (crowded, 0.3)):
        assert noise_plateau(masked) == pytest.approx(NOISE, rel=tolerance)
    crowded[::2, ::2] = np.nan
    with pytest.raises(InvalidDataError, match="Noise needs 36 pixels"):
        noise_plateau(crowded)


def test_what_cannot_be_scored_is_one_sentence():
    with pytest.raises(UsageError, match="noise must be a positive number"):
        held_out_score(IMAGE, POSITIONS, SIZE, noise=-1.0)
    with pytest.raises(InvalidDataError, match="Noise needs"):
        noise_of_scans(IMAGE[:2, :2], IMAGE[:2, :2])
    with pytest.raises(InvalidDataError, match="Noise needs"):
        noise_plateau(IMAGE[:5])
