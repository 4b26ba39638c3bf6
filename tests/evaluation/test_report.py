"""The report is one complete file; its pictures are to scale, and the images in it are chosen by rank."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from qpibench.errors import UsageError
from qpibench.evaluation import report_figures as figures
from qpibench.evaluation import report_plots
from qpibench.evaluation.picks import pick_by_rank
from qpibench.evaluation.prediction_record import FailureRecord, Record
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.evaluation.report import report
from qpibench.evaluation.result import Interval, ModelRecord, Run, TrainingRecord
from qpibench.evaluation.run_record import SourceRecord
from qpibench.evaluation.score import score
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.pages import fourier, scales
from qpibench.pages.notation import interval, number
from qpibench.pages.svg import MARKS, SEQUENTIAL
from qpibench.physics.superposition import kernel_image
from qpibench.release import open_release, write_imported
from qpibench.specs import ImportedSpec
from qpibench.synthesis.contract import Kernels, Observations
from qpibench.tasks import subset

GRID = Grid(ny=24, nx=20, size_y_nm=6.0, size_x_nm=5.0)
FOLDS = np.array([2, 2, 4, 4], dtype=np.int32)
WAVELENGTH_NM = 1.25


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Four kernels of eq. 7, ten images of each."""
    rng = np.random.default_rng(3)
    B, C = np.pi / WAVELENGTH_NM, 0.25
    phi1, phi2 = np.array([0.2, 0.9, 1.4, 2.0]), np.array([0.1, 0.8, 1.9, 2.5])
    kernels = Kernels(
        image=np.array(
            [
                kernel_image(GRID, eq7, fold=int(fold), phi1=a, B=B, phi2=b, C=C)
                for fold, a, b in zip(FOLDS, phi1, phi2, strict=True)
            ],
            dtype=np.float32,
        ),
        family=np.full(4, b"eq7", dtype="S16"),
        parameters={"fold": FOLDS, "phi1": phi1, "B": np.full(4, B), "phi2": phi2, "C": np.full(4, C)},
    )
    observations = Observations(
        image=rng.random((40, *GRID.shape), dtype=np.float32),
        kernel=np.repeat(np.arange(4, dtype=np.int32), 10),
        n_scatterers=np.full(40, 3, dtype=np.int32),
        position_nm=rng.uniform(-2, 2, (40, 3, 2)),
    )
    path = tmp_path_factory.mktemp("release") / "release.h5"
    spec = ImportedSpec(name="shown <b>here</b>", files_sha256=("0" * 64,), axis_order="x_first", grid=GRID)
    write_imported(spec, path, kernels, observations)
    with open_release(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def write_report(tmp_path_factory, release):
    """Write the report of an entry whose errors grow with the row; the last ``unanswered`` images have no answer."""

    def write(*, name="growing", limit=None, unanswered=0, training=None, map_mode="exact", std=None):
        folder = tmp_path_factory.mktemp("report")
        index = {
            task: release.split(task, "test") if limit is None else subset(release, task, limit)
            for task in release.tasks
        }
        failure = FailureRecord(
            kind="raised", stage="predict", message="ValueError: <no>.", traceback="", task="ood", row=0
        )
        record = Record(
            model=ModelRecord(
                name=name,
                file_sha256="a" * 64,
                weights={},
                knows=("eq. 7",),
                needs=(),
                trained_on=(),
                training=training,
            ),
            view="positions",
            map_mode=map_mode,
            limit=limit,
            seed=0,
            batch_size=32,
            failure=failure if unanswered else None,
            non_finite={},
            fit_seconds=None,
            task_seconds={},
            run=Run(seconds=1.5, peak_memory_bytes=2**30, environment={"python": "3.11"}),
        )
        path = folder / "predictions.h5"
        with PredictionsWriter(path, release_sha256=release.content_sha256, index=index, grid=GRID) as writer:
            for task, rows in index.items():
                truth = release.kernels.image[release.observation_kernel[rows]]
                growth = 0.05 * (1 + rows)[:, None, None]
                answered = len(rows) - unanswered
                arrays = {"kernel": (1 + growth) * truth} | ({} if std is None else {"std": np.full_like(truth, std)})
                writer.write(task, 0, {name: array[:answered].astype(np.float32) for name, array in arrays.items()})
            writer.finish(record)
        with open_predictions(path, release) as predictions:
            report(score(path, release), predictions, release, folder / "report.html")
        return folder / "report.html"

    return write


@pytest.fixture(scope="module")
def html(write_report):
    return write_report(name="<i>growing</i>", limit=3, unanswered=1).read_text()


@pytest.fixture(scope="module")
def whole(write_report):
    """The report on all test images."""
    return write_report()


class Text(HTMLParser):
    """The text of a page without its style, and the addresses it names."""

    def __init__(self, html):
        super().__init__()
        self.text, self.addresses, self._within_style = "", [], False
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self._within_style = tag == "style"
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]

    def handle_endtag(self, tag):
        self._within_style = False

    def handle_data(self, text):
        self.text += "" if self._within_style else f" {text}"


