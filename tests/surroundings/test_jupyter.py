"""A Jupyter kernel, whose standard streams are no files and whose thread has a running event loop."""

from __future__ import annotations

import pytest

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.slow  # starts a kernel

CELLS = """
import qpibench, numpy as np
from qpibench.cli.main import cli
release = qpibench.open_release({mini!r})
print(release.image([0, 99]).shape)
---
from qpibench.extraction import extract
places = release.told_position_nm([0])[0]
places = places[np.isfinite(places).all(axis=1)]
print(extract(release.image([0])[0], places, 10.0, "tikhonov").kernel.shape)
---
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
print(write_release(load_spec("mini"), "again.h5", backend=get_backend("cpu")[0]) == release.content_sha256)
---
try:
    cli(["evaluate", "zeros", "--release", {mini!r}, "--limit", "1", "-o", "result.json"])
except SystemExit as end:
    print(end.code)
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    started, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield client
    client.stop_channels()
    started.shutdown_kernel(now=True)


def test_a_notebook_reads_extracts_generates_and_evaluates(kernel, mini, tmp_path):
    said = []

    def hook(message):
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            said.append(message["content"]["text"])

    for cell in CELLS.format(mini=str(mini)).split("---"):
        reply = kernel.execute_interactive(cell, output_hook=hook, timeout=600)
        assert reply["content"]["status"] == "ok", reply["content"]
    lines = "".join(said).splitlines()
    assert lines[:3] == ["(2, 64, 64)", "(64, 64)", "True"]
    assert lines[-1] == "0"
    assert (tmp_path / "result.json").is_file()
