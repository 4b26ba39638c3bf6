"""Write docs/spec.md, which lists every key of a spec: ``python docs/spec_page.py``, after a model of specs changed."""

from __future__ import annotations

from pathlib import Path

from qpibench.specs.schema import Key, spec_keys

PAGE = Path(__file__).parent / "spec.md"

HEAD = """# The spec

A spec is a TOML file that defines a release: the same spec gives the same bits anywhere. `generate`, `train --stream`
and tracks take the name of a shipped spec (`mini`, `paper`, `scatterer64`) or a file; `--set key=value` changes a key.
`qpibench schema spec` prints the JSON Schema of the content, by which editors complete and check a file.

    name = "mine"
    seed = 1
    observations_per_kernel = 100

    [grid]
    ny = 64
    nx = 64
    size_y_nm = 10.0
    size_x_nm = 10.0

    [kernels]
    family = "eq7"
    count = 50
    wavelength_nm = [0.6, 3.0]
    decay_nm = [1.0, 5.0]

    [scatterers]
    count = 20

    [corruptions.white_noise]
    snr_db = [0.0, 20.0]

A dot stands for a table: `kernels.count` is `count` in `[kernels]`. A key that is `required` must be given if its table
is; a key with an empty default may be left out. Without `[corruptions.white_noise]` images have no noise. Three more
rules hold: the shortest period spans at least two pixels, scatterers lie at most ten field sizes outside, and a
release has fewer than 2^31 images. `scatterers.count` is stored as `min` and `max`, so both forms have the same hash.

| key | type | unit | default | bounds | meaning |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The text of the page, from the models."""
    return HEAD + "".join(_row(key) for key in spec_keys())


def _row(key: Key) -> str:
    default = f"`{key.default}`" if key.default not in ("", "required") else key.default
    cells = (f"`{key.path}`", key.type, key.unit, default, key.bounds.replace('"', "`"), key.meaning)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
