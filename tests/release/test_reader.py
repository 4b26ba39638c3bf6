import json
import pickle
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from qpibench.errors import InvalidDataError, UsageError
from qpibench.release import Release, open_release, verify_release, write_release
from qpibench.release.xarray_view import to_xarray


@pytest.fixture
def copy(tmp_path, small_release):
    """A release that may be damaged."""
    return shutil.copy(small_release, tmp_path / "copy.h5")


def test_a_release_tells_what_it_is(small_release, spec):
    with open_release(small_release) as release:
        assert release.name == "small"
        assert release.spec == spec
        assert release.grid == spec.grid
        assert release.format_version == 1
        assert release.observation_count == 1300
        assert release.max_scatterers == 5
        assert release.tasks == ("id", "ood")
        assert len(release.content_sha256) == 64
        assert len(release.kernels) == 10


def test_images_come_in_the_order_that_was_asked_for(small_release, truth):
    rows = [700, 3, 3, 1299, 0]
    with open_release(small_release) as release:
        np.testing.assert_array_equal(release.image(rows), truth[1].image[rows])
        observations = release.observations(np.array(rows))
    for name, values in truth[1].columns().items():
        np.testing.assert_array_equal(getattr(observations, name), values[rows])


def test_no_index_gives_no_image(small_release, spec):
    assert open_release(small_release).image([]).shape == (0, *spec.grid.shape)


@pytest.mark.parametrize("rows", [[-1], [0, 1300], [0.5], 3])
def test_an_index_that_does_not_exist_is_an_index_error(small_release, rows):
    with pytest.raises(IndexError):
        open_release(small_release).image(rows)


@pytest.mark.parametrize(
    ("rows", "found"), [(0, "0"), (slice(2), r"slice\(None, 2, None\)"), ([[0]], r"int64 of shape \(1, 1\)")]
)
def test_rows_that_are_no_list_are_refused_with_an_example(small_release, rows, found):
    with pytest.raises(IndexError, match=rf"must be a list of rows, such as \[0\], found {found}\."):
        open_release(small_release).image(rows)


def test_what_was_read_does_not_change_the_file(small_release):
    release = open_release(small_release)
    release.image([0])[:] = 7
    release.observation_kernel[:] = 7
    release.kernels.image[:] = 7
    verify_release(small_release)


def test_the_splits_of_a_task_do_not_overlap_and_cover_the_release(small_release):
    release = open_release(small_release)
    roles = [release.split("id", role) for role in ("train", "validation", "test")]
    seen = np.concatenate([*roles, release.split("ood", "test")])
    assert sorted(seen) == list(range(1300))
    assert roles[0].dtype == np.int32


@pytest.mark.parametrize(("task", "role", "message"), [("odd", "test", "id, ood"), ("id", "tset", "test, train")])
def test_an_unknown_split_is_refused_with_those_that_exist(small_release, task, role, message):
    with pytest.raises(UsageError, match=message):
        open_release(small_release).split(task, role)


def test_a_release_can_be_pickled_and_read_from_another_folder(small_release, truth, monkeypatch, tmp_path):
    monkeypatch.chdir(small_release.parent)
    release = open_release(small_release.name)
    release.image([0])
    state = pickle.dumps(release)
    assert len(state) < 20_000
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(pickle.loads(state).image([5]), truth[1].image[[5]])


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        open_release(tmp_path / "missing.h5")
    with pytest.raises(UsageError, match="folder"):
        open_release(tmp_path)


