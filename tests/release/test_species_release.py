"""A release with two species: its file, shards, splits and views, and what is refused."""

import shutil

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from qpibench.cli.main import cli
from qpibench.errors import InvalidDataError
from qpibench.release import Shard, merge_shards, open_release, verify_release, write_release, write_shard
from qpibench.release.xarray_view import to_xarray
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

OVERRIDES = [
    "name=pairs",
    "observations_per_kernel=60",
    "grid={ny=24, nx=20, size_y_nm=6, size_x_nm=5}",
    "scatterers.max=12",
    "corruptions.spurious_scatterers.share=0.2",
]
ROWS = [599, 3, 3, 255, 256, 0]


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="qpibench")
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def backend():
    return get_backend("cpu")[0]


@pytest.fixture(scope="module")
def pairs_spec():
    return load_spec("mini_species", overrides=OVERRIDES)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, pairs_spec, backend):
    """A complete release, not to be changed."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.h5"
    write_release(pairs_spec, path, backend=backend)
    return path


def test_the_file_has_two_kernels_of_every_image_and_a_species_of_every_scatterer(pairs):
    with h5py.File(pairs) as file:
        assert file.attrs["format_version"] == 4
        assert file["observations/kernel"].shape == (600, 2)
        assert [dim.keys()[0].startswith("This is") for dim in file["observations/kernel"].dims] == [True, True]
        assert file["kernels/species"][:4].tolist() == [0, 1, 0, 1]
        assert file["observations/species"].dtype == file["observations/told_species"].dtype == np.int32
        assert file["observations/species"].shape == file["observations/position_nm"].shape[:2]
        assert file["kernels/contrast"].attrs["units"] == b"1"


def test_a_release_with_one_species_keeps_its_format(small_release):
    with open_release(small_release) as release:
        assert release.format_version == 1
        assert not {"kernels/species", "kernels/contrast", "observations/species"} & release.arrays.keys()
        assert release.kernels.pairs == {}


def test_the_file_gives_back_what_was_made(pairs, pairs_spec, backend):
    assert verify_release(pairs, backend=backend) == open_release(pairs).content_sha256
    kernels = backend.kernels(pairs_spec)
    made = backend.observations(pairs_spec, kernels, 0, 600).columns()
    with open_release(pairs) as release:
        for name, values in release.observations(ROWS).columns().items():
            np.testing.assert_array_equal(values, made[name][ROWS], err_msg=name)
        assert release.kernels.pairs.keys() == {"species", "contrast"}
        assert "contrast" not in release.kernels.parameters


def test_both_kernels_of_a_pair_are_on_the_same_side_of_the_ood_split(pairs):
    with open_release(pairs) as release:
        train, test = (set(release.observation_kernel[release.split("ood", role)].flat) for role in ("train", "test"))
        assert not train & test
        assert len(test) == 10
        assert all((kernel ^ 1) in test for kernel in test)
        assert set(release.stratum[sorted(test)]) == set(release.stratum)


@pytest.mark.parametrize("as_virtual", [False, True], ids=["file", "virtual"])
def test_shards_make_the_same_release(tmp_path, pairs, pairs_spec, backend, as_virtual):
    for index in (2, 1):
        write_shard(pairs_spec, tmp_path / "shards", Shard(index, 2), backend=backend)
    merge_shards(tmp_path / "shards", tmp_path / "a.h5", backend=backend, as_virtual=as_virtual)
    with open_release(tmp_path / "a.h5") as merged, open_release(pairs) as whole:
        assert merged.content_sha256 == whole.content_sha256
        np.testing.assert_array_equal(merged.take("species", ROWS), whole.take("species", ROWS))
    assert verify_release(tmp_path / "a.h5", backend=backend)


def test_an_interrupted_run_is_completed(tmp_path, pairs, pairs_spec, backend):
    class Interrupted(type(backend)):
        def observations(self, spec, kernels, start, stop, **options):
            if start <= 300 < stop:
                raise KeyboardInterrupt
            return super().observations(spec, kernels, start, stop, **options)

    with pytest.raises(KeyboardInterrupt):
        write_release(pairs_spec, tmp_path / "a.h5", backend=Interrupted(), threads=1)
    content = write_release(pairs_spec, tmp_path / "a.h5", backend=backend, resume=True)
    assert content == open_release(pairs).content_sha256


@pytest.mark.parametrize("name", ["kernels/contrast", "observations/species", "observations/kernel"])
def test_a_changed_value_is_found_and_named(tmp_path, pairs, name):
    path = shutil.copy(pairs, tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file[name][1] = file[name][0]
        file[name][0] = file[name][-1]
    with pytest.raises(InvalidDataError, match=f"{name} has changed"):
        verify_release(path)


def test_a_species_that_does_not_exist_is_not_valid(tmp_path, pairs):
    path = shutil.copy(pairs, tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["observations/species"][7, 2] = 2
    with pytest.raises(InvalidDataError, match="species of observation 7 is not 0 or 1 for scatterers, then -1"):
        open_release(path).check("species")


def test_xarray_shows_both_kernels_and_the_species(pairs):
    with to_xarray(pairs) as dataset, open_release(pairs) as release:
        assert dataset.kernel_index.dims == ("observation", "species")
        assert dataset.scatterer_species.dims == dataset.told_species.dims == ("observation", "scatterer")
        assert dataset.kernel_species.dims == dataset.contrast.dims == ("kernel",)
        np.testing.assert_array_equal(dataset.scatterer_species, release.read("observations/species"))


def test_a_torch_sample_has_both_kernels_and_the_species(pairs):
    pytest.importorskip("torch")
    from qpibench.release.torch_view import ReleaseDataset

    fields = ("kernel", "fold", "contrast", "kernel_index", "species", "told_species", "index")
    sample = ReleaseDataset(pairs, fields=fields)[5]
    with open_release(pairs) as release:
        row = int(sample["index"])
        kernels = release.observation_kernel[row]
        assert sample["kernel_index"].tolist() == kernels.tolist()
        np.testing.assert_array_equal(sample["kernel"], release.kernels.image[kernels])
        np.testing.assert_array_equal(sample["told_species"], release.take("told_species", [row])[0])
    assert sample["kernel"].shape == (2, 24, 20)
    assert sample["fold"][0] == sample["fold"][1]
    assert sample["contrast"].shape == (2,)


def test_info_tells_of_the_pairs(pairs):
    text = run("info", pairs).stdout
    assert "20 of the family eq7 in 10 pairs: 4 total" in text
    assert "drawn, share 0.3 to 0.7, contrast of a pair at least 0.3" in text
    assert "format 4" in text


def test_the_second_kernel_of_the_only_pair_of_a_fold_is_no_ood_test(tmp_path):
    options = ["--set", "kernels.count=5", "--set", "observations_per_kernel=5", "-o", tmp_path / "a.h5"]
    assert "an OOD test needs two kernels of every fold" in run("generate", "mini_species", *options).stderr


def test_an_oracle_is_refused_in_one_sentence(tmp_path, pairs):
    told = run("oracle", "nearest_kernel", "--release", pairs, "-o", tmp_path / "out.h5", code=2).stderr
    assert "Predicting is not defined yet for two species of scatterers, which 'pairs' has" in told
    assert not list(tmp_path.glob("out*"))


def test_csv_has_one_kernel_and_refuses_two(tmp_path, pairs):
    told = run("export-csv", pairs, "--kernel", 0, "-o", tmp_path / "a.csv", code=3).stderr
    assert "'pairs' has two species of scatterers, and a file in the CSV layout has one kernel" in told
    assert not (tmp_path / "a.csv").exists()


def test_a_contrast_out_of_reach_leaves_no_file(tmp_path):
    options = ["--set", "kernels.folds=[2]", "--set", "species={second='rotated', angle_deg=180}"]
    told = run("generate", "mini_species", *options, "-o", tmp_path / "a.h5", code=2).stderr
    assert "is above the contrast of 1000 draws" in told
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".h5"]


@pytest.mark.parametrize("source", ["release", "stream"])
def test_training_on_two_species_is_refused_in_one_sentence(tmp_path, pairs, source):
    given, name = (pairs, "pairs") if source == "release" else ("mini_species", "mini_species")
    told = run("train", "two_step", f"--{source}", given, "--steps", 2, "-o", tmp_path / "run", code=2).stderr
    assert f"Training is not defined yet for two species of scatterers, which '{name}' has" in told
    assert not (tmp_path / "run").exists()
