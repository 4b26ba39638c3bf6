"""Every classical entry gives a finite result or one sentence, whatever the image and its scatterers are."""

import importlib
import inspect
import re

import numpy as np
import pytest
from shared.extractor import Extraction, Extractor

from qpibench import Batch
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.locator import locate
from qpibench.physics.superposition import superpose

BASES = re.compile(r"shared\.(extractor|deconvolver) import")
FILES = [path for path in sorted(locate("baselines").glob("*.py")) if BASES.search(path.read_text())]
KERNEL = {"fold": 3, "phi1": 0.4, "B": 1.8, "phi2": 0.0, "C": 0.12}
SMALL, WIDE = (
    Grid(ny=ny, nx=nx, size_y_nm=0.4 * (ny - 1), size_x_nm=0.4 * (nx - 1)) for ny, nx in ((20, 20), (18, 30))
)


def extractors():
    """The classes of the entries that extract each kernel from its image alone."""
    for path in FILES:
        module = importlib.import_module(path.stem)
        for name, found in vars(module).items():
            own = inspect.isclass(found) and found.__module__ == module.__name__ and issubclass(found, Extractor)
            if own and not inspect.isabstract(found) and not hasattr(found, "fit"):
                yield pytest.param(found, id=path.stem if name == "Model" else f"{path.stem}:{name}")


@pytest.fixture(scope="module", params=extractors())
def model(request):
    return request.param()


def positions(grid, count, seed=0):
    half = np.array([grid.size_x_nm, grid.size_y_nm]) / 2
    return np.random.default_rng(seed).uniform(-half, half, (count, 2))


def observed(grid, position_nm, *, noise=0.05):
    image = superpose(grid, eq7, position_nm, **KERNEL)
    return image + noise * image.std() * np.random.default_rng(1).normal(size=image.shape)


def predicted(model, image, position_nm, grid):
    """The prediction for one image, or None if the entry says in one sentence why there is none."""
    batch = Batch(
        image=np.asarray(image, np.float32)[None],
        activation_map=None,
        position_nm=np.array(position_nm, np.float64).reshape(1, -1, 2),
        grid=grid,
        kernel_grid=grid,
    )
    try:
        prediction = model.predict(batch)
    except ValueError as error:
        said = str(error)
        assert re.fullmatch(r"[^.\n]{15,300}\.?", re.sub(r"\b(eq|e\.g|i\.e)\.|\d\.\d", "", said)), said
        return None
    for array in (prediction.kernel, prediction.kernel_full, prediction.std):
        assert array is None or np.isfinite(array).all()
    assert prediction.kernel.shape == (1, *grid.shape)
    return prediction.kernel[0]


def masked(image, what):
    image = image.copy()
    rows, columns = {"a pixel": (3, 4), "rows": (slice(2, 6), slice(None)), "half": (slice(10, None), slice(None))}[
        what
    ]
    image[rows, columns] = np.nan
    return image


@pytest.mark.parametrize("what", ["a pixel", "rows", "half"])
def test_masked_pixels_are_left_out(model, what):
    position_nm = positions(SMALL, 8)
    kernel = predicted(model, masked(observed(SMALL, position_nm), what), position_nm, SMALL)
    assert kernel is not None
    assert np.abs(kernel).max() > 0.1


@pytest.mark.parametrize(
    "position_nm",
    [[[0.0, 0.0]], [[1.03, -0.77]], [[1.03, -0.77]] * 3, [[-3.8, -3.8]], positions(SMALL, 400)],
    ids=["at the centre", "one", "three at one point", "in a corner", "as many as pixels"],
)
def test_few_and_many_scatterers_give_a_kernel(model, position_nm):
    assert predicted(model, observed(SMALL, np.array(position_nm)), position_nm, SMALL) is not None


@pytest.mark.parametrize(
    "grid", [WIDE, Grid(ny=21, nx=12, size_y_nm=9.0, size_x_nm=3.0)], ids=["wide", "oblong pixels"]
)
def test_images_need_not_be_square(model, grid):
    position_nm = positions(grid, 8)
    assert predicted(model, observed(grid, position_nm), position_nm, grid) is not None


def test_an_image_without_a_scatterer_has_a_kernel_of_zeros(model):
    image = observed(SMALL, positions(SMALL, 8))
    assert not predicted(model, image, [[np.nan, np.nan]], SMALL).any()


@pytest.mark.parametrize("name", ["std", "kernel_full"])
def test_what_an_entry_does_not_know_is_not_stated_for_images_without_scatterers_either(name):
    class Plain(Extractor):
        def extract(self, observation):
            return Extraction(kernel=np.ones(observation.kernel_grid.shape))

    nowhere = np.full((2, 1, 2), np.nan)
    batch = Batch(
        image=np.ones((2, *SMALL.shape), np.float32),
        activation_map=None,
        position_nm=nowhere,
        grid=SMALL,
        kernel_grid=SMALL,
    )
    assert getattr(Plain().predict(batch), name) is None


def test_an_entry_with_a_std_states_it_for_every_image_of_a_batch():
    class Sure(Extractor):
        def extract(self, observation):
            ones = np.ones(observation.kernel_grid.shape)
            return Extraction(kernel=ones, std=ones)

    position_nm = np.array([[[np.nan, np.nan]], [[0.0, 0.0]]])
    batch = Batch(
        image=np.ones((2, *SMALL.shape), np.float32),
        activation_map=None,
        position_nm=position_nm,
        grid=SMALL,
        kernel_grid=SMALL,
    )
    np.testing.assert_array_equal(Sure().predict(batch).std.mean(axis=(1, 2)), [0, 1])


@pytest.mark.parametrize(
    ("image", "position_nm"),
    [
        (np.zeros(SMALL.shape), positions(SMALL, 8)),
        (np.full(SMALL.shape, 3.0), positions(SMALL, 8)),
        (np.full(SMALL.shape, np.nan), positions(SMALL, 8)),
        (np.where(np.eye(20) > 0, 1.0, np.nan), positions(SMALL, 8)),
        (observed(SMALL, positions(SMALL, 8)), [[900.0, 900.0]]),
        (np.random.default_rng(2).normal(size=SMALL.shape), positions(SMALL, 8)),
    ],
    ids=["zeros", "constant", "nothing but NaN", "few pixels", "scatterers far outside", "noise"],
)
def test_an_image_without_a_kernel_gives_no_silent_nan(model, image, position_nm):
    predicted(model, image, position_nm, SMALL)


def test_an_image_in_amperes_gives_a_kernel_in_amperes(model):
    position_nm = positions(SMALL, 8)
    image = observed(SMALL, position_nm)
    kernel = predicted(model, image, position_nm, SMALL)
    small = predicted(model, np.float32(1e-10) * image.astype(np.float32), position_nm, SMALL)
    assert np.abs(1e10 * small - kernel).max() < 0.01 * np.abs(kernel).max()


@pytest.mark.slow
@pytest.mark.parametrize(("pixels", "count"), [(64, 4096), (256, 500)])
def test_large_images_and_many_scatterers_give_a_kernel(model, pixels, count):
    grid = Grid(ny=pixels, nx=pixels, size_y_nm=pixels / 6.4, size_x_nm=pixels / 6.4)
    position_nm = positions(grid, count)
    assert predicted(model, observed(grid, position_nm), position_nm, grid) is not None