def test_a_file_that_is_not_hdf5_is_invalid(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("1,2,3\n")
    with pytest.raises(InvalidDataError, match="not an HDF5 file"):
        open_release(path)


def test_a_foreign_hdf5_file_is_invalid(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = [1.0]
    with pytest.raises(InvalidDataError, match="not a qpibench release"):
        open_release(path)


def test_a_newer_format_asks_for_an_upgrade(copy):
    with h5py.File(copy, "r+") as file:
        file.attrs["format_version"] = 5
    with pytest.raises(InvalidDataError, match=r"format version 5.*reads 4.*upgrade"):
        open_release(copy)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file_is_invalid(copy, share):
    whole = copy.read_bytes()
    copy.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InvalidDataError, match=r"truncated|damaged"):
        open_release(copy)


@pytest.mark.parametrize(("compression", "first"), [(None, None), (None, 0), (None, 1299), ("gzip", None), ("gzip", 0)])
def test_a_file_that_is_cut_while_it_is_open_is_invalid(
    tmp_path, spec, fake_backend, cut_while_open, compression, first
):
    path = tmp_path / "a.h5"
    write_release(spec, path, backend=fake_backend(), compression=compression)
    said = cut_while_open(path, path, 8192, first)
    assert len(said) == 3
    assert all(str(path) in sentence for sentence in said)


def test_an_array_of_another_type_or_length_is_invalid(copy):
    with h5py.File(copy, "r+") as file:
        del file["observations/n_scatterers"]
        file["observations/n_scatterers"] = np.zeros(1300, np.int64)
    with pytest.raises(InvalidDataError, match=r"observations/n_scatterers is <i8.*<i4 of shape \(1300,\) is expected"):
        open_release(copy)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("splits/ood/train", (2**33,)), ("observations/position_nm", (1300, 2**33, 2))],
)
def test_an_array_whose_values_are_not_in_the_file_is_invalid(copy, name, shape):
    with h5py.File(copy, "r+") as file:
        kind = file[name].dtype
        del file[name]
        file.create_dataset(name, shape, kind, chunks=tuple(min(length, 16) for length in shape))
    with pytest.raises(InvalidDataError, match=rf"{name} has [0-9,]+ bytes by its shape"):
        open_release(copy)


def test_a_missing_array_is_invalid(copy):
    with h5py.File(copy, "r+") as file:
        del file["kernels/B"]
    with pytest.raises(InvalidDataError, match="kernels/B is missing"):
        open_release(copy)


