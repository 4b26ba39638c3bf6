import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learned.autoencoder import OneStepNet, TwoStepNet
from learned.extractor import CHUNK
from learned.recipes import ONE_STEP, TWO_STEP, choose_recipe, resolve_config
from one_step import Model as OneStep
from safetensors.torch import save_file
from shared.weights import shipped_weights
from two_step import Model as TwoStep

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.score import score
from qpibench.grid import Grid
from qpibench.locator import locate
from qpibench.release import open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.tasks import subset, view_batch
from qpibench.training import SourceRecord, TrainingRun, begin_run, update_run

SPEC = load_spec("mini")
RECIPES = {"one_step": ONE_STEP, "two_step": TWO_STEP}
NETS = {"one_step": OneStepNet, "two_step": TwoStepNet}


def run_folder(folder, entry="two_step", **options):
    """A run's folder with random weights, as after no step of training."""
    run = TrainingRun(
        entry=entry,
        entry_path=locate("baselines") / f"{entry}.py",
        folder=folder,
        spec=SPEC,
        preset="tiny",
        options=options,
    )
    source = SourceRecord(kind="stream", name=SPEC.name, spec_sha256=SPEC.sha256, content_sha256=None)
    config = resolve_config(choose_recipe(RECIPES[entry], run), run, SPEC.grid)
    begin_run(run, config=config, source=source, steps_stated=1, steps_budget=1)
    torch.manual_seed(0)
    weights = {name: tensor.half() for name, tensor in NETS[entry]("tiny").state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    return folder


def batch_of(count, *, view="raster", map_mode="paper", kernel_grid=None):
    backend, _ = get_backend("cpu")
    kernels = backend.kernels(SPEC)
    observations = backend.observations(SPEC, kernels, 0, count)
    return view_batch(observations, SPEC.grid, kernel_grid, view=view, map_mode=map_mode)


def part_of(batch, rows):
    maps = None if batch.activation_map is None else batch.activation_map[rows]
    places = None if batch.position_nm is None else batch.position_nm[rows]
    return replace(batch, image=batch.image[rows], activation_map=maps, position_nm=places)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "two_step")


@pytest.mark.parametrize("view", ["raster", "positions"])
def test_an_answer_does_not_depend_on_the_batch_or_its_size(trained, view):
    model, batch = TwoStep(trained), batch_of(CHUNK + 3, view=view)
    together = model.predict(batch).kernel
    assert together.dtype == np.float32
    assert together.shape == batch.image.shape
    for rows in ([0], [2, 1], [CHUNK + 2, 5, 0]):
        alone = model.predict(part_of(batch, rows)).kernel
        assert np.abs(alone - together[rows]).max() <= 1e-5 * np.abs(together).max()


def test_the_units_of_the_answer_are_those_of_the_image(trained):
    model, batch = TwoStep(trained), batch_of(4)
    times_three = model.predict(replace(batch, image=3 * batch.image)).kernel
    np.testing.assert_allclose(times_three, 3 * model.predict(batch).kernel, rtol=1e-3, atol=1e-3)


def test_a_standard_deviation_is_stated_if_samples_are_drawn_and_leaves_the_answer_alone(tmp_path, trained):
    batch = batch_of(3)
    plain = TwoStep(trained).predict(batch)
    sampling = TwoStep(run_folder(tmp_path / "sampling", samples=4)).predict(batch)
    assert plain.std is None
    assert sampling.std.shape == batch.image.shape
    assert (sampling.std > 0).any()
    assert np.array_equal(sampling.kernel, plain.kernel)
    alone = TwoStep(tmp_path / "sampling").predict(part_of(batch, [2])).std
    np.testing.assert_allclose(alone[0], sampling.std[2], rtol=1e-3, atol=1e-6)


def test_latents_of_images_and_of_kernels_lie_in_one_space(trained):
    model, batch = TwoStep(trained), batch_of(2)
    kernels = model.encode_kernel(np.random.default_rng(0).random((3, 64, 64), dtype=np.float32))
    assert model.predict(batch).latent.shape == (2, 4 * 8 * 8)
    assert kernels.shape == (3, 4 * 8 * 8)
    assert kernels.dtype == np.float32


