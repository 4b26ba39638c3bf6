"""What single formats have besides: structs, masks, headers, separators, dimensions."""

import contextlib

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.hdf5_values import held_bytes
from qpibench.maps.preparation import apply
from qpibench.readers.maps import read_maps

UP = np.arange(30, dtype=np.float64).reshape(5, 6) ** 2 - 7.5


@pytest.fixture
def text(tmp_path):
    """Writes a text and reads its map, 5 nm large unless told otherwise."""

    def read(content, encoding="utf-8", **told):
        (tmp_path / "map.txt").write_bytes(content.encode(encoding))
        return read_maps(tmp_path / "map.txt", **({"size_nm": 5} | told))

    return read


@pytest.mark.parametrize(
    "content",
    [
        *("1.5 2\n-3 4e1\n", "1.5\t2\t\n-3\t40", "1,5 2\n-3 40", "1,5;2;\n-3;4e1;\n", "1.5, 2\r\n-3, 40\r\n"),
        "1.5 ,2\n-3  ,40\n",
        *("1.5,2,\n-3,40,\n", "# note\n\n  1,5\t2  \n% note\n-3\t40", "\ufeff1.5 2\n-3 40"),
    ],
)
def test_text_may_have_any_usual_separator_and_decimal_sign(text, content):
    np.testing.assert_array_equal(text(content).channels[0].values, [[1.5, 2], [-3, 40]])


def test_text_may_be_in_other_encodings(text):
    assert text("# Kommentar: Prüfung\n1 2\n3 4", "latin-1").metadata["kommentar"] == "Prüfung"
    assert text("1 2\n3 4", "utf-16").grid.shape == (2, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1 2\n3\n", "no matrix of numbers: the number of columns changed from 2 to 1"),
        ("1 2\n3 x\n", "no matrix of numbers: could not convert string 'x'"),
        ("1 2 3\n", "two or more rows and columns of numbers, found 1 x 3"),
        ("# only a comment\n", "has no numbers"),
        ("Experiment\tbias spectroscopy\t\n\n[DATA]\nBias (V)\tCurrent (A)\n1\t2\n", "Nanonis spectrum of one point"),
        ("# Width: 5 parsec\n# Height: 5 nm\n1 2\n3 4", "its width is no length with a unit, found '5 parsec'"),
        ("# Width: 4e-17 m\n# Height: 4e-17 m\n1 2\n3 4", "would be 2e-08 nm large, .* it looks like metres"),
    ],
)
def test_a_text_that_is_no_map_is_refused(text, content, said):
    with pytest.raises(InvalidDataError, match=said):
        text(content, size_nm=None)


def test_the_header_of_gwyddions_export_is_read(text):
    header = "# Channel: Z (Forward)\n# Width: 30,0 nm\n# Height: 0.02 \u00b5m\n# Value units: m\n"
    maps = text(header + "1 2 3\n4 5 6\n", size_nm=None)
    [channel] = maps.channels
    assert (channel.name, channel.unit) == ("Z (Forward)", "m")
    np.testing.assert_array_equal(channel.values, [[4, 5, 6], [1, 2, 3]])
    assert (maps.grid.size_x_nm, maps.grid.size_y_nm) == pytest.approx((20, 10))


@pytest.mark.parametrize("width", ["2 px", "2", "2 Pixels"])
def test_a_width_in_pixels_is_no_length(text, width):
    content = f"# Width: {width}\n# Height: 2 px\n1 2\n3 4"
    maps = text(content, size_nm=5)
    assert (maps.grid.size_x_nm, maps.metadata["width"]) == (5, width)
    with pytest.raises(UsageError, match="does not tell how large its field is"):
        text(content, size_nm=None)


