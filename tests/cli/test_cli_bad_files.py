"""Invalid files give one sentence and exit code 3; nothing is lost or written."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest


def _truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:300])


def _emptied(path):
    path.write_bytes(b"")


def _text(path):
    path.write_text("x,y\n1,2\n")


def _bit_of_an_image_flipped(path):
    with h5py.File(path, "r+") as file:
        file["observations/image"][17, 3, 5] += np.float32(1e-3)


def _bit_of_a_position_flipped(path):
    with h5py.File(path, "r+") as file:
        file["observations/position_nm"][17, 0, 0] += 1e-6


def _bit_of_a_split_flipped(path):
    with h5py.File(path, "r+") as file:
        file["splits/id/test"][0] += 1


def _foreign(path):
    with h5py.File(path, "w") as file:
        file["measurement"] = np.zeros(3)


def _of_the_future(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 999


def _unfinished(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["content_sha256"]


def _without_images(path):
    with h5py.File(path, "r+") as file:
        del file["observations/image"]


def _of_another_spec(path):
    with h5py.File(path, "r+") as file:
        file.attrs["spec"] = np.bytes_(file.attrs["spec"].replace(b'"seed":0', b'"seed":1'))


UNREADABLE = [
    (_truncated, ["truncated"]),
    (_cut_in_the_header, ["release.h5"]),
    (_emptied, ["not an HDF5 file"]),
    (_text, ["not an HDF5 file"]),
    (_foreign, ["not a qpibench release"]),
    (_of_the_future, ["format version 999", "upgrade"]),
    (_unfinished, ["interrupted"]),
    (_without_images, ["observations/image"]),
]
CHANGED = [
    (_bit_of_an_image_flipped, ["observations/image"]),
    (_bit_of_a_position_flipped, ["observations/position_nm"]),
    (_bit_of_a_split_flipped, ["splits/id/test"]),
    (_of_another_spec, ["spec"]),
]


def _name(value):
    return value.__name__.strip("_") if callable(value) else ""


@pytest.fixture
def release(mini, tmp_path):
    path = tmp_path / "release.h5"
    shutil.copy(mini, path)
    return path


@pytest.mark.parametrize(("damage", "words"), UNREADABLE, ids=_name)
@pytest.mark.parametrize(
    "command",
    [
        "info {release}",
        "verify {release}",
        "verify {release} --regenerate",
        "export-csv {release} --kernel 0 -o {out}",
        "evaluate zeros --release {release} -o {out}",
        "score {predictions} --release {release} -o {out}",
        "generate mini -o {release} --resume",
    ],
)
def test_a_release_that_cannot_be_read(qpibench, release, predictions, tmp_path, unchanged, damage, words, command):
    damage(release)
    places = {"release": release, "predictions": predictions, "out": tmp_path / "out"}
    with unchanged():
        qpibench(*(part.format(**places) for part in command.split()), "--json").fails(3, *words)


@pytest.mark.parametrize(("damage", "words"), CHANGED, ids=_name)
@pytest.mark.parametrize("options", [[], ["--regenerate"]], ids=["file", "spec"])
def test_a_release_with_a_value_changed(qpibench, release, unchanged, damage, words, options):
    damage(release)
    with unchanged():
        qpibench("verify", release, *options, "--json").fails(3, *words)


def test_no_flipped_bit_of_the_file_is_met_with_an_unexpected_error(qpibench, release):
    whole = release.read_bytes()
    rng = np.random.default_rng(5)
    # Where HDF5 keeps its structures, and anywhere.
    places = [*range(0, 96, 5), *rng.integers(0, 20_000, 60), *rng.integers(0, len(whole), 20)]
    codes = []
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        release.write_bytes(damaged)
        outcome = qpibench("verify", release)
        codes.append(outcome.exit_code)
        if outcome.exit_code:  # bytes that stand for nothing may change
            outcome.fails(3, "release.h5")
    assert codes.count(3) > len(codes) / 4


GRID = "-15,-5,5,15"
KERNEL = ",".join(["0.5"] * 16 + ["0", "0", "1000", "1000"])
IMAGE = ",".join(["0.25"] * 16 + ["1", "2", "1000", "1000"])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param([], ["is empty"], id="empty"),
        pytest.param(["4"], ["row 1", "expected two numbers"], id="one number in the first row"),
        pytest.param(["4,2"], ["ends before", "coordinates"], id="no coordinates"),
        pytest.param(["4,2", GRID], ["ends before", "kernel"], id="no kernel"),
        pytest.param(["4,2", GRID, KERNEL], ["ends before", "image"], id="no image"),
        pytest.param(["4,2", "-15,-5,5", KERNEL, IMAGE], ["row 2", "expected 4", "found 3"], id="a pixel is missing"),
        pytest.param(["4,2", "-15,-5,6,15", KERNEL, IMAGE], ["row 2, column 3", "evenly"], id="uneven pixels"),
        pytest.param(
            ["4,2", GRID, KERNEL + ",0", IMAGE], ["row 3", "expected 20 columns", "found 21"], id="a column too many"
        ),
        pytest.param(
            ["4,2", GRID, KERNEL, IMAGE[:-5]], ["row 4", "expected 20 columns", "found 19"], id="a column too few"
        ),
        pytest.param(
            ["4,2", GRID, KERNEL, IMAGE, IMAGE[:3]], ["row 5", "expected 20 columns", "found 1"], id="cut off"
        ),
        pytest.param(["4,2", GRID, KERNEL, IMAGE.replace("0.25", "nan", 1)], ["row 4, column 1", "'nan'"], id="NaN"),
        pytest.param(
            ["4,2", GRID, KERNEL.replace("0.5", "inf", 1), IMAGE], ["row 3, column 1", "'inf'"], id="infinity"
        ),
        pytest.param(["4,2", GRID, KERNEL, IMAGE.replace("0.25", "much", 1)], ["row 4, column 1", "'much'"], id="text"),
        pytest.param(["4,2", GRID, KERNEL, IMAGE.replace("0.25", "", 1)], ["row 4, column 1", "nothing"], id="nothing"),
        pytest.param(
            ["4,2", GRID, KERNEL, IMAGE.replace(",2,", ",16,")],
            ["row 4, column 18", "y = 16", "outside the field"],
            id="a coordinate outside the field",
        ),
        pytest.param(["4.5,2", GRID, KERNEL, IMAGE], ["row 1, column 1", "4.5"], id="half a pixel"),
    ],
)
def test_a_csv_file_that_is_not_of_the_layout(qpibench, tmp_path, unchanged, rows, words):
    file = tmp_path / "kernel.csv"
    file.write_text("\n".join([*rows, ""]) if rows else "")
    with unchanged():
        qpibench("import", file, "-o", tmp_path / "release.h5", "--json").fails(3, "kernel.csv", *words)


def test_a_csv_file_of_this_test_without_its_fault_is_imported(qpibench, tmp_path):
    file = tmp_path / "kernel.csv"
    file.write_text("\n".join(["4,2", GRID, KERNEL, IMAGE, ""]))
    assert qpibench("import", file, "-o", tmp_path / "release.h5", "--max-residual", 9).exit_code == 0


def test_csv_files_of_different_grids(qpibench, tmp_path, unchanged):
    for name, grid in (("a.csv", GRID), ("b.csv", "-30,-10,10,30")):
        (tmp_path / name).write_text("\n".join(["4,2", grid, KERNEL, IMAGE, ""]))
    with unchanged():
        outcome = qpibench("import", tmp_path / "a.csv", tmp_path / "b.csv", "-o", tmp_path / "release.h5")
    outcome.fails(3, "b.csv", "a.csv", "different releases")


def _for_another_release(file):
    file.attrs["release_sha256"] = "0" * 64


def _rows_missing(file):
    for name in ("kernel", "index"):
        values = file["id"][name][:-1]
        del file["id"][name]
        file["id"][name] = values


def _row_twice(file):
    file["ood/index"][0] = file["ood/index"][1]


def _rows_not_asked_for(file):
    file["id/index"][0] = 0


def _kernels_missing(file):
    del file["id/kernel"]


def _of_a_wrong_shape(file):
    values = file["id/kernel"][:, 1:]
    del file["id/kernel"]
    file["id/kernel"] = values


def _of_a_wrong_type(file):
    values = file["id/kernel"][:].astype(int)
    del file["id/kernel"]
    file["id/kernel"] = values


def _of_an_unknown_task(file):
    file.move("id", "noise")


def _of_a_later_format(file):
    file.attrs["format_version"] = 9


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_for_another_release, ["another release", "0" * 64]),
        (_rows_missing, ["task 'id'", "1 of 4 rows are missing"]),
        (_row_twice, ["task 'ood'", "more than once"]),
        (_rows_not_asked_for, ["task 'id'", "not asked for"]),
        (_kernels_missing, ["task 'id'", "'kernel' is missing"]),
        (_of_a_wrong_shape, ["'kernel' must be floating point of shape (4, 64, 64)", "(4, 63, 64)"]),
        (_of_a_wrong_type, ["'kernel' must be floating point", "int64"]),
        (_of_an_unknown_task, ["task 'noise'", "id, ood"]),
        (_of_a_later_format, ["format_version 9"]),
    ],
    ids=_name,
)
@pytest.mark.parametrize("again", [False, True], ids=["score", "leaderboard check"])
def test_predictions_that_are_not_for_the_release(
    qpibench, mini, predictions, result, tmp_path, unchanged, damage, words, again
):
    file = tmp_path / "predictions.h5"
    shutil.copy(predictions, file)
    with h5py.File(file, "r+") as opened:
        damage(opened)
    with unchanged():
        if again:
            outcome = qpibench("leaderboard", "check", result, "--predictions", file, "--release", mini)
        else:
            outcome = qpibench("score", file, "--release", mini, "-o", tmp_path / "result.json", "--json")
        outcome.fails(3, *words)


@pytest.mark.parametrize("damage", [_truncated, _emptied, _text, _foreign], ids=_name)
def test_a_file_that_holds_no_predictions(qpibench, mini, predictions, tmp_path, unchanged, damage):
    file = tmp_path / "predictions.h5"
    shutil.copy(predictions, file)
    damage(file)
    with unchanged():
        outcome = qpibench("score", file, "--release", mini, "-o", tmp_path / "result.json", "--json")
    outcome.fails(3, "predictions.h5", "not a predictions file")


def _of_better_cells(result):
    for cell in result["cells"].values():
        cell["metrics"]["rel_l2_capped"] = {"value": 0.01, "low": 0.01, "high": 0.01}
    return result


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda result: "{", ["not valid JSON"]),
        (lambda result: "[]", ["no schema_version"]),
        (lambda result: json.dumps(result | {"schema_version": 9}), ["schema_version 9"]),
        (lambda result: json.dumps(result | {"colour": "red"}), ["unknown field 'colour'"]),
        (lambda result: json.dumps({key: result[key] for key in result if key != "cells"}), ["'cells'"]),
        (lambda result: json.dumps(_of_better_cells(result)), ["contradicts itself", "rel_l2_capped is 0.01"]),
    ],
    ids=["not JSON", "no result", "later schema", "unknown field", "no cells", "edited by hand"],
)
@pytest.mark.parametrize("command", ["leaderboard check {file}", "leaderboard build {folder} -o {site}"])
def test_a_result_that_is_not_valid(qpibench, result, tmp_path, unchanged, change, words, command):
    file = tmp_path / "results" / "result.json"
    file.parent.mkdir()
    file.write_text(change(json.loads(result.read_text())))
    places = {"file": file, "folder": file.parent, "site": tmp_path / "site"}
    with unchanged():
        qpibench(*(part.format(**places) for part in command.split()), "--json").fails(3, "result.json", *words)


def test_a_result_with_a_better_number_is_found_out(qpibench, mini, predictions, result, tmp_path):
    changed = json.loads(result.read_text())
    for cell in changed["cells"].values():
        for each in (cell, *cell["parts"]):
            each["metrics"]["ssim"] |= {"value": 0.99, "high": 1.0}
    file = tmp_path / "result.json"
    file.write_text(json.dumps(changed))
    outcome = qpibench("leaderboard", "check", file, "--predictions", predictions, "--release", mini, "--json")
    outcome.fails(3, "result.json", "not what its predictions score", "cells.id.metrics.ssim.value is 0.99")
