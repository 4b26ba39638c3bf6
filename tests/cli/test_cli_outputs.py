"""Every output of every command: what is no regular file is refused, links are written through, the umask holds."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import pytest

from qpibench.cli.main import cli
from qpibench.cli.options import Output
from qpibench.errors import UsageError
from qpibench.files import check_file, write_whole

NOBODY = 65534
TOY = Path(__file__).parents[1] / "training" / "toy.py"
HISTORY = Path(__file__).parents[2] / "benchmarks" / "history"

EXTRACT = "extract {map} --positions {positions} --method wiener --workers 1 --overwrite -o"

COMMANDS = {
    "generate -o": "generate mini --overwrite -o {out}",
    "gallery -o": "gallery mini --corruption position_error --overwrite -o {out}",
    "merge -o": "merge {shards} --overwrite -o {out}",
    "import -o": "import {csv} --name csv --overwrite -o {out}",
    "export-csv -o": "export-csv {mini} --kernel 0 --overwrite -o {out}",
    "new path": "new {out}",
    "train -o": "train {toy} --stream mini --steps 3 -o {out}",
    "evaluate -o": "evaluate zeros --release {mini} --limit 1 -o {out}",
    "evaluate --report": "evaluate zeros --release {mini} --limit 1 -o result.json --report {out}",
    "evaluate --predictions": "evaluate zeros --release {mini} --limit 1 -o result.json --predictions {out}",
    "predict -o": "predict zeros --release {mini} --limit 1 -o {out}",
    "score -o": "score {predictions} --release {mini} -o {out}",
    "score --report": "score {one_prediction} --release {mini} -o result.json --report {out}",
    "oracle -o": "oracle nearest_kernel --release {mini} --limit 1 -o {out}",
    "maps -o": "maps {map} --overwrite -o {out}",
    "maps --save": "maps {map} --overwrite --save {out}",
    "prepare -o": "prepare {map} --step plane --overwrite -o {out}",
    "prepare --picture": "prepare {map} --step plane --overwrite -o result.h5 --picture {out}",
    "scatterers -o": "scatterers {map} --width 2 --threshold 0.1 --overwrite -o {out}",
    "scatterers --picture": "scatterers {map} --width 2 --threshold 0.1 --overwrite -o result.csv --picture {out}",
    "extract -o": f"{EXTRACT} {{out}}",
    "extract --report": EXTRACT + " result.h5 --report {out}",
    "extract --figures": EXTRACT + " result.h5 --report kernel.html --figures {out}",
    "report -o": "report {kernels} --overwrite -o {out}",
    "report --figures": "report {kernels} --overwrite -o kernel.html --figures {out}",
    "leaderboard build -o": "leaderboard build {results} -o {out}",
    "bench report -o": "bench report {history} -o {out}",
}
"""A command for every output that the command line has, by the command's name and the option's."""

FOLDERS = {
    "train -o": ["run.json"],  # the weights are written by the entry
    "leaderboard build -o": ["index.html", "leaderboard.json", "results/zeros.json"],
    "bench report -o": ["index.html"],
    "extract --figures": ["layers.csv"],
    "report --figures": ["layers.csv"],
}
"""Files that are written into an output that is a folder."""

SHARD = "generate mini --shard 1/1 --overwrite -o {out}"

INPUTS = {"a", "b", "data", "directory", "file", "files", "first_path", "folder", "folders", "history_dir", "path"} | {
    *("predictions", "release_path", "release_paths", "releases", "result_path", "results_dir", "second_path"),
    *("map_path", "original", "positions_path", "kernel_path"),
}

FILE_COMMANDS = [pytest.param(text, id=name) for name, text in COMMANDS.items() if name not in FOLDERS]
WITHOUT_REPORTS = [
    pytest.param(text, id=name, marks=pytest.mark.slow if name.endswith("--report") else ())
    for name, text in COMMANDS.items()
    if name not in FOLDERS
]
"""The same; in the fast tests those without a report, which takes longer than all others."""

FOLDER_COMMANDS = [
    *(
        pytest.param(COMMANDS[name], files, id=name, marks=pytest.mark.slow if name == "extract --figures" else ())
        for name, files in FOLDERS.items()
    ),
    pytest.param(SHARD, ["shard-1-of-1.h5"], id="generate --shard"),
]


def parameters(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Parameter]]:
    """Every parameter of every command, with the command's name."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from parameters(command, (*words, name))
        else:
            yield from ((" ".join((*words, name)), parameter) for parameter in command.params)


def test_the_commands_of_this_file_are_all_that_write():
    found = {f"{name} {each.opts[0]}" for name, each in parameters(cli) if isinstance(each.type, Output)}
    assert found == set(COMMANDS)


def test_a_path_that_is_not_written_is_a_known_input():
    paths = [each for _, each in parameters(cli) if isinstance(each.type, click.Path) and "-o" not in each.opts]
    assert {each.name for each in paths if not isinstance(each.type, Output)} <= INPUTS
    assert all(isinstance(each.type, Output) for _, each in parameters(cli) if "-o" in each.opts)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="such files are of Linux")
