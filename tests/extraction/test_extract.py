"""`extract` gives the kernel of an array from a notebook, or says in one sentence why it cannot."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.extraction import extract
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.locator import locate
from qpibench.physics.superposition import kernel_image, superpose

GRID = Grid(ny=24, nx=30, size_y_nm=9.0, size_x_nm=10.0)
KERNEL = {"fold": 3, "phi1": 0.4, "B": 1.8, "phi2": 0.0, "C": 0.12}
POSITION_NM = np.random.default_rng(0).uniform(-4.5, 4.5, (12, 2))
IMAGE = superpose(GRID, eq7, POSITION_NM, **KERNEL)
SIZE_NM, HALF_NM = (9.0, 10.0), np.array([5.0, 4.5])

TOY = """
from shared.extractor import Extraction, Extractor
class Model(Extractor):
    def __init__(self, *, gain=1.0, fault=""):
        if gain <= 0:
            raise ValueError(f"gain must be positive, found {gain}")
        self.gain, self.fault = gain, fault
    def extract(self, observation):
        if self.fault == "raises":
            raise ValueError("the image shows no kernel")
        if self.fault == "breaks":
            raise KeyError("weights")
        kernel = observation.kernel_grid.y_nm[:, None] + 0 * observation.kernel_grid.x_nm
        if self.fault == "nan":
            kernel[0, 0] = float("nan")
        if self.fault == "huge":
            kernel[0, :2] = 1e39, -1e200
        sign = -1 if self.fault == "negative std" else 1
        found = {"seen": int(observation.seen.sum()), "row": observation.scatterers.row, "own": self}
        return Extraction(kernel=self.gain * kernel, std=0 * kernel + sign, diagnostics=found)
