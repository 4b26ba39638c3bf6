"""The polar two-step entry: its decoder in NumPy, its training, and predictions for all kinds of input."""

import json
from dataclasses import replace

import numpy as np
import polar_two_step
import pytest
import torch
from click.testing import CliRunner
from learned.profile_basis import make_basis
from learned.profile_net import ProfileNet
from learned.profile_source import ProfileSource, open_profiles
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from shared.learned_profiles import LearnedProfiles
from torch.func import jacfwd

from qpibench import Batch
from qpibench.cli.main import cli
from qpibench.errors import InvalidDataError, UsageError
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.locator import locate
from qpibench.physics.activation import activation_map
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.release import write_release
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.synthesis import get_backend
from qpibench.training import TrainingRun, load_run

KERNEL = {"fold": 3, "phi1": 0.4, "B": 2.2, "phi2": 0.3, "C": 0.3}
SQUARE = Grid(ny=64, nx=64, size_y_nm=10.0, size_x_nm=10.0)
OBLONG = Grid(ny=48, nx=80, size_y_nm=10.0, size_x_nm=10.0)


def request(folder, **options):
    place = locate("baselines") / "polar_two_step.py"
    options = {"preset": "tiny", "steps": 6, "options": {"batch_size": 32}} | options
    return TrainingRun(entry="polar_two_step", entry_path=place, folder=folder, **options)


def qpibench(*arguments):
    done = CliRunner().invoke(cli, ["--json", *(str(argument) for argument in arguments)], prog_name="qpibench")
    assert done.exit_code == 0, done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of six steps on a stream."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    polar_two_step.train(request(folder, spec=load_spec("mini")))
    return folder


@pytest.fixture(scope="module")
def model(trained):
    return polar_two_step.Model(trained)


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = ProfileNet(width=16, latent=3, functions=7, splines=20).double().eval()
    made.bank.normal_()
    made.residual.normal_(std=0.01)
    made.spread.copy_(torch.linspace(1, 0.1, 7))
    return made


def make_batch(*positions, grid=SQUARE, view="positions", map_mode="paper", kernel_grid=None, image=None):
    """Images of scatterers at (scatterer, 2) positions in nm."""
    position_nm = np.full((len(positions), max(len(p) for p in positions), 2), np.nan)
    for row, places in zip(position_nm, positions, strict=True):
        row[: len(places)] = places
    images = [superpose(grid, eq7, p, **KERNEL) for p in position_nm] if image is None else [image] * len(positions)
    return Batch(
        image=np.array(images, dtype=np.float32),
        activation_map=activation_map(grid, position_nm, mode=map_mode) if view == "raster" else None,
        position_nm=position_nm if view == "positions" else None,
        grid=grid,
        kernel_grid=kernel_grid or grid,
    )


def places(count, *, grid=SQUARE, margin=0.0, seed=0):
    half = np.array([grid.size_x_nm, grid.size_y_nm]) / 2 + margin
    return np.random.default_rng(seed).uniform(-half, half, (count, 2))


def assert_whole(prediction, batch):
    assert prediction.kernel.shape == prediction.std.shape == (len(batch), *batch.kernel_grid.shape)
    assert prediction.kernel_full.shape == (len(batch), *batch.grid.offsets.shape)
    assert prediction.latent.shape == (len(batch), 4)
    assert all(np.isfinite(part).all() for part in vars(prediction).values() if part is not None)


def in_numpy(net):
    return LearnedProfiles({name: tensor.double().numpy() for name, tensor in net.state_dict().items()})


def test_the_decoder_in_numpy_is_that_of_torch(net):
    profiles, latent = in_numpy(net), torch.randn(3, dtype=torch.float64)
    shape = np.concatenate([latent, np.full(7, 0.1)])
    decoded = net.decode(latent[None])[0].detach().numpy()
    np.testing.assert_allclose(profiles.coefficient(shape), [1, *(decoded + 0.1)], atol=1e-12)
    tangent = profiles.tangent(shape)
    slope = jacfwd(lambda one: net.decode(one[None])[0])(latent).detach().numpy()
    np.testing.assert_allclose(tangent[1:, :3], slope, atol=1e-12)
    np.testing.assert_array_equal(tangent[1:, 3:], np.eye(7))
    assert not tangent[0].any()


def test_starts_are_the_encoded_estimate_and_the_bank(net):
    profiles = in_numpy(net)
    shapes, coefficients = profiles.starts(np.linspace(1, 0, 8))
    assert len(shapes) == len(coefficients) == 1 + len(net.bank)
    estimate = torch.linspace(1, 0, 8, dtype=torch.float64)[None, 1:]
    np.testing.assert_allclose(shapes[0, :3], net.encode(estimate)[0].detach(), rtol=1e-5)
    for k in (0, 1, 500):
        np.testing.assert_allclose(coefficients[k], profiles.coefficient(shapes[k]), atol=1e-12)


