"""Corruptions of images: their definitions, their statistics, and what of a spec they refuse."""

import math

import numba as nb
import numpy as np
import pytest
from scipy import stats

from qpibench.arithmetic.normals import reference_normal_pair
from qpibench.arithmetic.philox import words
from qpibench.arithmetic.streams import stream_key
from qpibench.corruptions import (
    corrugation,
    corruption_names,
    drift,
    gain_offset,
    get_corruption,
    line_noise,
    line_offsets,
    plane_tilt,
    tip_blur,
)
from qpibench.errors import UsageError
from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

GRID = Grid(ny=30, nx=37, size_y_nm=5.8, size_x_nm=7.2)
MANY = ("kernels.count=10", "observations_per_kernel=40", "grid.ny=24", "grid.nx=64", "kernels.wavelength_nm=[2, 4]")


def _spec(*corruptions, grid=GRID, others=()):
    fields = ", ".join(f"{name}={value}" for name, value in grid.model_dump().items())
    overrides = ["kernels.count=5", "observations_per_kernel=4", f"grid={{{fields}}}", "kernels.wavelength_nm=[0.8, 3]"]
    return load_spec("mini", overrides=[*overrides, *others, *(f"corruptions.{each}" for each in corruptions)])


def _made(spec):
    backend = get_backend("cpu")[0]
    return backend.observations(spec, backend.kernels(spec), 0, spec.observation_count)


def _with_border(border):
    """Clean images with the scatterers of `_spec()` and a border, and those of its kernels."""
    pitch = GRID.pitch_y_nm, GRID.pitch_x_nm
    ny, nx = (n + 2 * border for n in GRID.shape)
    large = Grid(ny=ny, nx=nx, size_y_nm=(ny - 1) * pitch[0], size_x_nm=(nx - 1) * pitch[1])
    assert pitch[0] == pytest.approx(pitch[1])  # so one margin keeps the scatterers where they are
    spec = _spec(grid=large, others=[f"scatterers.margin_nm={-border * pitch[0]}"])
    return _made(spec).image, get_backend("cpu")[0].kernels(spec).image


@nb.njit
def _words(key, image, kernel, draws):
    drawn = np.empty((draws, 4), np.uint32)
    for draw in range(draws):
        drawn[draw] = words(key, draw, image, kernel)
    return drawn


