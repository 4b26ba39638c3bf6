"""Every format gives the same maps: the values, y pointing up, units, sizes and energies."""

import warnings

import numpy as np
import pytest

import qpibench.readers.maps as formats
from qpibench import registry
from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source
from qpibench.maps.file import write_maps
from qpibench.readers.maps import read_maps

# No map is equal to its mirror images or its transpose.
UP = np.arange(30, dtype=np.float64).reshape(5, 6) ** 2 - 7.5
STACK = np.stack([UP, -UP, UP + 0.25])
SIZE_NM = (10.0, 6.0)
GRID = Grid(ny=5, nx=6, size_y_nm=SIZE_NM[1], size_x_nm=SIZE_NM[0])
RANGE_M = (12e-9, 7.5e-9)  # of all pixels
ENERGY_MEV = np.array([-20.0, 10.0, 40.0])


def netcdf(path, values):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    dims = {
        "energy": ("energy", ENERGY_MEV / 1e3, {"units": "eV"}),
        "y": ("y", GRID.y_nm[::-1] * 1e-9, {"units": "m"}),
        "x": ("x", GRID.x_nm * 10, {"units": "angstrom"}),
    }
    used = tuple(dims)[-values.ndim :]
    array = xarray.Variable(used, values[..., ::-1, :], {"units": "A"}).transpose("x", ...)
    xarray.Dataset({"Current": array}, {name: dims[name] for name in used}).to_netcdf(path, engine="netcdf4")


def own(path, values):
    axis = Axis(name="Bias", unit="V", values=ENERGY_MEV / 1e3) if values.ndim == 3 else None
    channel = Channel(name="Current", unit="A", values=values)
    write_maps(Maps(grid=GRID, channels=(channel,), axis=axis, source=Source(file="a", format="b", sha256="c")), path)


def gwyddion(path, values):
    objects = pytest.importorskip("gwyfile.objects")
    units = {"si_unit_xy": objects.GwySIUnit(unitstr="m"), "si_unit_z": objects.GwySIUnit(unitstr="A")}
    field = objects.GwyDataField(values[::-1], xreal=RANGE_M[0], yreal=RANGE_M[1], xoff=1e-9, yoff=2e-9, **units)
    container = objects.GwyContainer({"/0/data": field, "/0/data/title": "Current"})
    container.tofile(str(path))


def archive(path, values):
    energies = {"energy_mev": ENERGY_MEV} if values.ndim == 3 else {}
    np.savez(path, Current=values[..., ::-1, :].astype(">f8"), x_nm=GRID.x_nm, y_nm=GRID.y_nm[::-1], **energies)


def bare(path, values):
    np.save(path, values)


def matlab(path, values):
    savemat = pytest.importorskip("scipy.io").savemat
    rows_first = np.moveaxis(values, 0, -1) if values.ndim == 3 else values
    savemat(path, {"grid": {"Current": rows_first, "V": ENERGY_MEV / 1e3, "size_nm": SIZE_NM, "comment": "text"}})


def matlab_73(path, values):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("grid")
        group["Current"] = (np.moveaxis(values, 0, -1) if values.ndim == 3 else values).T
        group["V"], group["size_nm"] = ENERGY_MEV[:, None] / 1e3, np.array(SIZE_NM)[:, None]
        group["empty"] = np.zeros(2, np.uint64)
        group["empty"].attrs["MATLAB_empty"] = np.uint8(1)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def text(path, values):
    header = "Channel: Current\nWidth: 12.00 nm\nHeight: 0.0075 \u00b5m\nValue units: A"
    np.savetxt(path, values[::-1], delimiter="\t", header=header, encoding="utf-8")


def plain_text(path, values):
    lines = [";".join(f"{value!r}".replace(".", ",") for value in row) for row in values.tolist()]
    path.write_text("\r\n".join(lines), encoding="utf-8")


def scan(path, values, nanonis):
    images = {("Current", "A"): {"forward": values.astype(np.float32)}}
    path.write_bytes(nanonis.scan_bytes(images, range_m=RANGE_M, scan_direction="down"))