@pytest.fixture
def gwyddion(tmp_path):
    """Writes data fields and other entries, and reads their maps."""
    objects = pytest.importorskip("gwyfile.objects")

    def read(fields, lateral="m", **told):
        units = {"si_unit_xy": objects.GwySIUnit(unitstr=lateral), "si_unit_z": objects.GwySIUnit(unitstr="pA")}
        container = objects.GwyContainer()
        for key, value in fields.items():
            is_field = isinstance(value, np.ndarray)
            size = {"xreal": 6e-9, "yreal": 5e-9, "xoff": 1e-9, "yoff": -3e-9}
            container[key] = objects.GwyDataField(value, **size, **units) if is_field else value
            container.typecodes |= {key: "S"} if isinstance(value, list) else {}
        container["/0/meta"] = objects.GwyContainer({"Bias": "20 mV"})
        container.tofile(str(tmp_path / "map.gwy"))
        return read_maps(tmp_path / "map.gwy", **told)

    return read


def test_all_fields_of_a_gwyddion_file_are_channels(gwyddion):
    maps = gwyddion(
        {
            "/0/data": UP,
            "/0/data/title": "Current (Forward)",
            "/1/data": -UP,
            "/1/data/title": "Current [Backward]",
            "/10/data": 2 * UP,
            "/2/data": 3 * UP,
            "/2/data/title": "dI/dV",
        }
    )
    assert [channel.label for channel in maps.channels] == [
        *("Current (forward)", "Current (backward)", "dI/dV", "data 10")
    ]
    np.testing.assert_array_equal(maps.channel("data 10").values, 2 * UP[::-1])
    assert {channel.unit for channel in maps.channels} == {"pA"}
    assert (maps.grid.size_x_nm, maps.grid.size_y_nm) == pytest.approx((5, 4))
    assert maps.centre_nm == pytest.approx((4, 0.5))  # Gwyddion's y points down
    assert maps.metadata == {"Bias": "20 mV"}


def test_a_field_of_gwyddion_elsewhere_is_no_channel_of_the_same_maps(tmp_path):
    objects = pytest.importorskip("gwyfile.objects")
    units = {"si_unit_xy": objects.GwySIUnit(unitstr="m"), "xreal": 6e-9, "yreal": 5e-9}
    container = objects.GwyContainer()
    container["/0/data"], container["/0/data/title"] = objects.GwyDataField(UP, **units), "Here"
    container["/1/data"], container["/1/data/title"] = objects.GwyDataField(UP, **units, xoff=1e-7), "There"
    container.tofile(str(tmp_path / "map.gwy"))
    with pytest.raises(UsageError, match="choose one of them"):
        read_maps(tmp_path / "map.gwy")
    assert read_maps(tmp_path / "map.gwy", channel="There").centre_nm == pytest.approx((103, -2.5))
    here = read_maps(tmp_path / "map.gwy", channel="Here")
    lower = apply(here, "crop", pixels=[0, len(UP[0]) - 1, 0, 1])
    assert lower.centre_nm[1] == pytest.approx(here.centre_nm[1] + here.grid.y_nm[:2].mean())


def test_equal_titles_are_told_apart(gwyddion):
    titles = {f"/{number}/data/title": "Topo" for number in range(3)}
    maps = gwyddion(titles | {f"/{number}/data": UP for number in range(3)})
    assert [channel.name for channel in maps.channels] == ["Topo", "Topo 2", "Topo 3"]


def test_a_mask_is_a_channel_because_nothing_tells_what_it_marks(gwyddion):
    maps = gwyddion({"/0/data": UP, "/0/data/title": "Topo", "/0/mask": (UP > 0).astype(float)})
    assert [channel.name for channel in maps.channels] == ["Topo", "Topo mask"]
    assert np.isfinite(maps.channel("Topo").values).all()
    assert maps.warnings == ("The mask of 'Topo' is a channel; the file does not tell what it marks.",)


