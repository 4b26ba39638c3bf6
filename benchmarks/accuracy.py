"""Error of the fast float32 images against the float64 reference, by fold: ``python -m benchmarks.accuracy``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench.families import get_family
from qpibench.families.eq7 import FOLDS
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

IMAGES = 300
"""Images of each fold: three of each of its 100 kernels."""


@dataclass(frozen=True)
class Errors:
    """Largest absolute error over the reference's largest value: of each image, by fold, and of each kernel image."""

    image: dict[int, NDArray[np.float64]]
    kernel: NDArray[np.float64]


def measure(images: int = IMAGES) -> Errors:
    """Compare images with 1-100 scatterers, and a hundred kernels, of every fold with their references."""
    backend, _ = get_backend("cpu")
    of_images, of_kernels = {}, []
    eq7 = get_family("eq7")
    for fold in FOLDS:
        spec = load_spec("paper", overrides=[f"kernels.folds=[{fold}]", f"observations_per_kernel={-(-images // 100)}"])
        kernels = backend.kernels(spec)
        parameters = [{name: values[k] for name, values in kernels.parameters.items()} for k in range(len(kernels))]
        observations = backend.observations(spec, kernels, 0, images)
        of_images[fold] = np.array(
            [
                _error(image, superpose(spec.grid, eq7, position, **parameters[kernel]))
                for image, position, kernel in zip(
                    observations.image, observations.position_nm, observations.kernel, strict=True
                )
            ]
        )
        of_kernels += [
            _error(image, kernel_image(spec.grid, eq7, **parameters[k])) for k, image in enumerate(kernels.image)
        ]
    return Errors(of_images, np.array(of_kernels))


def _error(image: NDArray[np.float32], expected: NDArray[np.float64]) -> float:
    return float(np.abs(image - expected).max() / expected.max())


def main() -> None:
    """Print quantiles of the errors as a Markdown table."""
    errors = measure()
    print("| fold | 50 % | 99 % | all |\n|---|---|---|---|")
    for name, values in {**errors.image, "kernel images": errors.kernel}.items():
        print(f"| {name} | " + " | ".join(f"{q:.2g}" for q in np.quantile(values, (0.5, 0.99, 1))) + " |")


if __name__ == "__main__":
    main()