def grid(path, values, nanonis):
    bias = tuple(ENERGY_MEV[[0, -1]] / 1e3)
    path.write_bytes(nanonis.grid_bytes({"Current (A)": values.astype(np.float32)}, size_m=RANGE_M, sweep=bias))


# For each writer: the suffix, whether the format has stacks, and what the file leaves open.
WRITERS = {
    "own": (own, ".h5", True, {}),
    "netcdf": (netcdf, ".nc", True, {}),
    "gwyddion": (gwyddion, ".gwy", False, {}),
    "archive": (archive, ".npz", True, {}),
    "bare": (bare, ".npy", True, {"size_nm": SIZE_NM, "energy_mev": ENERGY_MEV}),
    "matlab": (matlab, ".mat", True, {}),
    "matlab 7.3": (matlab_73, ".mat", True, {}),
    "text": (text, ".txt", False, {}),
    "plain text": (plain_text, ".dat", False, {"size_nm": SIZE_NM}),
}
NANONIS = {"scan": (scan, ".sxm", False, {}), "grid": (grid, ".3ds", True, {})}
FORMATS = WRITERS | NANONIS
MAPS = [name for name in FORMATS if name != "grid"]
STACKS = [name for name, (_, _, has_stacks, _) in FORMATS.items() if has_stacks]
COMPLETE = [name for name, (_, _, _, told) in FORMATS.items() if not told]


@pytest.fixture
def written(tmp_path, nanonis):
    """Writes a file and returns its path and what it leaves open."""

    def write(name, values=UP):
        writer, suffix, _, told = FORMATS[name]
        path = tmp_path / f"Current{suffix}"
        writer(path, values, *([nanonis] if name in NANONIS else []))
        return path, {key: value for key, value in told.items() if values.ndim == 3 or key != "energy_mev"}

    return write


@pytest.mark.parametrize("name", MAPS)
def test_a_map_has_its_values_orientation_and_size(written, name):
    path, told = written(name)
    maps = read_maps(path, **told)
    [channel] = maps.channels
    np.testing.assert_array_equal(channel.values, UP)
    assert channel.values.dtype == np.dtype(np.float32 if name in NANONIS else np.float64)
    assert channel.name.endswith("Current")
    assert channel.unit in ("A", "")
    assert maps.grid.shape == GRID.shape
    assert (maps.grid.size_x_nm, maps.grid.size_y_nm) == pytest.approx(SIZE_NM)
    assert len(maps.source.sha256) == 64 or name == "own"
    assert maps.axis is None


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_has_its_layers_in_order_and_their_energies(written, name):
    path, told = written(name, STACK)
    maps = read_maps(path, **told)
    np.testing.assert_array_equal(maps.channels[0].values, STACK)
    np.testing.assert_allclose(maps.axis.energy_mev, ENERGY_MEV)


@pytest.mark.parametrize("name", MAPS)
def test_what_was_read_makes_a_round_trip_through_our_file(tmp_path, written, name):
    path, told = written(name)
    maps = read_maps(path, **told)
    write_maps(maps, tmp_path / "again.h5")
    again = read_maps(tmp_path / "again.h5")
    np.testing.assert_array_equal(again.channels[0].values, UP)
    assert (again.source, again.grid, again.warnings) == (maps.source, maps.grid, maps.warnings)


def test_every_registered_format_is_tested_here():
    suffixes = {suffix for _, suffix, _, _ in FORMATS.values()}
    for name in registry.names(formats):
        reader = registry.load(formats, name, "reader")
        assert suffixes & set(reader.SUFFIXES), name


@pytest.mark.parametrize("name", WRITERS)
def test_a_truncated_file_is_refused_in_one_sentence(written, name):
    path, told = written(name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - (30 if path.suffix in (".txt", ".dat") else len(content) // 3)])
    with pytest.raises(InvalidDataError) as refused:
        read_maps(path, **told)
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"GWYP and more", b"PK\3\4"], ids=["empty", "0", "gwy", "zip"])
def test_a_foreign_file_is_refused(tmp_path, name, content):
    path = tmp_path / f"foreign{FORMATS[name][1]}"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=rf"foreign\{path.suffix}'"):
        read_maps(path, **FORMATS[name][3])


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_without_any_value_is_refused(written, name):
    path, told = written(name, np.full_like(UP, np.nan))
    if name == "own":  # a measurement may become one
        assert np.isnan(read_maps(path).channels[0].values).all()
        return
    with pytest.raises(InvalidDataError, match="no finite value"):
        read_maps(path, **told)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_size_is_not_told_twice(written, name):
    path, _ = written(name, STACK if name == "grid" else UP)
    with pytest.raises(UsageError, match=r"tells (its|the) size itself"):
        read_maps(path, size_nm=SIZE_NM)


