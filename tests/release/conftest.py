"""A small release and a backend that makes it instantly, because these tests are about files, not physics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest

from qpibench.release import write_release
from qpibench.specs import ReleaseSpec
from qpibench.synthesis.contract import Kernels, Observations


def make_spec(*, name="small", seed=0, kernels=10, observations_per_kernel=130, corruptions=None):
    """Six blocks of observations, of which the last is not full."""
    return ReleaseSpec.model_validate(
        {
            "corruptions": corruptions,
            "name": name,
            "seed": seed,
            "grid": {"ny": 6, "nx": 8, "size_y_nm": 3.0, "size_x_nm": 4.0},
            "kernels": {"count": kernels, "wavelength_nm": [1.5, 3.0], "decay_nm": [1.0, 2.0]},
            "observations_per_kernel": observations_per_kernel,
            "scatterers": {"min": 1, "max": 5},
        }
    )


@dataclass
class FakeBackend:
    """Random numbers instead of physics; a pure function of the spec, like every backend.

    `kill_at`, `fail_at`, `interrupt_at` are observations at which the process dies, an error or Ctrl-C occurs.
    `computed` lists the runs that were asked for.
    """

    kill_at: int | None = None
    fail_at: int | None = None
    interrupt_at: int | None = None
    name: str = "fake"
    computed: list[tuple[int, int]] = field(default_factory=list)

    def kernels(self, spec, *, domain="benchmark"):
        count = spec.kernels.count
        rng = np.random.default_rng([spec.seed, 1])
        fold = np.repeat(list(spec.kernels.fold_shares()), list(spec.kernels.fold_shares().values()))
        parameters = {"fold": fold.astype(np.int32)}
        parameters |= {name: rng.uniform(0, 3, count) for name in ("phi1", "B", "phi2", "C")}
        return Kernels(
            image=rng.random((count, *spec.grid.shape), dtype=np.float32),
            family=np.full(count, b"eq7", dtype="S16"),
            parameters=parameters,
        )

    def observations(self, spec, kernels, start, stop, *, domain="benchmark"):
        self.computed.append((start, stop))
        self._perhaps_stop(start, stop)
        rows = np.arange(start, stop)
        most = spec.scatterers.max
        random = np.stack([np.random.default_rng([spec.seed, 2, row]).random(48 + 2 * most) for row in rows])
        n_scatterers = (1 + rows % most).astype(np.int32)
        position = 3 * random[:, 48:].reshape(-1, most, 2) - 1.5
        position[np.arange(most) >= n_scatterers[:, None]] = np.nan
        return Observations(
            image=random[:, :48].reshape(-1, *spec.grid.shape).astype(np.float32),
            kernel=(rows // spec.observations_per_kernel).astype(np.int32),
            n_scatterers=n_scatterers,
            position_nm=position,
            extra=self._noise(rows) if spec.corruptions else {},
        )

    def _noise(self, rows):
        sigma = (1 + rows % 7).astype(np.float32)
        ratio = np.where(rows % 5, sigma / 3, np.nan).astype(np.float32)
        return {"snr_db": rows / 100, "noise_sigma": sigma, "noise_over_kernel_rms": ratio}

    def _perhaps_stop(self, start, stop):
        if self.kill_at in range(start, stop):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fail_at in range(start, stop):
            raise OSError(5, "Input/output error")
        if self.interrupt_at in range(start, stop):
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def spec():
    return make_spec()


@pytest.fixture(scope="session")
def another_spec():
    return make_spec(name="another", seed=1)


@pytest.fixture(scope="session")
def noisy_spec():
    return make_spec(name="noisy", corruptions={"white_noise": {"snr_db": 10.0}})


@pytest.fixture
def fake_backend():
    """The class, to make backends that stop somewhere."""
    return FakeBackend


@pytest.fixture(scope="session")
def small_release(tmp_path_factory, spec):
    """A complete release, not to be changed."""
    path = tmp_path_factory.mktemp("release") / "small.h5"
    write_release(spec, path, backend=FakeBackend())
    return path


@pytest.fixture(scope="session")
def truth(spec):
    """What the release must contain: its kernels and its observations."""
    backend = FakeBackend()
    kernels = backend.kernels(spec)
    return kernels, backend.observations(spec, kernels, 0, spec.observation_count)


READS_A_FILE_THAT_IS_CUT = """
import os, sys
from qpibench import open_release
from qpibench.errors import InvalidDataError
path, cut, size, *first = sys.argv[1:]
release = open_release(path)
if first:
    release.image([int(first[0])])
os.truncate(cut, int(size))
for read, what in (release.image, [1299]), (release.read, "observations/position_nm"), (release.check, "image"):
    try:
        read(what)
    except InvalidDataError as error:
        print(error)
"""


@pytest.fixture
def cut_while_open():
    """Return what three reads of a release say after a file was cut, in a process of its own, which may be ended."""

    def run(path, cut, size, first=None):
        command = [sys.executable, "-c", READS_A_FILE_THAT_IS_CUT, *map(str, (path, cut, size))]
        ran = subprocess.run(command + [str(first)] * (first is not None), capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout.splitlines()

    return run
