"""Files of kernels: read as they were written, opened by xarray with units, and refused if they are damaged."""

from dataclasses import fields, replace

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.extraction.kernel_file import KernelFile, read_kernel_file, write_kernels
from qpibench.extraction.stack import Kernels
from qpibench.grid import Grid
from qpibench.maps import Axis, Source, Step

GRID = Grid(ny=8, nx=10, size_y_nm=3.5, size_x_nm=4.5)
KERNEL_GRID = Grid(ny=5, nx=5, size_y_nm=2.0, size_x_nm=2.0)


def content(layers=3):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(layers, 5, 5))
    kernel[-1] = np.nan
    return KernelFile(
        kernels=Kernels(
            grid=GRID,
            kernel_grid=KERNEL_GRID,
            image=rng.normal(size=(layers, 8, 10)),
            position_nm=rng.normal(size=(4, 2)),
            method="polar",
            kernel=kernel,
            std=np.abs(kernel),
            fit=rng.normal(size=(layers, 8, 10)),
            diagnostics=({"fold": 4, "noise": 1e-3},) * layers,
            failures=("",) * (layers - 1) + ("It shows nothing.",),
        ),
        channel="LI Demod 1 X (forward)",
        unit="A",
        axis=Axis(name="Bias", unit="V", values=np.linspace(-0.1, 0.1, layers)) if layers > 1 else None,
        source=Source(file="grid.3ds", format="Nanonis grid", sha256="00" * 32),
        steps=(Step(name="plane", settings={"order": 1}),),
        options={"most": 3},
    )


def same(one, other):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert np.array_equal(a, b, equal_nan=True), field.name
        elif isinstance(a, (Kernels, Axis)):
            same(a, b)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("layers", [1, 3])
def test_kernels_are_read_as_they_were_written(tmp_path, layers):
    write_kernels(content(layers), tmp_path / "kernel.h5")
    same(content(layers), read_kernel_file(tmp_path / "kernel.h5"))


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        (None, "kernels of 3 images, and there is no axis"),
        (Axis(name="Bias", unit="V", values=np.zeros(1)), "kernels of 3 images, and the axis has 1 value;"),
    ],
)
def test_several_kernels_need_an_axis_with_a_value_for_each(tmp_path, axis, said):
    with pytest.raises(UsageError, match=said):
        write_kernels(replace(content(3), axis=axis), tmp_path / "kernel.h5")
    assert not any(tmp_path.iterdir())


def test_xarray_opens_the_file_with_units_and_the_axis(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    write_kernels(content(), tmp_path / "kernel.h5")
    with xarray.open_dataset(tmp_path / "kernel.h5", engine="netcdf4") as data:
        assert data["kernel"].dims == ("Bias", "kernel_y", "kernel_x")
        assert data["kernel"].attrs["units"] == "A"
        assert data["Bias"].attrs["units"] == "V"
        assert float(data["x"][-1]) == pytest.approx(2.25)
        assert data["residual"].values == pytest.approx(content().residual)


@pytest.mark.parametrize("damage", [b"", b"no HDF5 file", None])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, damage):
    path = tmp_path / "kernel.h5"
    write_kernels(content(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(InvalidDataError, match=r"kernel\.h5"):
        read_kernel_file(path)


def test_changed_values_are_noticed(tmp_path):
    import h5py

    path = tmp_path / "kernel.h5"
    write_kernels(replace(content(), unit="V"), path)
    with h5py.File(path, "r+") as file:
        file["kernel"][0, 0, 0] += 1
    with pytest.raises(InvalidDataError, match="changed"):
        read_kernel_file(path)
