"""A release whose values were changed after it was written is refused by whatever uses these values."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from qpibench.release import identity, open_release


def _set(name, place, value):
    def damage(path):
        with h5py.File(path, "r+") as file:
            file[name][place] = value

    return damage


def _row_of(role, task="id"):
    """Put the first row of a role in place of the first of the test role."""

    def damage(path):
        with h5py.File(path, "r+") as file:
            file[f"splits/{task}/test"][0] = file[f"splits/id/{role}"][0]

    return damage


def _twice(path):
    with h5py.File(path, "r+") as file:
        file["splits/id/test"][0] = file["splits/id/test"][1]


def _bit_flipped(path):
    with h5py.File(path, "r+") as file:
        file["observations/image"][17, 3, 5] = np.nextafter(file["observations/image"][17, 3, 5], np.float32(2))


SENSELESS = {
    "a train row in the ID test": (_row_of("train"), ["splits/id/test", "splits/id/train"]),
    "a train row in the OOD test": (_row_of("train", "ood"), ["splits/ood/test", "splits/id/train"]),
    "a validation row in the test": (_row_of("validation"), ["splits/id/test", "splits/id/validation"]),
    "a test row twice": (_twice, ["splits/id/test holds observation", "twice"]),
    "a large test row": (_set("splits/id/test", 0, 10**6), ["splits/id/test holds observation 1000000", "0 to 99"]),
    "a negative test row": (_set("splits/id/test", 0, -5), ["splits/id/test holds observation -5"]),
    "a negative kernel": (_set("observations/kernel", 3, -5), ["observations/kernel of observation 3"]),
    "a large kernel": (_set("observations/kernel", 3, 10), ["observations/kernel of observation 3", "0 to 9"]),
    "too many scatterers": (_set("observations/n_scatterers", 3, 101), ["observations/n_scatterers of observation 3"]),
    "a kernel that is NaN": (_set("kernels/image", (4, 0, 0), np.nan), ["kernels/image", "in kernel 4"]),
}
SENSELESS_IMAGES = {
    "an image that is NaN": (_set("observations/image", 17, np.nan), ["observations/image of observation 17", "NaN"]),
    "an infinite pixel": (_set("observations/image", (17, 0, 0), np.inf), ["observations/image of observation 17"]),
    "a position missing": (_set("observations/position_nm", (17, 0), np.nan), ["position_nm of observation 17"]),
    "half a position": (_set("observations/position_nm", (17, 0, 1), np.nan), ["position_nm of observation 17"]),
}
CHANGED = {"another kernel": (_set("observations/kernel", 3, 7), ["observations/kernel"])}
CHANGED_IMAGES = {
    "a flipped bit": (_bit_flipped, ["observations/image"]),
    "a moved scatterer": (_set("observations/position_nm", (17, 0), 1.0), ["observations/position_nm"]),
}


def _signed_again(path):
    """Give a changed release the digests of what it holds, as somebody does who wants it to be taken."""
    with open_release(path) as release:
        arrays = release.arrays
        digests = {
            name: identity.array_digest(array, identity.hash_blocks(array, release.read(name)))
            for name, array in arrays.items()
        }
        content = identity.content_digest(release.spec.canonical_json(), digests)
    with h5py.File(path, "r+") as file:
        for name, digest in digests.items():
            file[name].attrs["sha256"] = np.bytes_(digest)
        file.attrs["content_sha256"] = np.bytes_(content)


def _of_release(predictions, path, folder):
    """A copy of the predictions that says to be of a release."""
    copy = shutil.copy(predictions, folder / "predictions.h5")
    with h5py.File(copy, "r+") as file, h5py.File(path) as release:
        file.attrs["release_sha256"] = release.attrs["content_sha256"].decode()
    return copy


USES_IMAGES = {
    "evaluate": "evaluate zeros --release {release} -o {out}",
    "predict": "predict zeros --release {release} --limit 1 -o {out}",
    "report": "score {predictions} --release {release} -o {out} --report {out}.html",
    "train": "train {toy} --release {release} -o {out}",
    "export-csv": "export-csv {release} --kernel 0 -o {out}",
}
USES_TABLES = USES_IMAGES | {
    "score": "score {predictions} --release {release} -o {out}",
    "oracle": "oracle nearest_kernel --release {release} -o {out}",
    "compare": "compare {predictions} --against {predictions} --release {release}",
}


def _each(cases):
    return pytest.mark.parametrize(("damage", "words"), cases.values(), ids=cases.keys())


@pytest.fixture
def refuse(qpibench, mini, predictions, tmp_path, unchanged, write_model):
    """Run a command on a damaged release, and see it refuse and leave nothing."""

    def run(command, damage, words, *, signed):
        release = shutil.copy(mini, tmp_path / "release.h5")
        damage(release)
        if signed:
            _signed_again(release)
        toy = write_model("def train(run):\n    raise RuntimeError('not to be reached')\n")
        places = {"release": release, "toy": toy, "out": tmp_path / "out"}
        places["predictions"] = _of_release(predictions, release, tmp_path)
        with unchanged():
            outcome = qpibench(*(part.format(**places) for part in command.split()), "--json")
        outcome.fails(3, "release.h5", *words)

    return run


@_each(SENSELESS | CHANGED)
@pytest.mark.parametrize("command", USES_TABLES.values(), ids=USES_TABLES.keys())
def test_a_changed_table_is_refused_by_all_that_use_it(refuse, command, damage, words):
    refuse(command, damage, words, signed=False)


@_each(SENSELESS_IMAGES | CHANGED_IMAGES)
@pytest.mark.parametrize("command", USES_IMAGES.values(), ids=USES_IMAGES.keys())
def test_a_changed_image_is_refused_by_all_that_use_it(refuse, command, damage, words):
    refuse(command, damage, words, signed=False)


def test_a_result_has_no_picture_of_a_changed_image(refuse):
    refuse(USES_TABLES["score"], _bit_flipped, ["observations/image"], signed=False)


@_each(SENSELESS | SENSELESS_IMAGES)
@pytest.mark.parametrize("command", ["verify {release}", USES_IMAGES["evaluate"]], ids=["verify", "evaluate"])
def test_values_without_sense_are_refused_though_their_hashes_are_right(refuse, command, damage, words):
    refuse(command, damage, words, signed=True)


def test_a_digest_that_was_changed_with_its_array_is_found_by_the_content_hash(refuse):
    def damage(path):
        with h5py.File(path, "r+") as file:
            content = file.attrs["content_sha256"]
        _bit_flipped(path)
        _signed_again(path)
        with h5py.File(path, "r+") as file:
            file.attrs["content_sha256"] = content

    refuse(USES_IMAGES["evaluate"], damage, ["its content hash is not that of"], signed=False)


def test_images_that_are_not_used_are_not_read(qpibench, mini, tmp_path):
    release = shutil.copy(mini, tmp_path / "release.h5")
    _bit_flipped(release)
    assert qpibench("oracle", "nearest_kernel", "--release", release, "-o", tmp_path / "oracle.h5").exit_code == 0
    assert qpibench("info", release).exit_code == 0
