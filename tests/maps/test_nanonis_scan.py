"""Nanonis scans become maps with y up and x to the right, in the numbers of the file."""

import sys

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.readers.maps import read_maps

CURRENT = ("Current", "A")
SIZE = {"range_m": (6e-9, 4e-9)}


@pytest.fixture
def both(numbers):
    return {CURRENT: {"forward": numbers(4, 6), "backward": numbers(4, 6)}}


@pytest.mark.parametrize("scan_direction", ["up", "down"])
def test_either_scan_direction_gives_the_same_maps(nanonis, read_bytes, both, scan_direction):
    maps = read_bytes(nanonis.scan_bytes(both, scan_direction=scan_direction, **SIZE), "a.sxm")
    assert maps.scan_direction == scan_direction
    for direction, image in both[CURRENT].items():
        np.testing.assert_array_equal(maps.channel("current", direction).values, image)


def test_the_numbers_are_those_of_the_file_in_the_machines_order(nanonis, read_bytes, both):
    content = nanonis.scan_bytes(both, scan_direction="down", **SIZE)
    values = read_bytes(content, "a.sxm").channel("Current").values
    assert values.dtype == np.dtype("=f4")
    assert values.dtype.isnative
    assert values[-1].tobytes() == np.frombuffer(content, ">f4", 6, len(content) - 4 * 48).astype("=f4").tobytes()


def test_a_package_of_others_agrees_on_the_files_that_it_reads(nanonis, read_bytes, both, tmp_path):
    nanonispy2 = pytest.importorskip("nanonispy2")
    ours = read_bytes(nanonis.scan_bytes(both, **SIZE), "a.sxm")
    theirs = nanonispy2.read.Scan(str(tmp_path / "a.sxm")).signals["Current"]
    np.testing.assert_array_equal(ours.channel("Current", "forward").values, theirs["forward"])
    np.testing.assert_array_equal(ours.channel("Current", "backward").values, theirs["backward"][:, ::-1])


def test_the_frame_is_in_nm_with_points_at_the_centres_of_pixels(nanonis, read_bytes, both):
    content = nanonis.scan_bytes(both, offset_m=(1.500662e-7, -1.571085e-7), angle_deg=135.1, **SIZE)
    maps = read_bytes(content, "a.sxm")
    assert maps.grid.shape == (4, 6)
    assert (maps.grid.size_x_nm, maps.grid.size_y_nm) == (5.0, 3.0)
    assert maps.centre_nm == (150.0662, -157.1085)
    assert maps.angle_deg == 135.1


def test_lines_that_were_not_scanned_are_nan_and_said(nanonis, read_bytes, both):
    for image in both[CURRENT].values():
        image[:3] = np.nan
    maps = read_bytes(nanonis.scan_bytes(both, scan_direction="down", **SIZE), "a.sxm")
    assert np.isnan(maps.channel("Current").values[:3]).all()
    assert np.isfinite(maps.channel("Current").values[3]).all()
    assert maps.warnings == ("The scan is unfinished: 3 of 4 lines were not measured and are NaN.",)


def test_channels_of_one_direction_stand_beside_those_of_both(nanonis, read_bytes, numbers, both):
    images = {("Z", "m"): {"backward": numbers(4, 6)}, **both, ("Phase", "deg"): {"forward": numbers(4, 6)}}
    maps = read_bytes(nanonis.scan_bytes(images, **SIZE), "a.sxm")
    labels = ["Z (backward)", "Current (forward)", "Current (backward)", "Phase (forward)"]
    assert [channel.label for channel in maps.channels] == labels
    np.testing.assert_array_equal(maps.channel("Z").values, images["Z", "m"]["backward"])
    np.testing.assert_array_equal(maps.channel("Phase").values, images["Phase", "deg"]["forward"])


