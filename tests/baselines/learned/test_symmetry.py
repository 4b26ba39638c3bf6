import numpy as np
import pytest
import torch
from learned.distance import mean_square, norm_over_size
from learned.recipes import TWO_STEP
from learned.symmetry import rotate, symmetry_error

from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image

FOLDS = (0, 2, 3, 4, 6)
GRID = Grid(ny=64, nx=64, size_y_nm=10.0, size_x_nm=10.0)


def kernels(folds=FOLDS, grid=GRID):
    images = [
        kernel_image(grid, eq7, fold=fold, phi1=0.4 if fold else np.pi / 2, B=np.pi / 2, phi2=0.0, C=0.06)
        for fold in folds
    ]
    return torch.from_numpy(np.stack(images))


def error(reconstruction, kernel, fold, *, recipe="code", distance=mean_square, **given):
    angles = TWO_STEP[recipe].symmetry_angles
    fold = torch.tensor(fold)
    return symmetry_error(reconstruction, kernel, fold, angles=angles, window=0.625, distance=distance, **given)


@pytest.mark.parametrize("recipe", ["article", "code"])
def test_a_symmetric_kernel_scores_nothing_but_interpolation(recipe):
    image = kernels()
    own = error(image, image, FOLDS, recipe=recipe)
    assert (own < 1e-2 * image.square().mean(dim=(1, 2))).all()


def test_quarter_and_half_turns_are_exact():
    image = kernels((0, 2, 4))
    assert (error(image, image, (0, 2, 4)) < 1e-24).all()


@pytest.mark.parametrize(("true", "wrong"), [(2, 3), (2, 4), (3, 2), (3, 6), (4, 3), (4, 6), (6, 4)])
def test_a_wrong_fold_scores_much_more_than_the_true_one(true, wrong):
    image = kernels((true,))
    assert error(image, image, (wrong,)) > 50 * error(image, image, (true,)) + 1e-3


def test_training_in_bf16_rotates_in_float32():
    image = kernels((0, 2, 4)).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert (error(image, image, (0, 2, 4)) < 1e-12).all()
        halved = rotate(image.bfloat16(), torch.tensor([90.0, 180.0, 90.0]))
    assert halved.dtype == torch.float32


def test_total_symmetry_has_every_fold():
    image = kernels((0,) * 5)
    assert (error(image, image, FOLDS) < 1e-4).all()


def test_the_rotated_reconstruction_is_compared_with_the_kernel():
    image = kernels((4,))
    off = image + 0.1
    torch.testing.assert_close(error(off, image, (4,)), torch.tensor([0.01], dtype=torch.float64))
    expected = torch.tensor([0.1 / 40], dtype=torch.float64)  # the norm of 40 x 40 equal entries over their number
    torch.testing.assert_close(error(off, image, (4,), distance=norm_over_size), expected)


def test_a_mixed_batch_scores_what_its_kernels_score_alone():
    image = kernels()
    reconstruction = image + 0.1 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    alone = [error(reconstruction[i : i + 1], image[i : i + 1], FOLDS[i : i + 1]) for i in range(len(FOLDS))]
    torch.testing.assert_close(error(reconstruction, image, FOLDS), torch.cat(alone))


@pytest.mark.parametrize("distance", [mean_square, norm_over_size])
def test_gradients_are_those_of_finite_differences(distance):
    generator = torch.Generator().manual_seed(0)
    reconstruction, kernel = torch.rand(2, 5, 12, 12, dtype=torch.float64, generator=generator)
    reconstruction.requires_grad_()
    assert torch.autograd.gradcheck(lambda image: error(image, kernel, FOLDS, distance=distance), reconstruction)


def test_gradients_exist_where_the_norm_is_zero():
    image = torch.zeros(1, 16, 16, dtype=torch.float64, requires_grad=True)
    error(image, torch.zeros(1, 16, 16, dtype=torch.float64), (2,), distance=norm_over_size).sum().backward()
    assert torch.equal(image.grad, torch.zeros_like(image))


def test_a_quarter_turn_moves_every_pixel_to_the_place_of_another():
    image = torch.rand(1, 8, 8, dtype=torch.float64)
    turned = rotate(image, torch.tensor([90.0], dtype=torch.float64))
    assert any(torch.allclose(turned, torch.rot90(image, turns, (1, 2))) for turns in (1, 3))


def test_angles_are_those_of_the_field_where_pixels_are_not_square():
    grid = Grid(ny=64, nx=96, size_y_nm=8.0, size_x_nm=10.0)
    image = kernels((3,), grid)
    right = error(image, image, (3,), aspect=10.0 / 8.0)
    assert right < 1e-3 * image.square().mean()
    assert error(image, image, (3,), aspect=1.0) > 10 * right
