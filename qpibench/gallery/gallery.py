"""The gallery of a spec: what its rows show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qpibench.corruptions import get_corruption, is_of_instrument
from qpibench.families import get_family
from qpibench.gallery.captions import (
    constant_columns,
    filled,
    row_texts,
    settings_text,
    shorten,
    summary,
    wrapped,
)
from qpibench.gallery.choice import Choice, choose
from qpibench.gallery.colours import Scale, difference_picture, finer
from qpibench.gallery.effects import Effect, Refusal, effects_of_examples, effects_of_spec
from qpibench.gallery.page import CHARACTERS, Panel, Row, draw_page
from qpibench.gallery.palette import MARKS
from qpibench.gallery.panels import Marks, Picture, draw_image, draw_spectrum, draw_values
from qpibench.grid import Grid
from qpibench.pages.fourier import spectrum
from qpibench.pages.scales import Limits
from qpibench.physics.activation import activation_map
from qpibench.specs import ReleaseSpec
from qpibench.specs.columns import observation_columns
from qpibench.specs.species import SCATTERER_SPECIES, TOLD_SPECIES, pair_columns
from qpibench.synthesis.contract import Observations
from qpibench.synthesis.cpu import CpuBackend

DECADES = 3.0
"""Decades of |FFT| below its largest value that the colours of a spectrum show."""

ENLARGED = 3
"""How many times told positions are enlarged."""

ABOUT_SPECIES = "Circles and crosses are of species 0, triangles and plus signs of species 1."

ABOUT = (
    "Scale bars in nm. Positive values: dark to bright. Signed ones: blue to red, white is 0, and 98 % of those outside"
    " the cores of scatterers are on the scale. Green circles: scatterers; violet crosses: positions that a model is"
    " told, where they differ. Below images log |FFT|: the mean is removed and a Hann window applied; q = 2π/λ in"
    f" rad/nm; colours span {DECADES:g} decades from the largest value. Dotted half circle: q of the kernel's ripples."
)


def draw_gallery(spec: ReleaseSpec, *, examples: Sequence[str] | None = None) -> bytes:
    """Draw the gallery of a spec as a PNG.

    Parameters
    ----------
    spec
        The spec; only the few kernels and images that are shown are made.
    examples
        None for a picture of kernels, images, and the effects of the spec's corruptions one after the other. Otherwise
        the picture shows the effects of the examples of these corruptions, or of all if there are none, each on the
        same image of the spec without corruptions.

    Raises
    ------
    UsageError
        If there is no corruption of such a name.
    """
    return draw_page([*gallery_rows(spec, examples=examples)])


def gallery_rows(spec: ReleaseSpec, *, examples: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a gallery; see :func:`draw_gallery`."""
    for name in examples or ():
        get_corruption(name)
    choice = choose(spec)
    scale = Scale(
        spec.grid, get_family(spec.kernels.family).core_radius_nm(spec.kernels), choice.kernels.image[choice.rows]
    )
    yield _head(spec)
    if examples is None:
        yield from _kernel_rows(spec, choice, scale)
        yield _image_row(spec, choice, scale)
        effects: Iterator[Effect | Refusal] = effects_of_spec(spec, choice.example)
    else:
        effects = effects_of_examples(spec, choice.example, examples)
    for effect in effects:
        yield _refused_row(effect) if isinstance(effect, Refusal) else _effect_row(spec, effect, choice, scale)


def _head(spec: ReleaseSpec) -> Row:
    grid, scatterers = spec.grid, spec.scatterers
    size = f"{grid.ny} x {grid.nx} pixels on {grid.size_y_nm:g} x {grid.size_x_nm:g} nm (y, x)"
    count = f"{scatterers.min} to {scatterers.max} scatterers" if scatterers.max > 1 else "1 scatterer"
    shown = "kernels" if spec.species is None else "pairs of kernels"
    first = f"Family {spec.kernels.family}, {spec.kernels.count} {shown}, {size}, {count} an image."
    about = ABOUT if spec.species is None else f"{ABOUT} {ABOUT_SPECIES}"
    name = shorten(spec.name, CHARACTERS["heading"])
    return Row(heading=name, text="\n".join([first, filled(about, CHARACTERS["page"])]))


