"""The shift-VAE: its decoder of places, its patches, and the entry made of them."""

from dataclasses import replace

import numpy as np
import pytest
import shift_vae
import torch
from learned.shift_loss import ShiftLoss
from learned.shift_net import PRESETS, ShiftVAE, undo
from learned.shift_patches import all_patches, patch_shape, patches_at
from learned.shift_recipes import SHIFT_VAE, ShiftRecipe

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.locator import locate
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.tasks import view_batch
from qpibench.training import TrainingRun, load_run

GRID = Grid(ny=32, nx=32, size_y_nm=5.0, size_x_nm=5.0)
OBLONG = Grid(ny=16, nx=24, size_y_nm=5.0, size_x_nm=5.0)


def network(grid=GRID, *, preset="tiny", content=3, rotation_prior=0.0, shift_prior=0.1):
    torch.manual_seed(0)
    return ShiftVAE(
        PRESETS[preset], grid, content=content, shift_prior=shift_prior, rotation_prior=rotation_prior
    ).eval()


def marked(shape, *pixels):
    marks = torch.zeros(shape)
    for observation, row, column in pixels:
        marks[observation, row, column] = 1
    return marks


def request(folder, **options):
    place = locate("baselines") / "shift_vae.py"
    return TrainingRun(entry="shift_vae", entry_path=place, folder=folder, preset="tiny", precision="no", **options)


