"""The panels of a gallery are what their labels say."""

import io

import numpy as np
import pytest

from qpibench.corruptions import corruption_names
from qpibench.errors import UsageError
from qpibench.gallery.colours import Scale, finer
from qpibench.gallery.effects import Refusal, effects_of_examples, effects_of_spec, scaled_example
from qpibench.gallery.gallery import crowded_part, draw_gallery, gallery_rows, told_marks, true_marks
from qpibench.gallery.palette import SIGNED, TOLD, few_levels, in_palette
from qpibench.gallery.panels import Marks, Picture, draw_image, draw_spectrum
from qpibench.grid import Grid
from qpibench.pages import fourier, scales
from qpibench.pages.plotting import own_style
from qpibench.specs import load_spec, spec_names
from qpibench.synthesis import get_backend

# isort: split
from matplotlib.figure import Figure
from PIL import Image, ImageColor

GRID = Grid(ny=40, nx=60, size_y_nm=7.8, size_x_nm=11.8)


@pytest.fixture
def axes():
    """Axes of a figure."""
    with own_style({}):
        yield Figure().add_subplot()


def plane_wave(q_x, q_y):
    return np.cos(q_x * GRID.x_nm + q_y * GRID.y_nm[:, np.newaxis])


def picture_of(image, **options):
    return Picture(image=image, colours="RdBu_r", limits=(-1.0, 1.0), **options)


def test_a_plane_wave_is_drawn_at_its_wavevector(axes):
    transform = fourier.spectrum(plane_wave(6.0, -3.0), GRID, hann=True)
    draw_spectrum(axes, transform, GRID, (-3.0, 0.0))
    shown = axes.images[0]
    left, right, bottom, top = shown.get_extent()
    row, column = np.unravel_index(np.argmax(shown.get_array()), GRID.shape)
    q = left + (column + 0.5) * (right - left) / GRID.nx, bottom + (row + 0.5) * (top - bottom) / GRID.ny
    q = np.array(q) * np.sign(q[0])  # a real wave has both signs
    assert q == pytest.approx([6.0, -3.0], abs=0.55 * 2 * np.pi / GRID.size_y_nm)
    assert "rad/nm" in axes.get_xlabel()


def test_the_dotted_half_circle_has_the_radius_of_the_wavevector(axes):
    draw_spectrum(axes, np.zeros(GRID.shape), GRID, (-3.0, 0.0), ring_q=2.5)
    assert np.hypot(*axes.lines[0].get_data()) == pytest.approx(2.5)


def test_an_unknown_wavevector_has_no_circle(axes):
    draw_spectrum(axes, np.zeros(GRID.shape), GRID, (-3.0, 0.0), ring_q=float("nan"))
    assert not axes.lines


@pytest.mark.parametrize("view_nm", [None, ((-1.0, 1.0), (0.0, 1.3))])
def test_the_scale_bar_has_the_length_that_is_written_beside_it(axes, view_nm):
    draw_image(axes, picture_of(plane_wave(1.0, 0.0)), GRID, view_nm=view_nm)
    (bar,) = (line for line in axes.lines if line.get_label() == "scale bar")
    length_nm = float(np.ptp(bar.get_xdata()))
    assert [text.get_text() for text in axes.texts] == [f"{length_nm:g} nm"]
    assert 0.1 < length_nm / np.ptp(axes.get_xlim()) < 0.34


def test_a_pixel_is_drawn_at_its_coordinates(axes):
    draw_image(axes, picture_of(plane_wave(1.0, 0.0)), GRID)
    left, right, *_ = axes.images[0].get_extent()
    assert (right - left) / GRID.nx == pytest.approx(GRID.pitch_x_nm)
    assert left + GRID.pitch_x_nm / 2 == pytest.approx(GRID.x_nm[0])


def test_true_positions_are_circles_and_told_ones_crosses(axes):
    positions = np.array([[1.0, 2.0], [-3.0, 0.5]])
    true, told = Marks(position_nm=positions), Marks(position_nm=positions[:1] + 0.2)
    draw_image(axes, picture_of(np.zeros(GRID.shape), true=true, told=told), GRID)
    marked = {line.get_marker(): line.get_xydata() for line in axes.lines if line.get_marker() in "ox"}
    assert np.array_equal(marked["o"], positions)
    assert np.array_equal(marked["x"], positions[:1] + 0.2)


