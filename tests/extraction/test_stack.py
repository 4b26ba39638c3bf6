"""Stacks of images that share their scatterers: layers as single images, in processes, and after an interruption."""

import subprocess
import sys

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.extraction import extract
from qpibench.extraction.of_maps import extract_maps
from qpibench.extraction.stack import extract_stack
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.readers.maps import read_maps

GRID = Grid(ny=32, nx=40, size_y_nm=6.2, size_x_nm=7.8)
POSITIONS = np.random.default_rng(0).uniform(-3, 3, (12, 2))
KERNELS = [{"fold": 0, "phi1": 0.3, "B": b, "phi2": 0.0, "C": 0.3} for b in (2.0, 2.5, 3.0)]


@pytest.fixture(scope="module")
def stack():
    noise = np.random.default_rng(1).normal(0, 0.01, (len(KERNELS), *GRID.shape))
    return np.array([superpose(GRID, eq7, POSITIONS, **kernel) for kernel in KERNELS]) + noise


def test_every_layer_is_extracted_as_one_image_and_fitted(stack):
    asked = []
    found = extract_stack(stack, POSITIONS, (6.2, 7.8), workers=1, progress=lambda *numbers: asked.append(numbers))
    alone = extract(stack[1], POSITIONS, (6.2, 7.8))
    assert np.array_equal(found.kernel[1], alone.kernel)
    assert np.array_equal(found.std[1], alone.std)
    assert found.kernel[2] == pytest.approx(kernel_image(GRID, eq7, **KERNELS[2]), abs=0.05)
    assert (found.fit - stack).std(axis=(1, 2)) == pytest.approx(0.01, rel=0.3)
    assert found.diagnostics[0]["fold"] == 0
    assert asked == [(1, 3), (2, 3), (3, 3)]


def test_processes_give_the_same_kernels(stack):
    one, two = (extract_stack(stack[:2], POSITIONS, (6.2, 7.8), "wiener", workers=workers) for workers in (1, 2))
    assert np.array_equal(one.kernel, two.kernel)
    assert np.isnan(one.std).all()


def test_an_interrupted_run_goes_on_with_the_layers_it_has(stack, tmp_path):
    def stopped(done, total):
        if done == 2:
            raise KeyboardInterrupt

    ask = {"workers": 1, "parts": tmp_path / "parts"}
    with pytest.raises(KeyboardInterrupt):
        extract_stack(stack, POSITIONS, (6.2, 7.8), "wiener", progress=stopped, **ask)
    done = []
    found = extract_stack(stack, POSITIONS, (6.2, 7.8), "wiener", progress=lambda *numbers: done.append(numbers), **ask)
    assert done == [(3, 3)]
    assert np.array_equal(found.kernel, extract_stack(stack, POSITIONS, (6.2, 7.8), "wiener", workers=1).kernel)


def test_layers_of_another_request_are_not_taken(stack, tmp_path):
    extract_stack(stack, POSITIONS, (6.2, 7.8), "wiener", workers=1, parts=tmp_path)
    (tmp_path / "layer_00001.npz").write_bytes(b"damaged")
    found = extract_stack(stack, POSITIONS[1:], (6.2, 7.8), "wiener", workers=1, parts=tmp_path)
    assert np.array_equal(found.kernel, extract_stack(stack, POSITIONS[1:], (6.2, 7.8), "wiener", workers=1).kernel)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_kept_layer_that_is_truncated_is_extracted_again(stack, tmp_path, share):
    whole = extract_stack(stack, POSITIONS, (6.2, 7.8), "wiener", workers=1, parts=tmp_path)
    kept = tmp_path / "layer_00001.npz"
    kept.write_bytes(kept.read_bytes()[: int(share * kept.stat().st_size)])
    again = extract_stack(stack, POSITIONS, (6.2, 7.8), "wiener", workers=1, parts=tmp_path)
    assert np.array_equal(again.kernel, whole.kernel)


