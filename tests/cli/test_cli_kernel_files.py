"""Kernels from a user's own file: specs, errors, and releases that are regenerated."""

import json

import h5py
import numpy as np
import pytest

from qpibench import kernel_files
from qpibench.families import file
from qpibench.physics.superposition import kernel_image
from qpibench.release import open_release
from qpibench.specs import load_spec
from qpibench.synthesis import tables

SPEC = """
name = "own"
observations_per_kernel = 5
[grid]
ny = 16
nx = 16
size_y_nm = 3.0
size_x_nm = 3.0
[kernels]
family = "file"
path = "own.npy"
pixel_nm = 0.2
count = 6
[scatterers]
max = 5
"""


@pytest.fixture
def numbers():
    y, x = np.mgrid[:20, :20] - 9.5
    return np.array([np.cos(x + k) * np.exp(-(x**2 + y**2) / 20) for k in range(6)])


def _forget(monkeypatch):
    """Know no file, as in a new process."""
    monkeypatch.setattr(kernel_files, "_known", {})
    monkeypatch.setattr(tables, "_kept", tables._Cache())
    kernel_files.kernels_of.cache_clear()
    file._spline.cache_clear()


@pytest.fixture
def own(tmp_path, numbers, monkeypatch):
    """Folder of a spec and of its file of kernels."""
    _forget(monkeypatch)
    np.save(tmp_path / "own.npy", numbers)
    (tmp_path / "own.toml").write_text(SPEC)
    return tmp_path


@pytest.fixture
def invoke(qpibench):
    """Run a command that ends with an exit code."""

    def run(*arguments, code=0):
        outcome = qpibench(*arguments)
        assert outcome.exit_code == code, outcome.stderr
        return outcome

    return run


def _edit(folder, before, after):
    (folder / "own.toml").write_text(SPEC.replace(before, after))


def test_the_spec_of_a_release_has_the_hash_of_the_numbers_and_not_the_path(own, numbers):
    spec = load_spec(own / "own.toml")
    fields = json.loads(spec.canonical_json())["kernels"]
    assert fields["sha256"] == kernel_files.numbers_sha256(numbers)
    assert (fields["size_px"], fields["available"]) == (20, 6)
    assert "path" not in fields
    assert "own.npy" not in spec.canonical_json()


def test_the_same_numbers_in_other_files_make_the_same_spec(own, numbers):
    spec = load_spec(own / "own.toml")
    with h5py.File(own / "own.h5", "w") as opened:
        opened["maps"] = np.zeros((3, 4))
        opened["group/kernels"] = numbers
        opened["group/kernels"].attrs["pixel_nm"] = 0.2
    np.savez(own / "own.npz", kernels=numbers, pixel_nm=0.2)
    for name in ("own.h5", "own.npz"):
        assert load_spec(own / "own.toml", overrides=[f"kernels.path={name}"]) == spec


def test_kernels_are_taken_in_the_order_of_the_file_or_drawn(own, numbers, invoke):
    for drawn in ("false", "true"):
        invoke("generate", own / "own.toml", "--set", f"kernels.drawn={drawn}", "-o", own / f"{drawn}.h5")
    with open_release(own / "false.h5") as release:
        assert release.kernels.parameters["file_row"].tolist() == list(range(6))
        row = {name: values[2] for name, values in release.kernels.parameters.items()}
        # Pixels of the grid lie on pixels of the file.
        np.testing.assert_allclose(release.kernels.image[2], numbers[2, 2:18, 2:18], atol=1e-7)
        np.testing.assert_allclose(kernel_image(release.grid, release.family, **row), numbers[2, 2:18, 2:18], atol=1e-9)
    with open_release(own / "true.h5") as release:
        assert len(set(release.kernels.parameters["file_row"].tolist())) < 6