@pytest.mark.parametrize("name", ["bare", "plain text"])
@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "does not tell how large its field is; give the size in nm"),
        ({"size_nm": 4e-8}, "4e-08 nm large, .* it looks like metres"),
        ({"size_nm": (10, np.nan)}, "would be nan nm large"),
        ({"size_nm": (10, 8, 1)}, "must be one number, or width and height"),
        ({"size_nm": "ten"}, "must be one number, or width and height"),
        ({"size_nm": 10, "channel": "Z"}, "has no channel 'Z'"),
        ({"size_nm": 10, "energy_mev": [1, 2, 3]}, "no stack of layers"),
    ],
)
def test_the_size_must_be_told_and_possible(written, name, told, said):
    path, _ = written(name)
    with pytest.raises(UsageError, match=said):
        read_maps(path, **told)


def test_one_size_is_that_of_the_longer_side(written):
    path, _ = written("bare")
    grid = read_maps(path, size_nm=10).grid
    assert (grid.size_x_nm, grid.size_y_nm) == pytest.approx((10, 8))


def test_the_first_row_is_the_bottom_unless_told(written):
    path, told = written("bare")
    assert "first row is taken as the lowest" in read_maps(path, **told).warnings[0]
    turned = read_maps(path, **told, first_row="top")
    np.testing.assert_array_equal(turned.channels[0].values, UP[::-1])
    assert not turned.warnings


def test_what_was_told_is_kept_with_the_maps(written):
    path, _ = written("bare", STACK)
    maps = read_maps(path, size_nm=(10, 6), energy_mev=ENERGY_MEV, first_row="top")
    assert maps.metadata == {
        "told size in nm": "[10.0, 6.0]",
        "told energies in meV": "[-20.0, 10.0, 40.0]",
        "told first row": "top",
    }


def test_layers_without_energies_are_numbered(written):
    path, _ = written("bare", STACK)
    maps = read_maps(path, size_nm=SIZE_NM)
    assert (maps.axis.name, maps.axis.values.tolist()) == ("Layer", [0, 1, 2])
    with pytest.raises(InvalidDataError, match="not a bias"):
        _ = maps.axis.energy_mev
    with pytest.raises(UsageError, match="has 3 layers; give as many"):
        read_maps(path, size_nm=SIZE_NM, energy_mev=[1, 2, 3, 4])
    with pytest.raises(UsageError, match="both 20 meV; give two that differ"):
        read_maps(path, size_nm=SIZE_NM, energy_mev=[20, 20])
    with pytest.raises(UsageError, match="energies in meV must be numbers"):
        read_maps(path, size_nm=SIZE_NM, energy_mev=["low", "high"])


def test_two_energies_are_the_ends_of_even_steps(written):
    path, _ = written("bare", STACK)
    assert read_maps(path, size_nm=SIZE_NM, energy_mev=[40, -20]).axis.energy_mev == pytest.approx([40, 10, -20])


@pytest.mark.parametrize(
    "facts", [{"size_nm": 4e-8}, {"size_nm": (-5.0, 4.0)}, {"pixel_nm": 1e-11}, {"x_nm": UP[0], "y_nm": UP[:, 0]}]
)
def test_impossible_sizes_in_a_file_are_refused(tmp_path, facts):
    np.savez(tmp_path / "maps.npz", image=UP, **facts)
    with pytest.raises(InvalidDataError, match=r"it looks like metres|must be positive|must be finite and equidistant"):
        read_maps(tmp_path / "maps.npz")


