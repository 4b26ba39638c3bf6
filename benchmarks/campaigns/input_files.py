"""The files that the campaign of mutated inputs damages, each with the commands that read it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks import nanonis_files
from benchmarks.campaigns.commands import Commands
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source
from qpibench.maps.file import write_maps
from qpibench.release import write_release
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.contract import Backend, Kernels, Observations

ROOT = Path(__file__).parents[2]
SMALL = (
    "grid.nx=16", "grid.ny=16", "grid.size_x_nm=2.5", "grid.size_y_nm=2.5", "observations_per_kernel=4",
    "scatterers.max=4",
)  # fmt: skip
SPEC = """
name = "small"
seed = 3
observations_per_kernel = 2

[grid]
ny = 16
nx = 16
size_y_nm = 2.5
size_x_nm = 2.5

[kernels]
family = "eq7"
count = 5
folds = [0, 2, 3, 4, 6]
wavelength_nm = [0.6, 3.0]
decay_nm = [1.0, 5.0]

[scatterers]
min = 1
max = 4
margin_nm = 0.0

[splits]
ood_kernels = 0.2
id_test = 0.2
validation = 0.1

[corruptions.white_noise]
snr_db = 20.0
"""
SUITE = """
summary = "a suite"
limit = 20
cells = ["paper/id", "noise/10dB"]
"""


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file that is damaged.

    Attributes
    ----------
    name
        Its name in the folder of a case.
    content
        Its content before it is damaged.
    mutations
        Names of :data:`benchmarks.campaigns.mutations.MUTATIONS`.
    commands
        The commands: ``{file}`` is the damaged file, ``{folder}`` its folder, ``{out}`` a place for outputs, and
        ``{base}`` the folder of the files that are whole.
    beside
        Other files of its folder, by name.
    changes
        Names of the files and folders of an interrupted run, which a command that goes on with it may change.
    completes
        Releases that the commands complete: their content hashes by their names in the folder.
    weight
        How often it is chosen.
    """

    name: str
    content: bytes
    mutations: tuple[str, ...]
    commands: tuple[str, ...]
    beside: dict[str, bytes] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    completes: dict[str, str] = field(default_factory=dict)
    weight: float = 1.0


def make_inputs(base: Path) -> dict[str, Input]:
    """Make all files in a folder and return them by name."""
    with Commands() as commands:

        def run(*arguments: object) -> None:
            ran = commands.run([str(argument) for argument in arguments])
            if ran.exit_code != 0:
                raise RuntimeError(f"{arguments}: {ran}")

        return _made(base, run)


