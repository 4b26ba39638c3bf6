"""Nanonis grids become maps over the axis that was swept, in the numbers of the file."""

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.readers.maps import read_maps

SIZE = {"size_m": (5e-9, 4e-9)}
LINEAR = {"sweep": (0.2, -0.1), **SIZE}


@pytest.fixture
def current(numbers):
    """Sweeps of 6 points on 4 x 5 points."""
    return {"Current (A)": numbers(6, 4, 5)}


def test_a_grid_is_read_with_its_axis_as_it_was_swept(nanonis, read_bytes, current):
    maps = read_bytes(nanonis.grid_bytes(current, **LINEAR), "a.3ds")
    assert (maps.axis.name, maps.axis.unit) == ("Bias", "V")
    np.testing.assert_array_equal(maps.axis.values, np.linspace(0.2, -0.1, 6))
    np.testing.assert_allclose(maps.axis.energy_mev, [200, 140, 80, 20, -40, -100], atol=1e-12)
    assert maps.channel("Current").values.dtype.isnative
    np.testing.assert_array_equal(maps.channel("Current").values, current["Current (A)"])


def test_the_points_lie_where_the_file_says(nanonis, read_bytes, current):
    maps = read_bytes(nanonis.grid_bytes(current, centre_m=(1.10662e-7, 2.33166e-7), **LINEAR), "a.3ds")
    assert (maps.grid.size_x_nm, maps.grid.size_y_nm) == (4.0, 3.0)
    assert maps.centre_nm == (110.662, 233.166)
    x, y = (maps.channel(f"{name} [point]").values.astype(float) * 1e9 for name in "XY")
    np.testing.assert_allclose(x, np.tile(maps.grid.x_nm + 110.662, (4, 1)), atol=1e-4)
    np.testing.assert_allclose(y, np.tile((maps.grid.y_nm + 233.166)[:, None], (1, 5)), atol=1e-4)


