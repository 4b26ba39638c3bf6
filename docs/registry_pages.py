"""Write the pages of families, corruptions and steps of preparation: ``python docs/registry_pages.py``.

A page has the docstring of each module, with its keys or settings, and its columns. ``--pictures`` draws the pictures
of families and corruptions again, by the commands that stand under them.
"""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

from qpibench.columns import Column
from qpibench.corruptions import STAGES, corruption_names, get_corruption, in_order
from qpibench.families import family_names, get_family
from qpibench.maps.preparation import KINDS, get_step, step_names
from qpibench.specs import load_spec, spec_names
from qpibench.specs.schema import Key, model_keys, spec_keys

DOCS = Path(__file__).parent
IMAGES = "images/gallery"

FAMILIES_HEAD = """# Kernel families

A family is the formula of the kernels of a release, the key `kernels.family` of [its spec](spec.md). This page is made
from the modules in `qpibench/families`. [arithmetic.md](arithmetic.md) defines the bits, and [format.md](format.md) how
a release stores the columns.

{about}
"""

CORRUPTIONS_HEAD = """# Corruptions

Corruptions are imperfections of measured images, and of what is known about them. A spec has a table
`[corruptions.NAME]` for each that it uses. They act in the order of this page: on the scatterers before superposition,
on the image, and on the positions that a model is told. This page is made from the modules in `qpibench/corruptions`.
[arithmetic.md](arithmetic.md) defines the bits.

{about}

A picture shows an image of the spec `cu111_64` without and with the corruption, their difference on a finer scale, and
the Fourier transforms of both; for told positions a part of the field is enlarged, with its activation maps.
"""

PREPARATION_HEAD = """# Preparation of maps

A step of preparation takes [maps](maps.md) and returns new ones. On the command line a step is its name and then its
settings:

    qpibench prepare grid.3ds --step "plane order=1" --step streaks -o prepared.h5 --picture steps.png

In Python:

    from qpibench.maps.picture import draw_steps
    from qpibench.maps.preparation import apply, undone
    from qpibench.readers.maps import read_maps

    maps = read_maps("iv.3ds")                       # a grid with the channels Current and Z
    levelled = apply(apply(maps, "plane", channels=["Z"]), "derivative", window=9)
    draw_steps(maps, levelled, "derivative.png")     # before and after, with log |FFT|
    levelled.steps[-1].settings                      # all settings, also those that were not given
    levelled.steps[-1].found                         # numbers that the step found, such as wavevectors
    undone(levelled, maps)                           # without the last step; or read_maps("iv.3ds") instead of maps

- Points that were not measured are NaN. They stay NaN, and do not make others NaN. The steps `drift` and `shear` move
  them with the map.
- Every layer of a stack is prepared like a map of its own, except that lattices are found in all layers together.
- `channels` are names, which mean both directions, or labels such as `Z (forward)`. Without it, all channels change.
- A wrong setting is one sentence with exit code 2; maps without the axis or the channel that a step needs, with 3.
- An extraction averages noise itself. [denoising.md](denoising.md) has what denoising before it does to the errors.
- `undone` takes the maps as they were read, compares the SHA-256 of the file, and applies all steps but the last again,
  `drift` and `shear` with the channel of reference that they took.

This page is made from the modules in `qpibench/maps/preparation`, and `python docs/prepared_maps.py` draws the pictures
of a synthetic map. Each panel has its own colours, from the 0.5 % to the 99.5 % quantile. Points that were not measured
are grey. log |FFT| has the mean removed and a Hann window, with q = 2π/λ in rad/nm.
"""

KIND_HEADS = {
    "levelling": "Levelling",
    "denoising": "Denoising",
    "lattice": "The lattice",
    "points": "Parts of maps",
    "spectra": "Spectra",
}

