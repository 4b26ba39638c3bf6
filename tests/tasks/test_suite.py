"""Suites: what a TOML file says, what their hash depends on, and what is refused with which words."""

import pytest

from qpibench.errors import UsageError
from qpibench.specs import load_spec
from qpibench.tasks.suite import load_suite, specs_of, suite_names
from qpibench.tasks.track import load_track

TRACK = """
summary = "a toy"

[every_cell]
specs = ["mini", {spec = "mini", set = ["kernels.count=11", "name=more"]}]
set = ["seed=5"]
task = "ood"
view = "image"
metrics = ["mae"]
primary = "mae"

[cells.clean]

[cells.10dB]
set = ["corruptions.white_noise.snr_db=10"]
training = "mini"
"""


@pytest.fixture
def write(tmp_path):
    def write(text, *, track=TRACK):
        (tmp_path / "toy.toml").write_text(track)
        path = tmp_path / "both.toml"
        path.write_text(text)
        return path

    return write


def test_every_shipped_suite_loads_and_reads_each_release_once():
    for name in suite_names():
        suite = load_suite(name)
        assert suite.name == name
        assert all(spec.sha256 == digest for digest, spec in specs_of(suite.cells).items())


def test_a_track_in_a_suite_stands_for_all_its_cells(write):
    suite = load_suite(write("summary = 's'\nlimit = 3\ncells = ['paper/id', 'toy.toml']"))
    assert [each.label for each in suite.cells] == ["paper/id", "toy/clean", "toy/10dB"]
    assert (suite.name, suite.limit) == ("both", 3)
    assert load_spec("mini") in specs_of(suite.cells).values()  # that of the training images


def test_settings_for_all_cells_come_before_those_of_a_cell_and_name_the_release(write):
    write("")
    noisy = load_track(write("").parent / "toy.toml").cell("10dB")
    assert [spec.name for spec in noisy.specs] == ["toy-10dB-mini", "toy-10dB-more"]
    assert all(spec.seed == 5 and spec.corruptions["white_noise"].snr_db == (10, 10) for spec in noisy.specs)


def test_the_hash_is_that_of_cells_tracks_and_limit(write):
    text = "summary = 's'\ncells = ['toy.toml/clean']"
    first = load_suite(write(text)).sha256
    assert load_suite(write(text.replace("'s'", "'other words'"))).sha256 == first
    assert load_suite(write(text + "\nlimit = 9")).sha256 != first
    assert load_suite(write(text, track=TRACK.replace("seed=5", "seed=6"))).sha256 != first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("summary = 's'\ncells = []", "cells"),
        ("summary = 's'\ncells = ['toy.toml', 'toy.toml/clean']", "lists the cell 'toy/clean' twice"),
        ("summary = 's'\ncells = ['papers']", "did you mean 'paper'?"),
        ("summary = 's'\ncells = ['paper/ids']", "did you mean 'id'?"),
        ("summary = 's'\nlimit = 0\ncells = ['paper']", "limit"),
        ("summary = 's'\ntracks = ['paper']\ncells = ['paper']", "tracks"),
    ],
)
def test_an_invalid_suite_is_refused_in_a_sentence(write, text, words):
    with pytest.raises(UsageError, match=f"Suite .*{words.replace('?', '[?]')}"):
        load_suite(write(text))


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ("{spec = 'mini', set = ['grid.ny=80']}", "have 80 x 64 pixels and those of 'toy-10dB-mini' 64 x 64"),
        ("{spec = 'mini', set = ['splits.ood_kernels=1']}", "keeps all kernels"),
    ],
)
def test_training_images_that_teach_nothing_are_refused(write, training, words):
    track = TRACK.replace('training = "mini"', f"training = {training}")
    with pytest.raises(UsageError, match=words):
        load_suite(write("summary = 's'\ncells = ['toy.toml']", track=track))


def test_an_unknown_suite_is_told_the_known_ones():
    with pytest.raises(UsageError, match="no suite and no file 'quik'; did you mean 'quick'"):
        load_suite("quik")
