"""Sentences reach the user who waits for the work that says them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from qpibench.notices import note, shown, warn
from qpibench.release.parallel import as_completed
from qpibench.synthesis.stream import ahead


def test_threads_that_show_sentences_at_the_same_time_show_their_own(capsys):
    both_entered, first_left = threading.Barrier(2), threading.Event()

    def first():
        said = []
        with shown(notes=said.append, warnings=said.append):
            both_entered.wait()
            note("the first")
        first_left.set()
        return said

    def second():
        said = []
        with shown(notes=said.append, warnings=said.append):
            both_entered.wait()
            first_left.wait()
            warn("the second")
        return said

    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(first), pool.submit(second)]
    assert [outcome.result() for outcome in outcomes] == [["the first"], ["Warning: the second"]]
    note("a sentence after both")
    assert capsys.readouterr().err == "a sentence after both\n"


def test_a_sentence_is_shown_once_in_each_context():
    for _ in range(2):
        said = []
        with shown(notes=said.append, warnings=said.append):
            note("a note")
            note("a note")
            warn("a warning")
            warn("a warning")
        assert said == ["a note", "Warning: a warning"]


@pytest.mark.parametrize(
    "on_threads",
    [
        lambda function: list(as_completed(function, ["a", "a", "a"], threads=1)),
        lambda function: list(ahead(function, iter(["a", "a", "a"]), threads=1)),
    ],
    ids=["writing", "streaming"],
)
def test_sentences_of_threads_that_do_a_part_of_the_work_are_shown_with_it(on_threads):
    said = []
    with shown(notes=said.append, warnings=said.append):
        on_threads(note)
    assert said == ["a"]