def test_an_autoencoded_kernel_has_the_gain_and_offset_of_the_true_kernel(trained):
    model = TwoStep(trained)
    kernels = np.random.default_rng(0).random((CHUNK + 1, 64, 64), dtype=np.float32)
    decoded = model.autoencode(kernels)
    assert (decoded.shape, decoded.dtype) == (kernels.shape, np.float32)
    np.testing.assert_allclose(model.autoencode(4 * kernels - 3), 4 * decoded - 3, atol=2e-5)
    np.testing.assert_allclose(model.autoencode(kernels[-1:]), decoded[-1:], atol=1e-6)
    flat = np.full((1, 64, 64), 0.7, np.float32)
    assert np.array_equal(model.autoencode(flat), flat)


@pytest.mark.slow
def test_the_floor_of_a_trained_model_is_that_of_its_autoencoder(tmp_path, trained):
    write_release(SPEC, tmp_path / "mini.h5", backend=get_backend("cpu")[0])
    with open_release(tmp_path / "mini.h5") as release:
        request = Request(tasks=["ood"], view="raster", map_mode="paper", limit=3)
        assert predict(str(trained), release, tmp_path / "predictions.h5", request).warnings == ()
        floor = score(tmp_path / "predictions.h5", release).cells["ood"].floor
        kernel = release.observation_kernel[subset(release, "ood", 3)]
        true = release.kernels.image[kernel].astype(np.float64)
    error = np.abs(TwoStep(trained).autoencode(true.astype(np.float32)) - true).mean(axis=(1, 2))
    assert floor.metrics["mae"].value == pytest.approx(error.mean(), rel=1e-4)
    published = 2 * error / (true.max(axis=(1, 2)) - true.min(axis=(1, 2)))
    assert floor.metrics["mae_published"].value == pytest.approx(published.mean(), rel=1e-4)


def test_the_one_step_method_has_no_latents_of_kernels(tmp_path):
    model = OneStep(run_folder(tmp_path / "run", "one_step"))
    assert model.predict(batch_of(2)).kernel.shape == (2, 64, 64)
    assert not hasattr(model, "encode_kernel")
    assert not hasattr(model, "autoencode")


def test_a_network_of_exact_maps_makes_them_from_the_coordinates(tmp_path, trained):
    model = TwoStep(run_folder(tmp_path / "exact", map_mode="exact"))
    of_paper, of_exact = (model.predict(batch_of(2, view="positions", map_mode=mode)) for mode in ("paper", "exact"))
    assert np.array_equal(of_paper.kernel, of_exact.kernel)
    in_raster = model.predict(batch_of(2, map_mode="exact"))
    assert np.array_equal(in_raster.latent, of_exact.latent)
    assert not np.array_equal(model.predict(batch_of(2)).latent, of_exact.latent)


def test_a_network_takes_the_pixels_of_its_training_whatever_their_size_in_nm(trained):
    model = TwoStep(trained)
    assert model.takes_pixels == (64, 64)
    batch = batch_of(2)
    wide = Grid(ny=64, nx=64, size_y_nm=30.0, size_x_nm=30.0)
    other = replace(batch, grid=wide, kernel_grid=wide)
    assert np.array_equal(model.predict(other).kernel, model.predict(batch).kernel)


def test_a_run_of_another_entry_is_refused(trained):
    with pytest.raises(UsageError, match="holds a run of two_step, expected one of one_step"):
        OneStep(trained)


def test_a_run_that_names_no_recipe_is_refused(tmp_path, trained):
    copy = shutil.copytree(trained, tmp_path / "run")
    update_run(copy, config={})
    with pytest.raises(InvalidDataError, match=r"a training of two_step: in its config, field 'recipe"):
        TwoStep(copy)


def test_a_model_without_weights_says_how_to_get_them():
    with pytest.raises(UsageError, match="qpibench train nothing_trained --release FILE -o RUN_DIR"):
        shipped_weights(str(locate("baselines") / "nothing_trained.py"))


def test_corrupt_weights_are_named(tmp_path, trained):
    copy = shutil.copytree(trained, tmp_path / "run")
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InvalidDataError, match="is not a safetensors file of weights"):
        TwoStep(copy)


def test_weights_of_another_architecture_are_named(tmp_path, trained):
    copy = shutil.copytree(trained, tmp_path / "run")
    save_file(OneStepNet("tiny").state_dict(), copy / "weights.safetensors")
    with pytest.raises(InvalidDataError, match=r"another architecture: .* such as 'kernel_encoder"):
        TwoStep(copy)
    (copy / "weights.safetensors").unlink()
    with pytest.raises(UsageError, match="has no weights yet"):
        TwoStep(copy)
