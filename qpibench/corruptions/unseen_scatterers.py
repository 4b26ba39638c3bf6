r"""Unseen scatterers outside the field: their ripples enter the image, and a model is not told of them.

A map shows the ripples of defects that lie beyond its edges. In eq. 7 with the same density outside and inside they
amount to a noise of 8, 4, 2 and 1 dB (median) for decay lengths of 1, 2, 3 and 5 nm and a field of 10 nm.

The scatterers lie in a frame around the field: its outer edge is the field widened by ``reach_nm`` on every side, and
its inner edge the field itself, or, with a positive ``scatterers.margin_nm``, the field widened by the margin, in which
scatterers are drawn and told already. They are a Poisson process: independent, uniform in the frame, and on average

$$m = \rho F,$$

where $F$ is the area of the frame, and the density $\rho$ is the stated one, ``density_per_nm2``, or else that of the
image's drawn scatterers: their number over the area in which they are drawn. They follow the drawn scatterers in
``position_nm`` and count in ``n_scatterers``.

On a lattice each moves to the nearest site in the frame without another scatterer.

Stream ``unseen scatterers number``: draw q has the four words of the gaps 4q to 4q + 3. A gap is -ln u with
u = (word + 1/2) 2^-32, in float64. The number of unseen scatterers is the number of gaps, added in order in float64,
whose sum does not exceed the mean; such numbers are Poisson-distributed. It is cut at ceil(mean + 6 sqrt(mean) + 6),
which less than one image in 10^8 exceeds, so that the length of the scatterer dimension is known in advance.

Stream ``unseen scatterers position``: draw k has the words of scatterer k. The first chooses between the strips below
and above the frame's hole, which have the frame's full width, and those beside it, by their areas. The second is the
place along the strip, and the third that across both strips of the pair.

Sources: the noise of unseen defects is measured with eq. 7 of arXiv 2506.05325; Poisson numbers from gaps, Devroye,
Non-Uniform Random Variate Generation, 1986, section X.3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import ln_f64
from qpibench.arithmetic.philox import unit, words
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.families import get_family, is_on_lattice, is_tabulated
from qpibench.grid import Grid

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "scatterers"
ORDER = 10
EXAMPLE = {"reach_nm": 2.5}

MAX_REACH_FIELDS = 10
"""Largest reach in field sizes, as that of ``scatterers.margin_nm``."""


MAX_SITES = 2**31 - 1
"""Lattice sites beyond this number are not counted."""


class Settings(BaseModel):
    """Settings of unseen scatterers.

    ``reach_nm`` is the width of the frame around the field in which they lie. Without ``density_per_nm2`` their density
    is that of the image's other scatterers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reach_nm: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        description="how far outside the field unseen scatterers may lie"
    )
    density_per_nm2: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = Field(
        default=None, description="density of unseen scatterers; that of the image's other scatterers if absent"
    )


COLUMNS = (
    Column(
        name="n_unseen",
        dtype="<i4",
        per="observation",
        units="1",
        long_name="number of scatterers outside the field of which a model is not told",
        absent=0,
    ),
)


class Frame(NamedTuple):
    """A frame around the field: half the sides of its hole, and the width of its border, in nm."""

    half_x_nm: float
    half_y_nm: float
    width_nm: float

    @property
    def area_nm2(self) -> float:
        """Area of the border."""
        return 4.0 * self.width_nm * ((self.half_x_nm + self.width_nm) + self.half_y_nm)


def frame(settings: Settings, grid: Grid, margin_nm: float) -> Frame:
    """Frame in which the unseen scatterers lie."""
    hole_nm = max(margin_nm, 0.0)
    return Frame(grid.size_x_nm / 2 + hole_nm, grid.size_y_nm / 2 + hole_nm, settings.reach_nm - hole_nm)