def test_a_release_is_regenerated_where_the_variable_names_the_file(own, invoke, monkeypatch):
    invoke("generate", own / "own.toml", "-o", own / "own.h5")
    _forget(monkeypatch)
    invoke("verify", own / "own.h5")
    invoke("info", own / "own.h5")
    message = invoke("verify", own / "own.h5", "--regenerate", "--backend", "cpu", code=2).stderr
    assert "The kernels come from a file that is not here, whose numbers have the SHA-256" in message
    assert "name the file or its folder in the environment variable QPIBENCH_KERNELS" in message
    monkeypatch.setenv(kernel_files.VARIABLE, str(own / "moved"))
    message = invoke("verify", own / "own.h5", "--regenerate", "--backend", "cpu", code=2).stderr
    assert "moved', which has no such file." in message
    monkeypatch.setenv(kernel_files.VARIABLE, str(own))
    invoke("verify", own / "own.h5", "--regenerate", "--backend", "cpu")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"own.npy"', '"other.npy"', "there is no file of kernels"),
        ('"own.npy"', '"own.toml"', "must end in one of .h5, .hdf5, .npy, .npz"),
        ('path = "own.npy"', "", "path is missing: the HDF5 or NumPy file of the kernels"),
        ("pixel_nm = 0.2", 'pixel_nm = 0.2\nsha256 = "' + 64 * "0" + '"', f"sha256 = {64 * '0'}, but the kernels in"),
        ("count = 6", "count = 7", "count = 7, but the file has 6 kernels; use at most so many, or drawn = true"),
        ("pixel_nm = 0.2", "pixel_nm = 0.05", "a period of 0.1 nm would alias: pixels are 0.2 nm apart"),
        ("pixel_nm = 0.2", "pixel_nm = 0.05", "or state kernels.shortest_period_nm, which is two pixels of the file"),
        ("pixel_nm = 0.2", "pixel_nm = 0.2\ndataset = 3", "field 'kernels.dataset': input should be a valid string"),
        ("pixel_nm = 0.2", "pixel_nm = -1", "pixel_nm"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_sentence(own, invoke, before, after, told):
    _edit(own, before, after)
    message = invoke("generate", own / "own.toml", "-o", own / "own.h5", code=2).stderr
    assert told in message
    assert message.count("\n") == 1
    assert not (own / "own.h5").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda numbers: numbers[:, 1:], "must be floating-point numbers (kernel, y, x) with as many rows as columns"),
        (lambda numbers: numbers[0], "must be floating-point numbers (kernel, y, x)"),
        (lambda numbers: numbers.astype(int), "must be floating-point numbers (kernel, y, x)"),
        (lambda numbers: numbers[:, :5, :5], "must have 8 to 8192 pixels along a side, found 5"),
        (lambda numbers: np.where(numbers == numbers[3, 4, 5], np.nan, numbers), "found nan in kernel 3, row 4, col"),
        (lambda numbers: np.where(numbers > 0.5, np.inf, numbers), "must be finite, found inf in kernel 0"),
        (lambda numbers: numbers * 1e300, "must have a size from 1e-12 to 1e+12, found"),
        (
            lambda numbers: numbers * (np.arange(6) != 4)[:, None, None],
            "found 0 in kernel 4; leave out kernels of zero",
        ),
    ],
)
def test_wrong_numbers_are_refused_in_one_sentence(own, numbers, invoke, change, told):
    np.save(own / "own.npy", change(numbers))
    message = invoke("generate", own / "own.toml", "-o", own / "own.h5", code=2).stderr
    assert told in message
    assert message.count("\n") == 1


def test_a_file_with_another_pixel_size_or_several_arrays_is_refused(own, numbers, invoke):
    with h5py.File(own / "own.h5", "w") as opened:
        opened["kernels"] = numbers
        opened["kernels"].attrs["pixel_nm"] = 0.15
    told = invoke("generate", own / "own.toml", "--set", "kernels.path=own.h5", "-o", own / "r.h5", code=2).stderr
    assert "pixel_nm = 0.2, but" in told
    assert "states 0.15 nm" in told
    np.savez(own / "own.npz", first=numbers, second=numbers)
    told = invoke("generate", own / "own.toml", "--set", "kernels.path=own.npz", "-o", own / "r.h5", code=2).stderr
    assert "name one of its arrays as dataset: first, second" in told
    second = "kernels.path=own.npz", "--set", "kernels.dataset=second"
    invoke("generate", own / "own.toml", "--set", *second, "-o", own / "r.h5")