def test_channels_have_the_blanks_of_their_signals_and_their_units(nanonis, read_bytes, numbers):
    images = {("LI Demod 1 X", "A"): {"forward": numbers(4, 6)}, ("dIdV_lab", "S"): {"forward": numbers(4, 6)}}
    maps = read_bytes(nanonis.scan_bytes(images, **SIZE), "a.sxm")
    assert [(channel.name, channel.unit) for channel in maps.channels] == [("LI Demod 1 X", "A"), ("dIdV_lab", "S")]
    with pytest.raises(UsageError, match=r"no channel 'dI/dV'; its channels are 'LI Demod 1 X \(forward\)', 'dIdV_lab"):
        maps.channel("dI/dV")


def test_two_channels_of_one_name_are_both_kept(nanonis, read_bytes, numbers):
    images = {("Input 1", "A"): {"forward": numbers(4, 6)}, ("Input 1", "V"): {"forward": numbers(4, 6)}}
    maps = read_bytes(nanonis.scan_bytes(images, **SIZE), "a.sxm")
    assert [(channel.name, channel.unit) for channel in maps.channels] == [("Input 1", "A"), ("Input 1 #2", "V")]


def test_the_header_is_kept_whole_with_the_set_point(nanonis, read_bytes, both):
    comment = "4.4 K at 30°\n\nsecond line: Å"
    maps = read_bytes(nanonis.scan_bytes(both, comment=comment, encoding="cp1252", **SIZE), "a.SXM")
    assert maps.metadata["COMMENT"] == comment
    assert maps.metadata["NanonisMain>SW Version"] == "Generic 5"
    assert (maps.metadata["set-point bias"], maps.metadata["set-point"]) == ("-5.000E-02 V", "2.500E-11 A")


def test_line_ends_of_windows_do_not_move_the_numbers(nanonis, read_bytes, both):
    header, _, numbers = nanonis.scan_bytes(both, **SIZE).partition(b"\x1a\x04")
    maps = read_bytes(header.replace(b"\n", b"\r\n") + b"\x1a\x04" + numbers, "a.sxm")
    np.testing.assert_array_equal(maps.channel("Current").values, both[CURRENT]["forward"])


def test_little_endian_numbers_are_read_where_the_header_says_so(nanonis, read_bytes, both):
    content = nanonis.scan_bytes(both, order="<f4", change={"SCANIT_TYPE": "FLOAT LSBFIRST"}, **SIZE)
    np.testing.assert_array_equal(read_bytes(content, "a.sxm").channel("Current").values, both[CURRENT]["forward"])


