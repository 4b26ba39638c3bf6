"""Pictures of maps, looked at by what matplotlib was asked to draw."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.maps.picture import draw, draw_steps
from qpibench.maps.preparation import apply

Z = 1e-9 * np.random.default_rng(1).normal(size=(24, 30))


@pytest.fixture
def drawn(monkeypatch):
    """Rows of the pages that were drawn."""
    import qpibench.maps.picture as module

    pages, true = [], module.draw_page
    monkeypatch.setattr(module, "draw_page", lambda rows: pages.append(rows) or true(rows))

    def titles(rows):
        return [[panel.title for panel in row.panels] for row in rows if row.panels]

    return SimpleNamespace(titles=lambda: titles(pages[-1]), texts=lambda: [row.text for row in pages[-1]])


def test_a_picture_has_every_single_map_and_layers_of_every_stack(maps_of, tmp_path, drawn):
    stack = np.array([k * Z for k in range(9)])
    maps = maps_of(G=stack, Z=Z, bias_v=np.linspace(0.1, -0.1, 9))
    draw(maps, tmp_path / "a.png")
    layers = [f"G\nat {bias} mV" for bias in ("100", "50", "0", "\N{MINUS SIGN}50", "\N{MINUS SIGN}100")]
    assert drawn.titles() == [["Z"], layers]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_points_that_were_not_measured_are_drawn_too(maps_of, tmp_path, drawn):
    draw(maps_of(Z=np.where(Z > 0, Z, np.nan), X=np.full_like(Z, np.nan)), tmp_path / "a.png")
    assert drawn.titles() == [["Z", "X\nnothing measured"]]


def test_steps_are_drawn_before_and_after_with_their_difference(maps_of, tmp_path, drawn):
    before = maps_of(X=Z, Z=Z)
    draw_steps(before, apply(before, "plane", channels=["Z"]), tmp_path / "a.png")
    assert drawn.texts() == ["After plane (channels = ['Z'], order = 1)"]
    assert drawn.titles() == [["Z\nbefore", "Z\nafter", "Z\nafter minus before"]]


def test_an_undone_step_is_called_so(maps_of, tmp_path, drawn):
    original = maps_of(Z=Z)
    draw_steps(apply(original, "plane"), original, tmp_path / "a.png")
    assert drawn.texts() == ["After undoing plane (order = 1)"]


def test_maps_without_a_channel_cannot_be_compared(maps_of, tmp_path):
    empty = replace(maps_of(Z=Z), channels=())
    with pytest.raises(InvalidDataError, match="no channel that could be drawn"):
        draw_steps(empty, empty, tmp_path / "a.png")


def test_a_channel_that_a_step_adds_is_drawn_beside_the_spectra_before(maps_of, tmp_path, drawn):
    before = replace(maps_of(Z=Z, Current=np.array([k * Z for k in range(7)]), bias_v=np.linspace(0, 0.6, 7)))
    draw_steps(before, apply(before, "derivative"), tmp_path / "a.png")
    assert [row[0] for row in drawn.titles()] == ["Current\nat 0 mV", "dI/dV of Current\nat 0 mV"]


@pytest.mark.parametrize(("value", "unit", "said"), [(1.9e-10, "A", "nA"), (67e-12, "A", "pA"), (3.0, "1", "1")])
def test_values_have_a_unit_with_a_prefix(maps_of, tmp_path, monkeypatch, value, unit, said):
    import qpibench.maps.picture as module

    labels, true = [], module.draw_colour_bar
    monkeypatch.setattr(module, "draw_colour_bar", lambda *given: labels.append(given[-1]) or true(*given))
    draw(maps_of(Z=np.linspace(0, value, 25).reshape(5, 5), units={"Z": unit}), tmp_path / "a.png")
    assert labels == [said]


def test_another_suffix_and_an_unknown_channel_are_one_sentence(maps_of, tmp_path):
    with pytest.raises(UsageError, match=r"'a\.svg' does not end in \.png"):
        draw(maps_of(Z=Z), tmp_path / "a.svg")
    with pytest.raises(UsageError, match="no channel 'Y'; its channels are 'Z'"):
        draw(maps_of(Z=Z), tmp_path / "a.png", channel="Y")
    assert not list(tmp_path.iterdir())