def _made(base: Path, run: Callable[..., None]) -> dict[str, Input]:
    changes = [part for change in SMALL for part in ("--set", change)]
    release, predictions, result, csv = (base / name for name in ("mini.h5", "p.h5", "r.json", "k.csv"))
    run("generate", "mini", *changes, "-o", release)
    run("predict", "zeros", "--release", release, "--limit", 2, "-o", predictions)
    run("score", predictions, "--release", release, "-o", result)
    run("export-csv", release, "--kernel", 0, "-o", csv)
    shards = base / "shards"
    for number in (1, 2):
        run("generate", "mini", *changes, "--shard", f"{number}/2", "-o", shards)
    run("merge", shards, "--virtual", "-o", shards / "all.h5")
    run_folder = base / "entry" / "run"
    (base / "entry").mkdir()
    shutil.copyfile(ROOT / "tests" / "training" / "toy.py", base / "entry" / "toy.py")
    run("train", base / "entry" / "toy.py", "--release", release, "--steps", 3, "-o", run_folder)
    tracks = ROOT / "qpibench" / "tasks" / "tracks"
    history = next(iter(sorted((ROOT / "benchmarks" / "history").glob("*2-cores*.json"))))
    comparison = ROOT / "docs" / "board" / "results" / "comparisons"
    parts = {path.name: path.read_bytes() for path in shards.iterdir()}
    shard, other = sorted(name for name in parts if name != "all.h5")
    run_parts = {path.name: path.read_bytes() for path in run_folder.iterdir() if path.is_file()}
    inputs = {
        "csv": Input(
            name="k.csv",
            content=csv.read_bytes(),
            mutations=("bytes", "text"),
            weight=3,
            commands=("import {file} -o {out} --max-residual 9",),
        ),
        "spec": Input(
            name="s.toml",
            content=SPEC.encode(),
            mutations=("bytes", "text"),
            weight=2,
            commands=("generate {file} --set observations_per_kernel=1 --set kernels.count=5 -o {out}",),
        ),
        "track": Input(
            name="t.toml",
            content=(tracks / "window20.toml").read_bytes(),
            mutations=("bytes", "text"),
            weight=3,
            commands=("tracks {file}",),
        ),
        "suite": Input(name="s.toml", content=SUITE.encode(), mutations=("bytes", "text"), commands=("tracks {file}",)),
        "release": Input(
            name="r.h5",
            content=release.read_bytes(),
            mutations=("bytes", "hdf5"),
            weight=4,
            commands=(
                "info {file}",
                "info {file}",
                "verify {file}",
                "score {base}/p.h5 --release {file} -o {out}",
                "export-csv {file} --kernel 0 -o {out}",
                "oracle nearest_kernel --release {file} -o {out}",
            ),
        ),
        "shard": Input(
            name=shard,
            content=parts[shard],
            beside={other: parts[other]},
            mutations=("bytes", "hdf5"),
            weight=2,
            commands=("merge {folder} -o {out}", "merge {folder} --virtual -o {out}"),
        ),
        "virtual release": Input(
            name="all.h5",
            content=parts["all.h5"],
            beside={shard: parts[shard], other: parts[other]},
            mutations=("bytes", "hdf5"),
            commands=("info {file}", "verify {file}"),
        ),
        "interrupted release": _interrupted(base),
        "predictions": Input(
            name="p.h5",
            content=predictions.read_bytes(),
            mutations=("bytes", "hdf5"),
            weight=3,
            commands=(
                "score {file} --release {base}/mini.h5 -o {out}",
                "compare {file} --against {base}/p.h5 --release {base}/mini.h5",
                "leaderboard check {base}/r.json --predictions {file} --release {base}/mini.h5",
            ),
        ),
        "result": Input(
            name="r.json",
            content=result.read_bytes(),
            mutations=("bytes", "text", "json", "json"),
            weight=8,
            commands=("leaderboard check {file}",) * 15 + ("leaderboard build {folder} -o {out}",),
        ),
        "comparison": Input(
            name="comparisons/c.json",
            content=next(iter(sorted(comparison.glob("*.json")))).read_bytes(),
            beside={"r.json": result.read_bytes()},
            mutations=("bytes", "text", "json"),
            weight=0.5,
            commands=("leaderboard build {folder} -o {out}",),
        ),
        "history": Input(
            name="h.json",
            content=history.read_bytes(),
            mutations=("bytes", "text", "json"),
            weight=0.5,
            commands=("bench report {folder} -o {out}",) + (f"bench compare {history} {{file}}",) * 4,
        ),
        "run.json": Input(
            name="entry/run/run.json",
            content=run_parts["run.json"],
            mutations=("bytes", "text", "json"),
            weight=0.2,
            beside={f"entry/run/{name}": part for name, part in run_parts.items()}
            | {"entry/toy.py": (base / "entry" / "toy.py").read_bytes()},
            commands=("predict {folder}/entry/run --release {base}/mini.h5 --limit 1 -o {out}",),
        ),
        "weights": _weights(run_parts, (base / "entry" / "toy.py").read_bytes()),
    }
    return inputs | _of_training(base, run) | _microscope_files(base)