@pytest.mark.parametrize("pixel_nm", [[0.2], [[0.2]], [0.2, 0.2], "0.2 nm"], ids=str)
def test_a_file_states_one_number_as_its_pixel_size(own, numbers, invoke, pixel_nm):
    with h5py.File(own / "own.h5", "w") as opened:
        opened["kernels"] = numbers
        opened["kernels"].attrs["pixel_nm"] = pixel_nm
    np.savez(own / "own.npz", kernels=numbers, pixel_nm=pixel_nm)
    code = 0 if np.size(pixel_nm) == 1 and isinstance(pixel_nm, list) else 2
    for name in ("own.h5", "own.npz"):
        setting = "--set", f"kernels.path={name}", "--overwrite"
        told = invoke("generate", own / "own.toml", *setting, "-o", own / "r.h5", "--quiet", code=code).stderr
        assert not code or "cannot be read: its pixel_nm must be one number, found" in told


def test_a_damaged_archive_of_kernels_is_refused(own, numbers, invoke):
    np.savez(own / "own.npz", kernels=numbers)
    content = (own / "own.npz").read_bytes()
    for damaged in (content[:3000], content[:3000] + bytes(100) + content[3100:]):
        (own / "own.npz").write_bytes(damaged)
        told = invoke("generate", own / "own.toml", "--set", "kernels.path=own.npz", "-o", own / "r.h5", code=2).stderr
        assert "own.npz' cannot be read: " in told


def test_the_size_of_a_pixel_that_is_no_number_is_refused_by_its_field(own, numbers, invoke):
    np.savez(own / "own.npz", kernels=numbers, pixel_nm=0.2)
    wrong = "--set", "kernels.path=own.npz", "--set", "kernels.pixel_nm=small"
    told = invoke("generate", own / "own.toml", *wrong, "-o", own / "r.h5", code=2).stderr
    assert "field 'kernels.pixel_nm': input should be a valid number" in told


def test_a_file_of_kernels_that_states_more_than_it_has_is_refused(own, invoke):
    with h5py.File(own / "own.h5", "w") as file:
        file.create_dataset("kernels", shape=(1 << 17, 64, 64), chunks=(1, 64, 64), dtype="f4")
    _edit(own, "own.npy", "own.h5")
    message = invoke("generate", own / "own.toml", "-o", own / "r.h5", code=2).stderr
    assert "kernels has 2,147,483,648 bytes by its shape, and 0 are stored" in message


def test_a_file_of_virtual_kernels_is_refused_by_name(own, numbers, invoke):
    with h5py.File(own / "source.h5", "w") as file:
        file["kernels"] = numbers
    layout = h5py.VirtualLayout(numbers.shape, numbers.dtype)
    layout[:] = h5py.VirtualSource(own / "source.h5", "kernels", numbers.shape)
    with h5py.File(own / "own.h5", "w") as file:
        file.create_virtual_dataset("kernels", layout)
    _edit(own, "own.npy", "own.h5")
    message = invoke("generate", own / "own.toml", "-o", own / "r.h5", code=2).stderr
    assert "kernels is virtual, and its values are in other files; copy them into this one" in message


@pytest.mark.parametrize("name", ["own.npy", "own.npz", "own.h5"])
def test_a_file_that_is_not_what_its_name_says_is_refused(own, invoke, name):
    (own / name).write_bytes(b"\x93no kernels")
    _edit(own, "own.npy", name)
    message = invoke("generate", own / "own.toml", "-o", own / "r.h5", code=2).stderr
    assert f"{name}' cannot be read: " in message
    assert message.count("\n") == 1
