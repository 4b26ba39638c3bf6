"""The JSON file of ``python -m benchmarks.microscope``: what every method found in every stack, and its summary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import qpibench
from benchmarks.drawn_stacks import StackSpec
from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import write_whole
from qpibench.parsing import parse_json
from qpibench.specs.load import explain
from qpibench.throughput.history import Machine


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Goals(_Closed):
    """Errors of E0 and of m* that a stack may have, the share of stacks below both, and the ratio of kernel errors."""

    e0_mev: float = 5.0
    mass: float = 0.03
    stacks: float = 0.95
    relative_l2_ratio: float = 1.2


class StackFound(_Closed):
    """What a method found in a stack; None is a figure that it has not.

    Attributes
    ----------
    stack, e0_mev, mass, field_nm
        Number of the stack, the truth, and the side of the field.
    failure
        Why there is no kernel or no band, or an empty text.
    states_std
        Whether the method states standard deviations of its kernels.
    layers, layers_with_q, layers_used
        Layers with a kernel, with a wavevector, and in the fit of the band.
    e0_error_mev, mass_error
        Found less true E0, and found over true m* less 1.
    e0_wide_mev, mass_wide
        Half the 95 % interval of E0, and that of m* over the true m*.
    e0_held, mass_held
        Whether the intervals hold the truth.
    q_error
        Median of the relative error of a wavevector.
    q_within_68, q_within_95
        Shares of the wavevectors within 1 and 1.96 standard deviations of the truth.
    relative_l2_file, relative_l2_direct
        Relative L2 error of kernels outside the core, from the file and from the data themselves.
    seconds
        Time of the extraction, on a machine that may do other work.
    """

    stack: int
    e0_mev: float
    mass: float
    field_nm: float
    failure: str = ""
    states_std: bool = False
    layers: int = 0
    layers_with_q: int = 0
    layers_used: int = 0
    e0_error_mev: float | None = None
    mass_error: float | None = None
    e0_wide_mev: float | None = None
    mass_wide: float | None = None
    e0_held: bool = False
    mass_held: bool = False
    q_error: float | None = None
    q_within_68: float | None = None
    q_within_95: float | None = None
    relative_l2_file: float | None = None
    relative_l2_direct: float | None = None
    seconds: float = 0.0

    def is_within(self, goals: Goals) -> bool:
        """Whether both errors of the band are within the goals."""
        if self.e0_error_mev is None or self.mass_error is None:
            return False
        return abs(self.e0_error_mev) <= goals.e0_mev and abs(self.mass_error) <= goals.mass


class MethodFigures(_Closed):
    """The stacks of a method, and the code and the machine that measured them.

    Attributes
    ----------
    code_sha256, weights_sha256
        SHA-256 of the entry's code, as in a result file, and of its weights by name.
    library_sha256
        SHA-256 of the sources of the package and of this benchmark.
    """

    code_sha256: str
    weights_sha256: dict[str, str]
    library_sha256: str
    machine: Machine
    stacks: tuple[StackFound, ...] = ()


class Figures(_Closed):
    """The content of the file."""

    format: Literal["qpibench microscope"] = "qpibench microscope"
    version: Literal[1] = 1
    spec: StackSpec = StackSpec()
    goals: Goals = Goals()
    methods: dict[str, MethodFigures] = {}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The figures of a method over all its stacks; None where no stack has one.

    Errors and half widths are medians, those called largest are maxima, counts are numbers of stacks, shares and
    relative L2 errors are means.
    """

    count: int
    within: int
    bands: int
    e0_error_mev: float | None
    largest_e0_error_mev: float | None
    mass_error: float | None
    largest_mass_error: float | None
    e0_held: int
    mass_held: int
    e0_wide_mev: float | None
    mass_wide: float | None
    q_error: float | None
    q_within_68: float | None
    q_within_95: float | None
    layers_used: float
    relative_l2: float | None
    largest_ratio: float | None
    states_std: bool
    seconds: float


def summarised(stacks: Iterable[StackFound], goals: Goals) -> Summary:
    """The figures of all stacks together."""
    rows = list(stacks)
    e0 = [abs(row.e0_error_mev) for row in rows if row.e0_error_mev is not None]
    mass = [abs(row.mass_error) for row in rows if row.mass_error is not None]
    pairs = [(row.relative_l2_file, row.relative_l2_direct) for row in rows]
    ratios = [file / direct for file, direct in pairs if file is not None and direct is not None]
    return Summary(
        count=len(rows),
        within=sum(row.is_within(goals) for row in rows),
        bands=len(e0),
        e0_error_mev=median(e0) if e0 else None,
        largest_e0_error_mev=max(e0, default=None),
        mass_error=median(mass) if mass else None,
        largest_mass_error=max(mass, default=None),
        e0_held=sum(row.e0_held for row in rows),
        mass_held=sum(row.mass_held for row in rows),
        e0_wide_mev=_over(rows, "e0_wide_mev", is_median=True),
        mass_wide=_over(rows, "mass_wide", is_median=True),
        q_error=_over(rows, "q_error", is_median=True),
        q_within_68=_over(rows, "q_within_68"),
        q_within_95=_over(rows, "q_within_95"),
        layers_used=sum(row.layers_used for row in rows) / len(rows),
        relative_l2=_over(rows, "relative_l2_file"),
        largest_ratio=max(ratios, default=None),
        states_std=any(row.states_std for row in rows),
        seconds=median(row.seconds for row in rows),
    )


def _over(rows: Iterable[StackFound], name: str, *, is_median: bool = False) -> float | None:
    values: list[float] = [value for row in rows if (value := getattr(row, name)) is not None]
    if not values:
        return None
    return median(values) if is_median else sum(values) / len(values)


def read_figures(path: Path) -> Figures:
    """Read a file of figures.

    Raises
    ------
    InvalidDataError
        If it cannot be read or is none.
    """
    subject = f"File of figures '{path}'"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidDataError(f"{subject} cannot be read: {error.strerror}.") from None
    try:
        return Figures.model_validate(parse_json(content, subject))
    except ValidationError as error:
        raise InvalidDataError(f"{subject} is not one of benchmarks.microscope: {explain(error, Figures)}") from None


def continued(path: Path | None, spec: StackSpec) -> Figures:
    """The figures that a file has already; none if it does not exist.

    Raises
    ------
    UsageError
        If its stacks were drawn in another way.
    InvalidDataError
        As :func:`read_figures`.
    """
    if path is None or not path.exists():
        return Figures(spec=spec)
    figures = read_figures(path)
    if figures.spec != spec:
        kept, asked = figures.spec.model_dump(), spec.model_dump()
        names = ", ".join(f"{name} {kept[name]}, not {asked[name]}" for name in kept if kept[name] != asked[name])
        raise UsageError(f"'{path}' has figures of other stacks ({names}); name another file, or remove it.")
    return figures


def write_figures(figures: Figures, path: Path) -> None:
    """Write a file of figures, whole or not at all."""
    write_whole(path, f"{figures.model_dump_json(indent=1)}\n".encode(), what="File of figures")


def library_sha256() -> str:
    """SHA-256 of the sources that figures depend on beside the entry: those of the package and of this benchmark."""
    package, here = Path(qpibench.__file__).parent, Path(__file__).parent
    own = [here / f"{name}.py" for name in ("drawn_stacks", "microscope", "microscope_figures", "nanonis_files")]
    digest = hashlib.sha256()
    for file in [*sorted(package.rglob("*.py")), *own]:
        name = file.relative_to(package if package in file.parents else here).as_posix()
        digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