def test_a_file_has_no_name_until_it_is_complete(tmp_path, monkeypatch):
    """So nothing is left of it when its process is killed."""
    found = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (found.append(os.listdir(tmp_path)), sync(fd)))
    write_whole(tmp_path / "a.txt", b"content", what="File")
    assert found == [[], ["a.txt"]]
    assert (tmp_path / "a.txt").read_bytes() == b"content"


def test_content_of_which_the_system_takes_a_part_at_a_time_is_written_whole(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: write(fd, content[:3]))
    write_whole(tmp_path / "a.txt", b"content", what="File")
    assert (tmp_path / "a.txt").read_bytes() == b"content"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, qpibench, nanonis, mini, predictions, one_prediction, result):
    """What the commands read, not to be changed."""
    folder = tmp_path_factory.mktemp("inputs")
    places = {name: folder / name for name in ("shards", "results", "kernel.csv", "toy.py", "map.sxm", "positions.csv")}
    assert qpibench("generate", "mini", "--shard", "1/1", "-o", places["shards"]).exit_code == 0
    assert qpibench("export-csv", mini, "--kernel", 0, "-o", places["kernel.csv"]).exit_code == 0
    places["results"].mkdir()
    shutil.copy(result, places["results"] / "zeros.json")
    shutil.copy(TOY, places["toy.py"])
    current = {"forward": np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32)}
    places["map.sxm"].write_bytes(nanonis.scan_bytes({("Current", "A"): current}, range_m=(9e-9, 8e-9)))
    places["positions.csv"].write_text("x_nm,y_nm\n1,2\n2,1\n", encoding="utf-8")
    places["kernels"] = folder / "kernels.h5"
    extract = EXTRACT.format(map=places["map.sxm"], positions=places["positions.csv"]).split()
    assert qpibench(*extract, places["kernels"]).exit_code == 0
    places["history"] = HISTORY
    named = {name.partition(".")[0]: path for name, path in places.items()}
    read = {"mini": mini, "predictions": predictions, "one_prediction": one_prediction}
    return {"csv": places["kernel.csv"], **read, **named}


@pytest.fixture
def run(qpibench, inputs, tmp_path, monkeypatch):
    """Run a command of this file in the test's folder, with its output at a place."""
    monkeypatch.chdir(tmp_path)
    return lambda command, out: qpibench(*(part.format(out=out, **inputs) for part in command.split()))


def make_node(path: Path, kind: str) -> None:
    """Make something that is no regular file."""
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)  # a path is limited to a hundred bytes
        return
    types = {"pipe": stat.S_IFIFO, "character device": stat.S_IFCHR, "block device": stat.S_IFBLK}
    try:
        os.mknod(path, types[kind] | 0o600, os.makedev(1, 3) if "device" in kind else 0)
    except PermissionError:
        pytest.skip("only root makes device nodes")