@pytest.mark.parametrize("grid", [GRID, OBLONG], ids=["square", "oblong pixels"])
@pytest.mark.parametrize("preset", PRESETS)
def test_decoding_with_a_shift_is_the_shifted_decode(grid, preset):
    net = network(grid, preset=preset)
    ny, nx = patch_shape(grid.shape)
    rows, columns = 3, -2
    pitch = net.patch_places.view(ny, nx, 2)[1, 1] - net.patch_places.view(ny, nx, 2)[0, 0]
    latent = torch.randn(4, 5)
    latent[:, :2] = 0
    shifted = latent.clone()
    shifted[:, :2] = torch.tensor([columns, rows]) * pitch / net.shift_prior
    with torch.no_grad():
        centred = net.reconstruct(latent, net.patch_places).view(4, ny, nx)
        moved = net.reconstruct(shifted, net.patch_places).view(4, ny, nx)
    torch.testing.assert_close(moved[:, rows:, :columns], centred[:, :-rows, -columns:], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(moved, centred, atol=1e-2)


def test_decoding_with_a_quarter_turn_is_the_turned_decode():
    net = network(rotation_prior=1.0)
    latent = torch.randn(4, 6)
    latent[:, :3] = 0
    turned = latent.clone()
    turned[:, 2] = torch.pi / 2
    with torch.no_grad():
        before, after = (net.reconstruct(each, net.patch_places).view(4, 33, 33) for each in (latent, turned))
    # Rows are y upwards: what was at (x, y) is at (-y, x).
    torch.testing.assert_close(after, torch.rot90(before, -1, (1, 2)), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(after, before, atol=1e-2)


def test_a_pattern_is_rotated_about_its_own_centre():
    centre = torch.tensor([[0.3, -0.2]])
    assert not undo(centre, centre, torch.tensor([0.7])).any()


def test_a_patch_has_its_scatterer_in_the_middle_and_says_what_it_cannot_see():
    image = torch.rand(2, 6, 9)
    patches = all_patches(image, marked(image.shape, (0, 0, 8), (1, 3, 2)))
    assert patches.value.shape == patches.seen.shape == (2, 7, 9)
    assert patches.value[:, 3, 4].tolist() == [image[0, 0, 8], image[1, 3, 2]]
    assert torch.equal(patches.value[0, 3:, :5], image[0, :4, 4:])
    assert not patches.seen[0, :3].any()
    assert not patches.seen[0, :, 5:].any()
    assert patches.seen[1].sum() == 6 * 7
    assert not patches.value[patches.seen == 0].any()


def test_marks_are_drawn_in_proportion_to_their_weight():
    marks = marked((2, 4, 4), (1, 0, 1), (1, 2, 3))
    marks[1, 2, 3] = 3
    quantile = torch.rand(2, 4000, generator=torch.Generator().manual_seed(0))
    patches = patches_at(torch.rand(2, 4, 4), marks, quantile)
    # The first observation has no mark, hence no patch.
    assert len(patches.weight) == 4000
    assert set(patches.weight.tolist()) == {1.0, 3.0}
    assert (patches.weight == 3).float().mean() == pytest.approx(0.75, abs=0.03)


def test_the_last_mark_is_the_last_that_can_be_drawn():
    marks = marked((1, 3, 3), (0, 0, 0), (0, 1, 1))
    patches = patches_at(torch.rand(1, 3, 3), marks, torch.tensor([[0.0, 0.5, 1 - 2**-24]]))
    assert patches.weight.tolist() == [1, 1, 1]


def batch_of_images(count=4, grid=GRID, seed=0):
    generator = torch.Generator().manual_seed(seed)
    marks = (torch.rand(count, *grid.shape, generator=generator) < 0.02).float()
    marks[:, 5, 7] = 1
    return {"image": torch.rand(count, *grid.shape, generator=generator), "activation_map": marks}


@pytest.mark.parametrize("options", [{}, {"smoothness": 5.0}, {"rotation_prior": 0.5}, {"noise_snr_db": (10, 20)}])
def test_gradients_reach_every_parameter(options):
    recipe = ShiftRecipe(name="published", content=3, pixels=50, **options)
    loss = ShiftLoss(network(rotation_prior=recipe.rotation_prior), recipe)
    parts = loss(batch_of_images())
    parts["loss"].backward()
    assert all(value.isfinite() for value in parts.values())
    for name, parameter in loss.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_the_smooth_recipe_pays_for_contents_that_differ_within_an_observation():
    losses = {}
    for name, recipe in SHIFT_VAE.items():
        loss = ShiftLoss(network(content=recipe.content), recipe)
        torch.manual_seed(1)
        losses[name] = loss(batch_of_images())
    cost = SHIFT_VAE["smooth"].smoothness * losses["smooth"]["roughness"] / 33**2
    assert cost > 0
    torch.testing.assert_close(losses["smooth"]["loss"], losses["published"]["loss"] + cost)


def test_the_score_draws_nothing_and_does_not_depend_on_batch_mates():
    loss = ShiftLoss(network(), ShiftRecipe(name="published", content=3)).eval()
    batch = batch_of_images(5)
    batch["activation_map"][2] = 0
    with torch.no_grad():
        together = loss.score(batch)
        alone = loss.score({field: tensor[3:4] for field, tensor in batch.items()})
    assert together.shape == (4,)
    torch.testing.assert_close(together[2:3], alone)


def blobs(count, *, generator):
    """Images of one blob each, whose mark lies up to 4 pixels beside it; which are wide, and (x, y) of the misses."""
    place = torch.randint(10, 22, (count, 2), generator=generator)
    miss = torch.randint(-4, 5, (count, 2), generator=generator)
    wide = torch.arange(count) % 2
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    r_squared = (x - place[:, 0, None, None]) ** 2 + (y - place[:, 1, None, None]) ** 2
    image = torch.exp(-r_squared / (2 * (2 + 4 * wide[:, None, None]) ** 2))
    marks = torch.zeros(count, 32, 32)
    marks[torch.arange(count), place[:, 1] - miss[:, 1], place[:, 0] - miss[:, 0]] = 1
    return {"image": image, "activation_map": marks}, wide, miss


@pytest.mark.slow
def test_shifts_and_contents_come_apart_where_marks_lie_beside_the_scatterers():
    generator = torch.Generator().manual_seed(0)
    recipe = ShiftRecipe(name="published", content=2, patches=1, pixels=100, shift_prior=0.2)
    net = network(content=2, shift_prior=0.2).train()
    loss, optimizer = ShiftLoss(net, recipe), torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(600):
        parts = loss(blobs(16, generator=generator)[0])
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()

    batch, wide, miss = blobs(200, generator=generator)
    with torch.no_grad():
        latent = net.infer(all_patches(batch["image"], batch["activation_map"])).mean
        found = net.shift_prior * latent[:, :2] * 16
        kinds = torch.stack([latent[wide == kind].mean(dim=0) for kind in (0, 1)])
        kernel = net.decoder(kinds)
    for axis in (0, 1):
        assert np.corrcoef(found[:, axis], miss[:, axis])[0, 1] > 0.9
    apart = (kinds[0] - kinds[1])[2:].norm()
    within = (latent - kinds[wide])[:, 2:].norm(dim=1).mean()
    assert apart > 4 * within
    inner = kernel > kernel.amax(dim=(1, 2), keepdim=True) / 2
    area, offset = inner.sum(dim=(1, 2)), torch.arange(32) - 15.5
    for axis in (1, 2):
        assert ((inner.sum(dim=axis) * offset).sum(dim=1) / area).abs().max() < 1
    # Nine times as large where there is no doubt about the shifts.
    assert area[1] > 3 * area[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of six steps on a stream, rotations included."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = {"rotation_prior": 0.5, "content": 3, "batch_size": 4}
    shift_vae.train(request(folder, spec=load_spec("mini"), recipe="smooth", options=options, steps=6))
    return folder


def mini_batch(count):
    spec, (backend, _) = load_spec("mini"), get_backend("cpu")
    observations = backend.observations(spec, backend.kernels(spec), 0, count)
    return view_batch(observations, spec.grid, view="raster", map_mode="paper")


def test_the_entry_trains_a_few_steps_and_answers_with_finite_kernels(trained):
    record = load_run(trained)
    assert (record.status, record.steps_done) == ("complete", 6)
    assert record.config["recipe"]["name"] == "smooth"
    prediction = shift_vae.Model(trained).predict(mini_batch(3))
    assert prediction.kernel.shape == (3, 64, 64)
    assert np.isfinite(prediction.kernel).all()
    assert prediction.latent.shape == (3, 2 + 1 + 3)


def test_more_steps_than_the_recipe_states_are_not_trained(tmp_path):
    options = {"epochs": 1, "batch_size": 32, "patches": 1, "pixels": 1}
    shift_vae.train(request(tmp_path, spec=load_spec("mini"), options=options, steps=50))
    record = load_run(tmp_path)
    assert (record.status, record.steps_done, record.steps_budget, record.steps_stated) == ("complete", 2, 2, 2)


def test_an_answer_does_not_depend_on_batch_mates(trained):
    model, batch = shift_vae.Model(trained), mini_batch(4)
    alone = replace(batch, image=batch.image[2:3], activation_map=batch.activation_map[2:3])
    np.testing.assert_array_equal(model.predict(alone).kernel[0], model.predict(batch).kernel[2])


def test_an_image_without_scatterers_has_a_kernel_of_zeros(trained):
    batch = mini_batch(1)
    empty = replace(batch, activation_map=np.zeros_like(batch.activation_map))
    assert not shift_vae.Model(trained).predict(empty).kernel.any()


def test_it_says_that_it_saw_no_kernels(trained):
    assert shift_vae.Model(trained).trained_on == "stream of the spec mini, images and activation maps only"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "article"}, "no recipe 'article'; choose one of published, smooth"),
        ({"preset": "sdxl"}, "no preset 'sdxl' of shift_vae; choose one of dense, compact, tiny"),
        ({"pretrained": "some/weights"}, "has no pretrained weights"),
        ({"options": {"smoothnes": 1}}, "no option 'smoothnes'. Did you mean 'smoothness'"),
    ],
)
def test_what_it_does_not_have_is_a_usage_error(options, message, tmp_path):
    run = replace(request(tmp_path / "run", spec=load_spec("mini")), **options)
    with pytest.raises(UsageError, match=message):
        shift_vae.train(run)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def pyroved():
    return pytest.importorskip("pyroved")