def test_fields_of_other_units_or_pixels_are_not_mixed(gwyddion):
    with pytest.raises(UsageError, match=r"different pixels.*'Topo' \(5 x 6\), 'Crop' \(4 x 4\)"):
        gwyddion({"/0/data": UP, "/0/data/title": "Topo", "/1/data": UP[:4, :4], "/1/data/title": "Crop"})
    with pytest.raises(InvalidDataError, match="has no map"):
        gwyddion({"/0/data": UP, "/0/data/title": "FFT"}, lateral="1/m")


@pytest.mark.parametrize(
    ("wanted", "others"), [("Topo", ["Topo", "Current"]), ("Stack", ["Stack"]), ("Crop", ["Crop"])]
)
def test_a_channel_is_read_with_those_that_fit_it(tmp_path, wanted, others):
    stack = np.zeros((3, 4, 4)) + UP[:4, :4]
    np.savez(tmp_path / "mixed.npz", Topo=UP, Current=2 * UP, Crop=UP[:4, :5], Stack=stack)
    maps = read_maps(tmp_path / "mixed.npz", size_nm=5, channel=wanted)
    assert {channel.name for channel in maps.channels} == set(others)
    assert any("are left out" in each for each in maps.warnings)
    with pytest.raises(UsageError, match=r"choose one .*--channel.*'Topo' \(5 x 6\)"):
        read_maps(tmp_path / "mixed.npz", size_nm=5, channel="Noise")


@pytest.mark.parametrize(
    ("name", "largest", "warned"), [("V", 2.0, False), ("V", 5.0, True), ("bias", 9.0, True), ("bias_mV", 5.0, False)]
)
def test_biases_that_are_large_for_volts_are_doubted(tmp_path, name, largest, warned):
    maps = {"dIdV": np.stack([UP, -UP]), "current": np.stack([-UP, UP])}
    np.savez(tmp_path / "map.npz", size_nm=5.0, **maps, **{name: [-largest, largest]})
    found = read_maps(tmp_path / "map.npz", first_row="bottom")
    said = f"'{name}' goes up to {largest:g} and is taken as volts; if it is in mV, rename it 'bias_mV'."
    assert found.warnings == ((said,) if warned else ())
    assert found.axis.energy_mev[1] == pytest.approx(largest * (1 if name == "bias_mV" else 1e3))


def test_a_damaged_gwyddion_file_is_an_error_or_a_map_and_ends(gwyddion, tmp_path):
    gwyddion({"/0/data": UP, "/0/data/title": "Topo", "/0/texts": ["a", "b"], "/0/data/visible": True})
    content = (tmp_path / "map.gwy").read_bytes()
    for position in range(4, len(content), 3):
        (tmp_path / "map.gwy").write_bytes(content[:position] + b"\xff" + content[position + 1 :])
        with contextlib.suppress(InvalidDataError, UsageError):
            read_maps(tmp_path / "map.gwy")


SBD = {
    "data_original": np.moveaxis(np.stack([UP, 2 * UP]), (0, 1, 2), (2, 1, 0)),  # (x, y, layer), as MT-SBD-STM has it
    "Y": np.moveaxis(np.stack([UP, 2 * UP, 3 * UP]), (0, 1, 2), (2, 1, 0))[:4],
    "energy_range": np.array([[-0.1, 0.0, 0.1]]),
    "defect_loc": np.ones((12, 2)),
}


def test_a_stack_of_mt_sbd_stm_is_read_point_by_point(tmp_path):
    pytest.importorskip("scipy.io").savemat(tmp_path / "sbd.mat", SBD)
    with pytest.raises(UsageError, match=r"'data_original' \(2 x 5 x 6\), 'Y' \(3 x 5 x 4\)\."):
        read_maps(tmp_path / "sbd.mat", size_nm=5)
    maps = read_maps(tmp_path / "sbd.mat", channels=["y"], size_nm=(3, 4))
    np.testing.assert_array_equal(maps.channels[0].values[1], 2 * UP[:, :4])
    np.testing.assert_allclose(maps.axis.energy_mev, [-100, 0, 100])


