from dataclasses import replace

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.maps.preparation import apply, step_names, undone

RANDOM = np.random.default_rng(5)


def only(maps):
    return maps.channels[0].values


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_polynomial_of_the_order_is_removed_to_rounding_whatever_was_not_measured(maps_of, order):
    x, y = np.linspace(0, 3, 30), np.linspace(-1, 5, 20)[:, None]
    z = 1e-9 * (2 + (order > 0) * (3 * x - y) + (order > 1) * (x * y - 2 * y**2))
    z = np.where(RANDOM.random((20, 30)) < 0.3, np.nan, z * np.ones((20, 30)))
    levelled = only(apply(maps_of(Z=z), "plane", order=order))
    assert np.nanmax(np.abs(levelled)) < 1e-14 * 1e-9 * 1e3
    assert np.array_equal(np.isnan(levelled), np.isnan(z))


def test_levelling_lines_removes_their_offsets_and_keeps_the_ripples(maps_of, ripples, error):
    offsets = RANDOM.normal(size=(96, 1))
    alone, shifted = (only(apply(maps_of(Z=z), "lines")) for z in (ripples, ripples + offsets - offsets.mean()))
    assert error(shifted, alone) < 1e-12
    assert (
        error(only(apply(maps_of(Z=alone), "plane", order=2)), ripples) < 0.2 < 0.9 < error(ripples + offsets, ripples)
    )


def test_levelling_lines_by_polynomials_leaves_none_of_them(maps_of, ripples):
    drifted = ripples + RANDOM.normal(size=(96, 2)) @ [np.ones(80), np.linspace(-1, 1, 80)]
    levelled = only(apply(maps_of(Z=drifted), "lines", method="polynomial", order=1))
    assert np.abs(levelled.mean(axis=1)).max() < 1e-12


def test_a_line_that_was_not_measured_is_passed_over(maps_of):
    z = np.outer(RANDOM.normal(size=12), np.ones(9))
    z[5] = np.nan
    levelled = only(apply(maps_of(Z=z), "lines"))
    assert np.isnan(levelled[5]).all()
    assert np.nanmax(np.abs(levelled)) < 10  # the mean of the offsets stays
    assert np.nanstd(levelled) < 1e-12


def test_scars_are_filled_and_counted_and_ripples_are_none(maps_of, ripples, error):
    scarred = ripples.copy()
    scarred[30, 10:50] += 6
    scarred[60:62, 40:70] -= 6
    prepared = apply(maps_of(Z=scarred), "streaks")
    assert prepared.steps[0].found == {"filled_px": {"Z": 100}}
    assert error(only(prepared), ripples) < 0.05
    assert apply(maps_of(Z=ripples), "streaks").steps[0].found == {"filled_px": {"Z": 0}}


@pytest.mark.parametrize("period_px", [2.1, 3, 5.3, 8, 20])
@pytest.mark.parametrize("angle", [0.0, 0.1, 0.5, 1.2])
def test_no_plane_wave_is_a_scar(maps_of, period_px, angle):
    y, x = np.indices((90, 80))
    z = np.cos(2 * np.pi / period_px * (np.cos(angle) * y + np.sin(angle) * x))
    prepared = apply(maps_of(Z=z), "streaks", threshold=2, soft_threshold=2, least_px=1)
    assert prepared.steps[0].found == {"filled_px": {"Z": 0}}


@pytest.mark.parametrize(
    ("name", "strength", "found"),
    [
        ("gaussian", "light", {"radius_px": 1.25}),
        ("gaussian", "heavy", {"radius_px": 2.25}),
        ("box", "light", {"radius_px": 1.55}),
        ("box", 1, {"radius_px": 4.0}),
        ("median", "light", {"size_px": 5}),
        ("median", "heavy", {"size_px": 7}),
        ("median", 0.5, {"size_px": 7}),
    ],
)
def test_a_strength_has_the_radius_of_the_article(maps_of, name, strength, found):
    steps = apply(maps_of(Z=np.ones((8, 8))), name, strength=strength).steps
    assert steps[0].found == pytest.approx(found)


