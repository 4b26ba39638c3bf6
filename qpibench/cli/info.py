"""``qpibench info``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.options import FILE_OR_URL, subcommand
from qpibench.cli.response import Response
from qpibench.cli.table import aligned
from qpibench.cli.terminal import NAME_WIDTH, shortened

if TYPE_CHECKING:
    from qpibench.release import Release

ROLES = ("train", "validation", "test")


@subcommand("info")
@click.argument("file", type=FILE_OR_URL)
def command(*, file: str) -> Response:
    """Show the contents of the release FILE, a path or a URL. The values are not checked; verify does that.

    qpibench info mini.h5
    qpibench info mini.h5 --json
    qpibench info https://example.org/paper.h5
    """
    from qpibench.release import open_release

    with open_release(file) as release:
        fields = _fields(release)
    return Response(text=_text(fields), fields=fields)


def _fields(release: Release) -> dict[str, Any]:
    strata = release.stratum.tolist()
    labels = {stratum: release.family.stratum_label(stratum) for stratum in sorted(set(strata))}
    shards = release.shards.files if release.shards else ()
    return {
        "content_sha256": release.content_sha256,
        "path": str(release.path),
        "bytes": release.nbytes + sum(shard.nbytes for shard in shards),
        "shards": len(shards),
        "name": release.name,
        "format_version": release.format_version,
        "package_version": release.package_version,
        "observations": release.observation_count,
        "max_scatterers": release.max_scatterers,
        "kernels": len(strata),
        "kernels_by_stratum": {label: strata.count(stratum) for stratum, label in labels.items()},
        "columns": [
            {"name": array.name, "units": array.units, "long_name": array.long_name}
            for array in release.arrays.values()
            if array.group in ("kernels", "observations")
        ],
        "grid": release.grid.model_dump(mode="json"),
        "splits": _split_sizes(release),
        "spec": release.spec.model_dump(mode="json", exclude_none=True),
    }


def _split_sizes(release: Release) -> dict[str, dict[str, int]]:
    sizes: dict[str, dict[str, int]] = {}
    for role in ROLES:
        for name, array in sorted(release.arrays.items()):
            if name.startswith("splits/") and name.endswith(f"/{role}"):
                sizes.setdefault(name.split("/")[1], {})[role] = array.shape[0]
    return sizes


def _text(fields: dict[str, Any]) -> str:
    grid = fields["grid"]
    strata = ", ".join(f"{count} {label}" for label, count in fields["kernels_by_stratum"].items())
    # Places that corruptions add are for scatterers outside the field, or for told positions without one.
    scatterers = fields["spec"].get("scatterers", {})
    most = scatterers.get("max", fields["max_scatterers"])
    family = fields["spec"].get("kernels", {}).get("family")
    of_family = f" of the family {family}" if family else ""
    species = fields["spec"].get("species")
    pairs = f" in {fields['kernels'] // 2:,} pairs" if species else ""
    rows = [
        ("release", shortened(fields["name"], 2 * NAME_WIDTH)),
        ("content_sha256", fields["content_sha256"]),
        ("images", f"{fields['observations']:,}, with up to {most:,} scatterers"),
        ("kernels", f"{fields['kernels']:,}{of_family}{pairs}: {strata}"),
        ("grid", f"{grid['ny']} x {grid['nx']} pixels on {grid['size_y_nm']:g} x {grid['size_x_nm']:g} nm (y, x)"),
    ]
    if told := _scatterers(scatterers):
        rows.append(("scatterers", told))
    if species:
        rows.append(("second species", _species(species)))
    for name, settings in (fields["spec"].get("corruptions") or {}).items():
        rows.append((name.replace("_", " "), ", ".join(f"{key} {_shown(value)}" for key, value in settings.items())))
    for task, roles in fields["splits"].items():
        rows.append((f"task {task}", ", ".join(f"{role} {size:,}" for role, size in roles.items())))
    shards = f" in this file and {fields['shards']:,} shards" if fields["shards"] else ""
    rows.append(("file", f"{fields['bytes'] / 1e6:,.1f} MB{shards}, format {fields['format_version']}"))
    return aligned(rows)


def _scatterers(settings: dict[str, Any]) -> str:
    texts = ["multiple scattering"] if settings.get("superposition") == "multiple" else []
    if "min_separation_nm" in settings:
        texts.append(f"at least {settings['min_separation_nm']:g} nm apart")
    if margin_nm := settings.get("margin_nm"):
        where = f"up to {margin_nm:g} nm outside the field" if margin_nm > 0 else f"{-margin_nm:g} nm inside its edges"
        texts.append(where)
    return ", ".join(texts)


def _species(settings: dict[str, Any]) -> str:
    angle = f" by {_shown(settings['angle_deg'])} degrees" if "angle_deg" in settings else ""
    share, contrast = _shown(settings["share"]), _shown(settings["min_contrast"])
    return f"{settings['second']}{angle}, share {share}, contrast of a pair at least {contrast}"


def _shown(value: Any) -> str:
    """Return a setting as text; a range whose ends are equal is one number."""
    if isinstance(value, list):
        return " to ".join(f"{each:g}" for each in dict.fromkeys(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