def described(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_rdev, found.st_mtime_ns


@contextmanager
def umask(mask: int) -> Iterator[None]:
    former = os.umask(mask)
    try:
        yield
    finally:
        os.umask(former)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


KINDS = ["pipe", "character device", "block device", "socket"]


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "through a link"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", WITHOUT_REPORTS)
def test_what_is_no_regular_file_is_refused_and_stays(run, tmp_path, command, kind, linked):
    make_node(tmp_path / "node", kind)
    before, out = described(tmp_path / "node"), tmp_path / "node"
    if linked:
        out = tmp_path / "link"
        out.symlink_to("node")
    run(command, out).fails(2, "node", f"is a {kind}", "name a file")
    assert described(tmp_path / "node") == before
    assert {path.name for path in tmp_path.iterdir()} <= {"node", "link"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("command", "files"), FOLDER_COMMANDS)
def test_what_is_no_folder_is_refused_and_stays(run, tmp_path, command, files, kind):
    make_node(tmp_path / "node", kind)
    before = described(tmp_path / "node")
    run(command, tmp_path / "node").fails(2, "node' is not a folder")
    assert described(tmp_path / "node") == before


@pytest.mark.parametrize("kind", ["pipe", "character device"])
@pytest.mark.parametrize(("command", "files"), FOLDER_COMMANDS)
def test_what_is_no_regular_file_in_an_output_folder_is_refused_and_stays(run, tmp_path, command, files, kind):
    for file in files:
        out = tmp_path / file.replace("/", "-")
        node = out / file
        node.parent.mkdir(parents=True)
        make_node(node, kind)
        before = described(node)
        run(command, out).fails(2, node.name, f"is a {kind}")
        assert described(node) == before
        assert not [path for path in out.rglob("*") if path.is_file()]


@pytest.mark.parametrize("command", WITHOUT_REPORTS)
def test_a_link_is_written_through_and_the_file_keeps_its_permissions(run, tmp_path, command):
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to("elsewhere/target")
    if not command.startswith("new"):  # which replaces nothing
        target.write_text("old")
        target.chmod(0o640)
    assert run(command, link).exit_code == 0
    assert os.readlink(link) == "elsewhere/target"
    assert target.stat().st_size > 3
    assert command.startswith("new") or mode(target) == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("command", WITHOUT_REPORTS)
def test_a_dangling_link_is_written_through_with_the_permissions_of_the_umask(run, tmp_path, command):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to(tmp_path / "elsewhere" / "target")
    with umask(0o077):
        assert run(command, tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert {path.name: oct(mode(path)) for path in (tmp_path / "elsewhere").iterdir()} == {"target": "0o600"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user")
def test_a_file_of_another_user_in_a_folder_like_tmp_is_refused_before_the_work():
    with tempfile.TemporaryDirectory() as folder:  # another user cannot reach the folders of pytest
        target = Path(folder, "target")
        target.touch()
        Path(folder).chmod(0o1777)
        check_file(target)
        os.seteuid(NOBODY)
        try:
            check_file(target.with_name("own"))
            with pytest.raises(UsageError, match="target' belongs to another user"):
                check_file(target)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("linked", [False, True], ids=["of the folder", "of its files"])
@pytest.mark.parametrize(("command", "files"), FOLDER_COMMANDS)
def test_links_of_an_output_folder_are_written_through(run, tmp_path, command, files, linked):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    if linked:
        elsewhere.mkdir()
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).symlink_to(elsewhere / Path(file).name)
    else:
        out.symlink_to("elsewhere")
    assert run(command, out).exit_code == 0
    assert all((elsewhere / (Path(file).name if linked else file)).stat().st_size for file in files)
    assert all(path.is_symlink() for path in ([out / file for file in files] if linked else [out]))


@pytest.mark.parametrize(
    ("link", "words"),
    [("link", ["'link' is a loop of links"]), ("missing/target", ["'link', a link to", "folder", "does not exist"])],
    ids=["a loop", "into a missing folder"],
)
@pytest.mark.parametrize("command", FILE_COMMANDS)
def test_a_link_that_leads_nowhere_is_refused(run, tmp_path, unchanged, command, link, words):
    (tmp_path / "link").symlink_to(link)
    with unchanged():
        run(command, "link").fails(2, *words)
    assert os.readlink("link") == link


@pytest.mark.parametrize(("command", "files"), FOLDER_COMMANDS)
def test_a_folder_that_is_a_loop_of_links_is_refused(run, tmp_path, command, files):
    (tmp_path / "link").symlink_to("link")
    run(command, "link").fails(2, "'link' is a loop of links")


NOT_ASCII, NOT_UTF_8 = "Übersicht – 图", os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("name", [NOT_ASCII, NOT_UTF_8], ids=["not ASCII", "not UTF-8"])
@pytest.mark.parametrize("command", WITHOUT_REPORTS)
def test_a_new_file_of_any_name_has_the_permissions_of_the_umask(run, tmp_path, command, name):
    with umask(0o002):
        outcome = run(command, tmp_path / name)
    if command.startswith("new") and not name.isprintable():
        outcome.fails(2, "not valid UTF-8")  # no model can have such a name
        return
    assert outcome.exit_code == 0
    made = {path.name: oct(mode(path)) for path in tmp_path.iterdir() if path.stem != "result"}
    assert made == {name: "0o664"}


@pytest.mark.parametrize(
    "name", [pytest.param(NOT_ASCII, marks=pytest.mark.slow, id="not ASCII"), pytest.param(NOT_UTF_8, id="not UTF-8")]
)
@pytest.mark.parametrize(("command", "files"), FOLDER_COMMANDS)
def test_a_new_folder_of_any_name_has_the_permissions_of_the_umask(run, tmp_path, command, files, name):
    mask = 0o077 if name.isprintable() else 0o002
    with umask(mask):
        assert run(command, tmp_path / name).exit_code == 0
    assert all((tmp_path / name / file).is_file() for file in files)
    for path in [tmp_path / name, *(tmp_path / name).rglob("*")]:
        if path.name != "weights.safetensors":  # the toy writes it by another library
            assert oct(mode(path)) == oct((0o777 if path.is_dir() else 0o666) & ~mask), path


LONG = [(command, 5000) for command in (*FILE_COMMANDS, *FOLDER_COMMANDS)] + [
    (command, 250) for command in FILE_COMMANDS
]


@pytest.mark.parametrize(
    ("command", "length"), [pytest.param(each.values[0], length, id=f"{each.id}-{length}") for each, length in LONG]
)
def test_a_name_that_is_too_long_is_refused_in_a_short_sentence(run, tmp_path, command, length):
    outcome = run(command, tmp_path / ("n" * length))
    outcome.fails(2, "too long")
    assert len(outcome.stderr) < 1000
    assert not list(tmp_path.iterdir())