def test_what_the_header_may_lack_is_said(nanonis, read_bytes, both):
    change = dict.fromkeys(["SCAN_DIR", "SCAN_OFFSET", "SCAN_ANGLE", "ACQ_TIME", "Scan>channels", "Z-CONTROLLER"])
    maps = read_bytes(nanonis.scan_bytes(both, change=change, **SIZE), "a.sxm")
    assert maps.scan_direction is None
    assert "The header of a.sxm has no 'SCAN_DIR'; the first line is taken for the lowest." in maps.warnings
    np.testing.assert_array_equal(maps.channel("Current").values, both[CURRENT]["forward"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SCAN_PIXELS": None}, "has no 'SCAN_PIXELS'"),
        ({"SCAN_PIXELS": "6 x"}, "has '6 x' as 'SCAN_PIXELS'; 2 finite numbers were expected"),
        ({"SCAN_PIXELS": "6 4.5"}, "whole numbers were expected"),
        ({"SCAN_PIXELS": "6 1"}, "has 6 x 1 points; maps need 2 to 4096 points along x and along y"),
        ({"SCAN_PIXELS": "999999999 999999999"}, "maps need 2 to 4096 points"),
        ({"SCAN_PIXELS": "4096 4096"}, r"is truncated: 2 images of 4096 x 4096 points need 134,217,728 bytes after"),
        ({"SCAN_RANGE": "0 0"}, "the sides must be between 1 pm and 1 mm"),
        ({"SCAN_RANGE": "nan 1e-9"}, "2 finite numbers were expected"),
        ({"SCAN_RANGE": None}, "has no 'SCAN_RANGE'"),
        ({"SCAN_DIR": "left"}, "has 'left' as 'SCAN_DIR'; 'up' or 'down' was expected"),
        ({"SCANIT_TYPE": "INT MSBFIRST"}, "are 'INT MSBFIRST'"),
        ({"DATA_INFO": None}, "has no 'DATA_INFO'"),
        ({"DATA_INFO": "\tChannel\tName\tUnit\tDirection\n"}, "has no channel"),
        ({"DATA_INFO": "\tChannel\tName\tUnit\tDirection\n\t0\tZ\tm\tsideways\n"}, "has the row .*'sideways'"),
        ({"NANONIS_VERSION": "1"}, "version 2 was expected"),
    ],
)
def test_a_header_that_cannot_be_is_one_sentence(nanonis, read_bytes, both, change, said):
    with pytest.raises(InvalidDataError, match=said):
        read_bytes(nanonis.scan_bytes(both, change=change, **SIZE), "a.sxm")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "'a.sxm' is empty; a Nanonis scan was expected"),
        (lambda content: b"\x89PNG" + content, "is no Nanonis scan: it begins with '.x89PNG"),
        (lambda content: content[:300], "is truncated: the header of the Nanonis scan has no end"),
        (lambda content: content[:-1], r"is truncated: 2 images of 6 x 4 points need 192 bytes .* 191 are there"),
        (lambda content: content[: content.index(b"\x1a") + 2], "and 0 are there"),
    ],
)
def test_a_damaged_file_is_one_sentence(nanonis, read_bytes, both, damage, said):
    with pytest.raises(InvalidDataError, match=said):
        read_bytes(damage(nanonis.scan_bytes(both, **SIZE)), "a.sxm")


def test_numbers_in_the_wrong_order_of_bytes_are_refused(nanonis, read_bytes, numbers):
    images = {CURRENT: {"forward": numbers(40, 60)}}
    with pytest.raises(InvalidDataError, match="wrong order of bytes: 'big-endian' was expected"):
        read_bytes(nanonis.scan_bytes(images, order="<f4", **SIZE), "a.sxm")


def test_a_constant_channel_does_not_hide_the_wrong_order_of_bytes(nanonis, read_bytes, numbers):
    height = {"forward": np.full((80, 80), 1.7243861e-11, np.float32)}
    images = {("Z", "m"): height, CURRENT: {"forward": numbers(80, 80)}}
    with pytest.raises(InvalidDataError, match="wrong order of bytes"):
        read_bytes(nanonis.scan_bytes(images, order="<f4", **SIZE), "a.sxm")


def test_a_channel_without_values_and_bytes_too_many_are_said(nanonis, read_bytes, numbers):
    images = {CURRENT: {"forward": numbers(4, 6), "backward": np.full((4, 6), np.nan, np.float32)}}
    maps = read_bytes(nanonis.scan_bytes(images, **SIZE) + b"end", "a.sxm")
    assert maps.warnings == (
        "a.sxm has 3 bytes more than its channels need, not read.",
        "The channel 'Current (backward)' has no value: it is NaN everywhere.",
    )


def test_no_optional_package_is_needed(nanonis, tmp_path, both, monkeypatch):
    monkeypatch.setitem(sys.modules, "nanonispy2", None)
    (tmp_path / "a.sxm").write_bytes(nanonis.scan_bytes(both, **SIZE))
    assert read_maps(tmp_path / "a.sxm").source.format == "Nanonis scan"


def test_two_biases_that_differ_are_said(nanonis, read_bytes, both):
    def warnings(bias):
        return read_bytes(nanonis.scan_bytes(both, change={"Bias>Bias (V)": bias}, **SIZE), "a.sxm").warnings

    assert warnings("-50E-3") == ()
    assert warnings("-70E-3") == (
        "The header tells two biases, -70E-3 V (Bias>Bias) and -5.000E-02 V (BIAS): the first is taken.",
    )
