"""An entry behind a filter predicts what it would for the image that `prepare` smooths."""

import denoised
import numpy as np
import pytest
from wiener import Model as Wiener

from qpibench.evaluation.entry_code import own_modules
from qpibench.locator import locate
from qpibench.maps import Channel, Maps, Source
from qpibench.maps.preparation import apply
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.tasks import view_batch

FILE = locate("baselines") / "denoised.py"


@pytest.fixture(scope="module")
def batch():
    """Two noisy images with their scatterers as a raster."""
    spec = load_spec("mini", overrides=["corruptions.white_noise.snr_db=10"])
    backend, _ = get_backend("cpu")
    seen = backend.observations(spec, backend.kernels(spec), 0, 2)
    return view_batch(seen, spec.grid, spec.grid, view="raster", map_mode="exact")


def prepared(image, grid, step, strength):
    maps = Maps(
        grid=grid,
        channels=(Channel(name="z", unit="", values=image),),
        source=Source(file="z.npy", format="npy", sha256=""),
    )
    return apply(maps, step, strength=strength).channels[0].values


@pytest.mark.parametrize("step", denoised.FILTERS)
@pytest.mark.parametrize("strength", denoised.STRENGTHS)
def test_the_filter_is_that_of_prepare(batch, step, strength):
    smoothed = denoised.smoothed(batch.image, batch.grid, step, strength)
    assert smoothed.dtype == batch.image.dtype
    for one, image in zip(smoothed, batch.image, strict=True):
        assert np.array_equal(one, prepared(image, batch.grid, step, strength))
        assert one.std() < image.std()


def test_an_entry_predicts_from_the_smoothed_image(batch):
    found = denoised.wiener_box_heavy.predict(batch).kernel
    image = np.array([prepared(each, batch.grid, "box", "heavy") for each in batch.image])
    expected = Wiener().predict(type(batch)(**vars(batch) | {"image": image})).kernel
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, Wiener().predict(batch).kernel)


def test_a_pixel_that_was_not_measured_stays_so_and_makes_no_other_nan(batch):
    image = batch.image.copy()
    image[0, 20:22, 30] = np.nan
    for step in denoised.FILTERS:
        assert np.array_equal(np.isnan(denoised.smoothed(image, batch.grid, step, "light")), np.isnan(image))


def test_every_entry_has_every_filter_and_the_hash_of_the_code_follows_the_entries():
    assert len(denoised.VARIANTS) == len(denoised.ENTRIES) * 3 * 2
    assert {f"{name}.py" for name in denoised.ENTRIES} <= {path.name for path in own_modules(FILE)}
    with pytest.raises(AttributeError, match="no attribute 'polar_gaussian_strong'"):
        denoised.polar_gaussian_strong  # noqa: B018


@pytest.mark.parametrize("entry", ["two_step", "one_step"])
def test_a_trained_entry_declares_its_weights_and_its_pixels(entry):
    pytest.importorskip("torch")
    model = getattr(denoised, f"{entry}_median_light")
    assert all((FILE.parent / name).is_file() for name in model.weights)
    assert tuple(model.takes_pixels) == (64, 64)
    assert "release paper" in model.trained_on
