"""Fixtures of the evaluation tests: a small release in memory, and models written to files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

from qpibench.errors import UsageError
from qpibench.evaluation.result import Interval
from qpibench.evaluation.score import score
from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.release import Release, open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.contract import Kernels, Observations

WITNESS = """
    import numpy as np
    from qpibench.tasks import Prediction

    takes_species = True

    def predict(batch):
        kernel = np.zeros((len(batch), batch.species_count, *batch.kernel_grid.shape), np.float32)
        kernel[:, 1] = 1
        if batch.species is None:
            return kernel
        assert batch.species.dtype == np.int32
        assert ((batch.species >= 0) == np.isfinite(batch.position_nm[..., 0])).all()
        kernel[:, 0, 0, 0] = (batch.species == 1).sum(1)
        return Prediction(kernel=kernel, std=kernel, species=batch.species)
"""


class MemoryRelease:
    """Six kernels, ten images of each; the last two kernels are unseen in training."""

    def __init__(self, path: Path) -> None:
        rng = np.random.default_rng(1)
        self.path, self.name, self.content_sha256 = path, "memory", "5" * 64
        self.shards = None
        self.grid = Grid(ny=12, nx=10, size_y_nm=6, size_x_nm=5)
        unknown = np.full(6, np.nan)
        self.kernels = Kernels(
            image=rng.random((6, 12, 10), dtype=np.float32),
            family=np.full(6, b"eq7", dtype="S16"),
            parameters={
                "fold": np.full(6, -1, dtype=np.int32),
                "phi1": unknown,
                "B": unknown,
                "phi2": unknown,
                "C": unknown,
            },
        )
        self.family, self.stratum = get_family("eq7"), np.full(6, -1, dtype=np.int32)
        self.observation_kernel = np.repeat(np.arange(6, dtype=np.int32), 10)
        self.observation_count, self.max_scatterers, self.tasks = 60, 3, ("id", "ood")
        self._image = rng.random((60, 12, 10), dtype=np.float32)
        self._position_nm = rng.uniform(-2.5, 2.5, (60, 3, 2))
        self._position_nm[:, 2] = np.nan
        self.told_field = "position_nm"

    def check(self, *fields: str) -> None:
        """Arrays in memory have no digests."""

    def observations(self, indices: np.ndarray) -> Observations:
        return Observations(
            image=self._image[indices],
            kernel=self.observation_kernel[indices],
            n_scatterers=np.full(len(indices), 2, dtype=np.int32),
            position_nm=self._position_nm[indices],
        )

    def image(self, indices: np.ndarray) -> np.ndarray:
        return self._image[indices]

    def split(self, task: str, role: str) -> np.ndarray:
        row, kernel = np.arange(60, dtype=np.int32), self.observation_kernel
        unseen, place = kernel >= 4, row % 10
        chosen = {
            ("id", "train"): ~unseen & (place < 6),
            ("id", "validation"): ~unseen & (place == 6),
            ("id", "test"): ~unseen & (place > 6),
            ("ood", "train"): ~unseen & (place < 6),
            ("ood", "test"): unseen,
        }
        if (task, role) not in chosen:
            raise UsageError(f"There is no role '{role}' of task '{task}'.")
        return row[chosen[task, role]]


@pytest.fixture
def memory_release(tmp_path: Path) -> MemoryRelease:
    return MemoryRelease(tmp_path / "release_under_test.h5")


@pytest.fixture(scope="session")
def mini_release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release `mini`: ten kernels, five of them OOD."""
    path = tmp_path_factory.mktemp("mini") / "mini.h5"
    write_release(load_spec("mini"), path, backend=get_backend("cpu")[0])
    with open_release(path) as opened:
        yield opened


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release with two species: ten pairs of kernels, five images for the ID test and thirty for the OOD test."""
    overrides = [
        "name=pairs",
        "observations_per_kernel=6",
        "grid={ny=12, nx=10, size_y_nm=3.2, size_x_nm=2.6}",
        "scatterers.max=12",
        "corruptions.spurious_scatterers.share=0.2",
    ]
    path = tmp_path_factory.mktemp("pairs") / "pairs.h5"
    write_release(load_spec("mini_species", overrides=overrides), path, backend=get_backend("cpu")[0])
    with open_release(path) as opened:
        yield opened


@pytest.fixture
def witness() -> str:
    """A model of two species that says in the first pixels of both kernels what it was shown."""
    return WITNESS


@pytest.fixture
def metrics_of(tmp_path: Path) -> Callable[..., Mapping[str, Interval]]:
    """Score arrays, such as ``kernel``, as the predictions of all images of a release's OOD test."""

    def measure(release: Release, **arrays: np.ndarray) -> Mapping[str, Interval]:
        path = tmp_path / "predictions.h5"
        with h5py.File(path, "w") as file:
            file.attrs["release_sha256"] = release.content_sha256
            file["ood/index"] = release.split("ood", "test")
            for name, values in arrays.items():
                file[f"ood/{name}"] = np.asarray(values, dtype=np.float32)
        return score(path, release).cells["ood"].metrics

    return measure


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., str]:
    """Write a model's file and return its path."""

    def write(source: str, name: str = "my_model.py") -> str:
        path = tmp_path / "models" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return str(path)

    return write