def test_measured_latents_are_those_of_the_closest_decoded_profiles(net):
    truth = torch.randn(50, 3, dtype=torch.float64)
    with torch.no_grad():
        profile = net.decode(truth)
    net.measure(profile)
    with torch.no_grad():
        encoded = (net.decode(net.encode(profile)) - profile).square().sum(dim=1)
        measured = (net.decode(net.bank[:50]) - profile).square().sum(dim=1)
    assert measured.mean() < 0.1 * encoded.mean()
    assert (measured <= encoded + 1e-12).all()


def test_the_basis_expresses_the_profiles_of_the_family(tmp_path):
    draws = open_profiles(request(tmp_path, spec=load_spec("mini")), batch_size=64)
    made = make_basis(draws, functions=64)
    source = ProfileSource(draws, made.r_nm, made.offset, made.matrix)
    coefficient = source.batch(200)["profile"].numpy().astype(float)
    r_nm = np.linspace(0.01, 14, 400)
    expected = draws.profiles(draws.parameters(200), r_nm)
    found = np.column_stack([np.ones(len(coefficient)), coefficient]) @ made.basis.values(r_nm).T
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert (coefficient**2).sum(axis=1).mean() == pytest.approx(1, rel=0.3)
    assert (made.spread**2).sum() == pytest.approx(1, rel=1e-3)


