"""Invalid requests give one sentence and exit code 2 (4 for a device); nothing is written."""

from __future__ import annotations

import os
import shutil

import pytest

from qpibench.errors import QpibenchError
from qpibench.synthesis import get_backend

SPEC = """
name = "{name}"
observations_per_kernel = 1
grid = {{ ny = 8, nx = 8, size_y_nm = 4.0, size_x_nm = 4.0 }}
kernels = {{ count = 1, wavelength_nm = [1.5, 3.0], decay_nm = [1.0, 2.0] }}
scatterers = {{ max = 3 }}
"""


@pytest.mark.parametrize(
    ("spec", "override", "words"),
    [
        pytest.param("pape", None, ["no spec and no file 'pape'", "did you mean 'paper'"], id="unknown spec"),
        pytest.param("xyz", None, ["no spec and no file 'xyz'", "known specs: ", "mini, "], id="unlike any spec"),
        pytest.param("missing.toml", None, ["no spec and no file 'missing.toml'"], id="missing file"),
        pytest.param("mini", "sead=7", ["unknown field 'sead'", "did you mean 'seed'"], id="unknown field"),
        pytest.param("mini", "kernels.cont=7", ["'kernels.cont'", "'kernels.count'"], id="unknown nested field"),
        pytest.param("mini", "count=7", ["'count'", "'kernels.count'"], id="field of a table"),
        pytest.param("mini", "seed", ["'seed'", "field=value"], id="no value"),
        pytest.param("mini", "seed.low=1", ["seed"], id="a field is no table"),
        pytest.param("mini", "kernels.wavelength_nm=[3, 0.6]", ["wavelength_nm", "reversed", "3"], id="wavelengths"),
        pytest.param("mini", "kernels.decay_nm=[5, 1]", ["decay_nm", "reversed"], id="decays reversed"),
        pytest.param("mini", "scatterers.min=200", ["scatterers", "reversed"], id="scatterers reversed"),
        pytest.param("mini", "grid.nx=0", ["grid.nx", "found 0"], id="no pixels"),
        pytest.param("mini", "grid.ny=-64", ["grid.ny", "found -64"], id="negative pixels"),
        pytest.param("mini", "grid.size_x_nm=0", ["grid.size_x_nm", "found 0"], id="no size"),
        pytest.param("mini", "grid.size_y_nm=-1.5", ["grid.size_y_nm", "found -1.5"], id="negative size"),
        pytest.param("mini", "grid.size_y_nm=nan", ["grid.size_y_nm"], id="size not a number"),
        pytest.param("mini", "grid.size_y_nm=inf", ["grid.size_y_nm"], id="infinite size"),
        pytest.param("mini", "kernels.count=0", ["kernels.count", "found 0"], id="no kernels"),
        pytest.param("mini", "kernels.count=-3", ["kernels.count", "found -3"], id="negative kernels"),
        pytest.param("mini", "kernels.count=1.5", ["kernels.count", "integer"], id="half a kernel"),
        pytest.param("mini", "kernels.count=many", ["kernels.count", "'many'"], id="text for a number"),
        pytest.param("mini", "observations_per_kernel=0", ["observations_per_kernel", "found 0"], id="no images"),
        pytest.param("mini", "kernels.wavelength_nm=[0, 3]", ["wavelength_nm", "found 0"], id="no wavelength"),
        pytest.param("mini", "kernels.folds=[5]", ["folds", "found 5"], id="unknown fold"),
        pytest.param("mini", "kernels.folds=[]", ["folds"], id="no fold"),
        pytest.param("mini", "scatterers.max=0", ["scatterers.max", "found 0"], id="no scatterers"),
        pytest.param("mini", "scatterers.max=10001", ["scatterers.max", "10000", "found 10001"], id="scatterers"),
        pytest.param("mini", "seed=-1", ["seed", "found -1"], id="negative seed"),
        pytest.param("mini", f"seed={2**128}", ["seed", "128"], id="seed over 128 bits"),
        pytest.param("mini", f"seed=0x{'f' * 40}", ["seed"], id="hexadecimal seed over 128 bits"),
        pytest.param("mini", "seed=lucky", ["seed", "'lucky'"], id="seed in words"),
        pytest.param("mini", "splits.ood_kernels=1.5", ["splits.ood_kernels", "found 1.5"], id="share above 1"),
        pytest.param("mini", "kernels.wavelength_nm=[0.1, 3]", ["alias", "0.1"], id="aliasing"),
        pytest.param("mini", "kernels.count=2000000000", ["20000000000 observations"], id="too many images"),
    ],
)
def test_a_spec_that_is_not_valid(qpibench, tmp_path, unchanged, spec, override, words):
    options = [] if override is None else ["--set", override]
    with unchanged():
        qpibench("generate", spec, "-o", tmp_path / "release.h5", *options, "--json").fails(2, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SPEC.format(name=""), ["name"]),
        (SPEC.format(name="x") + "colour = 3\n", ["unknown field 'colour'"]),
        (SPEC.format(name="x").replace("scatterers", "scaterers"), ["unknown field 'scaterers'", "scatterers"]),
        ("", ["required"]),
    ],
    ids=["no name", "unknown field", "unknown table", "empty"],
)
def test_a_spec_file_that_is_not_valid(qpibench, tmp_path, unchanged, text, words):
    spec = tmp_path / "broken.toml"
    spec.write_text(text)
    with unchanged():
        qpibench("generate", spec, "-o", tmp_path / "release.h5", "--json").fails(2, *words)


