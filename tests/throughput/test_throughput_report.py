"""The page shows the figures of the runs and marks lasting changes."""

import re
from html.parser import HTMLParser

import pytest

from qpibench.errors import UsageError
from qpibench.throughput.report import build_report

pytest.importorskip("ruptures")


class Page(HTMLParser):
    """Texts, tags and references of a page; fails where tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.count, self.links, self.ids, self.words = [], {}, [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "line", "circle"):
            self.open.append(tag)
        fields = dict(attrs)
        key = f"{tag}.{fields.get('class', '')}"
        self.count[key] = self.count.get(key, 0) + 1
        self.links += [fields[name] for name in ("href", "src") if name in fields]
        self.ids += [fields["id"]] if "id" in fields else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())

    @property
    def text(self):
        return " ".join(filter(None, self.words))


@pytest.fixture
def history(write_run, figure):
    """Twelve runs: one ratio falls from the eighth on, one time is as it was, one figure is never measured."""
    wanted = {"name": "cuda.rate", "what": "`stream` on a GPU", "unit": "images/s", "at_least": 1.5e6}
    for day in range(12):
        path = write_run(
            figure(value=(200 if day < 7 else 150) + day % 3, at_least=180),
            figure("speed.time", 2 + day % 2, 2.0, unit="s"),
            day=day,
            not_measured=[{**wanted, "benchmark": "test_cuda", "reason": "CuPy is not installed"}],
        )
    return path.parent


def built(history, site):
    build_report(history, site)
    return Page((site / "index.html").read_text())


def test_a_step_is_marked_where_a_figure_changed_for_good(history, tmp_path):
    (section,) = build_report(history, tmp_path / "site").values()
    ((course, step, run),) = section.steps
    assert (course.newest.name, step.place, run.measured.day) == ("speed.ratio", 7, 8)
    page = built(history, tmp_path / "site")
    assert page.count["line.step worse"] == 2  # the legend has one
    assert page.count["line.step better"] == 1
    assert re.search(r"speed\.ratio 2026-03-08 0000007 201 × 151 × ▼ −25 %", page.text)


def test_every_run_of_every_figure_has_its_median_and_quartiles(history, tmp_path):
    page = built(history, tmp_path / "site")
    assert page.count["circle.median"] == page.count["line.quartiles"] == 2 * 12 + 1
    assert "2026-03-03, 0000002: 202 [201, 203] ×" in page.text
    assert "152 [151, 153] × at least 180: missed" in page.text


def test_what_was_not_measured_stays_empty(history, tmp_path):
    page = built(history, tmp_path / "site")
    assert "on a GPU at least 1,500,000 images/s not measured: CuPy is not installed" in page.text
    assert not any(name.startswith("cuda.rate") for name in page.ids)


def test_the_page_needs_nothing_else_and_its_links_lead_somewhere(history, tmp_path):
    page = built(history, tmp_path / "site")
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["index.html"]
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_same_runs_give_the_same_bytes(history, tmp_path):
    for site in ("one", "two"):
        build_report(history, tmp_path / site)
    assert (tmp_path / "one/index.html").read_bytes() == (tmp_path / "two/index.html").read_bytes()


def test_machines_stand_apart(history, write_run, figure, machine, tmp_path):
    write_run(figure(value=9e9, unit="evaluations/s"), machine=machine | {"cpu": "<Other>"}, name="other.json")
    page = built(history, tmp_path / "site")
    assert "<Other>, 2 cores" in page.text
    assert "9.00 [9.00, 9.00] ×10⁹ evaluations/s" in page.text
    assert page.count["h2."] == 2


@pytest.mark.parametrize("values", [[0.0], [-3.0, 2.0], [1e-9] * 3, [5.0] * 3, [1e12, 1e-12]], ids=str)
def test_figures_of_any_size_are_drawn_within_the_frame(write_run, figure, tmp_path, values):
    for day, value in enumerate(values):
        path = write_run(figure(value=value, spread=0.0), day=day)
    build_report(path.parent, tmp_path / "site")
    html = (tmp_path / "site/index.html").read_text()
    figures = html[html.index('<div class="figures">') :]
    assert all(0 <= float(y) <= 150 for y in re.findall(r' c?y\d?="([^"]+)"', figures))
    assert "nan" not in figures


def test_a_page_of_someone_else_is_not_replaced_but_ones_own_is(history, tmp_path):
    site = tmp_path / "site"
    build_report(history, site)
    build_report(history, site)
    (site / "index.html").write_text("my homepage")
    with pytest.raises(UsageError, match="not a page of 'qpibench bench report'"):
        build_report(history, site)
    assert (site / "index.html").read_text() == "my homepage"


def test_a_site_that_cannot_be_written_is_explained(history, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file' is not a folder"):
        build_report(history, tmp_path / "file" / "site")