def _drawn(spec, tag, draws):
    """Words (observation, draw, 4) of a stream."""
    key, per_kernel = stream_key("benchmark", spec.seed, tag), spec.observations_per_kernel
    return np.stack([_words(key, row % per_kernel, row // per_kernel, draws) for row in range(spec.observation_count)])


def _normals(spec, tag, draws):
    """Normal numbers (observation, 4 draws) of a stream, by the reference."""
    return reference_normal_pair(_drawn(spec, tag, draws).reshape(spec.observation_count, -1, 2)).reshape(
        spec.observation_count, -1
    )


def _assert_close(image, expected, *, tolerance=2e-6):
    scale = np.abs(expected).max(axis=(1, 2), keepdims=True)
    assert (np.abs(image - expected) < tolerance * scale).all()


def test_a_border_leaves_the_coordinates_inside_as_they_are():
    for grid in (GRID, Grid(ny=64, nx=63, size_y_nm=10.1, size_x_nm=7.3)):
        for whole, inside in zip(grid.extended(17), (grid.x_nm, grid.y_nm), strict=True):
            np.testing.assert_array_equal(whole[17:-17], inside)
            np.testing.assert_allclose(np.diff(whole), np.diff(inside)[0], rtol=1e-12)


def test_images_and_targets_are_blurred_by_the_tip_and_no_edge_is_seen():
    spec = _spec("tip_blur.fwhm_nm=[0.3, 0.9]")
    border = tip_blur.border_px(spec.corruptions["tip_blur"], GRID)
    clean, clean_kernels = _with_border(border)
    made, kernels = _made(spec), get_backend("cpu")[0].kernels(spec)
    width = made.extra["tip_fwhm_nm"]
    blurred = [tip_blur.reference(i, GRID, fwhm_nm=w, border=border) for i, w in zip(clean, width, strict=True)]
    _assert_close(made.image, np.stack(blurred))
    of_kernels = [
        tip_blur.reference(i, GRID, fwhm_nm=w, border=border) for i, w in zip(clean_kernels, width[::4], strict=True)
    ]
    _assert_close(kernels.image, np.stack(of_kernels))
    assert len(set(width)) == len(kernels)


def test_drift_shows_the_sample_at_displaced_places():
    spec = _spec("drift.drift_nm=[0.5, 2]", "drift.creep_nm=1")
    border = drift.border_px(spec.corruptions["drift"], GRID)
    clean, _ = _with_border(border)
    made = _made(spec)
    for k, image in enumerate(clean):
        vectors = {f"{name}_nm": [made.extra[f"{name}_{axis}_nm"][k] for axis in "xy"] for name in ("drift", "creep")}
        assert math.hypot(*vectors["creep_nm"]) == pytest.approx(1)
        moved = drift.reference_displacement(GRID, **vectors)
        expected = drift.reference(image, GRID, displacement_nm=moved, border=border)
        assert np.abs(made.image[k] - expected).max() < 3e-6 * np.abs(expected).max()


def test_a_sample_without_drift_is_seen_as_it_is():
    _assert_close(_made(_spec("drift.drift_nm=0")).image, _made(_spec()).image)


def test_line_noise_is_that_of_the_reference():
    spec = _spec("line_noise.strength=[0.5, 2]")
    clean, made = _made(_spec()), _made(spec)
    count, quads = line_noise.octaves(GRID.nx), -(-GRID.nx // 4)
    drawn = _normals(spec, "line noise", count * GRID.ny * quads).reshape(-1, count, GRID.ny, 4 * quads)
    strength = made.extra["line_noise_sigma"] / clean.image.std(axis=(1, 2), dtype=np.float64)
    normals = np.moveaxis(drawn[..., : GRID.nx], 1, 0)
    _assert_close(made.image, line_noise.reference(clean.image, strength, normals))
    assert strength.min() > 0.499
    assert strength.max() < 2.001


def test_line_noise_has_a_spectrum_of_one_over_f_and_its_lines_are_independent():
    clean, made = (
        _made(load_spec("mini", overrides=[*MANY, *more])) for more in ([], ["corruptions.line_noise.strength=1"])
    )
    noise = (made.image - clean.image).astype(np.float64) / made.extra["line_noise_sigma"][:, None, None]
    assert noise.var() == pytest.approx(1, abs=0.05)
    assert abs(noise.mean()) < 0.02
    power = (np.abs(np.fft.rfft(noise * np.hanning(64), axis=-1)) ** 2).mean(axis=(0, 1))
    slope, *_ = stats.linregress(np.log(np.arange(3, 25)), np.log(power[3:25]))
    assert -1.25 < slope < -0.75
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.03


def test_a_fifth_of_the_variance_of_line_noise_is_that_of_the_means_of_lines():
    clean, made = (
        _made(load_spec("mini", overrides=[*MANY, *more])) for more in ([], ["corruptions.line_noise.strength=1"])
    )
    noise = (made.image - clean.image).astype(np.float64) / made.extra["line_noise_sigma"][:, None, None]
    lag = np.abs(np.subtract.outer(np.arange(64), np.arange(64)))
    expected = np.mean([2 ** (-4 * lag / 2**k) for k in range(line_noise.octaves(64))])
    assert expected == pytest.approx(0.22, abs=0.005)
    assert (noise.mean(axis=-1) ** 2).mean() == pytest.approx(expected, abs=0.015)


def test_line_offsets_are_those_of_the_reference_and_normal():
    spec = _spec("line_offsets.strength=[0.5, 2]", others=["observations_per_kernel=20"])
    clean, made = _made(_spec(others=["observations_per_kernel=20"])), _made(spec)
    normals = _normals(spec, "line offsets", -(-GRID.ny // 4))[:, : GRID.ny]
    sigma = made.extra["line_offset_sigma"]
    strength = sigma / clean.image.std(axis=(1, 2), dtype=np.float64)
    _assert_close(made.image, line_offsets.reference(clean.image, strength, normals))
    offsets = (made.image - clean.image).mean(axis=2) / sigma[:, None]
    assert stats.kstest(offsets.reshape(-1), "norm").pvalue > 0.01


def test_a_tilted_image_has_a_plane_of_the_stated_height():
    clean, made = _made(_spec()), _made(_spec("plane_tilt.strength=[1, 3]"))
    heights, directions = made.extra["tilt_height"], made.extra["tilt_direction"]
    expected = [plane_tilt.reference(*each) for each in zip(clean.image, [GRID] * 20, heights, directions, strict=True)]
    _assert_close(made.image, np.stack(expected))
    np.testing.assert_allclose(np.ptp(made.image - clean.image, axis=(1, 2)), heights, rtol=1e-5)
    strength = heights / clean.image.std(axis=(1, 2), dtype=np.float64)
    assert strength.min() > 0.999
    assert strength.max() < 3.001
    assert np.ptp(directions) > np.pi


def test_gain_and_offset_act_on_the_noisy_image():
    noisy = _spec("white_noise.snr_db=5")
    spec = _spec("white_noise.snr_db=5", "gain_offset.gain=[0.5, 2]", "gain_offset.offset=[-1, 1]")
    made = _made(spec)
    expected = gain_offset.reference(_made(noisy).image, made.extra["image_gain"], made.extra["image_offset"])
    _assert_close(made.image, expected)
    assert made.extra["image_offset"].min() < 0 < made.extra["image_offset"].max()


@pytest.mark.parametrize("lattice", ["square", "hexagonal"])
def test_the_corrugation_is_the_lattice_with_its_constant_angle_and_origin(lattice):
    settings = [
        f"corrugation.{each}" for each in (f"lattice={lattice}", "lattice_constant_nm=0.6", "strength=[0.5, 2]")
    ]
    spec = _spec(*settings)
    clean, made = _made(_spec()), _made(spec)
    phases = 2 * np.pi * (_drawn(spec, "corrugation", 1)[:, 0, 2:] + 0.5) * 2.0**-32
    for k, image in enumerate(made.image):
        angle = made.extra["lattice_angle"][k]
        pattern = corrugation.reference(GRID, lattice, lattice_constant_nm=0.6, angle_rad=angle, phases=phases[k])
        expected = clean.image[k] + made.extra["corrugation_sigma"][k] * pattern
        assert np.abs(image - expected).max() < 2e-6 * np.abs(expected).max()
        assert pattern.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("lattice", "symmetry"), [("square", 4), ("hexagonal", 6)])
def test_a_lattice_repeats_after_its_constant_and_has_its_symmetry(lattice, symmetry):
    grid = Grid(ny=61, nx=61, size_y_nm=6.0, size_x_nm=6.0)
    pattern = corrugation.reference(grid, lattice, lattice_constant_nm=0.8, angle_rad=0.0, phases=[0, 0])
    np.testing.assert_allclose(pattern[:, 8:], pattern[:, :-8], atol=1e-12)
    turned = corrugation.reference(
        grid, lattice, lattice_constant_nm=0.8, angle_rad=2 * np.pi / symmetry, phases=[0, 0]
    )
    np.testing.assert_allclose(turned, pattern, atol=1e-12)


def test_noise_may_be_stated_by_the_rms_of_the_kernel():
    backend, spec = get_backend("cpu")[0], _spec("white_noise.sigma_over_kernel_rms=[0.5, 1]", "tip_blur.fwhm_nm=0.5")
    made, clean = _made(spec), _made(_spec("tip_blur.fwhm_nm=0.5"))
    ratio = made.extra["noise_over_kernel_rms"]
    rms = np.sqrt((backend.kernels(spec).image.astype(np.float64) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(made.extra["noise_sigma"], ratio * rms[made.kernel], rtol=1e-6)
    assert ((ratio > 0.5) & (ratio < 1)).all()
    variance = clean.image.var(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(
        made.extra["snr_db"], 10 * np.log10(variance / made.extra["noise_sigma"] ** 2), atol=1e-5
    )
    noise = (made.image - clean.image) / made.extra["noise_sigma"][:, None, None]
    assert noise.std() == pytest.approx(1, abs=0.03)


def test_pixels_in_the_cores_of_scatterers_do_not_count_in_the_variance(monkeypatch):
    spec = _spec("white_noise.snr_db=0", others=["scatterers.max=3"])
    monkeypatch.setattr(get_family("eq7"), "core_radius_nm", lambda ranges: 1.5)
    made, clean = _made(spec), _made(spec.model_copy(update={"corruptions": None}))
    for k, image in enumerate(clean.image.astype(np.float64)):
        places = made.position_nm[k, : made.n_scatterers[k]]
        distance = [np.hypot(GRID.x_nm - x, GRID.y_nm[:, None] - y) for x, y in places]
        assert made.extra["noise_sigma"][k] == pytest.approx(image[np.min(distance, axis=0) >= 1.5].std(), rel=1e-6)


def test_all_pixels_count_where_cores_cover_the_image(monkeypatch):
    monkeypatch.setattr(get_family("eq7"), "core_radius_nm", lambda ranges: 100.0)
    made = _made(_spec("white_noise.snr_db=0"))
    np.testing.assert_allclose(
        made.extra["noise_sigma"], _made(_spec()).image.std(axis=(1, 2), dtype=np.float64), rtol=1e-6
    )


def test_strengths_are_those_of_the_clean_image_whatever_acts_before():
    alone, after = _spec("line_offsets.strength=1"), _spec("white_noise.snr_db=-20", "line_offsets.strength=1")
    np.testing.assert_array_equal(_made(alone).extra["line_offset_sigma"], _made(after).extra["line_offset_sigma"])


def test_images_without_contrast_stay_as_they_are():
    empty = ["kernels.decay_nm=[0.001, 0.001]", "scatterers.max=1"]
    strong = [f"{name}.strength=3" for name in ("line_noise", "line_offsets", "plane_tilt")]
    lattice = ["corrugation.lattice=square", "corrugation.lattice_constant_nm=0.6", "corrugation.strength=3"]
    made = _made(_spec(*strong, *lattice, "white_noise.snr_db=-40", others=empty))
    assert not made.image.any()


IMAGE = [name for name in corruption_names() if get_corruption(name).STAGE == "image"]


def test_corruptions_of_images_have_orders_of_their_own():
    order = [(not hasattr(get_corruption(name), "border_px"), get_corruption(name).ORDER) for name in IMAGE]
    assert len(set(order)) == len(IMAGE)


def test_two_corruptions_of_the_same_order_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(plane_tilt, "ORDER", line_offsets.ORDER)
    told = "'line_offsets' and 'plane_tilt' both have the order 60 in the stage 'image', so the result is ambiguous"
    with pytest.raises(UsageError, match=told):
        _spec("line_offsets.strength=1", "plane_tilt.strength=1")


@pytest.mark.parametrize(
    ("corruptions", "told"),
    [
        (["line_noise.strength=-1"], "corruptions.line_noise.strength.*greater than or equal to 0, found -1"),
        (["line_offsets.strength=101"], "corruptions.line_offsets.strength.*less than or equal to 100, found 101"),
        (["plane_tilt.strength=nan"], "corruptions.plane_tilt.strength.*finite number"),
        (["gain_offset={gain=0, offset=0}"], "corruptions.gain_offset.gain.*greater than or equal to 0.001, found 0"),
        (["gain_offset={gain=[2, 1], offset=0}"], "gain.*the range is reversed: 2 is larger than 1"),
        (["tip_blur.fwhm_nm=6"], "tip_blur.fwhm_nm = 6 must be at least 0.001 and at most 1.45 nm, a quarter"),
        (["tip_blur.fwhm_nm=-1"], "corruptions.tip_blur.fwhm_nm.*greater than or equal to 0.001, found -1"),
        (["drift.drift_nm=6"], "drift displaces pixels by up to drift_nm / 2 \\+ creep_nm = 3, and 0 to 2.9 nm are"),
        (["drift={drift_nm=1, creep_nm=-1}"], "corruptions.drift.creep_nm.*greater than or equal to 0, found -1"),
        (
            ["corrugation={lattice='hexagonal', lattice_constant_nm=0.4, strength=1}"],
            "lattice_constant_nm = 0.4 would alias: pixels are 0.2 nm apart, so a hexagonal lattice needs at least",
        ),
        (["corrugation={lattice='cubic', lattice_constant_nm=1, strength=1}"], "lattice.*'square' or 'hexagonal'"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(corruptions, told):
    with pytest.raises(UsageError, match=told):
        _spec(*corruptions)


def test_borders_of_more_pixels_than_the_limit_are_refused():
    fine = Grid(ny=4000, nx=4000, size_y_nm=100.0, size_x_nm=100.0)
    told = "corruptions.tip_blur and corruptions.drift need [0-9]+ pixels outside the field on every side, and 1024 is"
    with pytest.raises(UsageError, match=told):
        _spec("tip_blur.fwhm_nm=4", "drift.drift_nm=80", grid=fine)
