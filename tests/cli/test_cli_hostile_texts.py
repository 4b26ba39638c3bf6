"""Texts in files (specs, tracks, results, runs, records) that no honest program writes: a sentence, and exit code 3."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

JSON = {
    "deep lists": (b"[" * 100_000, "deep"),
    "closed lists": (b"[" * 500 + b"]" * 500, "nested more than 64 deep"),
    "deep objects": (b'{"a":' * 100_000, "deep"),
    "a huge integer": (b'{"schema_version": ' + b"9" * 5000 + b"}", "more than 100 digits"),
    "a large integer": (b'{"schema_version": ' + b"9" * 101 + b"}", "more than 100 digits"),
    "another encoding": ("{}".encode("utf-16"), "not UTF-8"),
    "half a character": (b'{"schema_version": "\\ud800"}', "half a surrogate pair"),
    "a key twice": (b'{"schema_version": 1, "schema_version": 2}', "the key 'schema_version' twice"),
}
TOML = {
    "deep lists": (b"seed = " + b"[" * 100_000, "deep"),
    "deep tables": (b"a" + b".a" * 5000 + b" = 1", "deep"),
    "a huge integer": (b"seed = " + b"9" * 5000, "more than 100 digits"),
    "a huge hexadecimal integer": (b"seed = 0x" + b"f" * 5000, "more than 100 digits"),
    "another encoding": ('name = "\xfc"'.encode("latin-1"), "not UTF-8"),
    "a key twice": (b"seed = 1\nseed = 2", "overwrite"),
}


def _cases(texts):
    return pytest.mark.parametrize(("text", "words"), texts.values(), ids=texts.keys())


@_cases(JSON)
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("result.json", "leaderboard check {file}"),
        ("result.json", "leaderboard build {folder} -o {site}"),
        ("result.json", "bench report {folder} -o {site}"),
        ("run.json", "predict {folder} --release {mini} -o {site}"),
    ],
)
def test_a_json_file_that_cannot_be_read(qpibench, mini, tmp_path, name, command, text, words):
    file = tmp_path / "given" / name
    file.parent.mkdir()
    file.write_bytes(text)
    places = {"file": file, "folder": file.parent, "site": tmp_path / "out", "mini": mini}
    qpibench(*(part.format(**places) for part in command.split()), "--json").fails(3, name, words)


@_cases(TOML)
@pytest.mark.parametrize("command", ["generate {file} -o {out}", "tracks {file}"])
def test_a_toml_file_that_cannot_be_read(qpibench, tmp_path, unchanged, command, text, words):
    file = tmp_path / "given.toml"
    file.write_bytes(text)
    with unchanged():
        parts = command.format(file=file, out=tmp_path / "out.h5").split()
        qpibench(*parts, "--json").fails(3, "given.toml", words)


@_cases({name: case for name, case in JSON.items() if name not in ("deep lists", "deep objects", "another encoding")})
@pytest.mark.parametrize(
    ("attribute", "command"),
    [
        ("spec", "info {release}"),
        ("columns", "info {release}"),
        ("record", "score {predictions} --release {mini} -o {out}"),
    ],
)
def test_a_text_within_a_file(qpibench, mini, predictions, tmp_path, attribute, command, text, words):
    places = {"release": mini, "predictions": predictions, "mini": mini, "out": tmp_path / "out.json"}
    damaged = "predictions" if attribute == "record" else "release"
    places[damaged] = shutil.copy(places[damaged], tmp_path / "damaged.h5")
    with h5py.File(places[damaged], "r+") as file:
        file.attrs[attribute] = text.decode() if attribute == "record" else np.bytes_(text)
    qpibench(*(part.format(**places) for part in command.split()), "--json").fails(3, "damaged.h5", words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=" + "9" * 5000, "an integer from 0 to 2^128 - 1"),
        ("seed=" + "[" * 5000, "an integer from 0 to 2^128 - 1"),
        ("grid.nx=" + "[" * 500 + "]" * 500, "field 'grid.nx'"),
        ("grid." * 2000 + "nx=3", "nested more than 64 deep"),
        ("n" * 5000 + "=3", "unknown field"),
        ("name=" + "n" * 5000, "at most 200 characters"),
        ("corruptions.white_noise.snr_db=" + "9" * 90, "less than or equal to 100"),
    ],
    ids=["digits", "brackets", "lists", "dots", "a long field", "a long name", "a large ratio"],
)
def test_an_absurd_override_is_answered_in_a_line_that_can_be_read(qpibench, tmp_path, override, words):
    outcome = qpibench("generate", "mini", "--set", override, "-o", tmp_path / "out.h5")
    outcome.fails(2, words)
    assert len(outcome.error) < 600