@pytest.mark.parametrize("text", [b"name = ", b"\x00\x01", b"\xff\xfe\xfa" * 9], ids=["not TOML", "binary", "no text"])
def test_a_spec_file_that_is_not_toml(qpibench, tmp_path, unchanged, text):
    spec = tmp_path / "broken.toml"
    spec.write_bytes(text)
    with unchanged():
        qpibench("generate", spec, "-o", tmp_path / "release.h5").fails(3, "broken.toml", "cannot be read")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("genrate mini -o {out}", ["no command 'genrate'", "'generate'"]),
        ("frobnicate", ["no command 'frobnicate'", "known commands: generate"]),
        ("leaderboard bild {tmp} -o {out}", ["no command 'bild'", "'build'"]),
        ("", ["No command was given"]),
        ("leaderboard", ["No command was given"]),
        ("generate", ["Missing argument 'SPEC'", "qpibench generate --help"]),
        ("generate mini", ["Missing option", "-o"]),
        ("generate mini -o {out} --treads 2", ["No such option", "--treads"]),
        ("generate mini -o {out} --threads 0", ["--threads", "x>=1"]),
        ("generate mini -o {out} --threads two", ["--threads", "'two'"]),
        ("generate mini -o {out} --backend gpu", ["--backend", "'gpu'"]),
        ("generate mini -o {out} --gpu --backend cpu", ["--gpu", "--backend cpu", "contradict"]),
        ("generate mini -o {out} --compression zip", ["--compression", "'zip'"]),
        ("verify {mini} --gpu", ["--regenerate"]),
        ("verify {tmp}/missing.h5", ["There is no file", "missing.h5"]),
        ("verify {tmp}", ["is a folder"]),
        ("info {tmp}/missing.h5", ["There is no file", "missing.h5"]),
        ("export-csv {mini} --kernel 10 -o {out}", ["no kernel 10", "0 to 9"]),
        ("export-csv {mini} --kernel -1 -o {out}", ["no kernel -1"]),
        ("export-csv {mini} --kernel 0 -o {mini}", ["given twice"]),
        ("import -o {out}", ["Missing argument"]),
        ("import {tmp}/missing.csv -o {out}", ["There is no file", "missing.csv"]),
        ("import {tmp} -o {out}", ["is a folder"]),
        ("predict missing.py --release {mini} -o {out}", ["There is no model file 'missing.py'"]),
        ("predict zeroes --release {mini} -o {out}", ["'zeroes'", "'zeros'"]),
        ("predict zeros --release {tmp}/missing.h5 -o {out}", ["There is no file", "missing.h5"]),
        ("predict zeros --release {mini} -o {out} --task odd", ["no task 'odd'", "id, ood"]),
        ("predict zeros --release {mini} -o {out} --view all", ["no view 'all'", "image, raster, positions"]),
        ("predict zeros --release {mini} -o {out} --map round", ["'round'"]),
        ("predict zeros --release {mini} -o {out} --view raster", ["'raster' shows an activation map", "--map"]),
        ("evaluate tikhonov --release {mini} -o {out}", ["tikhonov", "needs an activation map", "--map"]),
        ("predict zeros --release {mini} -o {out} --limit 0", ["limit", "at least 1"]),
        ("predict zeros --release {mini} -o {out} --limit -5", ["limit", "at least 1"]),
        ("evaluate zeros --suite quick -o {out} --limit 0", ["limit", "at least 1, found 0"]),
        ("predict zeros --release {mini} -o {out} --batch-size 0", ["batch size"]),
        ("predict zeros --release {mini} -o {out} --time-limit 0", ["time limit"]),
        ("predict zeros --release {mini} -o {out} --memory-limit nan", ["memory limit"]),
        ("predict zeros --release {mini} -o {out} --seed -1", ["seed"]),
        ("predict zeros --release {mini} -o {mini}", ["given twice"]),
        ("evaluate zeros --release {mini} -o {out} --report {out}", ["given twice"]),
        ("evaluate zeros --release {mini} -o {mini}", ["given twice"]),
        ("merge {tmp} -o {mini}", ["exists already; overwrite it, or choose another file"]),
        ("evaluate tikhonov --release {mini} -o {out} --view image", ["tikhonov", "needs the view"]),
        ("score {tmp}/missing.h5 --release {mini} -o {out}", ["no predictions file", "missing.h5"]),
        ("score {predictions} --release {mini} -o {predictions}", ["given twice"]),
        ("new {tmp}/random.py", ["'random.py' has the name of a library"]),
        ("check missing.py", ["There is no model file 'missing.py'"]),
        ("check {tmp}", ["is a folder"]),
        ("check {nothing}", ["No model is named"]),
        ("leaderboard build {tmp}/missing -o {out}", ["no folder", "missing"]),
        ("leaderboard build {tmp} -o {out}", ["no result file"]),
        ("leaderboard check {tmp}/missing.json", ["missing.json"]),
        ("leaderboard check {result} --release {mini}", ["predictions", "missing"]),
        ("leaderboard check {result} --predictions {tmp}/p.h5 --release {mini}", ["no predictions file"]),
        ("leaderboard check {result} --predictions {tmp}/p.h5 --data {tmp}", ["no predictions file", "p.h5"]),
        ("leaderboard check {result} --data {tmp}", ["the predictions file is missing"]),
        ("schema release", ["'release'", "result"]),
    ],
)
def test_a_request_that_cannot_be_granted(
    qpibench, mini, predictions, result, tmp_path, monkeypatch, unchanged, arguments, words
):
    monkeypatch.chdir(tmp_path)
    copies = {name: shutil.copy(path, tmp_path) for name, path in _files(mini, predictions, result).items()}
    places = {"tmp": tmp_path / "folder", "out": tmp_path / "out", "nothing": "", **copies}
    places["tmp"].mkdir()
    with unchanged():
        qpibench(*(part.format(**places) for part in arguments.split()), "--json").fails(2, *words)