def _interrupted(base: Path) -> Input:
    """The file of a run that was interrupted after two blocks of three, with its journal beside it."""
    changed = SPEC.replace("observations_per_kernel = 2", "observations_per_kernel = 120")
    (base / "i.toml").write_text(changed, encoding="utf-8")
    spec, backend = load_spec(base / "i.toml"), get_backend("cpu")[0]

    class Interrupted:
        def kernels(self, spec: ReleaseSpec) -> Kernels:
            return backend.kernels(spec)

        def observations(self, spec: ReleaseSpec, kernels: Kernels, start: int, stop: int) -> Observations:
            if start >= 512:
                raise KeyboardInterrupt
            return backend.observations(spec, kernels, start, stop)

    with suppress(KeyboardInterrupt):
        write_release(spec, base / "i.h5", backend=cast(Backend, Interrupted()), threads=1)
    partial, journal = (base / f".i.h5.{end}" for end in ("partial", "journal"))
    content, beside = partial.read_bytes(), {journal.name: journal.read_bytes()}
    return Input(
        name=partial.name,
        content=content,
        beside=beside,
        changes=(partial.name, journal.name),
        completes={"i.h5": write_release(spec, base / "i.h5", backend=backend, threads=1)},
        mutations=("bytes", "hdf5"),
        commands=("generate {base}/i.toml --resume -o {folder}/i.h5",),
    )


def _weights(run_parts: dict[str, bytes], entry: bytes) -> Input:
    """The weights of a run that was killed: its record states no hash of them, so they are loaded."""
    record = json.loads(run_parts["run.json"]) | {"status": "running", "weights_sha256": None}
    return Input(
        name="entry/run/weights.safetensors", content=run_parts["weights.safetensors"], mutations=("bytes",),
        weight=0.5, beside={"entry/run/run.json": json.dumps(record).encode(), "entry/toy.py": entry},
        commands=("predict {folder}/entry/run --release {base}/mini.h5 --limit 1 -o {out}",),
    )  # fmt: skip


def _of_training(base: Path, run: Callable[..., None]) -> dict[str, Input]:
    """The checkpoint and the log of a run that was stopped, which goes on from them."""
    entry = base / "stopped"
    entry.mkdir()
    shutil.copyfile(Path(__file__).with_name("trained.py"), entry / "trained.py")
    train = ("train", entry / "trained.py", "--release", base / "mini.h5", "--quiet")
    run(*train, "--max-minutes", 1e-6, "-o", entry / "run")
    parts = {
        f"stopped/{path.relative_to(entry)}": path.read_bytes()
        for path in (entry / "trained.py", *(entry / "run").iterdir())
        if path.is_file()
    }
    kinds = {"checkpoint.safetensors": ("bytes",), "log.jsonl": ("bytes", "text")}
    return {
        file: Input(
            name=f"stopped/run/{file}",
            content=parts[f"stopped/run/{file}"],
            mutations=mutations,
            beside=parts,
            changes=("stopped/run",),
            weight=0.1,
            commands=(
                "train {folder}/stopped/trained.py --release {base}/mini.h5 --resume --quiet -o {folder}/stopped/run",
            ),
        )
        for file, mutations in kinds.items()
    }


