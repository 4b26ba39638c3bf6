"""A release whose models are told other scatterers than there are: what every command and view says of it."""

import h5py
import numpy as np
import pytest

from qpibench.physics.activation import activation_map
from qpibench.release import open_release

SPEC = """
name = "told"
observations_per_kernel = 12
[grid]
ny = 32
nx = 32
size_y_nm = 10.0
size_x_nm = 10.0
[kernels]
count = 10
wavelength_nm = [1.5, 3.0]
decay_nm = [1.0, 4.0]
[scatterers]
max = 30
[corruptions.amplitude_spread]
relative_std = 0.3
[corruptions.unseen_scatterers]
reach_nm = 2.0
[corruptions.missing_scatterers]
share = 0.2
[corruptions.spurious_scatterers]
share = 0.3
[corruptions.position_error]
sigma_nm = 0.3
[corruptions.merged_pixels]
cell_px = 2
[corruptions.white_noise]
snr_db = 20
"""

MODEL = """
import numpy as np
needs = "positions"
def predict(batch):
    np.savez({path!r}, position=batch.position_nm, map=batch.activation_map, image=batch.image)
    return np.zeros_like(batch.image)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("told")


@pytest.fixture(scope="module")
def release(folder, qpibench):
    """A release with every corruption of scatterers and of told positions, and noise."""
    (folder / "told.toml").write_text(SPEC)
    outcome = qpibench("generate", folder / "told.toml", "-o", folder / "told.h5", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    return folder / "told.h5"


@pytest.fixture
def stored(release):
    with open_release(release) as opened:
        yield opened, opened.observations(range(120))


def count(position):
    return (~np.isnan(position[..., 0])).sum(axis=1)


def test_true_and_told_positions_are_stored_and_their_numbers_add_up(stored):
    _, made = stored
    extra = made.extra
    drawn = made.n_scatterers - extra["n_unseen"]
    told = drawn - extra["n_missing"] + extra["n_spurious"] - extra["n_merged"] - extra["n_off_raster"]
    np.testing.assert_array_equal(count(made.position_nm), made.n_scatterers)
    np.testing.assert_array_equal(count(made.told), told)
    assert drawn.max() <= 30
    assert (told != made.n_scatterers).any()
    assert all(extra[name].any() for name in ("n_unseen", "n_missing", "n_spurious", "n_merged", "n_off_raster"))


def test_it_is_verified_and_made_again_and_sharded_to_the_same_hash(release, folder, qpibench):
    told = qpibench("verify", release, "--regenerate", "--backend", "cpu", "--json")
    assert told.exit_code == 0, told.stderr
    again = qpibench("generate", folder / "told.toml", "-o", folder / "again.h5", "--threads", 3, "--json")
    for shard in ("2/2", "1/2"):
        assert qpibench("generate", folder / "told.toml", "--shard", shard, "-o", folder / "shards").exit_code == 0
    merged = qpibench("merge", folder / "shards", "-o", folder / "merged.h5", "--json")
    assert again.json["content_sha256"] == merged.json["content_sha256"] == told.json["content_sha256"]


@pytest.mark.parametrize("map_mode", ["paper", pytest.param("exact", marks=pytest.mark.slow)])
def test_a_model_gets_the_told_positions_and_the_map_of_them(release, stored, folder, qpibench, map_mode):
    opened, made = stored
    path, seen = folder / f"{map_mode}.py", folder / f"{map_mode}.npz"
    path.write_text(MODEL.format(path=str(seen)))
    options = ["--task", "ood", "--view", "positions", "--map", map_mode, "-o", folder / f"{map_mode}.json"]
    report = ["--report", folder / f"{map_mode}.html", "--predictions", folder / f"{map_mode}.h5"]
    outcome = qpibench("evaluate", path, "--release", release, *options, *report)
    assert outcome.exit_code == 0, outcome.stderr
    shown = np.load(seen)
    rows = [int(np.flatnonzero((made.image == image).all(axis=(1, 2)))[0]) for image in shown["image"]]
    np.testing.assert_array_equal(shown["position"], made.told[rows])
    np.testing.assert_array_equal(shown["map"], activation_map(opened.grid, made.told[rows], mode=map_mode))
    numbers = [f"{made.n_scatterers[row]} scatterers, {count(made.told)[row]} told" for row in rows]
    assert any(text in (folder / f"{map_mode}.html").read_text() for text in numbers)


def test_info_names_the_settings_the_columns_and_the_places(release, qpibench):
    outcome = qpibench("info", release)
    for words in ("120, with up to 30 scatterers", "missing scatterers", "share 0.2", "merged pixels", "cell_px 2"):
        assert words in outcome.stdout
    fields = qpibench("info", release, "--json").json
    units = {column["name"]: column["units"] for column in fields["columns"]}
    assert units["observations/position_error_x_nm"] == units["observations/told_position_nm"] == "nm"
    assert fields["max_scatterers"] == 30 + 67 + 9


def test_other_views_have_true_and_told_positions(release, stored):
    _, made = stored
    torch_view = pytest.importorskip("qpibench.release.torch_view")
    fields = ("position_nm", "told_position_nm", "activation_map", "n_scatterers", "n_missing", "amplitude", "index")
    data = torch_view.ReleaseDataset(release, task="id", role="train", fields=fields, map_mode="exact")
    batch = data.batch(range(len(data)))
    rows = batch["index"].numpy()
    np.testing.assert_array_equal(batch["told_position_nm"].numpy(), made.told[rows])
    np.testing.assert_array_equal(batch["position_nm"].numpy(), made.position_nm[rows])
    np.testing.assert_array_equal(batch["activation_map"].sum(dim=(1, 2)).round(), count(made.told[rows]))
    np.testing.assert_array_equal(batch["n_scatterers"].numpy(), made.n_scatterers[rows])
    xarray_view = pytest.importorskip("qpibench.release.xarray_view")
    with xarray_view.to_xarray(release) as dataset:
        assert dataset.is_missing.dims == dataset.amplitude.dims == ("observation", "scatterer")
        np.testing.assert_array_equal(dataset.told_position_nm.values, made.told)
        np.testing.assert_array_equal(dataset.n_unseen.values, made.extra["n_unseen"])


def test_a_csv_file_has_true_positions_only_and_no_place_for_those_outside(release, folder, qpibench):
    refused = qpibench("export-csv", release, "--kernel", 3, "-o", folder / "kernel.csv")
    refused.fails(3, "has a scatterer at (", "outside the field, which the CSV layout does not allow")
    assert not (folder / "kernel.csv").exists()
    seen = folder / "seen.toml"
    seen.write_text(SPEC.replace("[corruptions.unseen_scatterers]\nreach_nm = 2.0\n", ""))
    assert qpibench("generate", seen, "-o", folder / "seen.h5").exit_code == 0
    assert qpibench("export-csv", folder / "seen.h5", "--kernel", 3, "-o", folder / "kernel.csv").exit_code == 0
    assert qpibench("import", folder / "kernel.csv", "-o", folder / "csv.h5").exit_code == 0
    with open_release(folder / "csv.h5") as back, h5py.File(folder / "seen.h5") as file:
        rows = np.flatnonzero(file["observations/kernel"][...] == 3)
        true = file["observations/position_nm"][rows]
        np.testing.assert_array_equal(back.observations(range(12)).position_nm, true[:, : back.max_scatterers])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("merged_pixels.cell_px=5", "corruptions.merged_pixels.cell_px = 5 must divide the 32 x 32 pixels of the grid"),
        (
            "position_error.sigma_nm=-1",
            "'corruptions.position_error.sigma_nm': input should be greater than 0, found -1",
        ),
        (
            "unseen_scatterers.reach_nm=200",
            "corruptions.unseen_scatterers.reach_nm = 200 must be above 0 and at most 100",
        ),
        ("missing_scatterers.share=1", "'corruptions.missing_scatterers.share': input should be less than 1, found 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(folder, qpibench, override, words, tmp_path):
    (folder / "told.toml").write_text(SPEC)
    options = ["--set", f"corruptions.{override}", "-o", tmp_path / "none.h5"]
    qpibench("generate", folder / "told.toml", *options).fails(2, words)
    assert not list(tmp_path.iterdir())