def test_places_are_those_of_pyroved_but_for_signs(pyroved):
    # Its rotation turns the coordinates and ours the pattern; it adds its shift and we take ours away.
    places = pyroved.utils.generate_grid((33, 33))
    theirs = pyroved.utils.transform_coordinates(places[None], torch.tensor([0.4]), torch.zeros(1, 1, 2))
    torch.testing.assert_close(undo(places, torch.zeros(1, 2), torch.tensor([-0.4])), theirs)
    shift = torch.tensor([[0.2, -0.1]])
    theirs = pyroved.utils.transform_coordinates(places[None], torch.zeros(1), shift[:, None])
    torch.testing.assert_close(undo(places, -shift, torch.zeros(1)), theirs)


def test_the_dense_decoder_is_that_of_pyroved(pyroved):
    ours = network(preset="dense", content=2).pattern
    theirs = pyroved.nets.sDecoderNet((33, 33), 2, sigmoid_out=False, unflat=False)
    pairs = {
        "coord_latent.fc_coord": ours.of_place,
        "coord_latent.fc_latent": ours.of_content,
        "fc_layers.0": ours.layers[1],
        "fc_layers.2": ours.layers[3],
        "out": ours.layers[5],
    }
    for name, layer in pairs.items():
        theirs.get_submodule(name).load_state_dict(layer.state_dict())
    place, content = torch.rand(3, 33 * 33, 2), torch.randn(3, 2)
    with torch.no_grad():
        torch.testing.assert_close(theirs(place, content).view(3, -1), ours(place, content))