def _kernel_rows(spec: ReleaseSpec, choice: Choice, scale: Scale) -> Iterator[Row]:
    family, parameters = get_family(spec.kernels.family), choice.kernels.parameters
    shown = {name: values[choice.rows] for name, values in parameters.items()}
    of_all = constant_columns(family.COLUMNS, shown) if len(choice.rows) > 1 else []
    varied = [column for column in family.COLUMNS if column not in of_all]
    common = row_texts(of_all, shown, 0)
    text = f"The same for all: {', '.join(common)}" if common else ""
    q = family.wavevector(parameters)
    for place, line in enumerate(choice.lines):
        panels = []
        for row in line:
            of_pair = row_texts(pair_columns(spec), choice.kernels.pairs, row)
            texts = wrapped([f"kernel {row}", *of_pair, *row_texts(varied, parameters, row)], CHARACTERS["panel"])
            picture = scale.picture(choice.kernels.image[row], np.zeros((1, 2)))
            panels.append(_with_spectrum(texts, picture, spec.grid, ring_q=float(q[row])))
        yield Row(
            heading="" if place else "Kernels", text="" if place else filled(text, CHARACTERS["page"]), panels=panels
        )


def _image_row(spec: ReleaseSpec, choice: Choice, scale: Scale) -> Row:
    columns = observation_columns(spec)
    panels = []
    for index in choice.images:
        seen = CpuBackend().observations(spec, choice.kernels, index, index + 1)
        texts = [_counted(index, seen, spec), *row_texts(columns, seen.extra, 0)]
        picture = _marked(scale.picture(seen.image[0], true_marks(seen).position_nm), seen)
        panels.append(_with_spectrum(wrapped(texts, CHARACTERS["panel"]), picture, spec.grid))
    return Row(heading="Images", panels=panels)


def _counted(index: int, seen: Observations, spec: ReleaseSpec) -> str:
    number = int(seen.n_scatterers[0])
    noun = "scatterer" if number == 1 else "scatterers"
    shown = "kernel" if spec.species is None else "pair"
    return f"image {index}, {shown} {index // spec.observations_per_kernel}: {number} {noun}"


def _marked(picture: Picture, seen: Observations, *, always: bool = False) -> Picture:
    true, told = true_marks(seen), told_marks(seen)
    return replace(picture, true=true, told=told if always or told != true else Marks())


def true_marks(seen: Observations) -> Marks:
    """Positions and species of the scatterers of the only observation, without padding."""
    return _marks(seen.position_nm, seen.extra.get(SCATTERER_SPECIES.name))


def told_marks(seen: Observations) -> Marks:
    """The told positions of the only observation and their species, without padding."""
    return _marks(seen.told, seen.extra.get(TOLD_SPECIES.name, seen.extra.get(SCATTERER_SPECIES.name)))


def _marks(position_nm: NDArray[np.float64], species: NDArray[np.int32] | None) -> Marks:
    used = ~np.isnan(position_nm[0, :, 0])
    return Marks(position_nm=position_nm[0][used], species=None if species is None else species[0][used])


def _refused_row(refusal: Refusal) -> Row:
    return Row(heading=refusal.name, text=filled(f"Not possible with this spec: {refusal.reason}.", CHARACTERS["page"]))


def _effect_row(spec: ReleaseSpec, effect: Effect, choice: Choice, scale: Scale) -> Row:
    corruption = get_corruption(effect.name)
    texts = [f"[corruptions.{effect.name}] {settings_text(effect.settings)}"]
    made = row_texts(corruption.COLUMNS, effect.after.extra, 0)
    if made:
        texts.append(f"in this image {', '.join(made)}")
    if is_of_instrument(corruption) and (share := _relative_change(effect.kernel_before, effect.kernel_after)):
        texts.append(f"the kernel, which is the target, changes too, by {100 * share:.2g} % of its rms")
    text = [filled(each, CHARACTERS["page"]) for each in (summary(corruption), "; ".join(texts))]
    panels = _told_panels if effect.stage == "told" else _changed_panels
    return Row(
        heading=f"{effect.name} (stage '{effect.stage}'), on image {choice.example}",
        text="\n".join(text),
        panels=panels(spec.grid, effect, scale),
    )


