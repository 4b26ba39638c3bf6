"""The user's plotting settings change no byte of a picture, and pictures leave them as they were."""

import os
import subprocess
import sys

import pytest

from qpibench.locator import PACKAGE

DRAW = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
{before}
from qpibench.evaluation import report_figures as figures
from qpibench.evaluation import report_plots as charts
from qpibench.evaluation.result import Interval
from qpibench.grid import Grid
from qpibench.pages import fourier, scales
from qpibench.training.curves import draw_curves

grid = Grid(ny=8, nx=8, size_y_nm=4.0, size_x_nm=4.0)
image = np.arange(64.0).reshape(8, 8) ** 2
limits = fourier.spectrum_limits(image, grid)
panel = figures.Panel("Any", image, "inferno", scales.value_limits(image), "native units", limits, 2.0)
score = {{"id": {{"1-2": Interval(value=0.2, low=0.1, high=0.3)}}}}
texts = [
    figures.draw_panel(panel, grid),
    charts.draw_distributions({{"id": np.linspace(0.001, 1, 9)}}, label="error"),
    charts.draw_breakdown(score, groups=["1-2"], label="scatterers", score="error", at_0=True),
]
log = Path(sys.argv[1])
lines = [{{"stage": "kernel", "step": step, "loss": 1 / (1 + step)}} for step in range(9)]
log.write_text("".join(json.dumps(line) + "\\n" for line in lines))
draw_curves(log, log.with_suffix(".png"))
{after}
content = "".join(texts).encode() + log.with_suffix(".png").read_bytes()
print(hashlib.sha256(content).hexdigest())
"""

MATPLOTLIBRC = """
figure.facecolor: red
figure.dpi: 40
savefig.bbox: tight
savefig.dpi: 33
font.family: serif
font.size: 20
lines.linewidth: 7
axes.prop_cycle: cycler(color=["r", "g"])
axes.spines.left: False
axes.formatter.use_locale: True
xtick.direction: in
svg.fonttype: path
svg.image_inline: False
image.origin: lower
image.cmap: gray
path.simplify: False
text.usetex: False
"""


def drawn(folder, *, before="", after="", **variables):
    """Hash of the pictures that a new process in a folder draws."""
    result = subprocess.run(
        [sys.executable, "-c", DRAW.format(before=before, after=after), str(folder / "log.jsonl")],
        env=os.environ | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("plain"))


@pytest.mark.slow
def test_the_backend_of_a_notebook_changes_nothing(tmp_path, plain):
    assert drawn(tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline") == plain


@pytest.mark.slow
def test_a_matplotlibrc_in_the_folder_changes_nothing(tmp_path, plain):
    (tmp_path / "matplotlibrc").write_text(MATPLOTLIBRC)
    assert drawn(tmp_path) == plain


@pytest.mark.slow
def test_a_matplotlibrc_of_the_environment_and_a_backend_that_does_not_exist_change_nothing(tmp_path, plain):
    (tmp_path / "other.rc").write_text(MATPLOTLIBRC)
    assert drawn(tmp_path, MATPLOTLIBRC=str(tmp_path / "other.rc"), MPLBACKEND="nonsense") == plain


def test_settings_changed_in_the_process_change_nothing_and_are_kept(tmp_path, plain):
    before = """
import os
import matplotlib as mpl
mpl.rcParams.update({"font.size": 30, "savefig.bbox": "tight", "axes.grid": True, "lines.dashed_pattern": (9, 9)})
"""
    after = """
assert (mpl.rcParams["font.size"], mpl.rcParams["savefig.bbox"]) == (30, "tight")
assert mpl.get_backend() == os.environ["MPLBACKEND"] == "pdf"
"""
    assert drawn(tmp_path, before=before, after=after, MPLBACKEND="pdf") == plain


def test_a_matplotlibrc_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    source = "try:\n import qpibench.pages.plotting\nexcept Exception as e: print(type(e).__name__, e)"
    shown = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "UnavailableError Matplotlib cannot be imported" in shown.stdout
    assert "matplotlibrc" in shown.stdout


def test_matplotlib_can_be_imported_without_a_home_folder(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import pwd\npwd.getpwuid = {}.__getitem__\n")
    environment = {name: text for name, text in os.environ.items() if name not in ("HOME", "MPLCONFIGDIR")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)]), "TMPDIR": str(tmp_path)}
    code = "import qpibench.pages.plotting, matplotlib; print(matplotlib.get_cachedir())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(tmp_path))
    assert not list(tmp_path.glob("qpibench-*"))
