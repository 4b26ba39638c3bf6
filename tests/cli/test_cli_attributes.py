"""`verify` also holds attributes, units and dimensions to what the writer writes, as other programs read them."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

NOISE = ["--set", "corruptions.white_noise.snr_db=10"]


def _attribute(item, name, value):
    def change(file):
        file[item].attrs[name] = value

    return change


def _deleted(item, name):
    def change(file):
        del file[item].attrs[name]

    return change


def _detached(file):
    file["observations/image"].dims[2].detach_scale(file["x"])


def _other_way_round(file):
    image = file["kernels/image"]
    for axis, (old, new) in {1: ("y", "x"), 2: ("x", "y")}.items():
        image.dims[axis].detach_scale(file[old])
        image.dims[axis].attach_scale(file[new])


def _without_dimension(file):
    del file["scatterer"]


CHANGES = {
    "units of x": (_attribute("x", "units", np.bytes_("m")), ["units of x is 'm'", "'nm' is expected"]),
    "units of positions": (_attribute("observations/position_nm", "units", np.bytes_("A")), ["position_nm", "'A'"]),
    "units in a heap": (_attribute("x", "units", "nm"), ["units of x is no text of fixed length"]),
    "no units": (_deleted("y", "units"), ["units of y is missing"]),
    "a number for units": (_attribute("y", "units", 3), ["units of y is no text"]),
    "a long name": (_attribute("x", "long_name", np.bytes_("n" * 5000)), ["long_name of x", "..."]),
    "the hash of an array": (_attribute("x", "sha256", np.bytes_("0" * 64)), ["sha256 of x"]),
    "the format": (_attribute("/", "format_version", 2), ["format_version is 2", "format 1"]),
    "white space in the spec": (lambda file: _spaced(file), ["spec of the file"]),
    "no package version": (_deleted("/", "package_version"), ["package_version of the file is missing"]),
    "an axis without dimension": (_detached, ["axis 2 of observations/image lacks the dimension x"]),
    "axes the other way round": (_other_way_round, ["of kernels/image", "the dimension"]),
    "a dimension missing": (_without_dimension, ["the dimension scatterer of length 100 is missing"]),
    "a dimension's name": (_attribute("kernel", "NAME", np.bytes_("kernel")), ["NAME of the dimension kernel"]),
    "no dimension list": (_deleted("kernels/B", "DIMENSION_LIST"), ["kernels/B has no dimensions"]),
}


def _spaced(file):
    file.attrs["spec"] = np.bytes_(file.attrs["spec"].replace(b",", b", "))


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_attribute_is_found(qpibench, mini, tmp_path, change, words):
    release = shutil.copy(mini, tmp_path / "release.h5")
    with h5py.File(release, "r+") as file:
        change(file)
    qpibench("verify", release, "--json").fails(3, "release.h5", *words)


@pytest.mark.parametrize("options", [["--compression", "gzip"], NOISE], ids=["compressed", "noisy"])
def test_every_kind_of_release_is_as_the_writer_writes_it(qpibench, tmp_path, options):
    assert qpibench("generate", "mini", *options, "-o", tmp_path / "release.h5").exit_code == 0
    assert qpibench("verify", tmp_path / "release.h5").exit_code == 0


def test_a_virtual_release_is_as_the_writer_writes_it(qpibench, tmp_path):
    assert qpibench("generate", "mini", "--shard", "1/1", "-o", tmp_path / "shards").exit_code == 0
    assert qpibench("merge", tmp_path / "shards", "--virtual", "-o", tmp_path / "release.h5").exit_code == 0
    assert qpibench("verify", tmp_path / "release.h5").exit_code == 0
    with h5py.File(tmp_path / "release.h5", "r+") as file:
        file["x"].attrs["units"] = np.bytes_("m")
    qpibench("verify", tmp_path / "release.h5").fails(3, "units of x is 'm'")