def _changed_panels(grid: Grid, effect: Effect, scale: Scale) -> list[Panel]:
    before, after = effect.before.image[0], effect.after.image[0]
    limits = scale.limits(np.stack([before, after]), true_marks(effect.after).position_nm)
    pictures = [
        _marked(Picture(image=seen.image[0], colours=scale.colours, limits=limits), seen)
        for seen in (effect.before, effect.after)
    ]
    difference = difference_picture(before, after)
    share = _relative_change(before - before.mean(), after - before.mean())
    change = f"difference, {finer(limits, difference.limits)}\nrms {share:.2g} of the image's std"
    if not share:
        change = "no difference"
    transforms = [spectrum(image, grid, hann=True) for image in (before, after)]
    top = max(float(transform.max()) for transform in transforms)
    shared = (top - DECADES, top)
    return [
        _image_panel("without", pictures[0], grid),
        _image_panel("with", pictures[1], grid),
        _image_panel(change, difference, grid),
        _spectrum_panel("log |FFT| without", transforms[0], grid, shared),
        _spectrum_panel("log |FFT| with", transforms[1], grid, shared),
    ]


def _relative_change(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    size = float(np.sqrt(np.mean(before.astype(np.float64) ** 2)))
    return float(np.sqrt(np.mean((after.astype(np.float64) - before) ** 2))) / size if size else 0.0


def _told_panels(grid: Grid, effect: Effect, scale: Scale) -> list[Panel]:
    positions = true_marks(effect.after).position_nm
    plain = replace(scale.picture(effect.after.image[0], positions), is_faded=True)
    without, with_it = (_marked(plain, seen, always=True) for seen in (effect.before, effect.after))
    told = [told_marks(seen).position_nm for seen in (effect.before, effect.after)]
    maps = [activation_map(grid, each[np.newaxis], mode="exact")[0] for each in told]
    limits = (0.0, max(float(values.max()) for values in maps) or 1.0)
    marks = [Picture(image=values, colours=MARKS, limits=limits) for values in maps]
    view = crowded_part(grid, _changed(*told))
    return [
        _image_panel(f"without: {len(told[0])} positions are told", without, grid),
        _image_panel(f"with: {len(told[1])} positions are told", with_it, grid),
        _image_panel(f"with, a part enlarged {ENLARGED} times", with_it, grid, view_nm=view),
        _image_panel("activation map (exact) without", marks[0], grid, view_nm=view),
        _image_panel("activation map (exact) with", marks[1], grid, view_nm=view),
    ]


def _changed(before_nm: NDArray[np.float64], after_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions (scatterer, xy) that only one of two lists has; the first list if they are the same."""
    before, after = ({tuple(each) for each in positions.tolist()} for positions in (before_nm, after_nm))
    changed = sorted(before ^ after)
    return np.array(changed) if changed else before_nm


def crowded_part(grid: Grid, position_nm: NDArray[np.float64]) -> tuple[Limits, Limits]:
    """The ends of x and y in nm of a part of the field, of a third of its sides, with as many positions as possible."""
    half = np.array([grid.size_x_nm, grid.size_y_nm]) / 2
    part = half / ENLARGED
    centres = np.clip(position_nm, part - half, half - part) if len(position_nm) else np.zeros((1, 2))
    inside = (np.abs(position_nm[np.newaxis] - centres[:, np.newaxis]) <= part).all(axis=2).sum(axis=1)
    x, y = centres[int(inside.argmax())]
    return (float(x - part[0]), float(x + part[0])), (float(y - part[1]), float(y + part[1]))


def _with_spectrum(title: str, picture: Picture, grid: Grid, *, ring_q: float | None = None) -> Panel:
    transform = spectrum(picture.image, grid, hann=True)
    top = float(transform.max())
    below = _spectrum_panel("", transform, grid, (top - DECADES, top), ring_q=ring_q)
    return replace(_image_panel(title, picture, grid), below=below)


def _image_panel(title: str, picture: Picture, grid: Grid, *, view_nm: tuple[Limits, Limits] | None = None) -> Panel:
    return Panel(
        title=title,
        draw=partial(draw_image, picture=picture, grid=grid, view_nm=view_nm),
        height=_height(grid.size_y_nm / grid.size_x_nm),
        draw_bar=partial(draw_values, picture=picture),
    )


def _spectrum_panel(
    title: str, transform: NDArray[np.float64], grid: Grid, limits: Limits, *, ring_q: float | None = None
) -> Panel:
    return Panel(
        title=title,
        draw=partial(draw_spectrum, transform=transform, grid=grid, limits=limits, ring_q=ring_q),
        height=_height(grid.pitch_x_nm / grid.pitch_y_nm),
    )


def _height(ratio: float) -> float:
    return float(np.clip(ratio, 0.3, 2.0))