def test_weights_stay_in_float32(trained):
    with safe_open(trained / "weights.safetensors", "np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.offset_keys()} == {"F32"}
    assert load_run(trained).config["precision"] == "no"


@pytest.mark.slow
def test_a_resumed_run_has_the_weights_of_one_that_was_not_interrupted(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    polar_two_step.train(request(whole, spec=load_spec("mini"), steps=4))
    polar_two_step.train(request(parts, spec=load_spec("mini"), steps=4, max_seconds=1e-9))
    assert load_run(parts).steps_done < 4
    polar_two_step.train(request(parts, spec=load_spec("mini"), steps=4, resume=True))
    assert (whole / "weights.safetensors").read_bytes() == (parts / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("view", ["positions", "raster"])
def test_it_predicts_the_kernel_even_after_a_few_steps(model, view):
    # The decoder knows nothing yet, but the prior of what it lacks is as wide as the family.
    batch = make_batch(places(20), view=view)
    prediction = model.predict(batch)
    assert_whole(prediction, batch)
    truth = kernel_image(SQUARE, eq7, **KERNEL)
    assert np.abs(prediction.kernel[0] - truth).mean() < 0.05 * np.abs(truth).mean()
    full = kernel_image(SQUARE.offsets, eq7, **KERNEL)
    assert np.abs(prediction.kernel_full[0] - full).mean() < 0.1 * np.abs(full).mean()


@pytest.mark.parametrize("view", ["positions", "raster"])
def test_a_prediction_does_not_depend_on_batch_mates(model, view):
    positions = places(5), places(1, seed=1), places(9, seed=2)
    together = model.predict(make_batch(*positions, view=view))
    for i, place in enumerate(positions):
        alone = model.predict(make_batch(place, view=view))
        for part in ("kernel", "std", "kernel_full", "latent"):
            np.testing.assert_array_equal(getattr(alone, part)[0], getattr(together, part)[i])


@pytest.mark.parametrize("view", ["positions", "raster"])
@pytest.mark.parametrize("image", ["zeros", "constant", "one pixel", "noise"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_images_that_show_no_kernel_have_finite_predictions(model, image, view):
    shown = {
        "zeros": np.zeros(SQUARE.shape),
        "constant": np.full(SQUARE.shape, 3.0),
        "one pixel": np.eye(64) * (np.arange(64) == 20),
        "noise": np.random.default_rng(0).normal(size=SQUARE.shape),
    }[image]
    batch = make_batch(places(6), view=view, image=shown)
    assert_whole(model.predict(batch), batch)


@pytest.mark.parametrize("view", ["positions", "raster"])
@pytest.mark.parametrize(
    "batch",
    [
        {"positions": places(0)},
        {"positions": places(1)},
        {"positions": [[1.0, 1.0], [1.0, 1.0]]},
        {"positions": [[100.0, 100.0]]},
        {"positions": [[12.7, 11.4]]},
        {"positions": [[5.0, 5.0]]},
        {"positions": places(20, margin=3.0)},
        {"positions": places(12), "grid": OBLONG},
        {"positions": places(12), "grid": Grid(ny=4, nx=3, size_y_nm=10.0, size_x_nm=10.0)},
        {"positions": places(12), "grid": Grid(ny=20, nx=20, size_y_nm=0.1, size_x_nm=0.1)},
        {"positions": places(12), "kernel_grid": Grid(ny=21, nx=30, size_y_nm=4.0, size_x_nm=40.0)},
    ],
    ids=[
        "none",
        "one",
        "two at a place",
        "far away",
        "within reach of the corner",
        "corner",
        "margin",
        "oblong",
        "12 pixels",
        "close up",
        "kernel grid",
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_all_scatterers_and_grids_have_finite_predictions(model, batch, view):
    made = make_batch(np.array(batch["positions"]), **{k: v for k, v in batch.items() if k != "positions"}, view=view)
    assert_whole(model.predict(made), made)


def test_a_map_of_weights_is_made_use_of(model):
    batch = make_batch(places(20), view="raster", map_mode="exact")
    prediction = model.predict(batch)
    assert_whole(prediction, batch)
    truth = kernel_image(SQUARE, eq7, **KERNEL)
    assert np.abs(prediction.kernel[0] - truth).mean() < 0.2 * np.abs(truth).mean()


def test_without_scatterers_the_mean_kernel_is_predicted_with_the_spread_of_the_family(model):
    prediction = model.predict(make_batch(places(0)))
    assert prediction.std.max() > 0.1
    np.testing.assert_allclose(prediction.kernel[0], prediction.kernel[0].T, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_not_finite_is_an_error(model, value):
    batch = make_batch(places(3))
    batch.image[0, 5, 5] = value
    with pytest.raises(ValueError, match="not finite"):
        model.predict(batch)


def test_a_view_without_scatterers_is_an_error(model):
    with pytest.raises(ValueError, match="needs the scatterers"):
        model.predict(replace(make_batch(places(3)), position_nm=None))


def test_it_says_what_it_learned_from(model):
    assert model.trained_on == "stream of the spec mini"


def spec(**changes):
    content = load_spec("mini").model_dump(mode="json")
    for section, values in changes.items():
        content[section] = content[section] | values if isinstance(values, dict) else values
    return ReleaseSpec.model_validate(content)


@pytest.mark.slow
def test_a_release_of_some_folds_is_learned(tmp_path):
    release = tmp_path / "threefold.h5"
    write_release(spec(kernels={"folds": [3]}, name="threefold"), release, backend=get_backend("cpu")[0])
    polar_two_step.train(request(tmp_path / "run", release_path=release))
    model, batch = polar_two_step.Model(tmp_path / "run"), make_batch(places(10))
    assert model.trained_on == "training role of the release threefold"
    assert_whole(model.predict(batch), batch)


def test_kernels_of_one_profile_are_a_usage_error(tmp_path):
    release = tmp_path / "one.h5"
    one = {"folds": [2], "count": 1}
    write_release(spec(kernels=one, splits={"ood_kernels": 0}, name="one"), release, backend=get_backend("cpu")[0])
    with pytest.raises(UsageError, match="one all have the same radial profile"):
        polar_two_step.train(request(tmp_path / "run", release_path=release))


def test_a_release_without_parameters_is_a_usage_error(tmp_path):
    release = tmp_path / "mini.h5"
    write_release(load_spec("mini"), release, backend=get_backend("cpu")[0])
    qpibench("export-csv", release, "--kernel", 0, "-o", tmp_path / "one.csv")
    qpibench("import", tmp_path / "one.csv", "-o", tmp_path / "imported.h5")
    with pytest.raises(UsageError, match="does not say the parameters of its kernels"):
        polar_two_step.train(request(tmp_path / "run", release_path=tmp_path / "imported.h5"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "article"}, "no recipe 'article'; choose one of radial"),
        ({"preset": "sdxl"}, "no preset 'sdxl' of polar_two_step; choose one of compact, tiny"),
        ({"pretrained": "some/weights"}, "has no pretrained weights"),
        ({"options": {"latents": 1}}, "no option 'latents'. Did you mean 'latent'"),
        ({"options": {"noise": [0.3, 0.1]}}, "noise"),
    ],
)
def test_settings_that_it_does_not_have_are_usage_errors(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        polar_two_step.train(request(tmp_path / "run", spec=load_spec("mini"), **options))
    assert not (tmp_path / "run").exists()


def test_it_trains_in_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="trains a small network in one process"):
        polar_two_step.train(request(tmp_path / "run", spec=load_spec("mini")))


def test_a_run_of_another_entry_is_a_usage_error(trained, tmp_path):
    record = json.loads((trained / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | {"entry": "two_step"}))
    with pytest.raises(UsageError, match="holds a run of two_step, expected one of polar_two_step"):
        polar_two_step.Model(tmp_path)


def test_truncated_weights_are_invalid_data(trained, tmp_path):
    (tmp_path / "run.json").write_bytes((trained / "run.json").read_bytes())
    with pytest.raises(UsageError, match="no weights yet"):
        polar_two_step.Model(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes((trained / "weights.safetensors").read_bytes()[:5000])
    with pytest.raises(InvalidDataError, match="not a safetensors file"):
        polar_two_step.Model(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({}, "but there is no 'spacing_nm'"),
        ({"spacing_nm": np.ones(())}, "but there is no 'splines'"),
        ({"residual": np.ones((3, 2))}, "but their shapes do not fit"),
    ],
    ids=["none", "some", "another shape"],
)
def test_weights_of_another_network_are_invalid_data(arrays, found, trained, tmp_path):
    whole = load_file(trained / "weights.safetensors") if "residual" in arrays else {}
    (tmp_path / "run.json").write_bytes((trained / "run.json").read_bytes())
    save_file(whole | {"other": np.ones(3)} | arrays, tmp_path / "weights.safetensors")
    with pytest.raises(InvalidDataError, match=f"weights.safetensors' does not hold .* {found}.* or train again"):
        polar_two_step.Model(tmp_path)
