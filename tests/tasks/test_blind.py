"""The blind track: kernels lie in the pixels that are predicted, images have 0.3 to 3 scatterers per kernel area."""

import numpy as np
import pytest

from qpibench.grid import central_pixels
from qpibench.synthesis import get_backend
from qpibench.tasks.track import load_track

CELLS = load_track("blind").cells


def test_the_cells_differ_in_the_number_of_scatterers_only():
    of_cells = [[spec.model_dump(mode="json", exclude={"name"}) for spec in cell.specs] for cell in CELLS.values()]
    counts = [[tuple(map(spec.pop("scatterers").get, ("min", "max"))) for spec in specs] for specs in of_cells]
    assert counts == [[(count, count)] * 4 for count in (23, 76, 228)]
    assert of_cells[0] == of_cells[1] == of_cells[2]
    for cell in CELLS.values():
        assert (cell.view, cell.task, cell.kernel_px) == ("image", "ood", 22)
        assert cell.primary == "rel_l2_invariant_capped"
        assert sum(spec.observation_count for spec in cell.specs) == 60


@pytest.mark.parametrize("place", range(4))
def test_95_percent_of_the_energy_of_nearly_every_kernel_lie_in_the_predicted_pixels(place):
    spec = CELLS["dense"].specs[place]
    image = get_backend("cpu")[0].kernels(spec).image.astype(float)
    inside = (central_pixels(image, (22, 22)) ** 2).sum(axis=(1, 2)) / (image**2).sum(axis=(1, 2))
    assert np.median(inside) > 0.97
    assert np.quantile(inside, 0.1) > 0.95