def _microscope_files(base: Path) -> dict[str, Input]:
    draws = np.random.default_rng(0)
    stack = draws.random((3, 5, 6))
    size_m = (6e-9, 5e-9)
    scan = nanonis_files.scan_bytes(
        {("Current", "A"): {"forward": stack[0], "backward": stack[1]}, ("Z", "m"): {"forward": stack[2]}},
        range_m=size_m,
    )
    sweeps = {"Current (A)": stack.astype(np.float32), "LI Demod 1 X (A)": stack.astype(np.float32)}
    grids = {
        "a": nanonis_files.grid_bytes(sweeps, size_m=size_m, sweep=(-0.02, 0.04)),
        "b": nanonis_files.grid_bytes(sweeps, size_m=size_m, sweep=[(-0.02, 0.0, 2), (0.01, 0.02, 1)], measured=20),
    }
    maps = Maps(
        grid=Grid(ny=5, nx=6, size_y_nm=4.0, size_x_nm=5.0),
        channels=(Channel(name="Current", unit="A", values=stack),),
        axis=Axis(name="Bias", unit="V", values=np.array([-0.02, 0.01, 0.04])),
        source=Source(file="a", format="b", sha256="c"),
    )
    write_maps(maps, base / "maps.h5")
    np.save(base / "m.npy", stack[0])
    np.savez(base / "m.npz", Current=stack, x_nm=np.arange(6.0), y_nm=np.arange(5.0), energy_mev=np.arange(3.0))
    commands = (
        *("maps {file}",) * 6,
        "maps {file} -o {out}.png",
        "maps {file} --save {out}.h5",
        "prepare {file} --step plane -o {out}.h5",
    )
    sized = tuple(f"{command} --size 5" for command in commands)  # for a format that does not tell it
    text = "# Channel: Current\n# Width: 12.00 nm\n# Height: 0.0075 \u00b5m\n# Value units: A\n"
    text += "\n".join("\t".join(f"{value:.4f}" for value in row) for row in stack[0])
    files = {
        "Nanonis scan": ("a.sxm", scan, ("bytes", "text")),
        "Nanonis grid": ("a.3ds", grids["a"], ("bytes", "text")),
        "Nanonis segments": ("b.3ds", grids["b"], ("bytes", "text")),
        "maps": ("m.h5", (base / "maps.h5").read_bytes(), ("bytes", "hdf5")),
        "array": ("m.npy", (base / "m.npy").read_bytes(), ("bytes",)),
        "archive": ("m.npz", (base / "m.npz").read_bytes(), ("bytes",)),
        "matrix": ("m.txt", text.encode(), ("bytes", "text")),
    }
    files |= _others(base, stack)
    return {
        name: Input(
            name=file, content=content, mutations=kinds, commands=sized if name == "array" else commands,
            weight=3.0 if "Nanonis" in name else 1.0,
        )
        for name, (file, content, kinds) in files.items()
    }  # fmt: skip


def _others(base: Path, stack: np.ndarray) -> dict[str, tuple[str, bytes, tuple[str, ...]]]:
    """Files of Gwyddion, MATLAB and NetCDF."""
    from gwyfile import objects
    from netCDF4 import Dataset
    from scipy.io import savemat

    units = {"si_unit_xy": objects.GwySIUnit(unitstr="m"), "si_unit_z": objects.GwySIUnit(unitstr="A")}
    data = objects.GwyDataField(stack[0], xreal=6e-9, yreal=5e-9, **units)
    objects.GwyContainer({"/0/data": data, "/0/data/title": "Current"}).tofile(str(base / "m.gwy"))
    savemat(
        base / "m.mat", {"grid": {"Current": np.moveaxis(stack, 0, -1), "V": np.arange(3.0), "size_nm": (6.0, 5.0)}}
    )
    with Dataset(base / "m.nc", "w") as file:
        for name, length in (("energy", 3), ("y", 5), ("x", 6)):
            file.createDimension(name, length)
            variable = file.createVariable(name, "f8", (name,))
            variable[:] = np.arange(length)
            variable.units = "eV" if name == "energy" else "nm"
        variable = file.createVariable("Current", "f8", ("energy", "y", "x"))
        variable[:] = stack
        variable.units = "A"
    kinds = {"m.gwy": ("bytes",), "m.mat": ("bytes",), "m.nc": ("bytes", "hdf5")}
    names = {"m.gwy": "Gwyddion", "m.mat": "MATLAB", "m.nc": "NetCDF"}
    return {names[file]: (file, (base / file).read_bytes(), kinds[file]) for file in kinds}