def test_arrays_of_different_shapes_are_listed_and_chosen(tmp_path):
    np.savez(tmp_path / "maps.npz", dIdV=STACK, topo=UP, kernel=UP[:4, :4], pixel_nm=0.5, energy_mev=ENERGY_MEV)
    with pytest.raises(UsageError, match=r"choose .*: 'dIdV' \(3 x 5 x 6\), 'topo' \(5 x 6\), 'kernel' \(4 x 4\)\."):
        read_maps(tmp_path / "maps.npz")
    maps = read_maps(tmp_path / "maps.npz", channels=["TOPO", "dIdV"])
    assert {channel.name: channel.values.ndim for channel in maps.channels} == {"dIdV": 3, "topo": 2}
    with pytest.raises(UsageError, match=r"no channel 'dIdU'; its channels are 'dIdV' \(3 x 5 x 6\), "):
        read_maps(tmp_path / "maps.npz", channels=["dIdU"])


@pytest.mark.parametrize("values", [UP[0], UP.astype(complex), np.array([["a"] * 6] * 5), np.zeros((0, 6)), UP[:1]])
def test_an_array_that_is_no_map_is_refused(tmp_path, values):
    np.save(tmp_path / "maps.npy", values)
    with pytest.raises(InvalidDataError, match="must have real numbers"):
        read_maps(tmp_path / "maps.npy", size_nm=5)


@pytest.mark.parametrize("changed", [b"{ 'fortran", b"'\x0e'fortr", b"(9999999999, 'f"])
def test_a_damaged_header_of_an_array_is_refused(tmp_path, changed):
    np.save(tmp_path / "maps.npy", UP)
    content = (tmp_path / "maps.npy").read_bytes()
    start = content.index(b", 'fortran")
    (tmp_path / "maps.npy").write_bytes(content[:start] + changed + content[start + len(changed) :])
    with pytest.raises(InvalidDataError, match=r"maps\.npy' is truncated, or has no numbers"):
        read_maps(tmp_path / "maps.npy", size_nm=5)


def test_arrays_keep_their_precision_and_lose_their_byte_order(tmp_path):
    np.save(tmp_path / "maps.npy", UP.astype(">f4"))
    [channel] = read_maps(tmp_path / "maps.npy", size_nm=5).channels
    assert channel.values.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(channel.values, UP.astype(np.float32))


@pytest.mark.parametrize("name", FORMATS)
def test_infinite_values_are_not_measured_and_that_is_said(written, name):
    values = STACK if name == "grid" else UP
    path, told = written(name, np.where(values == values.max(), np.inf, values))
    maps = read_maps(path, **told)
    channel = maps.channels[0]
    assert np.isnan(channel.values).sum() == 1
    assert not np.isinf(channel.values).any()
    assert f"1 infinite value of the channel '{channel.label}' is taken as not measured." in maps.warnings


def test_a_nan_of_other_bits_is_an_ordinary_one(written):
    values = UP.astype(np.float32)
    values.view(np.uint32)[1, 2] = 0x7F800001
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path, told = written("scan", values)
        channel = read_maps(path, **told).channels[0]
        converted = channel.values.astype(np.float64)
    assert np.isnan(converted).sum() == 1


def test_refusals_have_the_documented_exit_codes():
    assert [kind.exit_code for kind in (UsageError, InvalidDataError)] == [2, 3]


def test_a_size_and_an_energy_may_be_numpy_scalars_and_a_layer_has_one_energy(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((1, 5, 6)))
    maps = read_maps(tmp_path / "a.npy", size_nm=np.float32(30), energy_mev=[np.float64(33.25)], first_row="bottom")
    assert (maps.grid.size_x_nm, maps.axis.energy_mev.tolist()) == (30, [33.25])
    with pytest.raises(UsageError, match="has 1 layer; give as many finite energies"):
        read_maps(tmp_path / "a.npy", size_nm=30, energy_mev=[-20, 20], first_row="bottom")


def test_decimal_commas_may_begin_after_the_first_line(tmp_path):
    (tmp_path / "a.txt").write_text("0 0 0\n0,5 1 2\n3 4,25 5\n", encoding="utf-8")
    values = read_maps(tmp_path / "a.txt", size_nm=30, first_row="bottom").channels[0].values
    np.testing.assert_array_equal(values, [[0, 0, 0], [0.5, 1, 2], [3, 4.25, 5]])
