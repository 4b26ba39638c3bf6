"""The package's own file of maps: what is written comes back, and xarray shows it with units."""

import contextlib

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source, Step
from qpibench.maps.file import read, write_maps
from qpibench.readers.maps import read_maps

GRID = Grid(ny=3, nx=4, size_y_nm=2.1, size_x_nm=3.3)
STACK = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
PLANE = np.array([[1, np.nan, 3, 4]] * 3, np.float32)


def measured(axis_name="Bias", unit="V", **changed):
    """Maps with everything that maps can have."""
    facts = {
        "grid": GRID,
        "channels": (
            Channel(name="Z (plane [m])", unit="m", values=PLANE),
            Channel(name="(dI/dV)/(I/V)", unit="", values=STACK, direction="backward"),
            Channel(name="(dI/dV)/(I/V)", unit="", values=STACK.astype(np.float32), direction="forward"),
            Channel(name="Ström", unit="Å", values=-STACK),
        ),
        "axis": Axis(name=axis_name, unit=unit, values=np.array([0.3, -0.1])),
        "source": Source(file="grid 1.3ds", format="Nanonis grid", sha256="ab" * 32),
        "centre_nm": (12.5, -1 / 3),
        "angle_deg": 30.0,
        "scan_direction": "down",
        "metadata": {"Comment": 'several\nlines, "quoted", 5 Å', "empty": "", "long": "x" * 100_000},
        "steps": (Step(name="plane", settings={"order": 1, "nested": {"a": [1, None]}}), Step(name="crop")),
        "warnings": ("The scan is unfinished.",),
    }
    return Maps(**facts | changed)


def assert_same(found, expected):
    for one, other in zip(found.channels, expected.channels, strict=True):
        assert (one.name, one.unit, one.direction) == (other.name, other.unit, other.direction)
        assert one.values.dtype == other.values.dtype
        np.testing.assert_array_equal(one.values, other.values)
    assert (found.axis is None) == (expected.axis is None)
    if expected.axis is not None:
        assert (found.axis.name, found.axis.unit) == (expected.axis.name, expected.axis.unit)
        np.testing.assert_array_equal(found.axis.values, expected.axis.values)
    for name in ("grid", "source", "centre_nm", "angle_deg", "scan_direction", "metadata", "steps", "warnings"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize("axis_name", ["Bias", "energy", "x", "Z (m)/s"])
def test_maps_come_back_from_their_file_as_they_were(tmp_path, axis_name):
    maps = measured(axis_name, "V")
    write_maps(maps, tmp_path / "maps.h5")
    assert_same(read(tmp_path / "maps.h5"), maps)
    assert_same(read_maps(tmp_path / "maps.h5"), maps)


def test_maps_without_an_axis_come_back_too(tmp_path):
    maps = measured(axis=None, channels=measured().channels[:1], scan_direction=None, steps=(), metadata={})
    write_maps(maps, tmp_path / "maps.h5")
    assert_same(read(tmp_path / "maps.h5"), maps)


def test_xarray_opens_the_file_with_coordinates_and_units(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    write_maps(measured(), tmp_path / "maps.h5")
    with xarray.open_dataset(tmp_path / "maps.h5", engine="netcdf4") as opened:
        assert {name: opened.coords[name].units for name in opened.coords} == {
            "x": "nm",
            "y": "nm",
            "Bias": "V",
            "energy": "meV",
        }
        np.testing.assert_array_equal(opened.energy, [300, -100])
        np.testing.assert_array_equal(opened.y, GRID.y_nm)
        assert list(opened.data_vars) == [
            *("Z (plane [m])", "_(dI:dV):(I:V) (backward)", "_(dI:dV):(I:V) (forward)", "Ström")
        ]
        assert opened["Z (plane [m])"].dims == ("y", "x")
        assert opened["Ström"].dims == ("Bias", "y", "x")
        assert opened["Ström"].units == "Å"
        assert opened.source_sha256 == "ab" * 32
        assert '"plane"' in opened.steps


def test_a_channel_is_chosen_by_its_label(tmp_path):
    write_maps(measured(), tmp_path / "maps.h5")
    found = read_maps(tmp_path / "maps.h5", channels=["(dI/dV)/(I/V)", "z (plane [M])"])
    assert [channel.label for channel in found.channels] == ["(dI/dV)/(I/V) (forward)", "Z (plane [m])"]
    with pytest.raises(UsageError, match="tells the size itself"):
        read_maps(tmp_path / "maps.h5", size_nm=5)


def test_a_newer_version_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    write_maps(measured(), tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5", "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(InvalidDataError, match=r"version 99 .* up to 1 can be read; update"):
        read_maps(tmp_path / "maps.h5")


@pytest.mark.parametrize("kept", [100, 3000, -10])
def test_a_truncated_file_is_refused(tmp_path, kept):
    write_maps(measured(), tmp_path / "maps.h5")
    content = (tmp_path / "maps.h5").read_bytes()
    (tmp_path / "maps.h5").write_bytes(content[:kept])
    with pytest.raises(InvalidDataError, match=r"maps\.h5' is truncated or damaged: "):
        read(tmp_path / "maps.h5")


def test_a_changed_byte_is_noticed_or_changes_nothing(tmp_path):
    write_maps(maps := measured(metadata={}), tmp_path / "maps.h5")
    content = (tmp_path / "maps.h5").read_bytes()
    for position in range(8, len(content), 199):
        changed = bytes([content[position] ^ 0x55])
        (tmp_path / "maps.h5").write_bytes(content[:position] + changed + content[position + 1 :])
        with contextlib.suppress(InvalidDataError):
            assert_same(read_maps(tmp_path / "maps.h5"), maps)


def test_a_shape_that_is_larger_than_what_is_stored_is_refused_unread(tmp_path):
    h5py = pytest.importorskip("h5py")
    write_maps(measured(), tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5", "r+") as file:
        attributes = {name: value for name, value in file["Z (plane [m])"].attrs.items() if name != "DIMENSION_LIST"}
        del file["Z (plane [m])"]
        file.create_dataset("Z (plane [m])", (2**20, 2**20), "f4", chunks=(16, 16))
        file["Z (plane [m])"].attrs.update(attributes)
    with pytest.raises(
        InvalidDataError, match=r"truncated or damaged: /Z .* has .* bytes by its shape, and 0 are stored"
    ):
        read_maps(tmp_path / "maps.h5")


def test_a_changed_number_is_noticed(tmp_path):
    write_maps(measured(), tmp_path / "maps.h5")
    content = (tmp_path / "maps.h5").read_bytes()
    assert content.count(np.float64(-23).tobytes()) == 1
    (tmp_path / "maps.h5").write_bytes(content.replace(np.float64(-23).tobytes(), np.float64(-22).tobytes()))
    with pytest.raises(InvalidDataError, match="damaged"):
        read(tmp_path / "maps.h5")


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_changed_coordinate_is_noticed(tmp_path, name):
    h5py = pytest.importorskip("h5py")
    write_maps(measured(), tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5", "r+") as file:
        file[name][0] += 1
    with pytest.raises(InvalidDataError, match=f"the values of {name} have changed"):
        read(tmp_path / "maps.h5")


def test_steps_that_json_cannot_hold_leave_an_older_file_as_it_is(tmp_path):
    (tmp_path / "maps.h5").write_bytes(b"older")
    with pytest.raises(UsageError, match="JSON"):
        write_maps(measured(steps=(Step(name="level", settings={"plane": np.nan}),)), tmp_path / "maps.h5")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"older"]
