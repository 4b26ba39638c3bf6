"""The board of docs/board as a browser lays it out; needs Chromium."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BOARD = Path(__file__).parents[2] / "docs" / "board" / "index.html"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-quic --disable-sync --no-first-run"
)

MEASURE = """<script>
const table = document.querySelector("table.standings").closest(".wide"), cells = table.querySelector("tbody tr").cells;
const overview = document.querySelector("table.overview").closest(".wide");
table.scrollLeft = overview.scrollLeft = SCROLL;
const left = cell => Math.round(cell.getBoundingClientRect().left), right = cell => left(cell) + cell.offsetWidth;
parent.postMessage({
  page: document.documentElement.scrollWidth, table: [table.scrollWidth, table.clientWidth],
  overview: [overview.scrollWidth, overview.clientWidth, left(overview.querySelector("tbody th"))],
  rank: left(cells[0]), entry: left(cells[1]), entry_end: right(cells[1]), score: [left(cells[2]), right(cells[2])],
}, "*");
</script></body>"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")]


@pytest.fixture
def laid_out(tmp_path):
    """Places in CSS pixels on the board in a window of some width, its first tables scrolled to the right."""

    def measure(width, *, scroll=0):
        page = BOARD.read_text().replace("</body>", MEASURE.replace("SCROLL", str(scroll)))
        frame = f'<iframe srcdoc="{html.escape(page)}" style="width: {width}px; height: 844px; border: 0"></iframe>'
        script = "<script>onmessage = event => { document.title = JSON.stringify(event.data); }</script>"
        (tmp_path / "frame.html").write_text(script + frame)
        command = [BROWSER, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,900"]
        shown = subprocess.run(
            [*command, "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "frame.html").as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return json.loads(html.unescape(re.search("<title>(.*?)</title>", shown.stdout)[1]))

    return measure


def test_the_first_tables_have_no_scrollbar_in_a_window_of_1400_pixels(laid_out):
    found = laid_out(1400)
    assert found["table"][0] <= found["table"][1]
    assert found["overview"][0] <= found["overview"][1]
    assert found["page"] <= 1400


def test_rank_entry_and_score_are_in_view_on_a_telephone_and_only_the_table_scrolls(laid_out):
    found = laid_out(390)
    assert found["page"] <= 390
    assert 0 <= found["rank"] < found["entry"] < found["score"][0] < found["score"][1] <= 390


def test_rank_and_entry_stay_in_view_when_the_table_of_a_telephone_is_scrolled(laid_out):
    before, after = laid_out(390), laid_out(390, scroll=100)
    assert (after["rank"], after["entry"]) == (before["rank"], before["entry"])
    assert after["overview"][2] == before["overview"][2]
    assert after["score"][0] == before["score"][0] - 100
