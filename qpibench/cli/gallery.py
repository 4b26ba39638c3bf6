"""``qpibench gallery``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qpibench.cli.options import Output, check_new, keep_apart, overwrite_option, subcommand
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.errors import UsageError
from qpibench.files import check_file, check_folder

if TYPE_CHECKING:
    from qpibench.specs import ReleaseSpec


class _FileOrFolder(Output):
    """Output path of ``gallery``: a file or, with ``--all``, a folder."""

    def check(self, path: Path, ctx: click.Context | None) -> None:
        check_folder(path) if ctx is not None and ctx.params["is_all"] else check_file(path)


@subcommand("gallery")
@click.argument("spec", required=False)
@click.option(
    "-o",
    "--output",
    type=_FileOrFolder(check_file),
    metavar="FILE",
    help="The PNG to write, by default SPEC.png in this folder; with --all, the folder, by default gallery.",
)
@click.option("--all", "is_all", is_flag=True, is_eager=True, help="Draw every shipped spec, NAME.png in a folder.")
@click.option("--corruptions", "is_examples", is_flag=True, help="Show the example of every corruption on the spec.")
@click.option("--corruption", "names", multiple=True, metavar="NAME", help="Only that of this one; may be repeated.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a field; may be repeated.")
@overwrite_option
def command(
    *,
    spec: str | None,
    output: Path | None,
    is_all: bool,
    is_examples: bool,
    names: tuple[str, ...],
    overrides: tuple[str, ...],
    overwrite: bool,
) -> Response:
    """Draw what SPEC makes, the name of a shipped one or a TOML file: kernels, images, and each corruption's effect.

      qpibench gallery mini -o mini.png
      qpibench gallery cu111_64 --set corruptions.tip_blur.fwhm_nm=0.6
      qpibench gallery cu111_64 --corruptions -o corruptions.png
      qpibench gallery --all -o gallery

    The picture has scale bars in nm and log |FFT| with axes in rad/nm. The effects of the spec's corruptions are shown
    one after the other. With --corruptions, or --corruption and a name, the picture shows corruptions alone, each on
    the same image: with the spec's settings if it has them, otherwise with an example, whose lengths are for a field of
    10 nm and are scaled to the field.

      qpibench gallery cu111_64 --corruption white_noise --set corruptions.white_noise.snr_db=5 -o white_noise.png
    """
    from qpibench.specs import load_spec, spec_names

    if is_all == (spec is not None):
        raise UsageError("Name a spec to draw, or give --all, but not both.")
    if is_examples and names:
        raise UsageError("--corruptions shows all, and --corruption only those that are named; give one of them.")
    if is_all:
        folder = output or Path("gallery")
        check_folder(folder)
        targets = {name: folder / f"{name}.png" for name in spec_names()}
    else:
        assert spec is not None
        targets = {spec: output or Path(f"{Path(spec).stem}.png")}
    for name, target in targets.items():
        _check(target, name, overwrite=overwrite)
    specs = {name: load_spec(name, overrides=overrides) for name in targets}
    return _draw(specs, targets, examples=names if is_examples or names else None)


def _check(target: Path, spec: str, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before anything is drawn."""
    from qpibench.specs import spec_names

    if target.suffix.lower() not in ("", ".png"):
        raise UsageError(f"A gallery is a PNG, and '{target}' ends with {target.suffix}; name a .png file.")
    if spec not in spec_names():
        keep_apart([target], [Path(spec)])
    if os.path.isdir(target.parent):
        check_new([target], overwrite=overwrite)


def _draw(specs: dict[str, ReleaseSpec], targets: dict[str, Path], *, examples: tuple[str, ...] | None) -> Response:
    from qpibench.files import make_folder, write_whole
    from qpibench.gallery.gallery import draw_gallery

    written = []
    with progress("Drawing", unit="pictures") as report:
        for done, (name, spec) in enumerate(specs.items(), 1):
            content = draw_gallery(spec, examples=examples)
            if len(targets) > 1:
                make_folder(targets[name].parent)
            write_whole(targets[name], content, what="Picture")
            written.append((targets[name], spec.name, len(content)))
            if report is not None:
                report(done, len(specs))
    return Response(
        text="\n".join(f"{path}: {name}, {size / 1e3:,.0f} kB" for path, name, size in written),
        fields={"pictures": [{"path": str(path), "spec": name, "bytes": size} for path, name, size in written]},
    )
