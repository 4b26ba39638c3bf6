"""Reports of kernels: numbers, figures and reasons of a synthetic stack of a surface state, from its file alone."""

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from qpibench.extraction.findings import find
from qpibench.extraction.kernel_file import KernelFile, read_kernel_file, write_kernels
from qpibench.extraction.report import write_report
from qpibench.extraction.stack import Kernels
from qpibench.extraction.tables import tables
from qpibench.extraction.texts import not_parabolic
from qpibench.extraction.transforms import scatterer_centred, transform
from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.maps import Axis, Source, Step
from qpibench.physics.dispersion import fit_band
from qpibench.physics.residual import forward_images
from qpibench.physics.standing_waves import standing_waves

GRID = Grid(ny=44, nx=48, size_y_nm=17.2, size_x_nm=18.8)
KERNEL_GRID = Grid(ny=41, nx=41, size_y_nm=16.0, size_x_nm=16.0)
ENERGY = np.array([235.0, 185.0, 135.0, 85.0, 35.0, -15.0])
STD = 2e-14


def surface_state(energy):
    columns = {"energy": energy, "k": np.sqrt(0.4 * (energy + 65) / 38.09982), "damping": 0.02, "delta": 1.2}
    columns |= {"alpha": 0.8, "tip_fwhm": 0.5, "mass_ratio": 1.0, "axis": 0.0, "share_2": 0.0, "k_2": 1.0}
    columns |= {"damping_2": 0.0, "delta_2": 0.0, "unit": 0.04}
    x, y = KERNEL_GRID.x_nm, KERNEL_GRID.y_nm[:, None]
    return 1e-12 * get_family("surface_state").reference(x, y, **columns)


def stack(energies=ENERGY, *, failed=(), has_axis=True):
    rng = np.random.default_rng(0)
    positions = rng.uniform([-9, -8], [9, 8], (7, 2))
    # Errors of an extracted kernel are those of its radial function: pixels at one distance err together.
    radius = np.hypot(KERNEL_GRID.x_nm, KERNEL_GRID.y_nm[:, None])
    errors = [np.interp(radius, np.arange(0, 12, 0.4), STD * rng.normal(size=30)) for _ in energies]
    kernel = np.array([surface_state(energy) for energy in energies]) + errors
    fit = np.array([forward_images(GRID, KERNEL_GRID, each, positions[None])[0] for each in kernel])
    image = fit + rng.normal(0, 1e-13, fit.shape)
    image[:, :3, :5] = np.nan
    failures = ["no kernel <here>" if layer in failed else "" for layer in range(len(energies))]
    for layer in failed:
        kernel[layer], fit[layer] = np.nan, np.nan
    found = {"fold": 0, "kind": "total", "orders": [0], "evidence": 12.5, "noise": 1e-13, "nuisance": "offset"}
    return KernelFile(
        kernels=Kernels(
            grid=GRID,
            kernel_grid=KERNEL_GRID,
            image=image,
            position_nm=positions,
            method="polar",
            kernel=kernel,
            std=np.where(np.isfinite(kernel), STD, np.nan),
            fit=fit,
            diagnostics=tuple({} if failure else found for failure in failures),
            failures=tuple(failures),
        ),
        channel="dI/dV <lock-in> & co",
        unit="A",
        axis=Axis(name="Bias", unit="V", values=1e-3 * np.asarray(energies)) if has_axis else None,
        source=Source(file="grid.3ds", format="Nanonis grid", sha256="0f" * 32),
        steps=(Step(name="plane", settings={"order": 1}),),
        options={"most": 3},
    )