def test_a_package_of_others_agrees_on_the_files_that_it_reads(nanonis, read_bytes, current, tmp_path):
    nanonispy2 = pytest.importorskip("nanonispy2")
    ours = read_bytes(nanonis.grid_bytes(current, parameters={"Z (m)": np.ones((4, 5))}, **LINEAR), "a.3ds")
    theirs = nanonispy2.read.Grid(str(tmp_path / "a.3ds")).signals
    np.testing.assert_array_equal(np.moveaxis(ours.channel("Current").values, 0, -1), theirs["Current (A)"])
    np.testing.assert_allclose(ours.axis.values, theirs["sweep_signal"], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(ours.channel("Z [point]").values, theirs["topo"])


def test_the_axis_follows_the_segments_of_a_multi_segment_sweep(nanonis, read_bytes, numbers):
    """Where two segments meet, the value is measured once."""
    segments = [(0.3, 0.0, 4), (0.0, -0.5, 3)]
    maps = read_bytes(nanonis.grid_bytes({"Current (A)": numbers(6, 4, 5)}, sweep=segments, **SIZE), "a.3ds")
    np.testing.assert_allclose(maps.axis.values, [0.3, 0.2, 0.1, 0.0, -0.25, -0.5], atol=1e-15)
    assert not maps.warnings


def test_segments_that_do_not_meet_are_joined_with_all_their_points(nanonis, read_bytes, numbers):
    segments = [(-0.3, -0.1, 3), (0.1, 0.3, 3)]
    maps = read_bytes(nanonis.grid_bytes({"Current (A)": numbers(6, 4, 5)}, sweep=segments, **SIZE), "a.3ds")
    np.testing.assert_allclose(maps.axis.values, [-0.3, -0.2, -0.1, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "given",
    [
        {"sweep": [(0.3, 0.0, 9), (0.0, -0.5, 9)]},
        {"sweep": (0.2, -0.1), "change": {"Fixed parameters": '"A;B"'}},
        {"sweep": (0.2, -0.1), "change": {"Sweep Signal": None}},
    ],
)
def test_an_axis_that_the_header_does_not_tell_is_never_called_bias(nanonis, read_bytes, current, given):
    maps = read_bytes(nanonis.grid_bytes(current, **given, **SIZE), "a.3ds")
    assert (maps.axis.name, list(maps.axis.values)) == ("Point", [0, 1, 2, 3, 4, 5])
    assert "the axis counts the points of the sweep" in maps.warnings[-1]


def test_a_sweep_of_the_height_is_not_called_bias(nanonis, read_bytes, current):
    maps = read_bytes(nanonis.grid_bytes(current, sweep=(0.0, -1e-10), signal="Z rel (m)", **SIZE), "a.3ds")
    assert (maps.axis.name, maps.axis.unit) == ("Z rel", "m")
    with pytest.raises(InvalidDataError, match="The axis of the maps is 'Z rel' in m, not a bias"):
        maps.axis.energy_mev  # noqa: B018


@pytest.mark.parametrize(
    "given",
    [
        {"sweep": (0.1, 0.3), "signal": "Applied Voltage (V)"},
        {"sweep": (0.2, -0.1), "change": {"Sweep Signal": None}},
    ],
)
def test_energies_may_be_told_for_a_sweep_that_is_no_bias_by_its_name(nanonis, current, tmp_path, given):
    path = tmp_path / "a.3ds"
    path.write_bytes(nanonis.grid_bytes(current, **given, **SIZE))
    with pytest.raises(InvalidDataError, match=r"not a bias; if it stands for energies, tell them"):
        read_maps(path).axis.energy_mev  # noqa: B018
    maps = read_maps(path, energy_mev=(100, 300))
    np.testing.assert_allclose(maps.axis.energy_mev, [100, 140, 180, 220, 260, 300])
    assert maps.metadata["told energies in meV"] == "[100.0, 300.0]"
    with pytest.raises(UsageError, match="has 6 layers; give as many finite energies"):
        read_maps(path, energy_mev=[1, 2, 3])


@pytest.mark.parametrize(
    ("signal", "words"),
    [("Bias (V)", "tells its energies itself"), ("Z rel (m)", "tells the axis 'Z rel' in m itself")],
)
def test_energies_that_a_grid_tells_and_heights_are_not_replaced(nanonis, current, tmp_path, signal, words):
    path = tmp_path / "a.3ds"
    path.write_bytes(nanonis.grid_bytes(current, sweep=(0.1, 0.3), signal=signal, **SIZE))
    with pytest.raises(UsageError, match=words):
        read_maps(path, energy_mev=(100, 300))


def test_backward_sweeps_and_single_and_average_sweeps_have_names_of_their_own(nanonis, read_bytes, numbers):
    names = ["Current [AVG] (A)", "Current [AVG] [bwd] (A)", "Current [00001] (A)", "LI Demod 1 X (A) [bwd] [filt]"]
    sweeps = {name: numbers(6, 4, 5) for name in names}
    maps = read_bytes(nanonis.grid_bytes(sweeps, **LINEAR), "a.3ds")
    labels = ["Current [AVG] (forward)", "Current [AVG] (backward)", "Current [00001] (forward)"]
    assert [channel.label for channel in maps.channels[:4]] == [*labels, "LI Demod 1 X [filt] (backward)"]
    for channel, values in zip(maps.channels[:4], sweeps.values(), strict=True):
        assert channel.unit == "A"
        np.testing.assert_array_equal(channel.values, values)


def test_parameters_of_the_points_are_maps_beside_sweeps_of_the_same_name(nanonis, read_bytes, numbers):
    height = numbers(4, 5)
    content = nanonis.grid_bytes(
        {"Z (m)": numbers(6, 4, 5)}, parameters={"Z (m)": height, "Z-Ctrl hold": height}, **LINEAR
    )
    maps = read_bytes(content, "a.3ds")
    assert maps.channel("Z").values.shape == (6, 4, 5)
    assert maps.channel("Z [point]").unit == "m"
    np.testing.assert_array_equal(maps.channel("Z [point]").values, height)


@pytest.mark.parametrize("rest", ["zeros", "nothing"])
def test_points_that_a_stopped_experiment_lacks_are_nan_and_said(nanonis, read_bytes, current, rest):
    maps = read_bytes(nanonis.grid_bytes(current, measured=13, rest=rest, **LINEAR), "a.3ds")
    assert maps.warnings == ("The grid is unfinished: 7 of 20 points were not measured and are NaN.",)
    for channel in maps.channels:
        assert np.isnan(channel.values.reshape(-1, 20)[:, 13:]).all()
        assert np.isfinite(channel.values.reshape(-1, 20)[:, :13]).all()


def test_the_sweep_within_which_an_experiment_was_stopped_ends_with_nan(nanonis, read_bytes, current):
    current["Current (A)"][4:, 2, 2] = 0
    values = read_bytes(nanonis.grid_bytes(current, measured=13, **LINEAR), "a.3ds").channel("Current").values
    assert np.isfinite(values[:4, 2, 2]).all()
    assert np.isnan(values[4:, 2, 2]).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_grid_without_a_measured_point_is_refused_and_an_empty_channel_is_said(nanonis, read_bytes, current, value):
    content = nanonis.grid_bytes(current, **LINEAR)
    header = content.index(b":HEADER_END:\r\n") + 14
    empty = np.full((len(content) - header) // 4, value, ">f4").tobytes()
    with pytest.raises(InvalidDataError, match="no measured point: all its numbers are zero or NaN"):
        read_bytes(content[:header] + empty, "a.3ds")
    both = current | {"Z (m)": np.full((6, 4, 5), np.nan)}
    assert read_bytes(nanonis.grid_bytes(both, **LINEAR), "a.3ds").warnings == (
        "The channel 'Z' has no value: it is NaN everywhere.",
    )


def test_a_channel_that_was_zero_everywhere_stays_zero(nanonis, read_bytes):
    maps = read_bytes(nanonis.grid_bytes({"Current (A)": np.zeros((6, 4, 5))}, **LINEAR), "a.3ds")
    assert not maps.channel("Current").values.any()
    assert not maps.warnings


def test_the_header_is_kept_whole_with_the_set_point(nanonis, read_bytes, current):
    comment = "gap = 3 mV; 30°\nPoints=7\nlast line"
    maps = read_bytes(nanonis.grid_bytes(current, comment=comment, encoding="cp1252", **LINEAR), "a.3DS")
    assert maps.metadata["Comment"] == comment
    assert maps.metadata["Points"] == "6"
    assert (maps.metadata["set-point bias"], maps.metadata["set-point"]) == ("2.000000E-01 V", "2.500000E-11 A")


def test_a_comment_of_several_lines_without_quotation_marks_changes_nothing(nanonis, read_bytes, current):
    maps = read_bytes(nanonis.grid_bytes(current, change={"Comment": "first\r\nPoints=7"}, **LINEAR), "a.3ds")
    assert maps.channel("Current").values.shape == (6, 4, 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Grid dim": '"5 x"'}, "has '5 x' as 'Grid dim'; 2 finite numbers were expected"),
        ({"Grid dim": '"20 x 1"'}, "has 20 x 1 points; maps need 2 to 4096 points"),
        ({"Grid settings": None}, "has no 'Grid settings'"),
        ({"Grid settings": "0;0;5E-9"}, "5 finite numbers were expected"),
        ({"Points": None}, "has no 'Points'"),
        ({"Points": "0"}, "has 1 channel of 0 points"),
        ({"Channels": '""'}, "has 0 channels of 6 points"),
        ({"# Parameters (4 byte)": None}, "has no '# Parameters"),
        ({"Grid dim": '"4096 x 4096"'}, "has 20 of 4096 x 4096 points: not one line of the grid was measured"),
        ({"Points": "50000000"}, r"is truncated: its 5 x 4 records of 200,000,016 bytes need 4,000,000,320 bytes"),
    ],
)
def test_a_header_that_cannot_be_is_one_sentence(nanonis, read_bytes, current, change, said):
    with pytest.raises(InvalidDataError, match=said):
        read_bytes(nanonis.grid_bytes(current, change=change, **LINEAR), "a.3ds")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "'a.3ds' is empty; a Nanonis grid was expected"),
        (lambda content: b"\x1f\x8b" + content, "is no Nanonis grid: it begins with"),
        (lambda content: content[:300], "is truncated: the header of the Nanonis grid has no end"),
        (lambda content: content[:-1], "is truncated: .* ends within a record"),
        (lambda content: content[: content.index(b"_END:\r\n") + 7], "has 0 of 5 x 4 points"),
        (lambda content: content[: content.index(b"_END:\r\n") + 7] + bytes(800), "has no measured point"),
    ],
)
def test_a_damaged_file_is_one_sentence(nanonis, read_bytes, current, damage, said):
    with pytest.raises(InvalidDataError, match=said):
        read_bytes(damage(nanonis.grid_bytes(current, **LINEAR)), "a.3ds")


def test_numbers_in_the_wrong_order_of_bytes_are_refused(nanonis, read_bytes, numbers):
    content = nanonis.grid_bytes({"Current (A)": numbers(60, 4, 5)}, order="<f4", measured=13, **LINEAR)
    with pytest.raises(InvalidDataError, match="wrong order of bytes"):
        read_bytes(content, "a.3ds")