def _files(mini, predictions, result):
    return {"mini": mini, "predictions": predictions, "result": result}


COMMANDS_THAT_WRITE = [
    "generate mini -o {out}",
    "import {mini} -o {out}",
    "export-csv {mini} --kernel 0 -o {out}",
    "predict zeros --release {mini} -o {out}",
    "evaluate zeros --release {mini} -o {out}",
    "evaluate zeros --release {mini} -o result.json --report {out}",
    "evaluate zeros --release {mini} -o result.json --predictions {out}",
    "score {predictions} --release {mini} -o {out}",
    "new {out}",
]


@pytest.mark.parametrize("command", COMMANDS_THAT_WRITE)
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("missing/out", ["Folder 'missing' does not exist"]),
        ("a_file/out", ["'a_file' is not a folder"]),
        ("a_folder", ["'a_folder' is a folder"]),
        ("read_only/out", ["Folder 'read_only' cannot be written to"]),
    ],
)
def test_a_place_where_no_file_can_be(
    qpibench, mini, predictions, tmp_path, monkeypatch, unchanged, command, place, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("kept")
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "read_only").mkdir(mode=0o500)
    if os.geteuid() == 0:  # who may write everywhere: a folder is read-only for root where the file system is
        monkeypatch.setattr("os.access", lambda path, mode: os.path.basename(path) != "read_only")
    arguments = [part.format(out=place, mini=mini, predictions=predictions) for part in command.split()]
    with unchanged():
        qpibench(*arguments, "--json").fails(2, *words)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("command", ["generate mini -o {out}", "predict zeros --release {mini} -o {out}"])