@pytest.mark.parametrize("from_file", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_processes_do_not_run_the_script_that_asks_for_them(stack, tmp_path, from_file):
    np.save(tmp_path / "stack.npy", stack[:2])
    code = (
        "import numpy as np; print('started')\n"
        "from qpibench.extraction.stack import extract_stack\n"
        "extract_stack(np.load('stack.npy'), [[0, 0]], (6.2, 7.8), 'wiener', workers=2)\n"
    )
    (tmp_path / "script.py").write_text(code)
    ask = {"args": [sys.executable, "script.py" if from_file else "-"], "input": None if from_file else code}
    found = subprocess.run(**ask, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert (found.returncode, found.stdout) == (0, "started\n"), found.stderr


def test_a_layer_that_shows_nothing_has_no_kernel_and_a_reason(stack):
    found = extract_stack([stack[0], np.full(GRID.shape, 7.0)], POSITIONS, (6.2, 7.8), "wiener", workers=1)
    assert np.isnan(found.kernel[1]).all()
    assert found.failures == ("", "Its pixels are all the same or NaN.")


@pytest.mark.parametrize(("value", "reason"), [(np.inf, "1 infinite pixel"), (1e31, "largest pixel of image is 1e+31")])
def test_a_layer_that_cannot_be_used_does_not_stop_the_others(stack, value, reason):
    first = stack[0].copy()
    first[3, 4] = value
    found = extract_stack([first, stack[1]], POSITIONS, (6.2, 7.8), "wiener", workers=1)
    assert np.isnan(found.kernel[0]).all()
    assert np.isfinite(found.kernel[1]).all()
    assert found.failures[1] == ""
    assert reason in found.failures[0]


def test_what_cannot_be_used_is_refused_in_one_sentence(stack):
    with pytest.raises(UsageError, match=r"All .* pixels"):
        extract_stack(np.full((2, *GRID.shape), np.nan), POSITIONS, (6.2, 7.8), workers=1)
    with pytest.raises(InvalidDataError, match="lie outside"):
        extract_stack(stack, POSITIONS + 4, (6.2, 7.8), workers=1)
    with pytest.raises(UsageError, match="no option 'speed'"):
        extract_stack(stack, POSITIONS, (6.2, 7.8), workers=1, speed=2)
    with pytest.raises(UsageError, match="layer, y, x"):
        extract_stack(stack[None], POSITIONS, (6.2, 7.8), workers=1)


def test_layers_without_a_kernel_are_told_and_a_stack_without_any_is_an_error(stack, tmp_path):
    entry = tmp_path / "picky.py"
    entry.write_text(
        "def predict(batch):\n"
        "    if batch.image.max() > LIMIT:\n"
        "        raise ValueError('the image is too bright')\n"
        "    return batch.image\n\n\n"
        f"LIMIT = {1.1 * stack[1:].max():f}\n"
    )
    bright = [10 * stack[0], *stack[1:]]
    found = extract_stack(bright, POSITIONS, (6.2, 7.8), entry, workers=1)
    assert [bool(failure) for failure in found.failures] == [True, False, False]
    assert "too bright" in found.failures[0]
    with pytest.raises(InvalidDataError, match="too bright"):
        extract_stack(bright[:1], POSITIONS, (6.2, 7.8), entry, workers=1)


def test_layers_of_an_entry_whose_module_has_changed_are_not_taken(stack, tmp_path):
    (tmp_path / "scaled.py").write_text(
        "from factor import FACTOR\n\n\ndef predict(batch):\n    return batch.image * FACTOR\n"
    )
    for factor in (1.0, 2.0):
        (tmp_path / "factor.py").write_text(f"FACTOR = {factor}\n")
        code = (
            "import numpy as np, sys; from qpibench.extraction.stack import extract_stack;"
            f" stack = np.load({str(tmp_path / 'stack.npy')!r}); found = extract_stack(stack, [[0, 0]], (6.2, 7.8),"
            f" {str(tmp_path / 'scaled.py')!r}, workers=1, parts={str(tmp_path / 'parts')!r});"
            f" np.save({str(tmp_path / 'kernel.npy')!r}, found.kernel)"
        )
        np.save(tmp_path / "stack.npy", stack[:1])
        subprocess.run([sys.executable, "-c", code], check=True)
        assert np.load(tmp_path / "kernel.npy") == pytest.approx(factor * stack[:1], rel=1e-5)


@pytest.mark.parametrize("place", ["", "    "], ids=["file", "class"])
def test_layers_of_an_entry_with_other_weights_or_options_are_not_taken(stack, tmp_path, place):
    entry = tmp_path / "scaled.py"
    model = (
        "class Model:\n"
        "    def __init__(self, *, table):\n"
        "        self.factor = table[5000] * np.load(Path(__file__).with_name('net.npy'))[0]\n\n"
        "    def predict(self, batch):\n"
        "        return batch.image * np.float32(self.factor)\n\n"
        f"{place}weights = ['net.npy']\n"
    )
    entry.write_text(f"from pathlib import Path\n\nimport numpy as np\n\n\n{model}")
    for weight, option in ((1.0, 1.0), (2.0, 1.0), (2.0, 3.0)):
        np.save(tmp_path / "net.npy", np.array([weight]))
        table = np.zeros(10_001)
        table[5000] = option
        ask = {"workers": 1, "parts": tmp_path / "parts", "table": table}
        found = extract_stack(stack[:1], [[0, 0]], (6.2, 7.8), entry, **ask)
        assert found.kernel == pytest.approx(weight * option * stack[:1], rel=1e-5)
        again = []
        extract_stack(
            stack[:1], [[0, 0]], (6.2, 7.8), entry, progress=lambda *done, again=again: again.append(done), **ask
        )
        assert not again


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"energies_mev": []}, "No energy is chosen"),
        ({"most": np.ones(3)}, "its options are not what JSON can hold"),
    ],
)
def test_what_maps_cannot_be_asked_is_refused_before_the_work(stack, tmp_path, asked, said):
    np.savez(tmp_path / "maps.npz", dIdV=stack, energy_mev=[1.0, 2.0, 3.0], size_nm=(7.8, 6.2), first_row="bottom")
    with pytest.raises(UsageError, match=said):
        extract_maps(read_maps(tmp_path / "maps.npz"), POSITIONS, progress=pytest.fail, **asked)


@pytest.mark.parametrize(
    ("images", "said"),
    [([[[1, 2], [3]]], "images is no array of numbers"), (np.ones((2, 8, 8)) * 1j, "images is complex")],
)
def test_images_that_are_no_real_numbers_are_refused(images, said):
    with pytest.raises(UsageError, match=said):
        extract_stack(images, POSITIONS, (6.2, 7.8))