def test_a_file_that_has_fewer_rows_than_its_spec_is_invalid(copy):
    with h5py.File(copy, "r+") as file:
        fields = json.loads(file.attrs["spec"])
        fields["observations_per_kernel"] = 131
        file.attrs["spec"] = np.bytes_(json.dumps(fields))
    with pytest.raises(InvalidDataError, match=r"1300 observations.*1310"):
        open_release(copy)


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_damage_to_the_file_is_refused_or_without_effect(copy, small_release, times):
    whole = copy.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(20_000, times, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        copy.write_bytes(damaged)
        try:
            content = verify_release(copy, threads=1)
        except InvalidDataError:
            continue
        assert content == open_release(small_release).content_sha256


def test_xarray_opens_the_groups_with_named_dimensions_and_units(small_release):
    with xr.open_dataset(small_release) as root:
        np.testing.assert_allclose(root.x[[0, -1]], [-2, 2])
        assert root.x.units == "nm"
    with xr.open_dataset(small_release, group="observations") as observations:
        assert observations.image.dims == ("observation", "y", "x")
        assert observations.position_nm.dims == ("observation", "scatterer", "xy")
        assert observations.position_nm.units == "nm"
    with xr.open_dataset(small_release, group="kernels") as kernels:
        assert kernels.B.units == "rad/nm"
        assert kernels.family.values[0] in ("eq7", b"eq7")
        assert all("long_name" in variable.attrs for variable in kernels.variables.values())
    with xr.open_dataset(small_release, group="splits/id") as split:
        assert split.train.dims == ("train",)


def test_the_documented_lines_open_all_groups_in_one_call(small_release, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    (lines,) = re.findall(r"```python\n(import xarray.*?)```", page, flags=re.DOTALL)
    names = {}
    exec(lines.replace("paper.h5", str(small_release)), names)
    with names["release"], open_release(small_release) as release:
        np.testing.assert_array_equal(names["observations"]["image"][3], release.image([3])[0])
        np.testing.assert_array_equal(names["kernels"]["x"], release.grid.x_nm)
        np.testing.assert_array_equal(names["test"], release.split("ood", "test"))


def test_to_xarray_reads_no_image_before_it_is_used(small_release, monkeypatch):
    read = []
    stored = Release.stored
    monkeypatch.setattr(Release, "stored", lambda self, name: read.append(name) or stored(self, name))
    with to_xarray(small_release) as dataset:
        assert "observations/image" not in read
        dataset.image[3].load()
        assert "observations/image" in read


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_to_xarray_gives_the_values_of_the_release(tmp_path, spec, truth, fake_backend, compression):
    path = tmp_path / "a.h5"
    write_release(spec, path, backend=fake_backend(), compression=compression)
    with to_xarray(path) as dataset:
        assert dataset.image.dims == ("observation", "y", "x")
        np.testing.assert_array_equal(dataset.image.isel(observation=[7, 3, 3]), truth[1].image[[7, 3, 3]])
        np.testing.assert_array_equal(dataset.image[-1, ::2, 1], truth[1].image[-1, ::2, 1])
        np.testing.assert_array_equal(dataset.kernel_image, truth[0].image)
        np.testing.assert_array_equal(dataset.image.sel(x=2.0, y=-1.5, method="nearest"), truth[1].image[:, 0, -1])
        np.testing.assert_array_equal(dataset.split_id_test, open_release(path).split("id", "test"))
        assert dataset.x.units == "nm"
        assert dataset.attrs["content_sha256"] == open_release(path).content_sha256


def test_dimensions_that_no_release_has_yet_need_no_new_format(copy, truth):
    kernels, observations = truth
    count, species = len(observations), 2
    with h5py.File(copy, "r+") as file:
        for name in ("observations/image", "observations/kernel", "kernels/image"):
            del file[name]
        file["energy"] = np.array([-5.0, 5.0, 15.0])
        image = np.stack([observations.image] * 3, axis=1)
        file["observations/image"] = image
        file["kernels/image"] = np.stack([kernels.image] * 3, axis=1)
        file["observations/kernel"] = np.stack([observations.kernel] * species, axis=1)
        dims = {
            "energy": ("<f8", ["energy"], "meV"),
            "observations/image": ("<f4", ["observation", "energy", "y", "x"], "1"),
            "kernels/image": ("<f4", ["kernel", "energy", "y", "x"], "1"),
            "observations/kernel": ("<i4", ["observation", "species"], "1"),
            "observations/position_nm": ("<f8", ["observation", "scatterer", "xy"], "nm"),
            "observations/n_scatterers": ("<i4", ["observation"], "1"),
            "kernels/family": ("|S16", ["kernel"], "1"),
            "kernels/fold": ("<i4", ["kernel"], "1"),
            "x": ("<f8", ["x"], "nm"),
            "y": ("<f8", ["y"], "nm"),
        }
        columns = [
            {"name": name, "dtype": dtype, "dims": axes, "units": units, "long_name": name}
            for name, (dtype, axes, units) in dims.items()
        ]
        file.attrs["format_version"], file.attrs["columns"] = 3, np.bytes_(json.dumps(columns).encode())
    with open_release(copy) as release:
        assert release.image([5, 2]).shape == (2, 3, *release.grid.shape)
        np.testing.assert_array_equal(release.image([5, 2]), image[[5, 2]])
        assert release.read("energy").tolist() == [-5.0, 5.0, 15.0]
        assert release.arrays["energy"].units == "meV"
        assert release.observation_kernel.shape == (count, species)
        assert set(release.kernels.parameters) == {"fold"}
        dataset = to_xarray(release)
        assert dataset.image.dims == ("observation", "energy", "y", "x")
        assert dataset.energy.attrs["units"] == "meV"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("nonsense", "its list of columns cannot be read"),
        ('[{"name": "../x"}]', "its list of columns cannot be read"),
        ("[]", "it declares no x"),
        ("{}", "it declares no x"),
        ("3", "its list of columns cannot be read"),
    ],
)
def test_a_bad_list_of_columns_is_damage(copy, columns, message):
    with h5py.File(copy, "r+") as file:
        file.attrs["columns"] = np.bytes_(columns.encode())
    with pytest.raises(InvalidDataError, match=rf"^'[^']*\.h5' is damaged: [^\n]*{message}[^\n]*\.$"):
        open_release(copy)