@pytest.mark.parametrize(("name", "reach"), [("gaussian", {"radius_px": 1.5}), ("box", {"radius_px": 1.6})])
def test_a_filter_agrees_with_pillow_away_from_the_edges(maps_of, name, reach):
    from PIL import Image, ImageFilter

    filters = {"gaussian": ImageFilter.GaussianBlur, "box": ImageFilter.BoxBlur}
    levels = RANDOM.integers(0, 256, (40, 40), np.uint8)
    wanted = np.asarray(Image.fromarray(levels).filter(filters[name](*reach.values())), np.float64)
    found = only(apply(maps_of(Z=levels.astype(float)), name, **reach))
    assert np.abs(found - wanted)[8:-8, 8:-8].max() < (1.01 if name == "box" else 6)  # Pillow's Gaussian is three boxes


def test_the_median_agrees_with_pillow_away_from_the_edges(maps_of):
    from PIL import Image, ImageFilter

    levels = RANDOM.integers(0, 256, (30, 30), np.uint8)
    wanted = np.asarray(Image.fromarray(levels).filter(ImageFilter.MedianFilter(5)), np.float64)
    assert np.array_equal(
        only(apply(maps_of(Z=levels.astype(float)), "median", size_px=5))[2:-2, 2:-2], wanted[2:-2, 2:-2]
    )


@pytest.mark.parametrize("name", ["gaussian", "box", "median"])
def test_a_filter_counts_measured_points_only(maps_of, name):
    z = np.where(RANDOM.random((20, 20)) < 0.2, np.nan, 7.0)
    filtered = only(apply(maps_of(Z=z), name))
    assert np.array_equal(np.isnan(filtered), np.isnan(z))
    assert np.nanmax(np.abs(filtered - 7)) < 1e-12


SETTINGS = {
    "crop": {"pixels": [1, 30, 2, 31]},
    "drift": {"q_rad_nm": [[10, 0], [0, 10]]},
    "mask": {"above_quantile": 0.9},
    "shear": {"lattice": "square", "q_rad_nm": [[10, 0], [0, 10]]},
}


@pytest.mark.parametrize(
    "name",
    [name for name in step_names() if name not in {"derivative", "normalised", "ratio", "set_point", "tip_bias"}],
)
def test_each_layer_is_prepared_as_alone_in_its_precision_and_all_settings_are_recorded(maps_of, name):
    z = RANDOM.normal(size=(2, 32, 33)).astype(np.float32)
    z[:, 20:] = np.nan
    settings = SETTINGS.get(name, {})
    stack = apply(maps_of(Z=z, bias_v=[0.1, 0.2]), name, **({"q_rad_nm": []} if name == "bragg" else {}) | settings)
    alone = apply(maps_of(Z=z[1]), name, **({"q_rad_nm": []} if name == "bragg" else {}) | settings)
    if name != "drift":  # its field is that of the mean of the layers
        np.testing.assert_array_equal(only(stack)[1], only(alone))
    assert only(stack).dtype == np.float32
    assert set(stack.steps[0].settings) >= set(settings)
    assert name in {"drift", "shear", "mask"} or np.isfinite(only(stack)[:, :17]).all()


def test_chosen_channels_are_changed_and_the_others_are_not(maps_of):
    maps = maps_of(Z=np.arange(12.0).reshape(3, 4), Current=np.arange(12.0).reshape(3, 4) ** 2)
    prepared = apply(maps, "plane", channels="current")
    assert np.array_equal(prepared.channel("Z").values, maps.channel("Z").values)
    assert prepared.channel("Current").values.mean() == pytest.approx(0)


def test_rectangles_quantiles_and_arrays_mask_points(maps_of):
    z = np.arange(100.0).reshape(10, 10)
    points = RANDOM.random((10, 10)) < 0.5
    assert np.array_equal(np.isnan(only(apply(maps_of(Z=z), "mask", points=points))), points)
    assert np.isnan(only(apply(maps_of(Z=z), "mask", above_quantile=0.9))).sum() == 10
    masked = np.isnan(only(apply(maps_of(Z=z), "mask", rectangles_nm=[[-1, -0.4, -1, 0]])))
    assert masked.sum() == 3 * 5
    assert masked[:5, :3].all()