def test_a_checkpoint_of_mt_sbd_stm_tells_the_size_of_its_grid(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "sbd.mat", "w", userblock_size=512) as file:
        for name, values in {**SBD, "bias": np.array([[-0.1], [0.1]])}.items():
            file[f"data/real/{name}"] = values.T
        file["data/real/text"] = np.full((6, 5), 65, np.uint16)
        file["data/real/text"].attrs["MATLAB_class"] = np.bytes_(b"char")
        file["data/real/header/grid_dim"] = np.array([[6.0], [5.0]])
        file["data/real/header/grid_settings"] = np.array([[0, 0, 6e-9, 5e-9, 0]])
    with open(tmp_path / "sbd.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    with pytest.raises(UsageError, match="no channel 'text'"):
        read_maps(tmp_path / "sbd.mat", channels=["text"])
    maps = read_maps(tmp_path / "sbd.mat", channels=["data_original"])
    assert maps.channels[0].name == "data.real.data_original"
    np.testing.assert_array_equal(maps.channels[0].values, [UP, 2 * UP])
    assert (maps.grid.size_x_nm, maps.grid.size_y_nm) == pytest.approx((5, 4))
    np.testing.assert_allclose(maps.axis.energy_mev, [-100, 100])


def test_an_array_of_matlab_that_was_allocated_and_not_written_is_left_out(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "huge.mat", "w", userblock_size=512) as file:
        file.create_dataset("buffer", shape=(1 << 20, 1 << 14), chunks=(64, 64), dtype="f8")
        file["map"] = UP.T
    with open(tmp_path / "huge.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    maps = read_maps(tmp_path / "huge.mat", size_nm=5)
    assert [channel.name for channel in maps.channels] == ["map"]
    assert "'buffer' has a size in the file and hardly a value; it is left out." in maps.warnings


def test_the_size_of_what_is_stored_is_not_taken_from_the_file_alone(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "forged.h5", "w", libver="earliest") as file:
        file.create_dataset("Z", data=np.zeros((1 << 10, 1 << 10)), chunks=(1 << 10, 1 << 10), compression="gzip")
        stored = file["Z"].id.get_storage_size()
    content = (tmp_path / "forged.h5").read_bytes()
    key = stored.to_bytes(4, "little") + bytes(4)  # size of the chunk, and its filter mask
    assert content.count(key) == 1
    (tmp_path / "forged.h5").write_bytes(content.replace(key, (0xFFFFFFFF).to_bytes(4, "little") + bytes(4)))
    with h5py.File(tmp_path / "forged.h5") as file:
        assert file["Z"].id.get_storage_size() == 0xFFFFFFFF
        assert held_bytes(file["Z"]) == len(content)


def test_a_map_of_several_names_is_taken_once(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["a"] = UP
        file["b"] = file["a"]
    maps = read_maps(tmp_path / "many.h5", size_nm=5)
    assert [channel.name for channel in maps.channels] == ["a"]


def test_the_struct_of_a_map_without_units_is_asked_about(tmp_path):
    struct = {"map": np.moveaxis(np.stack([UP, -UP]), 0, -1), "e": np.array([-5, 5]), "r": np.arange(6), "name": "x"}
    pytest.importorskip("scipy.io").savemat(tmp_path / "map.mat", {"obj": struct, "topo": UP})
    maps = read_maps(tmp_path / "map.mat", size_nm=5, energy_mev=[-5, 5])
    assert {channel.name: channel.values.shape for channel in maps.channels} == {"obj.map": (2, 5, 6), "topo": (5, 6)}
    assert maps.warnings[0] == "'obj.e' may be the energies of 'obj.map', but nothing tells its unit."
    np.testing.assert_allclose(maps.axis.energy_mev, [-5, 5])


def test_energies_that_are_not_those_of_the_layers_are_doubted(tmp_path):
    np.savez(tmp_path / "map.npz", dIdV=np.stack([UP, -UP]), energy_mev=[-5.0, 0.0, 5.0], size_nm=5.0)
    maps = read_maps(tmp_path / "map.npz")
    assert any("tells 3 energies, but 'dIdV' has 2 layers" in warning for warning in maps.warnings)


@pytest.mark.parametrize("version", ["4", "5"])
def test_older_matlab_files_and_compressed_ones_are_read(tmp_path, version):
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(tmp_path / "map.mat", {"topo": UP, "pixel_nm": 0.5}, format=version, do_compression=version == "5")
    maps = read_maps(tmp_path / "map.mat", first_row="top")
    np.testing.assert_array_equal(maps.channels[0].values, UP[::-1])
    assert maps.grid.size_x_nm == pytest.approx(2.5)


def test_all_kinds_of_variables_may_lie_beside_a_map(tmp_path):
    scipy = pytest.importorskip("scipy")
    cell = np.empty((1, 2), object)
    cell[:] = [["text", UP]]
    structs = np.array([(1, "a"), (2, "b")], [("n", object), ("t", object)])
    others = {"cell": cell, "structs": structs, "flag": True, "z": UP * 1j, "sparse": scipy.sparse.eye(4).tocsc()}
    scipy.io.savemat(tmp_path / "map.mat", {**others, "topo": UP, "empty": np.zeros((0, 3)), "name": "Ag Å"})
    assert [channel.name for channel in read_maps(tmp_path / "map.mat", size_nm=5).channels] == ["topo"]


def test_wrong_lengths_in_a_matlab_file_are_an_error_and_never_a_crash(tmp_path):
    struct = {"map": UP, "name": "a text", "list": [UP, UP[:4]]}
    pytest.importorskip("scipy.io").savemat(tmp_path / "map.mat", {"obj": struct})
    content = (tmp_path / "map.mat").read_bytes()
    for position in range(128, len(content), 4):
        (tmp_path / "map.mat").write_bytes(content[:position] + b"\xff\xff\xff\x7f" + content[position + 4 :])
        with contextlib.suppress(InvalidDataError, UsageError):
            read_maps(tmp_path / "map.mat", size_nm=5)


def test_arrays_of_plain_hdf5_need_a_size(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["topo"], file["count"] = UP.astype(">f4"), np.arange(3)
    with pytest.raises(UsageError, match="does not tell how large its field is"):
        read_maps(tmp_path / "map.h5")
    [channel] = read_maps(tmp_path / "map.h5", size_nm=5).channels
    assert channel.values.dtype.isnative
    np.testing.assert_array_equal(channel.values, UP)


def test_hdf5_that_crashes_the_netcdf_library_is_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["topo"] = UP.astype(np.float16)
        file["loop"], file["nothing"] = h5py.SoftLink("/"), h5py.SoftLink("/absent")
    [channel] = read_maps(tmp_path / "map.h5", size_nm=5).channels
    np.testing.assert_array_equal(channel.values, UP.astype(np.float16))


@pytest.mark.parametrize("format_of_file", ["NETCDF3_CLASSIC", "NETCDF3_64BIT", "NETCDF4_CLASSIC"])
def test_every_kind_of_netcdf_is_read(tmp_path, format_of_file):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    coords = {"x": ("x", np.arange(6.0), {"units": "nm"}), "y": ("y", np.arange(5.0), {"units": "nm"})}
    made = xarray.Dataset({"topo": (("y", "x"), UP, {"units": "m"})}, coords)
    made.to_netcdf(tmp_path / "map.nc", engine="netcdf4", format=format_of_file)
    maps = read_maps(tmp_path / "map.nc")
    np.testing.assert_array_equal(maps.channel("topo").values, UP)
    assert (maps.grid.size_x_nm, maps.channel("topo").unit) == (5.0, "m")


@pytest.mark.parametrize(
    ("coordinate", "unit", "said"),
    [
        (np.arange(6.0) ** 2, "nm", "the coordinates x are not equidistant"),
        (np.arange(6.0) * 1e-9, "nm", "would be 5e-09 nm large, .* it looks like metres"),
        (np.full(6, np.nan), "nm", "the coordinates x are not all finite"),
    ],
)
def test_impossible_coordinates_are_refused(tmp_path, coordinate, unit, said):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    coords = {"x": ("x", coordinate, {"units": unit}), "y": ("y", np.arange(5.0), {"units": unit})}
    xarray.Dataset({"topo": (("y", "x"), UP)}, coords).to_netcdf(tmp_path / "map.nc", engine="netcdf4")
    with pytest.raises(InvalidDataError, match=said):
        read_maps(tmp_path / "map.nc")


def test_coordinates_without_a_unit_tell_which_way_they_run(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    coords = {"x": np.arange(6.0)[::-1], "y": np.arange(5.0)[::-1]}
    xarray.Dataset({"topo": (("y", "x"), UP)}, coords).to_netcdf(tmp_path / "map.nc", engine="netcdf4")
    maps = read_maps(tmp_path / "map.nc", size_nm=(5, 4))
    np.testing.assert_array_equal(maps.channel("topo").values, UP[::-1, ::-1])
    assert maps.warnings == ()


def test_numbers_of_rows_do_not_tell_which_is_lowest(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    coords = {"row": np.arange(5), "column": np.arange(6)}
    xarray.Dataset({"topo": (("row", "column"), UP)}, coords).to_netcdf(tmp_path / "map.nc", engine="netcdf4")
    assert "which row is lowest" in read_maps(tmp_path / "map.nc", size_nm=5).warnings[0]
    turned = read_maps(tmp_path / "map.nc", size_nm=5, first_row="top")
    np.testing.assert_array_equal(turned.channel("topo").values, UP[::-1])


def test_the_place_of_netcdf_maps_is_that_of_their_coordinates(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    coords = {"x": ("x", np.linspace(-3, 4, 6), {"units": "nm"}), "y": ("y", np.linspace(2, -1, 5), {"units": "nm"})}
    xarray.Dataset({"topo": (("y", "x"), UP)}, coords).to_netcdf(tmp_path / "map.nc", engine="netcdf4")
    assert read_maps(tmp_path / "map.nc").centre_nm == pytest.approx((0.5, 0.5))


def test_values_that_stand_for_none_may_be_stored_in_another_precision(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["topo"] = np.where(UP > 100, -1e34, UP).astype(np.float32)
        file["topo"].attrs["_FillValue"] = -1e34
    np.testing.assert_array_equal(np.isnan(read_maps(tmp_path / "map.h5", size_nm=5).channels[0].values), UP > 100)


def test_energies_without_a_unit_are_told(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["bias"], file["y"], file["x"] = [1.0, 2.0, 3.0], np.arange(5.0), np.arange(6.0)
        file["topo"] = np.stack([UP, UP, UP])
        for axis, name in enumerate(("bias", "y", "x")):
            file[name].make_scale(name)
            file["topo"].dims[axis].attach_scale(file[name])
    told = read_maps(tmp_path / "map.h5", size_nm=5, energy_mev=[-20, 20])
    assert told.axis.energy_mev == pytest.approx([-20, 0, 20])


def test_energies_that_are_not_finite_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "map.h5", "w") as file:
        for name, values in {"bias": [0.1, np.nan, 0.3], "y": np.arange(5.0), "x": np.arange(6.0)}.items():
            file[name] = np.asarray(values)
            file[name].attrs["units"] = "V" if name == "bias" else "nm"
            file[name].make_scale(name)
        file["dIdV"] = np.stack([UP, UP, UP])
        for place, name in enumerate(("bias", "y", "x")):
            file["dIdV"].dims[place].attach_scale(file[name])
    with pytest.raises(InvalidDataError, match="the coordinates bias are not all finite"):
        read_maps(tmp_path / "map.h5")
