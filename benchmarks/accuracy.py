"""Error of the fast float32 images against the float64 reference: ``python -m benchmarks.accuracy``.

It prints a table by fold, for the ranges of `paper`, and one by decay length and number of scatterers: the error is
relative to the image's largest value, which a short decay makes small.
"""

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

DECAYS_NM = ((1.0, 5.0), (0.3, 1.0), (0.1, 0.3), (0.05, 0.1))
SCATTERERS = (1, 3, 100)
"""Most scatterers of an image; the least is 1."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Largest absolute error over the reference's largest value: of each image, by fold, and of each kernel image."""

    image: dict[int, Values]
    kernel: Values


def measure(images: int = IMAGES) -> Errors:
    """Compare images with 1-100 scatterers, and a hundred kernels, of every fold with their references."""
    of_images, of_kernels = {}, []
    for fold in FOLDS:
        error, peak, kernels = _compare(fold, images)
        of_images[fold] = error / peak
        of_kernels.append(kernels)
    return Errors(of_images, np.concatenate(of_kernels))


def by_decay(decay_nm: tuple[float, float], most: int, images: int = IMAGES) -> tuple[Values, Values]:
    """Largest absolute error, and largest value, of images of all folds with 1 to ``most`` scatterers."""
    overrides = (f"kernels.decay_nm={list(decay_nm)}", f"scatterers.max={most}")
    error, peak, _ = zip(*(_compare(fold, images, *overrides) for fold in FOLDS), strict=True)
    return np.concatenate(error), np.concatenate(peak)


def _compare(fold: int, images: int, *overrides: str) -> tuple[Values, Values, Values]:
    """Largest error and largest value of images of one fold; relative errors of its kernel images."""
    backend, _ = get_backend("cpu")
    eq7 = get_family("eq7")
    per_kernel = -(-images // 100)
    spec = load_spec(
        "paper", overrides=[f"kernels.folds=[{fold}]", f"observations_per_kernel={per_kernel}", *overrides]
    )
    kernels = backend.kernels(spec)
    parameters = [{name: values[k] for name, values in kernels.parameters.items()} for k in range(len(kernels))]
    observations = backend.observations(spec, kernels, 0, images)
    error, peak = np.empty((2, images))
    for row, kernel in enumerate(observations.kernel):
        expected = superpose(spec.grid, eq7, observations.position_nm[row], **parameters[kernel])
        error[row], peak[row] = np.abs(observations.image[row] - expected).max(), expected.max()
    of_kernels = []
    for image, columns in zip(kernels.image, parameters, strict=True):
        expected = kernel_image(spec.grid, eq7, **columns)
        of_kernels.append(np.abs(image - expected).max() / expected.max())
    return error, peak, np.array(of_kernels)


def main() -> None:
    """Print both tables."""
    errors = measure()
    print("| fold | 50 % | 99 % | all |\n|---|---|---|---|")
    for name, values in {**errors.image, "kernel images": errors.kernel}.items():
        print(f"| {name} | " + " | ".join(f"{q:.2g}" for q in np.quantile(values, (0.5, 0.99, 1))) + " |")
    print("\n| decay length (nm) | scatterers | 99 % | all | peak of the worst image | largest absolute error |")
    print("|---|---|---|---|---|---|")
    for decay_nm in DECAYS_NM:
        for most in SCATTERERS:
            error, peak = by_decay(decay_nm, most)
            worst = (error / peak).argmax()
            nearly_all = np.quantile(error / peak, 0.99)
            decay, count = f"{decay_nm[0]:g} to {decay_nm[1]:g}", f"1 to {most}" if most > 1 else "1"
            columns = (nearly_all, error[worst] / peak[worst], peak[worst], error.max())
            print(f"| {decay} | {count} | " + " | ".join(f"{value:.2g}" for value in columns) + " |")


if __name__ == "__main__":
    main()
