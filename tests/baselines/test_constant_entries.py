"""The entries that do not look at the image."""

from __future__ import annotations

import runpy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from qpibench import Batch
from qpibench.evaluation.entries import find_entry
from qpibench.grid import Grid


@pytest.fixture
def batch():
    return Batch(
        image=np.ones((3, 6, 8), np.float32),
        activation_map=None,
        position_nm=None,
        grid=Grid(ny=6, nx=8, size_y_nm=3, size_x_nm=4),
        kernel_grid=Grid(ny=4, nx=5, size_y_nm=2, size_x_nm=2),
    )


def test_zeros_answers_zeros_on_the_grid_that_is_wanted(batch):
    kernel = runpy.run_path(str(find_entry("zeros").path))["predict"](batch)
    assert kernel.shape == (3, 4, 5)
    assert kernel.dtype == np.float32
    assert not kernel.any()


def test_zeros_answers_a_kernel_for_each_of_two_species(batch):
    module = runpy.run_path(str(find_entry("zeros").path))
    assert module["takes_species"] is True
    assert module["predict"](replace(batch, species_count=2)).shape == (3, 2, 4, 5)


def test_median_kernel_answers_the_median_of_the_training_kernels(batch):
    kernels = np.random.default_rng(0).random((7, 4, 5), dtype=np.float32)
    model = runpy.run_path(str(find_entry("median_kernel").path))["Model"]()
    model.fit(SimpleNamespace(kernels=kernels))
    kernel = model.predict(batch)
    assert kernel.shape == (3, 4, 5)
    np.testing.assert_array_equal(kernel, np.broadcast_to(np.sort(kernels, axis=0)[3], (3, 4, 5)))
