"""The kernels of a measurement and its file, which xarray opens: :class:`KernelFile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.counting import counted
from qpibench.errors import UsageError
from qpibench.extraction.stack import Kernels
from qpibench.files import write_whole
from qpibench.grid import Grid
from qpibench.maps import Axis, Source, Step
from qpibench.maps.hdf5 import (
    axis_of,
    checked_values,
    coordinate,
    file_content,
    from_json,
    opened,
    set_texts,
    source_of,
    text,
    to_json,
    variable,
    write_axis,
    write_source,
)

FORMAT = "qpibench kernels"
VERSION = 1
"""Version of the layout; a reader refuses newer ones."""


@dataclass(frozen=True, kw_only=True)
class KernelFile:
    """Kernels with what they were extracted from.

    Attributes
    ----------
    kernels
        The kernels, their images, fits and scatterers.
    channel, unit
        Label of the channel and unit of its values, which kernels and standard deviations have, too.
    axis
        What is swept from layer to layer; None for a single image.
    source, steps
        The measured file, and what was done to its maps before.
    options
        Options of the entry.
    """

    kernels: Kernels
    channel: str
    unit: str
    axis: Axis | None
    source: Source
    steps: tuple[Step, ...] = ()
    options: Mapping[str, Any] | None = None

    @property
    def residual(self) -> NDArray[np.float64]:
        """(layer, y, x): what the kernels at all scatterers, and the background, leave of the images."""
        return self.kernels.image - self.kernels.fit

    def _repr_html_(self) -> str:
        """The kernels as a notebook shows them."""
        from qpibench.extraction.report import cell_html

        return cell_html(self)


def write_kernels(content: KernelFile, path: str | Path) -> None:
    """Write kernels to a file, whole or not at all; :func:`read_kernel_file` returns them as they were.

    The file follows the netCDF-4 model. ``kernel`` and ``kernel_std`` have the coordinates ``kernel_y`` and
    ``kernel_x``, and ``image``, ``fit`` and ``residual`` the coordinates ``y`` and ``x``, all in nm. With an axis, they
    have one layer for each of its values.

    Raises
    ------
    UsageError
        If the axis has not one value for each image, which several images need, or as
        :func:`qpibench.files.check_file`.
    QpibenchError
        If writing fails, as on a full disk.
    """
    layers, values = len(content.kernels.kernel), None if content.axis is None else len(content.axis.values)
    if layers != (1 if values is None else values):
        found = "there is no axis" if values is None else f"the axis has {counted(values, 'value')}"
        raise UsageError(
            f"There are the kernels of {counted(layers, 'image')}, and {found}; give an axis with one value for each."
        )
    write_whole(path, file_content(lambda file: _fill(file, content)), what="File of kernels")


def read_kernel_file(path: str | Path) -> KernelFile:
    """Read kernels that :func:`write_kernels` has written.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it has another format, is damaged, or has a newer version.
    QpibenchError
        If it cannot be read.
    """
    with opened(Path(path), FORMAT, VERSION, what="kernels") as file:
        return _content(Path(path), file)


def _fill(file: h5py.File, content: KernelFile) -> None:
    kernels = content.kernels
    grid, kernel_grid = kernels.grid, kernels.kernel_grid
    image = {"y": coordinate(file, "y", grid.y_nm, "nm"), "x": coordinate(file, "x", grid.x_nm, "nm")}
    kernel = {
        "kernel_y": coordinate(file, "kernel_y", kernel_grid.y_nm, "nm"),
        "kernel_x": coordinate(file, "kernel_x", kernel_grid.x_nm, "nm"),
    }
    layers = write_axis(file, content.axis)
    arrays = {
        "kernel": (kernels.kernel, kernel, "kernel"),
        "kernel_std": (kernels.std, kernel, "standard deviation of the kernel"),
        "image": (kernels.image, image, content.channel),
        "fit": (kernels.fit, image, "kernels at all scatterers, and the background"),
        "residual": (content.residual, image, "image without the fit"),
    }
    for name, (values, dims, long_name) in arrays.items():
        shown = values if content.axis is not None else values[0]
        variable(file, name, shown, {**layers, **dims}, units=content.unit, long_name=long_name)
    scatterer = coordinate(file, "scatterer", np.arange(len(kernels.position_nm), dtype=np.float64), "1")
    component = coordinate(file, "component", np.arange(2, dtype=np.float64), "1")
    variable(
        file,
        "position",
        kernels.position_nm,
        {"scatterer": scatterer, "component": component},
        units="nm",
        long_name="x and y of the scatterers from the centre of the field",
    )
    set_texts(
        file,
        format=FORMAT,
        package_version=__version__,
        steps=to_json([asdict(step) for step in content.steps], "steps"),
        channel=content.channel,
        method=kernels.method,
        options=to_json(dict(content.options or {}), "options"),
        diagnostics=to_json([dict(each) for each in kernels.diagnostics], "diagnostics"),
        failures=to_json(list(kernels.failures), "failures"),
    )
    write_source(file, content.source)
    file.attrs["format_version"] = VERSION
    for name, one in (("size_nm", grid), ("kernel_size_nm", kernel_grid)):
        file.attrs[name] = np.array([one.size_x_nm, one.size_y_nm])


def _content(path: Path, file: h5py.File) -> KernelFile:
    axis = axis_of(file)

    def layers(name: str) -> NDArray[Any]:
        values = checked_values(file, name)
        return values if axis is not None else values[None]

    image = layers("image")
    return KernelFile(
        kernels=Kernels(
            grid=_grid(file, "size_nm", image),
            kernel_grid=_grid(file, "kernel_size_nm", layers("kernel")),
            image=image,
            position_nm=checked_values(file, "position"),
            method=text(file, "method"),
            kernel=layers("kernel"),
            std=layers("kernel_std"),
            fit=layers("fit"),
            diagnostics=tuple(from_json(path, file, "diagnostics")),
            failures=tuple(from_json(path, file, "failures")),
        ),
        channel=text(file, "channel"),
        unit=text(file["kernel"], "units"),
        axis=axis,
        source=source_of(file),
        steps=tuple(Step(**step) for step in from_json(path, file, "steps")),
        options=from_json(path, file, "options"),
    )


def _grid(file: h5py.File, name: str, layers: NDArray[Any]) -> Grid:
    width, height = (float(size) for size in file.attrs[name])
    return Grid(ny=layers.shape[1], nx=layers.shape[2], size_y_nm=height, size_x_nm=width)
