"""White noise of the backends: its definition, its distribution, and what it leaves alone."""

import numba as nb
import numpy as np
import pytest
from scipy import stats

from qpibench.arithmetic.normals import normal_pair, reference_normal_pair
from qpibench.arithmetic.philox import words
from qpibench.arithmetic.streams import stream_key
from qpibench.corruptions import white_noise as reference
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend


def _noisy(snr_db, *overrides, name="mini"):
    return load_spec(name, overrides=[f"corruptions.white_noise.snr_db={snr_db}", *overrides])


def _clean(spec):
    return spec.model_copy(update={"corruptions": None})


def _observations(spec, start=0, stop=None, **options):
    backend, _ = get_backend("cpu")
    stop = spec.observation_count if stop is None else stop
    return backend.observations(spec, backend.kernels(spec), start, stop, **options)


@nb.njit(error_model="numpy")
def _normal_numbers(words):
    normals = np.empty(words.shape, np.float32)
    for k in range(len(words)):
        normals[k] = normal_pair(words[k, 0], words[k, 1])
    return normals


@nb.njit
def _words(key, image, kernel, draws):
    drawn = np.empty((draws, 4), np.uint32)
    for draw in range(draws):
        drawn[draw] = words(key, draw, image, kernel)
    return drawn


def _normals_of(spec, observation):
    """The normal numbers of an image by the reference: draw q serves the pixels q, q + Q, q + 2 Q and q + 3 Q."""
    pixels = spec.grid.ny * spec.grid.nx
    kernel, image = divmod(observation, spec.observations_per_kernel)
    drawn = _words(stream_key("benchmark", spec.seed, "white noise"), image, kernel, -(-pixels // 4))
    pairs = reference_normal_pair(drawn.reshape(-1, 2, 2))
    return pairs.reshape(-1, 4).T.reshape(-1)[:pixels].reshape(spec.grid.shape)


SMALL = ["grid.ny=7", "grid.nx=5", "kernels.wavelength_nm=[6, 7]"]
ODD = ["grid.ny=33", "grid.nx=37", "kernels.wavelength_nm=[1, 3]"]


@pytest.mark.parametrize("overrides", [[], ODD, SMALL, ["grid.ny=2", "grid.nx=2", "kernels.wavelength_nm=[25, 30]"]])
@pytest.mark.parametrize("snr_db", ["-20", "10", "[3, 40]"])
def test_noisy_images_are_those_of_the_reference(snr_db, overrides):
    spec = _noisy(snr_db, *overrides)
    clean, made = _observations(_clean(spec), 17, 40), _observations(spec, 17, 40)
    normals = np.stack([_normals_of(spec, observation) for observation in range(17, 40)])
    np.testing.assert_allclose(
        made.extra["noise_sigma"], reference.reference_sigma(clean.image, made.extra["snr_db"]), rtol=1e-7
    )
    error = made.image - reference.reference(clean.image, made.extra["snr_db"], normals)
    scale = np.maximum(np.abs(made.image).max(axis=(1, 2)), made.extra["noise_sigma"])
    assert (np.abs(error).max(axis=(1, 2)) < 1e-6 * scale).all()


def test_normal_numbers_are_exact_to_the_last_digits_of_float32():
    rng = np.random.default_rng(5)
    edges = np.array([0, 1, 2**29 - 1, 2**29, 2**30, 2**31 - 1, 2**31, 2**32 - 129, 2**32 - 1], np.uint32)
    drawn = rng.integers(0, 2**32, (200_000, 2), dtype=np.uint32)
    drawn = np.concatenate([drawn, np.stack(np.meshgrid(edges, edges), axis=-1).reshape(-1, 2)])
    made, expected = _normal_numbers(drawn), reference_normal_pair(drawn)
    radius = np.hypot(*expected.T)
    # Radii close to 0 come of words close to 2^32, of which float32 knows 24 binary digits.
    tolerance = 5e-7 * radius + np.minimum(2.0**-24 / radius, 3.5e-4)
    assert np.isfinite(made).all()
    assert (np.abs(made - expected) < tolerance[:, None]).all()
    assert 6.7 < np.abs(made).max() < 6.77


def test_noise_is_normal_and_independent_from_pixel_to_pixel():
    spec = _noisy(0, "kernels.count=20", "observations_per_kernel=25")
    clean, made = _observations(_clean(spec)), _observations(spec)
    normal = (made.image.astype(np.float64) - clean.image) / made.extra["noise_sigma"][:, None, None]
    assert abs(normal.mean()) < 4 / np.sqrt(normal.size)
    assert normal.var() == pytest.approx(1, abs=4 * np.sqrt(2 / normal.size))
    assert (normal**4).mean() == pytest.approx(3, abs=4 * np.sqrt(96 / normal.size))
    assert stats.kstest(normal.reshape(-1), "norm").pvalue > 0.01
    flat = normal.reshape(len(normal), -1)
    quarter = flat.shape[1] // 4
    pairs = {
        "first and second of a pair": (flat[:, :quarter], flat[:, quarter : 2 * quarter]),
        "two pairs of a draw": (flat[:, :quarter], flat[:, 2 * quarter : 3 * quarter]),
        "neighbours along x": (normal[:, :, :-1], normal[:, :, 1:]),
        "neighbours along y": (normal[:, :-1], normal[:, 1:]),
        "the next image": (normal[:-1], normal[1:]),
        "the next kernel": (normal[:-25], normal[25:]),
    }
    for what, (one, other) in pairs.items():
        for power in (1, 2):
            one_power, other_power = one**power - (power == 2), other**power - (power == 2)
            bound = 4 * power / np.sqrt(one.size)
            assert abs((one_power * other_power).mean()) < bound, (what, power)


def test_ratios_are_uniform_in_their_range_or_the_one_that_was_given():
    drawn = _observations(_noisy([5, 25], *SMALL, "observations_per_kernel=300")).extra["snr_db"]
    assert stats.kstest(drawn, "uniform", (5, 20)).pvalue > 0.01
    assert (_observations(_noisy(10)).extra["snr_db"] == 10).all()


def test_noise_over_the_kernels_rms_is_what_it_says():
    spec = _noisy(10)
    kernels, made = get_backend("cpu")[0].kernels(spec), _observations(spec, 7, 55)
    rms = np.sqrt((kernels.image.astype(np.float64) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(
        made.extra["noise_over_kernel_rms"], made.extra["noise_sigma"] / rms[made.kernel], rtol=2e-7
    )


def test_images_without_contrast_stay_as_they_are():
    # With decays this short most images, and all kernels, are zero: the pixels lie farther from the scatterers.
    empty = ["kernels.decay_nm=[0.001, 0.001]", "scatterers.max=1"]
    spec = _noisy(-10, *empty)
    made = _observations(spec)
    assert not made.image.any()
    assert not made.extra["noise_sigma"].any()
    assert np.isnan(made.extra["noise_over_kernel_rms"]).all()


def test_noise_leaves_no_negative_zero_and_no_denormal_pixel():
    spec = _noisy([-40, 100], "kernels.decay_nm=[0.002, 0.03]", "scatterers.max=1", "observations_per_kernel=50")
    made = _observations(spec)
    assert np.isfinite(made.image).all()
    assert not np.signbit(made.image[made.image == 0]).any()
    assert not ((made.image != 0) & (np.abs(made.image) < np.finfo(np.float32).smallest_normal)).any()
    assert (made.extra["noise_sigma"] == 0).any()
    assert (made.extra["noise_sigma"] > 0).any()


def test_noise_has_a_stream_of_its_own():
    spec = _noisy([0, 20])
    made, clean = _observations(spec), _observations(_clean(spec))
    for name in ("kernel", "n_scatterers", "position_nm"):
        np.testing.assert_array_equal(getattr(made, name), getattr(clean, name))
    assert not clean.extra
    other = _observations(_noisy([0, 20], "seed=1"))
    training = _observations(spec, domain="training")
    assert not np.intersect1d(
        made.extra["snr_db"], np.concatenate([other.extra["snr_db"], training.extra["snr_db"]])
    ).size


def test_the_ratio_does_not_change_the_numbers_that_are_drawn():
    loud, quiet = _observations(_noisy(0)), _observations(_noisy(20))
    clean = _observations(load_spec("mini"))
    difference = [(made.image - clean.image) / made.extra["noise_sigma"][:, None, None] for made in (loud, quiet)]
    assert np.abs(difference[0] - difference[1]).max() < 1e-3


def test_a_noisy_image_does_not_depend_on_the_run_it_is_made_in():
    spec = _noisy([0, 20], *ODD)
    whole = _observations(spec)
    for start, stop in [(0, 1), (37, 42), (99, 100)]:
        for name, values in _observations(spec, start, stop).columns().items():
            np.testing.assert_array_equal(values, whole.columns()[name][start:stop])
