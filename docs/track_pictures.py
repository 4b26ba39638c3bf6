"""Draw docs/tracks/images/, an example of each cell: ``python docs/track_pictures.py [TRACK...]``; all by default."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpibench.pages.plotting import file_content, own_style

# isort: split
import numpy as np
from matplotlib.figure import Figure

from qpibench.families import get_family
from qpibench.gallery.colours import Scale
from qpibench.gallery.gallery import told_marks, true_marks
from qpibench.gallery.page import STYLE
from qpibench.gallery.palette import in_palette
from qpibench.gallery.panels import Marks, draw_image
from qpibench.grid import central_pixels
from qpibench.specs import ReleaseSpec
from qpibench.specs.species import species_count
from qpibench.synthesis.cpu import CpuBackend
from qpibench.synthesis.cpu import draw as draw_scatterers
from qpibench.tasks.patch import kernel_grid
from qpibench.tasks.track import Cell, Track, load_track, track_names

FOLDER = Path(__file__).parent / "tracks" / "images"

MOST_SEARCHED = 32
WANTED_SCATTERERS = 12

SIDE, GAP, DPI = 1.25, 0.14, 80
"""Side of a panel and distance between panels in inches, and pixels per inch."""


def pictures() -> dict[str, tuple[str, str]]:
    """The track and the cell of each picture, by the name of its file."""
    return {f"{name}-{cell}.png": (name, cell) for name in track_names() for cell in load_track(name).cells}


def draw(track: Track, name: str) -> bytes:
    """A PNG of one image of a cell for each family, above its kernel; with two species, above both kernels."""
    cell = track.cell(name)
    specs = list({spec.kernels.family: spec for spec in reversed(cell.specs)}.values())[::-1]
    with own_style(STYLE):
        columns = sum(species_count(spec) for spec in specs)
        width, height = GAP + columns * (SIDE + GAP), 2 * (SIDE + 2 * GAP)
        figure = Figure(figsize=(width, height), dpi=DPI)
        column = 0
        for spec in specs:
            for place, (picture, grid) in enumerate(_panels(cell, spec)):
                left, row = GAP + (column + max(place - 1, 0)) * (SIDE + GAP), min(place, 1)
                bottom = GAP / 2 + (1 - row) * (SIDE + 2 * GAP)
                axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
                draw_image(axes, picture, grid, has_legend=False)
            column += species_count(spec)
        return in_palette(file_content(figure, "png", dpi=DPI))


def _panels(cell: Cell, spec: ReleaseSpec) -> Iterator[tuple[Any, Any]]:
    """An image of a spec and its kernels, with their grids."""
    counts = draw_scatterers(spec, 0, min(MOST_SEARCHED, spec.observation_count), domain="benchmark").n_drawn
    index = int(np.abs(counts - WANTED_SCATTERERS).argmin())
    backend, row = CpuBackend(), index // spec.observations_per_kernel
    kernels = backend.kernels(spec, count=row + 1)
    seen = backend.observations(spec, kernels, index, index + 1)
    first = species_count(spec) * row
    core_nm = get_family(spec.kernels.family).core_radius_nm(spec.kernels)
    true, told = true_marks(seen), told_marks(seen)
    if not cell.told_species:
        true, told = replace(true, species=None), replace(told, species=None)
    picture = Scale(spec.grid, core_nm, kernels.image).picture(seen.image[0], true.position_nm)
    if cell.view != "image":
        picture = replace(picture, true=true, told=Marks() if told == true else told)
    yield picture, spec.grid
    grid = kernel_grid(spec.grid, cell.kernel_px)
    patches = central_pixels(kernels.image[first : first + species_count(spec)], grid.shape)
    for patch in patches:
        yield Scale(grid, core_nm, patches).picture(patch, np.zeros((1, 2))), grid


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracks", nargs="*", metavar="TRACK")
    wanted = parser.parse_args().tracks or track_names()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, (name, cell_name) in pictures().items():
        if name in wanted:
            (FOLDER / file).write_bytes(draw(load_track(name), cell_name))
