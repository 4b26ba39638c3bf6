"""Every entry works on the cells of suite v1 that it can take, with all that its view hides really absent."""

import functools
import importlib
import inspect
from dataclasses import fields

import numpy as np
import pytest

from qpibench import Prediction
from qpibench.evaluation.entries import find_entry, shipped_entries
from qpibench.evaluation.isolation.loading import declarations_of, found_in, predictor_of
from qpibench.evaluation.isolation.training import Train
from qpibench.synthesis import get_backend
from qpibench.synthesis.contract import Observations
from qpibench.tasks import allows, view_batch
from qpibench.tasks.patch import kernel_grid
from qpibench.tasks.suite import load_suite

CELLS = {each.label: each.cell for each in load_suite("v1").cells}
SPECS = {(label, spec.kernels.family): spec for label, cell in CELLS.items() for spec in reversed(cell.specs)}
"""The first spec of every family of kernels of a cell."""

KINDS = ("paper/id", "exact/clean", "robust/spurious-10", "robust/open-edge", "species/hidden", "blind/sparse")
"""A cell of each kind: of the views, the maps, told positions that are wrong, two species, and patches."""

THOROUGH = ("polar", "refine", "refine_eq7", "denoised")
"""Entries that take seconds for the images of a cell, or stand for another; one cell is enough for the fast tests."""

SLOW = ("one_step", "two_step", "shift_vae", "polar_two_step")  # and all entries on all cells and on lattices
N_IMAGES = 2


DRAWN: dict[str, tuple[np.ndarray, Observations]] = {}


def drawn(spec):
    """Kernels and images of a release that is like that of a spec, but with two kernels."""
    if spec.sha256 not in DRAWN:
        small = spec.model_copy(update={"kernels": spec.kernels.model_copy(update={"count": N_IMAGES})})
        backend = get_backend("cpu")[0]
        kernels = backend.kernels(small)
        DRAWN[spec.sha256] = kernels.image, backend.observations(small, kernels, 0, N_IMAGES)
    return DRAWN[spec.sha256]


def shown(cell, spec, observations, view=None):
    return view_batch(
        observations,
        spec.grid,
        kernel_grid(spec.grid, cell.kernel_px),
        view=view or cell.view,
        map_mode=cell.map,
        told_species=cell.told_species,
    )


def without_hidden_fields(cell, observations):
    """Observations with nothing but the image, the told positions, and the told species unless they are hidden."""
    told = observations.told.copy() if cell.view != "image" else np.full_like(observations.told, np.nan)
    species = observations.told_species if cell.told_species else None
    return Observations(
        image=observations.image.copy(),
        kernel=np.full_like(observations.kernel, -1),
        n_scatterers=np.full_like(observations.n_scatterers, -1),
        position_nm=np.full_like(observations.position_nm, np.nan),
        told_position_nm=told,
        extra={} if species is None else {"told_species": species},
    )


def of_cell(label, family):
    slow = label not in KINDS or family == "tight_binding"
    return pytest.param(label, family, id=f"{label} {family}", marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("label", "family"), [of_cell(*each) for each in SPECS])
def test_a_view_is_made_of_what_it_may_show_only(label, family):
    cell, spec = CELLS[label], SPECS[label, family]
    _, observations = drawn(spec)
    whole, bare = (shown(cell, spec, each) for each in (observations, without_hidden_fields(cell, observations)))
    for field in fields(whole):
        one, other = getattr(whole, field.name), getattr(bare, field.name)
        assert np.array_equal(one, other, equal_nan=True) if isinstance(one, np.ndarray) else one == other
    if cell.view == "image":
        assert bare.position_nm is bare.activation_map is None
    if not cell.told_species:
        assert bare.species is None


@functools.cache
def entry(name):
    """The file of an entry, its model, and what it declares."""
    found, module = find_entry(name), importlib.import_module(name)
    model = found_in(module, found.path.name, found.target)
    if isinstance(model, type):
        model = model(*(() if found.folder is None else (found.folder.path,)))
    return module, model, declarations_of(model, module)


def takes(declared, cell, batch):
    needs, pixels = declared["needs"] or "image", declared["takes_pixels"]
    return (
        allows(cell.view, needs)
        and not (needs == "raster" and cell.map is None)
        and (batch.species_count == 1 or declared["takes_species"])
        and (pixels is None or (batch.grid.shape == batch.kernel_grid.shape == tuple(pixels)))
    )


def training_role(cell, spec):
    """The images that an entry with fit gets; None if the cell has none."""
    source = cell.training or (spec if spec.splits.ood_kernels < 1 else None)
    if source is None:
        return None
    kernels, observations = drawn(source)
    batch = shown(cell, source, observations)
    return Train(
        kernel_index=observations.kernel,
        grid=batch.grid,
        kernel_grid=batch.kernel_grid,
        fetch_rows=lambda rows: shown(
            cell,
            source,
            Observations.of_columns({name: values[rows] for name, values in observations.columns().items()}),
        ),
        fetch_kernels=lambda: kernels,
    )


def asked(name, label, family):
    slow = name in SLOW or (name in THOROUGH and label != "paper/id") or of_cell(label, family).marks
    return pytest.param(name, label, family, id=f"{name} {label} {family}", marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(
    ("name", "label", "family"), [asked(name, *each) for name in shipped_entries() for each in SPECS]
)
def test_an_entry_predicts_from_its_view_alone(name, label, family):
    if name in SLOW:
        pytest.importorskip("torch")
    module, model, declared = entry(name)
    cell, spec = CELLS[label], SPECS[label, family]
    batch = shown(cell, spec, without_hidden_fields(cell, drawn(spec)[1]))
    fit = getattr(module if inspect.isfunction(model) else model, "fit", None)
    train = None if fit is None else training_role(cell, spec)
    if not takes(declared, cell, batch) or (fit is not None and train is None):
        assert label != "exact/clean"  # which every entry can take
        return
    if fit is not None:
        fit(train)
    found = predictor_of(model, f"{name}.py", declared["needs"])(batch)
    kernel = found.kernel if isinstance(found, Prediction) else np.asarray(found)
    shape = batch.kernel_grid.shape if batch.species_count == 1 else (2, *batch.kernel_grid.shape)
    assert kernel.shape == (N_IMAGES, *shape)
    assert np.isfinite(kernel).all()
