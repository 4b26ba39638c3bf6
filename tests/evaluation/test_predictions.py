"""A predictions file is believed only as far as it was checked, whoever wrote it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.predictions import open_predictions, release_sha256_of
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.locator import PACKAGE
from qpibench.tasks import subset


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.h5"


@pytest.fixture
def write(memory_release, path):
    """Write a file as anybody would, with what the test changes."""

    def write(*, task="id", index=None, kernel=None, sha256=None, **others):
        index = memory_release.split("id", "test") if index is None else index
        with h5py.File(path, "w") as file:
            file.attrs["release_sha256"] = memory_release.content_sha256 if sha256 is None else sha256
            file[f"{task}/index"] = index
            file[f"{task}/kernel"] = np.ones((len(index), 12, 10)) if kernel is None else kernel
            for name, value in others.items():
                file[f"{task}/{name}"] = value

    return write


def test_the_release_that_a_damaged_file_names_is_unknown(path, write):
    write()
    content = path.read_bytes()
    found = []
    for place in range(0, 1000, 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        found.append(release_sha256_of(path))
    assert None in found
    assert all(digest is None or isinstance(digest, str) for digest in found)


def test_anybodys_file_with_kernel_index_and_hash_is_enough(memory_release, path, write):
    backwards = memory_release.split("id", "test")[::-1]
    write(index=backwards.astype(np.uint64))
    with open_predictions(path, memory_release) as predictions:
        assert predictions.record is None
        assert predictions.tasks == ("id",)
        assert predictions.index("id").tolist() == backwards.tolist()
        assert predictions.kernel("id").dtype == np.float32
        assert predictions.kernel_full("id") is None
        assert predictions.std("id") is None


def _without(rows, place):
    return np.delete(rows, place)


def _twice(rows, place):
    return np.append(rows, rows[place])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"sha256": "6" * 64}, "for another release: they belong to the one with the content hash 666666"),
        ({"task": "idd"}, "task 'idd': the release has no such task; it has id, ood"),
        ({"index": np.arange(12)}, r"9 rows are not asked for, the first is 0"),
        ({"index": np.arange(12.0)}, r"'index' must be a list of integers, found shape \(12,\) of float64"),
        ({"index": np.zeros((12, 1), int)}, r"'index' must be a list of integers, found shape \(12, 1\)"),
        ({"kernel": np.ones((12, 10, 12))}, r"'kernel' must be floating point of shape \(12, 12, 10\), found"),
        ({"kernel": np.ones((11, 12, 10))}, r"'kernel' must be floating point of shape \(12, 12, 10\), found"),
        ({"kernel": np.ones((12, 12, 10), int)}, r"found int64 of shape \(12, 12, 10\)"),
        ({"kernel_full": np.ones((12, 12, 10))}, r"'kernel_full' must be floating point of shape \(12, 23, 19\)"),
        ({"std": np.ones((12, 23, 19))}, r"'std' must be floating point of shape \(12, 12, 10\)"),
        ({"std": np.full((12, 12, 10), -1.0)}, r"'std' has the value -1; a standard deviation is 0 or more"),
    ],
)
def test_a_file_that_does_not_fit_the_release_is_refused(memory_release, path, write, changed, sentence):
    write(**changed)
    with pytest.raises(InvalidDataError, match=sentence):
        open_predictions(path, memory_release)


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("latent", (12, 10**10), r"must have the shape \(12, d from 1 to 4096\), found \(12, 10000000000\)"),
        ("index", (10**12,), "1000000000000 rows of a release of"),
    ],
)
def test_arrays_that_no_memory_holds_are_refused_unread(memory_release, path, write, name, shape, sentence):
    write()
    with h5py.File(path, "r+") as file:
        for each, size in {name: shape, "kernel": (shape[0], 12, 10)}.items():
            file["id"].pop(each, None)
            dtype = np.int32 if each == "index" else np.float32
            file["id"].create_dataset(each, shape=size, dtype=dtype, chunks=tuple(min(side, 64) for side in size))
    with pytest.raises(InvalidDataError, match=sentence):
        open_predictions(path, memory_release)


def test_standard_deviations_of_zero_and_nan_are_read(memory_release, path, write):
    std = np.zeros((12, 12, 10))
    std[1] = np.nan
    write(std=std)
    with open_predictions(path, memory_release) as predictions:
        np.testing.assert_array_equal(predictions.std("id"), std)


@pytest.mark.filterwarnings("error")
def test_numbers_too_large_for_float32_are_infinite(memory_release, path, write):
    write(kernel=np.full((12, 12, 10), 1e300))
    with open_predictions(path, memory_release) as predictions:
        assert np.isinf(predictions.kernel("id")).all()
        assert len(predictions.sha256()) == 64


def test_a_format_version_that_is_no_number_is_refused(memory_release, path, write):
    write()
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = [1, 2]
    with pytest.raises(InvalidDataError, match=r"format_version \[1 2\], this qpibench reads 1 to 4"):
        open_predictions(path, memory_release)


def test_missing_and_repeated_rows_are_named(memory_release, path, write):
    rows = memory_release.split("id", "test")
    write(index=rows[1:])
    with pytest.raises(InvalidDataError, match=r"1 of 12 rows are missing, the first is 7; .* a row of NaN"):
        open_predictions(path, memory_release)
    write(index=np.append(rows, 8))
    with pytest.raises(InvalidDataError, match="row 8 of the release occurs more than once"):
        open_predictions(path, memory_release)


def test_a_dataset_that_is_missing_is_named(memory_release, path, write):
    write()
    with h5py.File(path, "r+") as file:
        del file["id/kernel"]
    with pytest.raises(InvalidDataError, match="task 'id': dataset 'kernel' is missing"):
        open_predictions(path, memory_release)


def test_a_subset_must_be_the_one_it_declares(memory_release, path):
    predict("zeros", memory_release, path, Request(limit=4))
    open_predictions(path, memory_release).close()

    with h5py.File(path, "r+") as file:
        file["id/index"][0] = np.setdiff1d(memory_release.split("id", "test"), subset(memory_release, "id", 4))[0]
    with pytest.raises(InvalidDataError, match="task 'id': 1 rows are not asked for"):
        open_predictions(path, memory_release)


def test_a_subset_that_is_not_declared_has_rows_missing(memory_release, path):
    predict("zeros", memory_release, path, Request(limit=4))
    with h5py.File(path, "r+") as file:
        del file.attrs["record"]
    with pytest.raises(InvalidDataError, match="8 of 12 rows are missing"):
        open_predictions(path, memory_release)


@pytest.mark.parametrize("content", [b"", b"no HDF5 file", b"\x89HDF\r\n\x1a\n"])
def test_a_foreign_file_is_refused(memory_release, path, content):
    path.write_bytes(content)
    with pytest.raises(
        InvalidDataError, match="is not a predictions file: it is no HDF5 file, or one that was cut off"
    ):
        open_predictions(path, memory_release)


def test_another_hdf5_file_is_refused(memory_release, path):
    h5py.File(path, "w").close()
    with pytest.raises(InvalidDataError, match="must have the root attribute release_sha256"):
        open_predictions(path, memory_release)


def test_a_file_that_was_cut_off_is_refused(memory_release, path):
    predict("zeros", memory_release, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InvalidDataError, match="cut off"):
        open_predictions(path, memory_release)


def test_a_file_of_a_future_version_is_refused(memory_release, path):
    predict("zeros", memory_release, path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 5
    with pytest.raises(InvalidDataError, match="has format_version 5, this qpibench reads 1 to 4"):
        open_predictions(path, memory_release)


def sha256_of(path, release):
    with open_predictions(path, release) as predictions:
        return predictions.sha256()


def test_two_runs_of_a_deterministic_model_have_one_hash_though_their_times_and_batches_differ(
    memory_release, tmp_path
):
    files = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path, batch_size in zip(files, (4, 32), strict=True):
        predict("median_kernel", memory_release, path, execution=Execution(batch_size=batch_size))
    assert files[0].read_bytes() != files[1].read_bytes()
    assert sha256_of(files[0], memory_release) == sha256_of(files[1], memory_release)


def _another_value(file):
    file["id/kernel"][0, 0, 0] += 1


def _another_name(file):
    file.attrs["record"] = file.attrs["record"].replace('"zeros"', '"ones"')


def _another_array(file):
    file["id/std"] = file["id/kernel"][:]


def _another_order(file):
    for name in ("index", "kernel"):
        file["ood"][name][:] = file["ood"][name][:][::-1]


@pytest.mark.parametrize("change", [_another_value, _another_name, _another_array, _another_order])
def test_another_value_model_array_or_order_of_rows_is_another_hash(memory_release, path, change):
    predict("zeros", memory_release, path)
    former = sha256_of(path, memory_release)
    with h5py.File(path, "r+") as file:
        change(file)
    assert sha256_of(path, memory_release) != former


def test_the_hash_is_the_one_that_the_documentation_describes(memory_release, path, write):
    index = memory_release.split("id", "test")
    kernel = np.linspace(-1, 1, len(index) * 120).reshape(-1, 12, 10)
    kernel[0], kernel[1] = -0.0, np.nan
    write(index=index.astype(">i8"), kernel=kernel)
    stored = np.where(kernel == 0, 0.0, kernel).astype("<f4")
    arrays = {"id/index": index.astype("<i4"), "id/kernel": stored}
    lines = ["qpibench predictions 1", memory_release.content_sha256, "{}"]
    for name, values in arrays.items():
        shape = "x".join(map(str, values.shape))
        lines.append(f"{name} {values.dtype.str} {shape} {hashlib.sha256(values.tobytes()).hexdigest()}")
    assert (
        sha256_of(path, memory_release) == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    )


def test_a_file_of_format_1_is_read_and_keeps_the_hash_of_the_file(memory_release, path):
    predict("zeros", memory_release, path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 1
    assert sha256_of(path, memory_release) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("record", ["no JSON", "{}", "extra"])
def test_a_record_that_is_not_valid_is_refused(memory_release, path, record):
    predict("zeros", memory_release, path)
    with h5py.File(path, "r+") as file:
        if record == "extra":
            record = json.dumps({**json.loads(file.attrs["record"]), "score": 0})
        file.attrs["record"] = record
    with pytest.raises(InvalidDataError, match="The record of predictions file"):
        open_predictions(path, memory_release)


def test_a_missing_file_is_a_wrong_request(memory_release, path):
    with pytest.raises(UsageError, match="There is no predictions file"):
        open_predictions(path, memory_release)


WRITE_WITH_A_LIMIT = """
import resource, sys
import numpy as np
from qpibench.errors import QpibenchError
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.grid import Grid

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
index = {"id": np.arange(100, dtype=np.int32)}
grid = Grid(ny=16, nx=16, size_y_nm=1, size_x_nm=1)
try:
    with PredictionsWriter(sys.argv[1], release_sha256="5" * 64, index=index, grid=grid) as writer:
        for start in range(0, 100, 10):
            writer.write("id", start, {"kernel": np.zeros((10, 16, 16), np.float32)})
        writer.finish(None)
except QpibenchError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [100, 3000, 50_000])
def test_a_disk_that_is_full_is_one_sentence_and_leaves_nothing(path, limit):
    # A limit on the size of files makes the same calls fail as a full disk does.
    run = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_A_LIMIT, str(path), str(limit)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == f"Predictions file '{path}' cannot be written: File too large.\n"
    assert run.stderr == ""
    assert not list(path.parent.glob("*predictions*"))


def test_a_writer_that_is_not_finished_leaves_nothing(memory_release, path):
    index = {"id": np.arange(3, dtype=np.int32)}
    with PredictionsWriter(path, release_sha256="5" * 64, index=index, grid=memory_release.grid) as writer:
        writer.write("id", 0, {"kernel": np.zeros((3, 12, 10), np.float32)})
    assert not list(path.parent.glob("*predictions*"))