"""


@pytest.fixture
def toy(tmp_path):
    """An entry that shows what it was given, beside the shared modules."""
    (tmp_path / "shared").symlink_to(locate("baselines") / "shared")
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path / "toy.py"


def linear(image=IMAGE, positions=POSITION_NM, size=SIZE_NM, **more):
    return extract(image, positions, size, "tikhonov", **more)


def test_the_kernel_has_the_units_of_the_image():
    kernel, kernel_full, _, _ = linear()
    assert (kernel.shape, kernel_full.shape) == (IMAGE.shape, (47, 59))
    truth = kernel_image(GRID, eq7, **KERNEL)
    assert np.linalg.norm(kernel - truth) < 0.3 * np.linalg.norm(truth)
    np.testing.assert_allclose(linear(3e-10 * IMAGE).kernel, 3e-10 * kernel, rtol=1e-3, atol=1e-13)


@pytest.mark.parametrize("origin", ["corner", "pixel"])
def test_positions_may_begin_at_the_first_pixel(origin):
    positions = POSITION_NM + HALF_NM
    if origin == "pixel":
        positions = positions / [GRID.pitch_x_nm, GRID.pitch_y_nm]
    np.testing.assert_allclose(linear(positions=positions, origin=origin).kernel, linear().kernel, atol=1e-6)


def test_the_field_of_positions_ends_half_a_pixel_beyond_the_outer_centres(toy):
    pixel_nm = SIZE_NM[1] / (IMAGE.shape[1] - 1)
    edge = HALF_NM[0] + 0.49 * pixel_nm
    extract(IMAGE, [[0, 0], [edge, 0]], SIZE_NM, toy)
    with pytest.raises(InvalidDataError, match="1 of 2 scatterers lies outside the field"):
        extract(IMAGE, [[0, 0], [edge + 0.02 * pixel_nm, 0]], SIZE_NM, toy)


def test_a_kernel_of_odd_shape_has_the_scatterer_at_its_central_pixel():
    kernel, kernel_full, _, _ = linear(kernel_shape=(9, 11))
    np.testing.assert_allclose(kernel, kernel_full[19:28, 24:35], atol=1e-6)
    assert linear(kernel_shape=8).kernel.shape == (8, 8)


@pytest.mark.parametrize(
    "image", [IMAGE.astype(np.float32), np.rint(100 * IMAGE).astype(int), IMAGE.tolist(), np.ma.asarray(IMAGE)]
)
def test_any_array_of_real_numbers_is_an_image(image):
    assert np.isfinite(linear(image).kernel).all()


def test_the_offsets_in_an_image_may_have_more_pixels_than_a_grid():
    image = np.random.default_rng(0).normal(size=(4, 2050))
    kernel, *_ = extract(image, [[0.0, 0.0]], (3.0, 2049.0), "wiener", kernel_shape=5)
    assert kernel.shape == (5, 5)
    with pytest.raises(UsageError, match="from 2 x 2 to 7 x 4096 pixels"):
        extract(image, [[0.0, 0.0]], (3.0, 2049.0), "wiener", kernel_shape=(7, 4097))


def test_an_entry_gets_masked_pixels_and_its_options(toy):
    image = np.ma.masked_less(IMAGE, np.quantile(IMAGE, 0.1))
    kernel, kernel_full, std, diagnostics = extract(image, [[0, 0]], SIZE_NM, toy, gain=2.0)
    assert (diagnostics["seen"], diagnostics["row"].tolist()) == (image.count(), [11.5])
    np.testing.assert_array_equal(kernel[:, 0], 2 * GRID.y_nm)
    assert (kernel_full, set(diagnostics)) == (None, {"seen", "row"})  # the entry's own objects are left out
    assert (std == 1).all()


def test_pixels_that_fit_the_field_as_nm_are_doubted(toy):
    pixels = np.array([[3, 2], [1, 4], [4, 0], [2, 2]])
    with pytest.warns(UserWarning, match=r"at whole numbers of nm\. If they are pixels, say so \(origin='pixel'"):
        extract(IMAGE, pixels, SIZE_NM, method=toy)


def test_an_image_that_is_mostly_its_mean_is_extracted_with_a_warning(toy):
    with pytest.warns(UserWarning, match="mean of image is 100 times its standard deviation.* subtract the background"):
        extract(IMAGE - IMAGE.mean() + 100 * IMAGE.std(), [[0, 0]], SIZE_NM, toy)


def test_the_callers_arrays_are_not_changed(toy):
    image, positions = IMAGE.copy(), POSITION_NM.copy()
    extract(image, positions, SIZE_NM, toy)
    linear(image, positions)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(positions, POSITION_NM)


def test_positions_of_a_release_may_be_padded_and_scatterers_beyond_the_edge_are_taken_on_request(toy):
    padded = [[1.0, 1.0], [np.nan, np.nan]]
    assert extract(IMAGE, padded, SIZE_NM, toy).diagnostics["row"].shape == (1,)
    beyond = [[1.0, 1.0], [7.0, 1.0]]
    assert extract(IMAGE, beyond, SIZE_NM, toy, beyond_edge=True).diagnostics["row"].shape == (2,)


NAN, INFINITE = np.full((24, 30), np.nan), np.where(IMAGE > 2, np.inf, IMAGE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": IMAGE[None]}, r"found the shape \(1, 24, 30\); give image\[0\]"),
        ({"image": IMAGE[:2]}, "at least 4 x 4 are needed"),
        ({"image": IMAGE + 1j}, "image is complex; give its real part"),
        ({"image": IMAGE.astype(str)}, "image must be an array of real numbers"),
        ({"image": [[1.0, 2.0], [3.0]]}, "image is no array of numbers"),
        ({"image": NAN}, "All pixels of image are NaN"),
        ({"image": INFINITE}, "infinite pixels; set pixels that are not to be used to NaN"),
        ({"image": np.full((24, 30), 3)}, "All 720 pixels of image that are not NaN are 3"),
        (
            {"image": 1e200 * IMAGE},
            r"The largest pixel of image is [\d.]+e\+200, expected 1e-30 to 1e\+30; multiply it by",
        ),
        ({"image": 1e-200 * IMAGE}, "e-200, expected 1e-30 to"),
        ({"size": -1}, "size_nm must be positive"),
        ({"size": (1, 2, 3)}, r"size_nm must be a number or \(size_y, size_x\)"),
        ({"size": 1e-8}, "it looks like metres: multiply by 1e9"),
        ({"positions": []}, "positions_nm has no scatterer"),
        ({"positions": [[np.nan, np.nan]]}, "All positions_nm are NaN"),
        ({"positions": POSITION_NM.T}, r"found \(2, 12\); give positions_nm.T"),
        ({"positions": [1.0, 2.0]}, r"must have the shape \(scatterer, 2\)"),
        ({"positions": [[0.0, np.nan], [1.0, 1.0]]}, "1 of 2 positions_nm is not finite"),
        ({"positions": 1e-9 * POSITION_NM}, "if they are in metres, multiply them by 1e9"),
        (
            {"positions": 1e-9 * (POSITION_NM + HALF_NM), "origin": "corner"},
            "nm of the first pixel of .*; if they are in metres, multiply them by 1e9",
        ),
        ({"positions": POSITION_NM + HALF_NM}, "They look like .*origin='corner'; --origin corner"),
        ({"positions": [[29, 23], [3, 4]]}, "They look like pixels, column and row .origin='pixel'; --origin pixel"),
        ({"positions": [[4.4, 4.9], [-4.4, -4.8]]}, r"They look like \(y, x\): exchange x and y"),
        ({"positions": [[44, 32.5], [-31, 4]]}, "They look like angstrom: divide them by 10, or .*x_angstrom"),
        ({"positions": [[0, 0], [-7, 0]]}, "1 of 2 scatterers lies outside .*beyond_edge=True; --beyond-edge"),
        ({"positions": [[-70, 0]], "beyond_edge": True}, "No scatterer lies inside the field"),
        ({"origin": "pixel"}, "They were taken as pixels.*origin='pixel'"),
        ({"origin": "left"}, "There is no origin 'left'; choose one of centre, corner, pixel"),
        ({"kernel_shape": 60}, r"kernel_shape \(--kernel-px\) must be from 2 x 2 to 47 x 59 pixels"),
        ({"kernel_shape": 7.5}, "kernel_shape must be a whole number"),
    ],
)
def test_an_argument_that_cannot_be_used_is_told_with_the_likely_reason(arguments, words):
    with pytest.raises((UsageError, InvalidDataError), match=words):
        linear(**arguments)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"smooth": 1}, UsageError, "Entry 'toy' has no option 'smooth'; its options are gain, fault"),
        ({"gain": -1}, UsageError, "Entry 'toy' cannot be made with these options: gain must be positive"),
        ({"fault": "raises"}, InvalidDataError, "Entry 'toy' cannot extract the kernel: the image shows no kernel"),
        ({"fault": "breaks"}, QpibenchError, r"Entry 'toy' failed: toy.py:\d+: KeyError: 'weights'"),
        ({"fault": "nan"}, InvalidDataError, "found no kernel in this image: 1 pixel of its kernel is not finite"),
        ({"fault": "huge"}, InvalidDataError, "2 pixels of its kernel are not finite in float32"),
        (
            {"fault": "negative std"},
            InvalidDataError,
            "Entry 'toy' gave a std of -1; a standard deviation is 0 or more",
        ),
    ],
)
def test_a_fault_of_an_entry_is_told(toy, options, error, words):
    with pytest.raises(error, match=words):
        extract(IMAGE, POSITION_NM, SIZE_NM, toy, **options)


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        ("tikhonof", UsageError, "Did you mean 'tikhonov'"),
        (None, UsageError, "method must be the name of an entry or a path, found None"),
        ("median_kernel", UsageError, "learns from training images, which one image does not have"),
        (Path(__file__), InvalidDataError, "defines neither a function 'predict' nor a class 'Model'"),
    ],
)
def test_an_entry_that_cannot_serve_is_told(method, error, words):
    with pytest.raises(error, match=words):
        extract(IMAGE, POSITION_NM, SIZE_NM, method)


def test_an_entry_without_masks_says_so(tmp_path):
    (tmp_path / "any.py").write_text("def predict(batch): return batch.image")
    np.testing.assert_allclose(extract(IMAGE, POSITION_NM, SIZE_NM, tmp_path / "any.py").kernel, IMAGE, rtol=1e-6)
    image = np.where(IMAGE > 1, np.nan, IMAGE)
    with pytest.raises(InvalidDataError, match=r"'any' uses every pixel, and [\d]+ of 720 are NaN; crop the map"):
        extract(image, POSITION_NM, SIZE_NM, tmp_path / "any.py")


@pytest.mark.parametrize(
    "source",
    [
        "class Model(torch.nn.Module):\n    def forward(self, image): return image",
        "def predict(batch): return torch.from_numpy(batch.image)",
        "def predict(batch): return Prediction(kernel=batch.image, std=torch.from_numpy(batch.image).abs())",
    ],
    ids=["module", "kernel", "prediction"],
)
def test_an_entry_may_give_torch_tensors(tmp_path, source):
    (tmp_path / "net.py").write_text(f"import torch\nfrom qpibench import Prediction\n\n{source}\n")
    kernel, _, std, _ = extract(IMAGE, POSITION_NM, SIZE_NM, tmp_path / "net.py")
    assert (kernel.dtype, type(kernel)) == (np.float64, np.ndarray)
    np.testing.assert_allclose(kernel, IMAGE, rtol=1e-6)
    if "std" in source:
        np.testing.assert_array_equal(std, np.abs(kernel))


def test_several_threads_extract_at_the_same_time():
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda gain: linear(gain * IMAGE).kernel / gain, [1.0, 2.0, 4.0, 8.0] * 3))
    for kernel in found:
        np.testing.assert_allclose(kernel, found[0], atol=1e-6)


def test_the_modules_of_entries_do_not_meet_those_of_the_caller(tmp_path):
    (tmp_path / "shared.py").write_text("mine = True")
    (tmp_path / "scatterers.py").write_text("mine = True")
    code = """
import sys
import numpy as np, shared
from qpibench.extraction import extract
image = np.random.default_rng(0).normal(size=(9, 9))
path, names = list(sys.path), {name for name in sys.modules}
for _ in range(2):
    extract(image, [[0, 0]], 5.0, "tikhonov")
assert shared.mine and sys.modules["shared"] is shared and sys.path == path
assert not {"tikhonov", "shared.scatterers"} & set(sys.modules)
import scatterers
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