ABOUT = """\
Pictures are made by `qpibench gallery`: scale bars in nm; positive values from dark to bright; signed values from blue
to red with 0 white, the scale holding 98 % of the values outside the cores of scatterers; circles at scatterers and
crosses at told positions, triangles and plus signs at those of a second species; log |FFT| over 3 decades with the mean
removed and a Hann window, q = 2π/λ in rad/nm."""

STAGE_HEADS = {
    "scatterers": "Corruptions of the scatterers",
    "image": "Corruptions of the image",
    "told": "Corruptions of what a model is told",
}

FILE_KERNELS = 'kernels={family="file", count=4, path="qpibench/families/file_example.npy", pixel_nm=0.2}'

DRAWN_SPECS = {
    "eq7": ("mini",),
    "file": (f"mini --set {shlex.quote(FILE_KERNELS)}",),
    "surface_state": ("ag111_64", "cu111_64"),
    "tight_binding": ("square_64", "hexagonal_64", "nematic_64"),
}
"""Specs that are drawn for each family, as arguments of ``qpibench gallery``."""

DRAWN_SETTINGS = {
    "corrugation": '={lattice="hexagonal", lattice_constant_nm=1.2, strength=0.7}',
    "merged_pixels": ".cell_px=16",
    "white_noise": ".snr_db=5",
}
"""Settings that are drawn for a corruption instead of those of its example."""


def families_page() -> str:
    """The text of docs/families.md."""
    return FAMILIES_HEAD.format(about=ABOUT) + "".join(_family_section(name) for name in family_names())


def corruptions_page() -> str:
    """The text of docs/corruptions.md."""
    text = CORRUPTIONS_HEAD.format(about=ABOUT)
    ordered = in_order(list(corruption_names()))
    for stage in STAGES:
        text += f"\n## {STAGE_HEADS[stage]}\n"
        names = (name for name in ordered if stage == get_corruption(name).STAGE)
        text += "".join(_corruption_section(name) for name in names)
    return text


def preparation_page() -> str:
    """The text of docs/preparation.md."""
    text = PREPARATION_HEAD
    for kind in KINDS:
        text += f"\n## {KIND_HEADS[kind]}\n"
        text += "".join(_step_section(name) for name in step_names() if kind == get_step(name).KIND)
    return text


def pictures() -> dict[str, str]:
    """The command of every picture of both pages, by its path in docs/."""
    made = {path: command for name in family_names() for path, command in _family_pictures(name).items()}
    return made | {_corruption_picture(name)[0]: _corruption_picture(name)[1] for name in corruption_names()}


def markdown(docstring: str) -> str:
    """A docstring as GitHub's Markdown: equations as blocks and inline, code, and headings below those of the page."""
    text = re.sub(r"^\.\. math::\n\n((?:    .*\n|\n)+?)(?=\n*\S|\Z)", _math_block, f"{docstring.strip()}\n", flags=re.M)
    text = re.sub(r"^\$\$(.+?)\$\$$", lambda found: f"```math\n{found[1]}\n```", text, flags=re.M | re.S)
    parts = re.split(r"(```math\n.*?\n```)", text, flags=re.S)
    return "".join(part if part.startswith("```math") else _prose(part) for part in parts)


def _math_block(found: re.Match[str]) -> str:
    lines = [line[4:] for line in found[1].strip("\n").splitlines()]
    return "```math\n" + "\n".join(lines) + "\n```\n"


def _prose(text: str) -> str:
    text = re.sub(r"^(\w[\w ]*)\n-{3,}$", r"**\1**\n", text, flags=re.M)
    code: list[str] = []

    def kept(found: re.Match[str]) -> str:
        code.append(found[1])
        return f"\0{len(code) - 1}\0"

    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    text = re.sub(r":(?:mod|class|func|data|attr|meth):`~?([^`]+)`", r"``\1``", text)
    text = re.sub(r"``([^`]+)``", kept, text)
    text = re.sub(r"\$([^$]+)\$", r"$`\1`$", text)
    return re.sub(r"\0(\d+)\0", lambda found: f"`{code[int(found[1])]}`", text)


