"""Polar extraction."""

from __future__ import annotations

import numpy as np
from shared.extractor import Extraction, Extractor, Observation
from shared.observed import scatterer_points, seen_points
from shared.polar_search import find

needs = "raster"
knows: list[str] = []


class Model(Extractor):
    """Polar."""

    def extract(self, observation: Observation) -> Extraction:
        image, pixels = seen_points(observation)
        found = find(image, pixels, scatterer_points(observation.scatterers, observation.grid), observation.grid)
        if found is None:
            nothing = np.zeros(observation.kernel_grid.shape)
            return Extraction(kernel=nothing, kernel_full=np.zeros(observation.grid.offsets.shape))
        kernel = found.kernel
        return Extraction(
            kernel=kernel.image(observation.kernel_grid),
            kernel_full=kernel.image(observation.grid.offsets),
            std=found.std(observation.kernel_grid),
            diagnostics={
                "kernel": kernel,
                "fold": found.fold,
                "kind": found.kind,
                "noise": found.noise,
                "nuisance": found.nuisance,
                "evidence": found.evidence,
                "found": found,
            },
        )