def test_species_have_markers_of_their_own_which_the_legend_names(axes):
    true, told = (Marks(position_nm=np.eye(2), species=np.array(species)) for species in ([0, 1], [1, 0]))
    draw_image(axes, picture_of(np.zeros(GRID.shape), true=true, told=told), GRID)
    x_nm = {line.get_marker(): line.get_xdata().tolist() for line in axes.lines if line.get_label().startswith("_")}
    assert x_nm == {"o": [1.0], "^": [0.0], "+": [1.0], "x": [0.0]}
    legend = {(line.get_label(), line.get_marker()) for line in axes.lines if line.get_label().startswith("species")}
    assert legend == {("species 0", "o"), ("species 0", "x"), ("species 1", "^"), ("species 1", "+")}
    assert {text.get_text() for text in axes.texts} > {"0", "1"}


@pytest.mark.slow
def test_images_of_two_species_mark_every_scatterer_by_its_species():
    spec = load_spec("mini_species", overrides=["corruptions.missing_scatterers.share=0.3"])
    seen = get_backend("cpu")[0].observations(spec, get_backend("cpu")[0].kernels(spec), 3, 4)
    true, told = true_marks(seen), told_marks(seen)
    assert np.array_equal(true.species, seen.extra["species"][0, : len(true)])
    of_position = {tuple(position): number for position, number in zip(true.position_nm, true.species, strict=True)}
    assert [of_position[tuple(position)] for position in told.position_nm] == told.species.tolist()
    assert len(told) < len(true)