def mean_number(settings: Settings, grid: Grid, margin_nm: float, n_drawn: Any) -> Any:
    """Expected number of unseen scatterers of an image with ``n_drawn`` drawn ones."""
    area_nm2 = frame(settings, grid, margin_nm).area_nm2
    if settings.density_per_nm2 is not None:
        return settings.density_per_nm2 * area_nm2 + 0.0 * n_drawn
    drawn_in_nm2 = (grid.size_x_nm + 2.0 * margin_nm) * (grid.size_y_nm + 2.0 * margin_nm)
    return n_drawn / drawn_in_nm2 * area_nm2


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse a frame without width or too far out; see :class:`qpibench.corruptions.Restricted`."""
    margin_nm = spec.scatterers.margin_nm
    most_nm = MAX_REACH_FIELDS * max(spec.grid.size_x_nm, spec.grid.size_y_nm)
    if not margin_nm < settings.reach_nm <= most_nm:
        above = f"above scatterers.margin_nm = {margin_nm:g}" if margin_nm > 0 else "above 0"
        raise ValueError(
            f"corruptions.unseen_scatterers.reach_nm = {settings.reach_nm:g} must be {above} and at most {most_nm:g}"
            f" nm, {MAX_REACH_FIELDS} times the field"
        )
    family = get_family(spec.kernels.family)
    kernels_nm = family.reach_nm(spec.kernels) if is_tabulated(family) else math.inf
    if settings.reach_nm > kernels_nm:
        raise ValueError(
            f"corruptions.unseen_scatterers.reach_nm = {settings.reach_nm:g} must be at most {kernels_nm:g} nm, as far"
            " as the kernels reach along x and y"
        )
    if is_on_lattice(family):
        around, most = frame(settings, spec.grid, margin_nm), extra_scatterers(settings, spec)
        hole = around.half_x_nm, around.half_y_nm
        within, whole = (
            family.site_count(spec.kernels, hole[0] + width, hole[1] + width, enough=MAX_SITES)
            for width in (0.0, around.width_nm)
        )
        if most > whole - within:
            raise ValueError(
                f"corruptions.unseen_scatterers needs up to {most} lattice sites, and there are {whole - within} within"
                " its reach; lower density_per_nm2 or scatterers.max"
            )


def extra_scatterers(settings: Settings, spec: ReleaseSpec) -> int:
    """The largest number of unseen scatterers; see :class:`qpibench.corruptions.AddsScatterers`."""
    return _most(mean_number(settings, spec.grid, spec.scatterers.margin_nm, spec.scatterers.max))


def outside_nm(settings: Settings, spec: ReleaseSpec) -> float:
    """Distance of the frame's outer edge from the area of the drawn scatterers, or from the field if it is larger."""
    return settings.reach_nm - max(spec.scatterers.margin_nm, 0.0)


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Add unseen scatterers to a draft; see :class:`qpibench.corruptions.Corruption`."""
    mean = mean_number(settings, draft.grid, draft.margin_nm, draft.n_drawn)
    most = np.array([_most(each) for each in mean.tolist()], np.int32)
    n_unseen = np.empty(len(draft), np.int32)
    keys = draft.key("unseen scatterers number"), draft.key("unseen scatterers position")
    around = frame(settings, draft.grid, draft.margin_nm)
    _add(*keys, draft.start, draft.per_kernel, mean, most, around, n_unseen, draft.n_scatterers, draft.position_nm)
    return {"n_unseen": n_unseen}


def _most(mean: float) -> int:
    return math.ceil(mean + 6.0 * math.sqrt(mean) + 6.0)


@compiled(nogil=True, error_model="numpy")
def _add(  # type: ignore[no-untyped-def]
    number_key, position_key, start, per_kernel, mean, most, frame, n_unseen, n_scatterers, position
):
    """Append unseen scatterers to ``position`` (observation, scatterer, xy), and add them to ``n_scatterers``."""
    half_x, half_y, width = frame
    full_x = half_x + width
    rows_share = full_x / (full_x + half_y)
    for row in range(len(position)):
        kernel, image = divmod(start + row, per_kernel)
        count = 0
        total = 0.0
        gaps = words(number_key, 0, image, kernel)
        while count < most[row]:
            if count % 4 == 0:
                gaps = words(number_key, count // 4, image, kernel)
            total -= ln_f64(unit(gaps[count % 4]))
            if total > mean[row]:
                break
            count += 1
        for k in range(count):
            strip, along, across, _ = words(position_key, k, image, kernel)
            place = position[row, n_scatterers[row] + k]
            along = 2.0 * unit(along) - 1.0
            across = 2.0 * unit(across) - 1.0
            if unit(strip) < rows_share:
                place[0] = along * full_x
                place[1] = across * width + (half_y if across > 0.0 else -half_y)
            else:
                place[0] = across * width + (half_x if across > 0.0 else -half_x)
                place[1] = along * half_y
        n_scatterers[row] += count
        n_unseen[row] = count