def _family_section(name: str) -> str:
    family: Any = get_family(name)
    common = ("kernels.family", "kernels.count")
    keys = [key for key in spec_keys(name) if key.path.startswith("kernels.") and key.path not in common]
    specs = [f"`{spec}`" for spec in spec_names() if load_spec(spec).kernels.family == name]
    shipped = f"\nShipped specs: {', '.join(specs)}.\n" if specs else ""
    drawn = "".join(_picture(path, command) for path, command in _family_pictures(name).items())
    return f"\n## `{name}`\n\n{_described(family)}{shipped}{drawn}{_keys(keys)}{_columns(family.COLUMNS)}"


def _corruption_section(name: str) -> str:
    corruption: Any = get_corruption(name)
    keys = [key for key in spec_keys() if key.path.startswith(f"corruptions.{name}.")]
    return f"\n### `{name}`\n\n{_described(corruption)}" + "".join(
        [_picture(*_corruption_picture(name)), _keys(keys), _columns(corruption.COLUMNS)]
    )


def _step_section(name: str) -> str:
    step: Any = get_step(name)
    path = f"images/maps/{name}.png"
    picture = f"\n![A map before and after the step]({path})\n" if (DOCS / path).exists() else ""
    return f"\n### `{name}`\n\n{_described(step)}{picture}{_keys(list(model_keys(step.Settings)))}"


def _described(module: ModuleType) -> str:
    return markdown(module.__doc__ or "")


def _family_pictures(name: str) -> dict[str, str]:
    specs = DRAWN_SPECS.get(name, ())
    paths = [f"{IMAGES}/{name if spec.startswith('mini') else spec}.png" for spec in specs]
    return {path: f"qpibench gallery {spec} -o docs/{path}" for path, spec in zip(paths, specs, strict=True)}


def _corruption_picture(name: str) -> tuple[str, str]:
    stated = f"corruptions.{name}{DRAWN_SETTINGS[name]}" if name in DRAWN_SETTINGS else ""
    setting = f" --set {shlex.quote(stated)}" if stated else ""
    path = f"{IMAGES}/{name}.png"
    return path, f"qpibench gallery cu111_64 --corruption {name}{setting} -o docs/{path}"


def _picture(path: str, command: str) -> str:
    return f"\n![Made by the command below]({path})\n\n    {command}\n"


def _keys(keys: list[Key]) -> str:
    if not keys:
        return "\nNo settings.\n"
    rows = ["| key | type | unit | default | bounds | meaning |", "|---|---|---|---|---|---|"]
    for key in keys:
        default = f"`{key.default}`" if key.default not in ("", "required") else key.default
        cells = (f"`{key.path}`", key.type, key.unit, default, key.bounds.replace('"', "`"), key.meaning)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n" + "\n".join(rows) + "\n"


def _columns(columns: tuple[Column, ...]) -> str:
    if not columns:
        return ""
    rows = ["| column | per | unit | meaning |", "|---|---|---|---|"]
    rows += [f"| `{each.name}` | {each.per} | {each.units} | {each.long_name} |" for each in columns]
    return "\n" + "\n".join(rows) + "\n"


def _draw() -> None:
    from click.testing import CliRunner

    from qpibench.cli.main import cli

    (DOCS / IMAGES).mkdir(parents=True, exist_ok=True)
    for command in pictures().values():
        outcome = CliRunner().invoke(cli, [*shlex.split(command)[1:], "--overwrite"])
        print(outcome.output.strip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", action="store_true", help="draw the pictures too, from the repository's root")
    arguments = parser.parse_args()
    made = {"families": families_page, "corruptions": corruptions_page, "preparation": preparation_page}
    for file, content in ((f"{name}.md", page()) for name, page in made.items()):
        (DOCS / file).write_text(content, encoding="utf-8")
    if arguments.pictures:
        _draw()
