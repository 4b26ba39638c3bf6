"""Single scans of one frame become a stack that can be saved, read again and extracted from."""

from dataclasses import replace

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.maps.file import read, write_maps
from qpibench.maps.preparation import apply
from qpibench.maps.stack import only, stacked
from qpibench.readers.maps import read_maps

RANGE = {"range_m": (8e-9, 6e-9)}


@pytest.fixture
def scan(nanonis, read_bytes, numbers):
    """Reads a scan of some bias in V."""

    def made(bias, name="a.sxm", *, channels=(("Current", "A"), ("Z", "m")), **frame):
        images = {channel: {"forward": numbers(6, 8), "backward": numbers(6, 8)} for channel in channels}
        return read_bytes(nanonis.scan_bytes(images, bias=bias, **(RANGE | frame)), name)

    return made


def test_layers_are_those_of_the_files_by_ascending_bias(scan, tmp_path):
    scans = [scan(0.02, "b.sxm", scan_direction="down"), scan(-0.04, "a.sxm"), scan(0.1, "c.sxm")]
    stack = stacked(scans)
    assert stack.axis.energy_mev == pytest.approx([-40, 20, 100])
    for label in ("Current (forward)", "Current (backward)", "Z (forward)"):
        for layer, one in zip(stack.channel(label).values, [scans[1], scans[0], scans[2]], strict=True):
            np.testing.assert_array_equal(layer, one.channel(label).values)
    assert stack.metadata["layer 1"] == f"b.sxm, SHA-256 {scans[0].source.sha256}"
    assert "set-point bias" not in stack.metadata
    assert stack.metadata["set-point"] == scans[0].metadata["set-point"]
    assert stack.scan_direction is None
    write_maps(stack, tmp_path / "stack.h5")
    assert read(tmp_path / "stack.h5").metadata == stack.metadata


def test_another_order_of_the_files_is_the_same_stack(scan):
    one, other = scan(-0.04, "a.sxm"), scan(0.02, "b.sxm")
    assert stacked([one, other]).source == stacked([other, one]).source


def test_told_energies_are_those_of_the_files_in_their_order(scan):
    unknown = [replace(scan(0.1, name), metadata={}) for name in ("a.sxm", "b.sxm")]
    stack = stacked(unknown, [30, -10])
    assert stack.axis.energy_mev == pytest.approx([-10, 30])
    assert stack.metadata["layer 0"].startswith("b.sxm")
    assert stack.metadata["told energies in meV"] == "[-10.0, 30.0]"
    assert stack.source.sha256 != stacked(unknown, [3, -1]).source.sha256
    with pytest.raises(UsageError, match=r"'a.sxm' tells its bias itself, 100 mV, not 30 mV"):
        stacked([scan(0.1, "a.sxm"), unknown[1]], [30, -10])


def test_maps_whose_format_has_no_names_of_channels_are_joined(tmp_path, numbers):
    scans = []
    for name in ("one.npy", "other.npy"):
        np.save(tmp_path / name, numbers(6, 8))
        scans.append(read_maps(tmp_path / name, size_nm=7.0, first_row="top"))
    stack = stacked(scans, [10, 20])
    np.testing.assert_array_equal(stack.channel("Map").values[1], scans[1].channel("other").values)


def test_only_one_channel_is_joined_if_it_is_asked_for(scan):
    scans = [scan(0.1), scan(0.2)]
    assert [one.label for one in only(scans[0], "current").channels] == ["Current (forward)", "Current (backward)"]
    stack = stacked([only(one, "Z (backward)") for one in scans])
    assert [one.label for one in stack.channels] == ["Z (backward)"]
    with pytest.raises(UsageError, match="no channel 'Phase'"):
        only(scans[0], "Phase")


def test_channels_that_one_file_lacks_are_left_out_and_said(scan):
    stack = stacked([scan(0.1), scan(0.2, channels=[("Current", "A"), ("Z", "pm"), ("Phase", "deg")])])
    assert [one.label for one in stack.channels] == ["Current (forward)", "Current (backward)"]
    assert "Phase (backward), Phase (forward), Z (backward), Z (forward)" in stack.warnings[-1]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"range_m": (8e-9, 6.5e-9)}, "7 x 5.41667 nm"),
        ({"offset_m": (1e-9, 0)}, r"at \(1, 0\) nm"),
        ({"angle_deg": 3.0}, "turned by 3 degrees"),
        ({"angle_deg": 180.0}, "turned by 180 degrees"),
    ],
)
def test_another_frame_is_refused(scan, frame, words):
    with pytest.raises(InvalidDataError, match=f"'b.sxm' has another frame than 'a.sxm'.*{words}"):
        stacked([scan(0.1), scan(0.2, "b.sxm", **frame)])


@pytest.mark.parametrize("frame", [{"angle_deg": 360.0}, {"offset_m": (1e-13, 0)}, {"range_m": (8.0001e-9, 6e-9)}])
def test_a_frame_that_rounding_changes_is_the_same(scan, frame):
    assert len(stacked([scan(0.1), scan(0.2, **frame)]).axis.values) == 2


def test_what_makes_no_stack_is_refused_in_one_sentence(scan):
    one, other = scan(0.1, "a.sxm"), scan(0.2, "b.sxm")
    unknown, prepared = replace(other, metadata={}), apply(other, "plane")
    refused = [
        (UsageError, [one], None, "two maps at least"),
        (UsageError, [stacked([one, other]), one], None, "a stack already"),
        (UsageError, [one, prepared], None, "'b.sxm' was prepared"),
        (UsageError, [one, other], [1], "give as many energies, found 1"),
        (InvalidDataError, [one, replace(one, metadata={})], [100, 2], "'a.sxm' and 'a.sxm' are the same file"),
        (InvalidDataError, [one, unknown], None, "'b.sxm' does not tell its bias"),
        (InvalidDataError, [one, unknown], [100, np.nan], "finite"),
        (InvalidDataError, [one, scan(0.1, "c.sxm")], None, "'a.sxm' and 'c.sxm' are both at 100 meV"),
        (InvalidDataError, [one, scan(0.2, channels=[("Phase", "deg")])], None, "No channel is in all files"),
    ]
    for error, scans, told, words in refused:
        with pytest.raises(error, match=words):
            stacked(scans, told)