def test_a_crop_keeps_its_place(maps_of):
    z = RANDOM.normal(size=(20, 30))
    by_pixels = apply(maps_of(Z=z), "crop", pixels=[10, 29, 0, 9])
    assert np.array_equal(only(by_pixels), z[:10, 10:])
    assert by_pixels.centre_nm == pytest.approx((1.0, -1.0))
    turned = apply(replace(maps_of(Z=z), centre_nm=(5.0, 5.0), angle_deg=90.0), "crop", pixels=[10, 29, 0, 9])
    assert turned.centre_nm == pytest.approx((4.0, 4.0))  # clockwise: right is down, and down is left
    by_nm = apply(maps_of(Z=z), "crop", edges_nm=[-0.95, 3.0, -2.0, -0.05])
    assert by_nm.grid == by_pixels.grid
    assert np.array_equal(only(by_nm), only(by_pixels))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("plan", {}, "no preparation step 'plan'; did you mean 'plane'"),
        ("plane", {"order": 3}, "Step 'plane': field 'order': input should be less than or equal to 2, found 3"),
        ("plane", {"ordre": 1}, "unknown field 'ordre' \\(did you mean 'order'"),
        ("plane", {"channels": ["Y"]}, "no channel 'Y'; its channels are 'Z'"),
        ("median", {"size_px": 4}, "4 is even; choose 3 or 5"),
        (
            "gaussian",
            {"strength": "medium"},
            "'strength': should be light, heavy or a number from 0 to 1, found 'medium'",
        ),
        ("box", {"strength": 2}, "should be light, heavy or a number from 0 to 1, found 2"),
        ("drift", {"q_rad_nm": [[2, 0], [1, 0]]}, "q_rad_nm = .* have no two directions"),
        ("shear", {"lattice": "square", "q_rad_nm": [[0, 0], [1, 0]]}, "q_rad_nm = .* have no two directions"),
        ("mask", {}, "give rectangles_nm, above_quantile or points"),
        ("mask", {"rectangles_nm": [[-99, 99, -99, 99]]}, "'mask' leaves no measured point of"),
        ("mask", {"rectangles_nm": [[1e-9, 2e-9, 1e-9, 2e-9]]}, "has no point of the map, which has x from"),
        ("mask", {"points": np.ones((3, 3), bool)}, "have the shape 3x3 .* maps have 8x9"),
        ("crop", {}, "give either pixels or edges_nm"),
        ("crop", {"pixels": [0, 9, 0, 7]}, "crop to \\[0, 9, 0, 7\\] is not possible: a map of 9 x 8 pixels"),
        ("crop", {"edges_nm": [0, 5, 0, 0.5]}, "not possible"),
        ("derivative", {"window": 4}, "window 4 must be odd"),
        ("derivative", {"filter": "gaussian"}, "needs width_mev"),
    ],
)
def test_a_wrong_setting_is_one_sentence(maps_of, name, settings, said):
    with pytest.raises(UsageError, match=said) as caught:
        apply(maps_of(Z=np.zeros((8, 9))), name, **settings)
    assert "\n" not in str(caught.value)


@pytest.fixture
def original(tmp_path):
    """Function that reads a file of 9 x 8 points again."""
    from qpibench.readers.maps import read_maps

    np.save(tmp_path / "map.npy", RANDOM.normal(size=(9, 8)))
    return lambda size_nm=2.0: read_maps(tmp_path / "map.npy", size_nm=size_nm)


def test_the_last_step_can_be_undone(original):
    levelled = apply(apply(original(), "mask", points=RANDOM.random((9, 8)) < 0.2), "plane")
    again = undone(apply(levelled, "crop", pixels=[0, 3, 0, 3]), original())
    np.testing.assert_array_equal(only(again), only(levelled))
    assert again.steps == levelled.steps
    assert undone(undone(again, original()), original()).steps == ()


def test_a_step_is_undone_with_the_original_maps_only(original, maps_of):
    levelled = apply(original(), "plane")
    with pytest.raises(UsageError, match="no step that can be undone"):
        undone(original(), original())
    with pytest.raises(UsageError, match=r"original maps of map\.npy have steps already"):
        undone(levelled, levelled)
    with pytest.raises(InvalidDataError, match=r"come from map\.npy with the SHA-256 .* made\.npy with 000000000000"):
        undone(levelled, maps_of(Z=np.ones((9, 8))))
    with pytest.raises(InvalidDataError, match=r"map\.npy were read with other values told; tell size in nm: 2\.0"):
        undone(levelled, original(size_nm=3))
    assert undone(levelled, original(size_nm=2)).steps == ()


def test_steps_are_kept_in_a_file_with_what_they_found(maps_of, tmp_path):
    from qpibench.maps.file import read, write_maps

    prepared = apply(apply(maps_of(Z=np.eye(9)), "mask", points=np.eye(9, dtype=bool)), "crop", pixels=[1, 5, 2, 8])
    write_maps(prepared, tmp_path / "maps.h5")
    assert read(tmp_path / "maps.h5").steps == prepared.steps