def panels(html, title):
    """Figures of a title in their order, as SVG text."""
    return re.findall(rf"<figcaption>{title}</figcaption>(<svg.*?</svg>)", html, flags=re.DOTALL)


def test_images_are_picked_from_the_worst_over_the_median_to_the_best():
    errors = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8])
    picks = [(pick.label, pick.row) for pick in pick_by_rank(errors)]
    assert picks == [("Worst", 2), ("2nd worst", 6), ("Median", 0), ("Best", 1)]


def test_unanswered_images_are_never_picked_and_few_images_are_picked_once():
    assert pick_by_rank(np.array([np.nan, np.inf])) == []
    assert [(p.label, p.row) for p in pick_by_rank(np.array([np.nan, 0.4]))] == [("Median", 1)]
    assert [p.row for p in pick_by_rank(np.array([0.2, np.nan, 0.1, 0.3]))] == [3, 0, 2]


def test_equal_errors_are_ranked_by_row():
    assert [p.row for p in pick_by_rank(np.full(6, 0.5))] == [5, 4, 2, 0]


def test_the_shown_images_are_those_with_the_worst_median_and_best_errors(whole, release):
    shown = [int(row) for row in re.findall(r"image (\d+) · kernel", Text(whole.read_text()).text)]
    expected = []
    for task in sorted(release.tasks):
        rows = np.sort(release.split(task, "test"))
        expected += [rows[-1], rows[-2], rows[(len(rows) - 1) // 2], rows[0]]
    assert shown == expected


def test_the_same_input_gives_the_same_bytes(write_report):
    assert write_report(limit=1).read_bytes() == write_report(limit=1).read_bytes()


def test_the_report_loads_nothing(html):
    assert all(address.startswith(("data:", "#")) for address in Text(html).addresses)
    assert not re.search(r"@import|<script|url\((?!#)", html)


def test_ids_occur_once_but_for_identical_definitions(html):
    definitions = {}
    for name, content in re.findall(r'<(?:clipPath|path|g|image) id="([^"]+)"(.*?)>', html, flags=re.DOTALL):
        definitions.setdefault(name, set()).add(content)
    assert all(len(contents) == 1 for contents in definitions.values())


def test_the_header_names_model_release_subset_and_failures(html, release):
    text = Text(html).text
    assert "<i>growing</i> on shown <b>here</b>" in text
    assert release.content_sha256 in text
    assert f"Subset: 3 of {len(release.split('id', 'test'))} images of task id" in text
    assert "id: 1 of 3" in text
    assert "The entry stopped during task ood (raised): ValueError: <no>." in text
    assert "knows eq. 7" in text


@pytest.mark.parametrize(("map_mode", "given"), [("exact", True), (None, False)])
def test_a_map_that_the_entry_was_not_given_is_called_so(write_report, map_mode, given):
    text = Text(write_report(limit=1, map_mode=map_mode).read_text()).text
    assert ("the observation, its activation map and the scatterers' coordinates" in text) is given
    assert ("The activation map is shown for orientation: the entry was not given it." in text) is not given


def test_names_are_text_and_never_markup(html):
    assert "<i>growing</i>" not in html
    assert "<b>here</b>" not in html


def test_a_whole_test_role_carries_no_mark_of_a_subset(whole):
    assert "Subset" not in Text(whole.read_text()).text


@pytest.mark.parametrize(("fraction", "said"), [(0.15, True), (1.0, False)])
def test_a_training_is_told_and_one_that_was_not_finished_is_a_reservation(write_report, fraction, said):
    training = TrainingRecord(
        recipe="code",
        preset="compact",
        options={},
        seed=0,
        source=SourceRecord(kind="stream", name="paper", spec_sha256="b" * 64, content_sha256=None),
        steps_done=1500,
        steps_stated=10_000,
        fraction=fraction,
        hours=1.88,
        hardware="a processor",
        git_commit=None,
    )
    text = Text(write_report(limit=1, unanswered=1, training=training).read_text()).text
    assert "1,500 of 10,000 steps, 1.88 h on a processor" in text
    assert ("Not trained to the end: 1,500 of 10,000 steps." in text) is said


def test_an_entry_that_answered_nothing_has_a_report_without_images(write_report, release):
    html = write_report(limit=1, unanswered=1).read_text()
    assert Text(html).text.count("No image of this task has a finite prediction") == len(release.tasks)
    assert panels(html, "Prediction") == []


def test_captions_tell_scatterers_symmetry_wavelength_and_errors(html):
    text = Text(html).text
    assert re.search(r"image \d+ · kernel \d · 3 scatterers · [24]-fold · wavelength 1\.25 nm · decay 2 nm", text)
    assert re.search(r"relative L2 error \S+ · MAE \S+ · MAE, published convention \S+", text)


def test_truth_and_prediction_share_their_limits_and_the_difference_is_symmetric(html):
    def limits(svg):
        first, _, last = re.findall(r">([^<>]+)</text>", svg)[1:4]
        return first.removeprefix("≤ "), last.removeprefix("≥ ")

    shown = [panels(html, title) for title in ("True kernel", "Prediction", "Difference")]
    assert len(shown[0]) == len(shown[1]) == len(shown[2]) > 0
    for truth, prediction, difference in zip(*shown, strict=True):
        assert limits(truth) == limits(prediction)
        # The prediction is larger than the truth everywhere, and its colour bar says so.
        assert "≥" in prediction
        assert "≥" not in truth
        low, high = limits(difference)
        assert low == "−" + high


def test_a_stated_std_and_the_difference_over_it_stand_beside_every_shown_prediction(write_report, html):
    text = write_report(limit=2, std=0.02).read_text()
    shown = [panels(text, title) for title in ("Prediction", "Stated std", "Difference / std")]
    assert len(shown[0]) == len(shown[1]) == len(shown[2]) > 0
    assert all(">0.02</text>" in std and "|FFT|" not in std for std in shown[1])
    assert "the standard deviation that the entry states for every pixel" in text
    assert all(words not in html for words in ("Stated std", "Difference / std", "the entry states"))


@pytest.mark.parametrize(("std", "shown"), [(0.0, True), pytest.param(np.nan, False, marks=pytest.mark.slow)])
def test_a_report_shows_a_std_of_zeros_and_leaves_out_one_that_is_not_finite(write_report, std, shown):
    assert bool(panels(write_report(limit=1, std=std).read_text(), "Stated std")) is shown


def test_wavevector_axes_say_that_two_pi_is_included(html):
    (panel, *_) = panels(html, "True kernel")
    assert panel.count("(rad/nm)") == 2
    assert panel.count("2π") == 2


def panel_of(image, grid):
    return figures.Panel(
        title="Any",
        image=image,
        colours=SEQUENTIAL,
        limits=scales.value_limits(image),
        unit="native units",
        spectrum_limits=fourier.spectrum_limits(image, grid),
    )


def frame_and_pixels(svg):
    """Left, top, right and bottom of the first embedded image on the page, and its pixels (row, column, RGBA)."""
    encoded, width, height, matrix = re.search(
        r'<image [^>]*base64,([^"]+)"[^>]*width="(\d+)" height="(\d+)" transform="matrix\(([^)]+)\)', svg
    ).groups()
    a, b, c, d, e, f = (float(x) for x in matrix.split())
    assert b == c == 0
    pixels = imread(io.BytesIO(base64.b64decode(encoded.replace("\n", ""))))
    return (a, d, e, f), (int(width), int(height)), pixels


def test_y_points_up_and_no_pixel_is_interpolated():
    image = np.zeros(GRID.shape)
    image[-3, 1] = 1.0  # near the upper left corner
    (a, d, e, f), (width, height), pixels = frame_and_pixels(figures.draw_panel(panel_of(image, GRID), GRID))
    assert pixels.shape[:2] == (height, width) == GRID.shape
    row, column = np.unravel_index(np.argmax(pixels[..., :3].sum(axis=2)), GRID.shape)
    across, down = sorted((e, e + a * width)), sorted((f, f + d * height))
    assert (e + a * (column + 0.5) - across[0]) / (across[1] - across[0]) == pytest.approx(1.5 / 20)
    assert (f + d * (row + 0.5) - down[0]) / (down[1] - down[0]) == pytest.approx(2.5 / 24)


def test_the_scale_bar_is_as_long_as_it_says():
    svg = figures.draw_panel(panel_of(np.random.default_rng(0).random(GRID.shape), GRID), GRID)
    (a, _, _, _), (width, _), _ = frame_and_pixels(svg)
    start, end = re.search(
        r'd="M (\S+) \S+ \nL (\S+) \S+ \n"[^>]*stroke: var\(--text\); stroke-width: 1.8', svg
    ).groups()
    assert ">1 nm<" in svg
    # The image is wider than the grid: its outer pixels have their centres on the edges.
    assert (float(end) - float(start)) / (abs(a) * width) == pytest.approx(1 / (5.0 + 5.0 / 19), rel=1e-3)


def test_pixels_reach_half_a_pitch_beyond_the_edges_of_the_grid():
    assert scales.edges(GRID.x_nm) == pytest.approx((-2.5 - 5 / 38, 2.5 + 5 / 38))


def test_the_spectrum_of_a_wave_peaks_at_its_wavevector():
    q = fourier.wavevectors(GRID.nx, GRID.pitch_x_nm)
    wave = np.ones(GRID.ny)[:, None] * np.cos(q[14] * GRID.x_nm)
    transform = fourier.spectrum(wave, GRID)
    row, column = np.unravel_index(np.argmax(transform), transform.shape)
    assert fourier.wavevectors(GRID.ny, GRID.pitch_y_nm)[row] == 0
    assert abs(q[column]) == pytest.approx(q[14])
    # A wave of wavelength 1 nm has q = 2 pi rad/nm.
    fine = fourier.wavevectors(100, 0.1)
    assert fine[60] == pytest.approx(2 * np.pi)


def test_the_spectrum_is_the_fourier_integral_whatever_the_sampling():
    def peak(n):
        grid = Grid(ny=n, nx=n, size_y_nm=12.0, size_x_nm=12.0)
        gaussian = np.exp(-(grid.x_nm**2 + grid.y_nm[:, None] ** 2) / 2)
        return fourier.spectrum(gaussian, grid).max()

    assert peak(64) == pytest.approx(np.log10(2 * np.pi), abs=1e-6)
    assert peak(97) == pytest.approx(peak(64), abs=1e-6)


def test_a_panel_of_zeros_can_be_drawn():
    assert "<svg" in figures.draw_panel(panel_of(np.zeros(GRID.shape), GRID), GRID)


def marks_panel(n, *places):
    """The panel of an activation map of n by n pixels with marks of 1 at the places."""
    grid = Grid(ny=n, nx=n, size_y_nm=10.0, size_x_nm=10.0)
    image = np.zeros(grid.shape, dtype=np.float32)
    image[tuple(np.transpose(places))] = 1.0
    limits = fourier.spectrum_limits(image, grid)
    return figures.Panel("Activation map", image, MARKS, (0.0, 1.0), "marks", limits), grid


@pytest.mark.parametrize(("n", "width"), [(64, 1), (128, 3), (256, 5)])
def test_a_mark_is_as_wide_in_the_panel_of_a_large_image_as_in_that_of_a_small_one(n, width):
    panel, grid = marks_panel(n, (n // 2, n // 4))
    svg = figures.draw_panel(panel, grid)
    _, _, pixels = frame_and_pixels(svg)
    rows, columns = np.nonzero(pixels[..., 0] < 0.5)
    assert len(rows) == width**2
    assert (rows.mean(), columns.mean()) == (n // 2, n // 4)
    assert (f"drawn {width} pixels wide" in svg) is (width > 1)


def test_the_spectrum_of_a_single_mark_is_written_as_its_value_and_that_of_two_is_drawn():
    one, two = (figures.draw_panel(*marks_panel(64, *places)) for places in ([(9, 9)], [(9, 9), (9, 12)]))
    assert "|FFT| = 0.025 nm²" in one
    assert "at all wavevectors" in one
    assert "at all wavevectors" not in two
    assert two.count("<image") == one.count("<image") + 2  # the spectrum and its colour bar


def test_the_limits_of_a_spectrum_hold_most_values_and_are_not_stretched_by_single_zeros():
    noise = np.random.default_rng(1).normal(size=GRID.shape)
    low, high = fourier.spectrum_limits(noise - noise.mean(), GRID)  # without its mean the middle of the spectrum is 0
    transform = fourier.spectrum(noise, GRID)
    assert high - low < 3
    assert ((transform >= low) & (transform <= high)).mean() > 0.95
    for flat in (np.zeros(GRID.shape), np.ones(GRID.shape)):
        low, high = fourier.spectrum_limits(flat, GRID)
        assert 0.5 <= round(high - low, 6) <= 4


def test_a_report_in_a_missing_folder_is_refused(tmp_path, whole, release):
    path = whole.with_name("predictions.h5")
    with open_predictions(path, release) as predictions, pytest.raises(UsageError, match="does not exist"):
        report(score(path, release), predictions, release, tmp_path / "missing" / "report.html")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (0.07312, "0.0731"),
        (31.24, "31.2"),
        (4321.0, "4321"),
        (5.104e-4, "5.10×10⁻⁴"),
        (-0.25, "−0.250"),
        (2.5e7, "2.50×10⁷"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


def test_an_interval_has_the_decimals_and_the_power_of_its_value():
    assert interval(Interval(value=0.0731, low=0.07, high=0.1)) == ("0.0731", "[0.0700, 0.1000]")
    assert interval(Interval(value=5.1e-4, low=0.0, high=8.2e-4)) == ("5.10×10⁻⁴", "[0, 8.20]×10⁻⁴")
    assert interval(Interval(value=0.0, low=0.0, high=0.02)) == ("0", "[0, 0.0200]")


def test_the_power_of_ten_of_an_interval_is_that_of_its_largest_number():
    assert interval(Interval(value=-1.42e-4, low=-0.01216, high=0.017384)) == ("−0.0001", "[−0.0122, 0.0174]")
    assert interval(Interval(value=-1e-6, low=-0.01, high=0.02)) == ("0.0000", "[−0.0100, 0.0200]")
    assert interval(Interval(value=5.1e-4, low=0.0, high=1.2e-3)) == ("0.000510", "[0, 0.001200]")
    assert interval(Interval(value=9.9e4, low=9.8e4, high=1.01e5)) == ("0.990×10⁵", "[0.980, 1.010]×10⁵")


def test_the_circle_of_a_spectrum_has_a_dark_outline():
    image = np.random.default_rng(0).random(GRID.shape)
    panel = figures.Panel("Circled", image, "inferno", (0, 1), "native units", (-4, 0), 5.0)
    assert re.search(r"stroke-dasharray[^>]*stroke: #000000", figures.draw_panel(panel, GRID))


def test_equal_values_are_within_the_axes_of_a_plot(monkeypatch):
    ends = []
    monkeypatch.setattr(report_plots, "svg_text", lambda figure, _: ends.append(figure.axes[0].axis()))
    score = {"id": {"1-2": Interval(value=0.97, low=0.97, high=0.97)}}
    report_plots.draw_breakdown(score, groups=["1-2"], label="scatterers", score="error", at_0=True)
    report_plots.draw_distributions({"id": np.full(3, 0.97)}, label="error")
    (_, _, *breakdown), (*distribution, _, _) = ends
    assert breakdown == distribution == pytest.approx([0, 1.01], abs=0.01)