def test_the_spectrum_under_a_window_does_not_depend_on_the_mean():
    wave = plane_wave(4.0, 2.0)
    transforms = [fourier.spectrum(image, GRID, hann=True) for image in (wave, wave + 100)]
    middle = transforms[0][GRID.ny // 2, GRID.nx // 2]
    assert middle < transforms[0].max() - 10
    assert transforms[1].max() == pytest.approx(transforms[0].max(), abs=1e-6)


def test_the_window_removes_the_cross_of_the_edges():
    wave = plane_wave(4.0 + np.pi / GRID.size_x_nm, 0.0)
    far = [np.quantile(fourier.spectrum(wave, GRID, hann=hann)[GRID.ny // 2], 0.1) for hann in (False, True)]
    assert far[1] < far[0] - 1


def test_signed_values_have_a_symmetric_diverging_scale():
    kernels = np.stack([plane_wave(3.0, 0.0)]).astype(np.float32)
    picture = Scale(GRID, 0.0, kernels).picture(kernels[0] + 0.5, np.empty((0, 2)))
    assert picture.colours == "RdBu_r"
    assert picture.limits[0] == -picture.limits[1]


def test_positive_values_have_a_sequential_scale():
    image = plane_wave(3.0, 0.0).astype(np.float32) ** 2
    picture = Scale(GRID, 0.0, image[np.newaxis]).picture(image, np.empty((0, 2)))
    assert picture.colours == "inferno"
    assert picture.limits == (image.min(), image.max())


def test_cores_do_not_stretch_the_scale():
    image = plane_wave(3.0, 0.0)
    image[19:21, 29:31] = -50
    scale = Scale(GRID, 0.6, image[np.newaxis].astype(np.float32))
    assert scale.limits(image[np.newaxis], np.zeros((1, 2)))[1] <= 1


def test_a_difference_says_how_its_scale_compares():
    assert finer((-4.0, 4.0), (-0.5, 0.5)) == "scale 8 times finer"
    assert finer((0.0, 1.0), (-3.0, 3.0)) == "scale 3 times coarser"


def test_round_lengths_are_1_2_or_5_times_a_power_of_ten():
    assert [scales.bar_length(size) for size in (10, 30, 0.7, 3)] == [2, 10, 0.2, 1]


def test_few_colours_of_the_palette_stand_for_all():
    seen = io.BytesIO()
    first = few_levels(SIGNED)(0, bytes=True)[:3]
    colours = [*map(ImageColor.getrgb, ("white", "black", TOLD, "#fefefe")), first]
    Image.fromarray(np.array([colours], np.uint8)).save(seen, "png")
    with Image.open(io.BytesIO(in_palette(seen.getvalue()))) as picture:
        shown = np.asarray(picture.convert("RGB"))[0].tolist()
    assert shown == [[255] * 3, [0] * 3, [255, 64, 255], [255] * 3, list(first)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "mini" else pytest.mark.slow) for name in spec_names()],
)
def test_every_named_spec_has_a_picture(name):
    with Image.open(io.BytesIO(draw_gallery(load_spec(name)))) as picture:
        assert picture.size[0] == 1150
        assert len(picture.getcolors()) > 100


def test_a_long_name_is_cut_to_the_width_of_the_page():
    head = next(gallery_rows(load_spec("mini", overrides=[f"name={'long ' * 39}"])))
    assert len(head.heading) == 110
    assert head.heading.endswith("…")


@pytest.mark.slow
def test_the_picture_is_the_same_each_time():
    spec = load_spec("mini", overrides=["corruptions.position_error.sigma_nm=0.2"])
    assert draw_gallery(spec) == draw_gallery(spec)


def test_kernels_of_every_stratum_are_shown_with_their_parameters():
    titles = [panel.title for row in gallery_rows(load_spec("mini")) for panel in row.panels]
    for fold in (0, 2, 3, 4, 6):
        assert sum(f"fold = {fold}," in title for title in titles) == 2
    assert all("rad/nm" in title for title in titles if "fold" in title)


def test_pairs_of_every_stratum_are_shown_with_both_kernels_below_each_other():
    rows = [row for row in gallery_rows(load_spec("mini_species")) if row.panels and "species =" in row.panels[0].title]
    titles = [[panel.title.replace("\n", " ") for panel in row.panels] for row in rows]
    for species, line in enumerate(titles):
        assert [title.split(", B")[0].split("fold = ")[1][0] for title in line] == list("02346")
        assert all(f"species = {species}, contrast = " in title for title in line)
    assert [title.split(",")[0] for title in titles[1]] == [f"kernel {row}" for row in (1, 3, 5, 7, 9)]


def test_effects_are_those_of_the_release_one_corruption_after_the_other():
    corruptions = ["corruptions.white_noise.snr_db=5.0", "corruptions.missing_scatterers.share=0.3"]
    spec = load_spec("mini", overrides=corruptions)
    noise, missing = effects_of_spec(spec, 13)
    assert (noise.name, missing.name) == ("white_noise", "missing_scatterers")
    backend, clean = get_backend("cpu")[0], load_spec("mini")
    for seen, of in ((noise.before, clean), (missing.after, spec)):
        made = backend.observations(of, backend.kernels(of), 13, 14)
        assert np.array_equal(seen.image, made.image)
        assert np.array_equal(seen.told, made.told, equal_nan=True)
    assert np.array_equal(noise.after.image, missing.before.image)


@pytest.mark.slow
def test_an_example_of_every_corruption_changes_what_is_seen_or_told():
    effects = list(effects_of_examples(load_spec("mini"), 2))
    assert {effect.name for effect in effects} == set(corruption_names())
    for effect in effects:
        seen = [(each.image.tobytes(), each.told.tobytes()) for each in (effect.before, effect.after)]
        assert seen[0] != seen[1], effect.name


def test_a_corruption_that_is_named_twice_is_shown_once():
    effects = effects_of_examples(load_spec("mini"), 2, ["tip_blur", "white_noise", "tip_blur"])
    assert [effect.name for effect in effects] == ["tip_blur", "white_noise"]


def test_an_example_that_a_spec_refuses_is_named_with_the_reason():
    odd = load_spec("mini", overrides=["grid.nx=63", "grid.ny=63"])
    (refused,) = effects_of_examples(odd, 2, ["merged_pixels"])
    assert isinstance(refused, Refusal)
    rows = [row for row in gallery_rows(odd, examples=["merged_pixels"]) if row.heading == "merged_pixels"]
    assert "cell_px = 2 must divide" in rows[0].text


def test_settings_of_the_spec_replace_those_of_the_example():
    spec = load_spec("mini", overrides=["corruptions.position_error.sigma_nm=0.5"])
    (effect,) = effects_of_examples(spec, 2, ["position_error"])
    assert effect.settings.sigma_nm == 0.5


def test_lengths_of_examples_follow_the_field():
    grid = Grid(ny=64, nx=64, size_y_nm=40.0, size_x_nm=20.0)
    example = {"fwhm_nm": [0.3, 0.5], "density_per_nm2": 1.0, "strength": [0.2, 1.0], "lattice": "square"}
    scaled = {"fwhm_nm": [0.6, 1.0], "density_per_nm2": 0.25, "strength": [0.2, 1.0], "lattice": "square"}
    assert scaled_example(example, grid) == scaled


def test_an_unknown_corruption_is_refused_by_name():
    with pytest.raises(UsageError, match="no corruption 'white_nose'; did you mean 'white_noise'"):
        draw_gallery(load_spec("mini"), examples=["white_nose"])


def test_the_enlarged_part_lies_in_the_field_around_most_positions():
    position_nm = np.array([[-5.8, -3.8], [-5.5, -3.7], [4.0, 0.0]])
    (left, right), (bottom, top) = crowded_part(GRID, position_nm)
    assert (left, bottom) == pytest.approx((-5.9, -3.9))
    assert (right - left, top - bottom) == pytest.approx((11.8 / 3, 7.8 / 3))