def test_a_folder_that_only_looks_writable(qpibench, mini, command):
    qpibench(*(part.format(out="/proc/out.h5", mini=mini) for part in command.split())).fails(
        2, "/proc", "cannot be written"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("generate mini -o {target}", ["exists already", "resume", "overwrite"]),
        ("export-csv {mini} --kernel 0 -o {target}", ["exists already"]),
        ("import {csv} -o {target}", ["exists already"]),
        ("new {target}", ["exists already"]),
    ],
)
def test_an_existing_file_is_not_replaced_unasked(qpibench, mini, tmp_path, unchanged, arguments, words):
    target, csv = tmp_path / "target", tmp_path / "kernel.csv"
    target.write_text("precious")
    qpibench("export-csv", mini, "--kernel", 0, "-o", csv)
    with unchanged():
        qpibench(*(part.format(target=target, mini=mini, csv=csv) for part in arguments.split())).fails(2, *words)


def test_a_finished_release_of_another_spec_is_not_resumed(qpibench, mini, tmp_path, unchanged):
    target = shutil.copy(mini, tmp_path)
    with unchanged():
        qpibench("generate", "mini", "--set", "seed=1", "-o", target, "--resume", "--json").fails(3, "another spec")


def test_an_imported_release_cannot_be_regenerated(qpibench, mini, tmp_path, unchanged):
    qpibench("export-csv", mini, "--kernel", 0, "-o", tmp_path / "kernel.csv")
    qpibench("import", tmp_path / "kernel.csv", "-o", tmp_path / "release.h5")
    assert qpibench("verify", tmp_path / "release.h5").exit_code == 0
    with unchanged():
        qpibench("verify", tmp_path / "release.h5", "--regenerate").fails(2, "imported", "without regenerating")


def _gpu_is_missing() -> bool:
    try:
        get_backend("cuda")
    except QpibenchError:
        return True
    return False


@pytest.mark.skipif(not _gpu_is_missing(), reason="there is a GPU")
@pytest.mark.parametrize("option", ["--gpu", "--backend cuda"])
@pytest.mark.parametrize("command", ["generate mini -o {out}", "verify {mini} --regenerate"])
def test_a_gpu_that_is_not_there(qpibench, mini, tmp_path, unchanged, command, option):
    arguments = f"{command} {option} --json".format(mini=mini, out=tmp_path / "release.h5")
    with unchanged():
        qpibench(*arguments.split()).fails(4, "GPU cannot be used")