class Page(HTMLParser):
    """The text of a page, the addresses it names, and the elements that are open at its end."""

    EMPTY = frozenset({"meta", "br", "img", "hr", "link", "input"})

    def __init__(self, html):
        super().__init__()
        self.text, self.addresses, self.open = "", [], []
        self.feed(html)
        self.close()
        self.text = " ".join(self.text.replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += " " * (self.open[-1:] != ["sub"]) + data * (self.open[-1:] != ["style"])


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of kernel.h5, its report kernel.html, and figures/; layer 2 has no kernel."""
    folder = tmp_path_factory.mktemp("report")
    write_kernels(stack(failed=[2]), folder / "kernel.h5")
    write_report(read_kernel_file(folder / "kernel.h5"), folder / "kernel.html", figures=folder / "figures")
    return folder


def test_the_numbers_of_the_tables_are_those_of_the_functions(written):
    kernels = read_kernel_file(written / "kernel.h5").kernels
    table = rows(written / "figures" / "layers.csv")
    waves = [
        None if kernels.failures[layer] else standing_waves(KERNEL_GRID, kernels.kernel[layer], kernels.std[layer])
        for layer in range(6)
    ]
    assert [float(row["q (rad/nm)"] or "nan") for row in table] == pytest.approx(
        [np.nan if each is None else each.q for each in waves], nan_ok=True, rel=1e-12
    )
    q, q_std = np.array([(np.nan, np.nan) if each is None else (each.q, each.q_std) for each in waves]).T
    band = fit_band(ENERGY, q, q_std)
    e0, mass, _ = rows(written / "figures" / "band.csv")
    assert float(e0["value"]) == pytest.approx(band.e0_mev, rel=1e-9)
    assert float(mass["95 % to"]) == pytest.approx(band.mass_interval[1], rel=1e-9)
    residual = kernels.image[0] - kernels.fit[0]
    assert float(table[0]["residual rms (A)"]) == pytest.approx(np.sqrt(np.nanmean(residual**2)))
    radial = [row for row in rows(written / "figures" / "radial.csv") if row["layer"] == "0"]
    assert float(radial[-1]["mean (A)"]) == pytest.approx(waves[0].mean[-1], rel=1e-2)


def test_the_band_of_the_surface_state_lies_within_its_intervals():
    band = find(stack()).band
    assert band.e0_interval[0] <= -65 <= band.e0_interval[1]
    assert band.mass_interval[0] <= 0.4 <= band.mass_interval[1]
    assert band.mass == pytest.approx(0.4, rel=0.01)


def test_the_page_is_whole_and_loads_nothing(written):
    html = (written / "kernel.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert not re.search(r"<script|@import|https?://|file:|url\((?!#)", html)
    assert "dI/dV <lock-in> & co" in page.text


def test_the_page_says_where_kernel_and_band_come_from(written):
    text = Page((written / "kernel.html").read_text(encoding="utf-8")).text
    for words in ("grid.3ds", "0f" * 32, "polar, most = 3", "plane (order = 1)", "7, the same in all layers"):
        assert words in text
    band = find(read_kernel_file(written / "kernel.h5")).band
    assert text.count(f"E₀ = −{-band.e0_mev:.2f}"[:7]) == 2  # in the summary and with the plot
    assert "exp(−iq·r)" in text
    assert "inherited from the map" in text
    assert "round (fold 0), angular orders 0, kind 'total', log evidence 12.5" in text


def test_a_layer_without_a_kernel_is_shown_with_the_reason(written):
    text = Page((written / "kernel.html").read_text(encoding="utf-8")).text
    assert "1 of 6 layers has no kernel" in text
    assert text.count("no kernel <here>") == 2  # at the top and in the table
    assert "Left out: energy 135 meV (no kernel)" in text
    assert rows(written / "figures" / "layers.csv")[2]["failure"] == "no kernel <here>"


def test_a_notebook_shows_band_figures_and_layers():
    shown = stack(failed=[2])._repr_html_()
    assert "E₀ = " in shown
    assert shown.count("<img") == shown.count("data:image/png;base64,") == 5
    assert "1 of 6 layers has no kernel" in shown
    assert "no kernel &lt;here&gt;" in shown
    assert "Layer 3, energy 85 meV:" in shown
    assert len(shown) < 1e6


def test_every_figure_is_written_as_svg_and_png(written):
    names = {path.name for path in (written / "figures").iterdir()}
    assert {"band.svg", "layer_000_map.png", "layer_003_scatterer_centred_ft.svg", "layer_005_radial.png"} <= names
    assert {name[:-4] for name in names if name.endswith("svg")} == {n[:-4] for n in names if n.endswith("png")}
    svg = (written / "figures" / "band.svg").read_text(encoding="utf-8")
    assert "var(--" not in svg
    assert 'xmlns="http://www.w3.org/2000/svg"' in svg


def test_an_axis_without_a_unit_is_a_column_without_brackets(tmp_path):
    content = replace(stack([85.0]), axis=Axis(name="Layer", unit="", values=np.zeros(1)))
    assert tables(find(content), "A")["layers.csv"].startswith(b"layer,Layer,q (rad/nm),")


def test_a_single_image_has_no_dispersion(tmp_path):
    content = stack([85.0], has_axis=False)
    assert find(content).no_band == ""
    write_report(content, tmp_path / "kernel.html")
    text = Page((tmp_path / "kernel.html").read_text(encoding="utf-8")).text
    assert "against energy" not in text
    assert "E₀" not in text
    assert "The standing waves have q =" in text
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.html"]


def test_a_wavevector_below_its_standard_deviation_is_no_headline(tmp_path):
    content = stack([85.0], has_axis=False)
    vague = replace(content, kernels=replace(content.kernels, std=1e5 * content.kernels.std))
    write_report(vague, tmp_path / "kernel.html")
    text = Page((tmp_path / "kernel.html").read_text(encoding="utf-8")).text
    assert "The standing waves have no certain wavevector: q = " in text
    assert "rad/nm, a period of" not in text


def test_a_stack_without_a_parabola_says_why(tmp_path):
    write_report(stack(ENERGY[:3]), tmp_path / "kernel.html")
    text = Page((tmp_path / "kernel.html").read_text(encoding="utf-8")).text
    assert "No parabola. A band needs standing waves at 4 or more energies, found 3." in text


def test_a_stack_without_a_kernel_says_so(tmp_path):
    write_report(stack(ENERGY[:2], failed=[0, 1]), tmp_path / "kernel.html")
    assert "No kernel could be extracted." in Page((tmp_path / "kernel.html").read_text(encoding="utf-8")).text


@pytest.mark.slow
def test_a_method_without_deviations_or_findings_and_an_axis_that_is_no_bias(tmp_path):
    content = stack([85.0, 35.0])
    bare = replace(content.kernels, std=np.full_like(content.kernels.std, np.nan), diagnostics=({}, {}))
    axis = Axis(name="Z rel", unit="m", values=np.array([1e-10, 2e-10]))
    write_report(replace(content, kernels=bare, axis=axis, unit=""), tmp_path / "kernel.html")
    text = Page((tmp_path / "kernel.html").read_text(encoding="utf-8")).text
    assert "Layer 1, Z rel 2e−10 m" in text
    assert "against energy" not in text
    assert "states no standard deviation" in text


def test_the_scatterer_centred_transform_is_that_of_the_kernel():
    kernel = surface_state(85.0) * np.exp(-((KERNEL_GRID.x_nm / 3) ** 2) - (KERNEL_GRID.y_nm[:, None] / 3) ** 2)
    positions = np.array(
        [[-3.2, 1.6], [2.4, -2.4], [0.4, 3.2]]
    )  # pixels of the grid, whose waves do not reach the edge
    image = forward_images(KERNEL_GRID, KERNEL_GRID, kernel, positions[None])[0]
    centred, own = scatterer_centred(image, KERNEL_GRID, positions), transform(kernel, KERNEL_GRID)
    q = 2 * np.pi * np.fft.fftshift(np.fft.fftfreq(41, 0.4))
    structure = np.exp(1j * (positions[:, 0, None, None] * q + positions[:, 1, None, None] * q[:, None])).sum(axis=0)
    strong = np.abs(structure) ** 2 >= 3
    strong[20, 20] = False  # the mean is subtracted
    assert np.abs(centred - own)[strong].max() < 1e-2 * np.abs(own).max()
    assert np.abs(own.imag).max() < 1e-9 * np.abs(own).max()


@pytest.mark.parametrize(
    ("q", "words"), [(0.1 * np.sqrt(ENERGY + 900.0), ""), (0.012 * (ENERGY + 120), "do not follow a parabola")]
)
def test_a_band_far_from_a_parabola_is_said(q, words):
    findings = SimpleNamespace(band=fit_band(ENERGY, q, 1e-3 * q))
    assert words in not_parabolic(findings)
    assert bool(words) == bool(not_parabolic(findings))
