"""Tracks: what is shipped, what a TOML file says, and what is refused with which words."""

import pytest
from pydantic import ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.specs import load_spec
from qpibench.tasks.track import find_cells, load_track, track_names

TOY = """
summary = "a toy"

[every_cell]
specs = ["mini"]
task = "ood"
metrics = ["mae", "psnr"]
primary = "mae"
size = 3

[cells.plain]
view = "image"

[cells.10dB]
view = "raster"
map = "exact"
primary = "psnr"
specs = [{spec = "mini", set = ["corruptions.white_noise.snr_db=10"]}, "beside.toml"]
"""

BESIDE = (
    "name = 'beside'\nseed = 5\nobservations_per_kernel = 4\n"
    + """
[grid]
ny = 32
nx = 32
size_y_nm = 10.0
size_x_nm = 10.0

[kernels]
count = 10
wavelength_nm = [1.0, 3.0]
decay_nm = [1.0, 5.0]

[scatterers]
max = 3
"""
)


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "beside.toml").write_text(BESIDE)
    path = tmp_path / "toy.toml"
    path.write_text(TOY)
    return path


def test_the_published_task_is_shown_as_the_literature_shows_it():
    assert "paper" in track_names()
    paper = load_track("paper")
    assert list(paper.cells) == ["id", "ood", "id-positions", "ood-positions"]
    for name, cell in paper.cells.items():
        assert cell.specs == (load_spec("paper"),)
        assert cell.task == name.removesuffix("-positions")
        assert (cell.view, cell.map) == ("positions" if name.endswith("-positions") else "raster", "paper")
        assert (cell.primary, cell.size) == ("rel_l2_capped", 500)


def test_a_track_is_one_file_and_its_cells_may_differ_from_what_they_share(toy):
    track = load_track(toy)
    plain, noisy = track.cells.values()
    assert track.name == "toy"
    assert (plain.view, plain.map, plain.primary, plain.size) == ("image", None, "mae", 3)
    assert (noisy.view, noisy.map, noisy.primary, noisy.size) == ("raster", "exact", "psnr", 3)
    assert [spec.name for spec in noisy.specs] == ["mini+corruptions.white_noise.snr_db=[10.0,10.0]", "beside"]
    with pytest.raises(ValidationError, match="frozen"):
        plain.size = 4


def test_the_hash_is_that_of_what_the_cells_say(toy):
    before = load_track(toy).sha256
    toy.write_text("# a comment\n" + TOY.replace("a toy", "another summary"))
    assert load_track(toy).sha256 == before
    toy.write_text(TOY.replace("size = 3", "size = 4"))
    assert load_track(toy).sha256 != before
    toy.write_text(TOY)
    (toy.parent / "beside.toml").write_text(BESIDE.replace("seed = 5", "seed = 6"))
    assert load_track(toy).sha256 != before


def test_the_hash_of_the_published_track_stays():
    assert load_track("paper").sha256 == "2649f5eb7b85ef672b06e61a0a627cd51bbe4643a1ea51c91a4288de00a6181f"


def test_a_text_names_a_track_or_one_of_its_cells(toy):
    assert find_cells("paper")[1] == ("id", "ood", "id-positions", "ood-positions")
    assert find_cells("paper/ood")[1] == ("ood",)
    assert find_cells(f"{toy}")[1] == ("plain", "10dB")
    track, cells = find_cells(f"{toy}/10dB")
    assert (track, cells) == (load_track(toy), ("10dB",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("papre", "There is no track and no file 'papre'; did you mean 'paper'?"),
        ("paper/odd", "Track 'paper' has no cell 'odd'; did you mean 'ood'?"),
        ("missing.toml", "no track and no file 'missing.toml'; choose one of .*paper"),
    ],
)
def test_an_unknown_track_or_cell_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        find_cells(text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('map = "exact"', "", r"cells\.10dB.*the view 'raster' shows an activation map: map = 'paper' or 'exact'"),
        ('view = "image"', 'view = "image"\nmap = "paper"', r"cells\.plain.*shows no activation map"),
        ('primary = "psnr"', 'primary = "ssim"', "'ssim', which is not among the metrics"),
        ("size = 3", 'size = "3"', "size.*valid integer"),
        ("size = 3", "sizes = 3", "unknown field"),
        ('specs = ["mini"]', 'specs = ["mini", "mini"]', "a spec is named twice"),
        (
            'specs = ["mini"]',
            'specs = ["mini", "mini_species"]',
            r"cells\.plain.*one species .* and some two; make two",
        ),
        (
            'specs = ["mini"]',
            'specs = ["mini", {spec = "mini", set = ["splits.ood_kernels=1"]}]',
            r"cells\.plain.*some keep all kernels for the OOD test; state training",
        ),
        (
            'specs = ["mini"]',
            'specs = ["min"]',
            "cell 'plain': There is no spec and no file 'min'; did you mean 'mini'",
        ),
        ('specs = ["mini"]', "specs = [3]", "a spec is a name, a file or"),
        ('set = ["corruptions', 'set = [3, "corruptions', "set is a list of texts such as 'kernels.count=300', found"),
        ('task = "ood"', 'task = "odd"', "task.*'id' or 'ood'"),
        (
            "size = 3",
            "kernel_px = 9",
            "cells\\.plain.*spec .mini.: kernel_px = 9 does not fit: .*from 2 to 63 that is even",
        ),
        ("[every_cell]", "[every]", "unknown field 'every'.*every_cell"),
        ("[every_cell]", "every_cell = 3\n[cells.shared]", "every_cell.*valid dictionary"),
    ],
)
def test_a_track_that_says_something_else_is_refused(toy, old, new, words):
    toy.write_text(TOY.replace(old, new))
    with pytest.raises(UsageError, match=words):
        load_track(toy)


def test_a_track_that_is_not_toml_is_refused(toy):
    toy.write_text(TOY.replace("[every_cell]", "[every_cell"))
    with pytest.raises(InvalidDataError, match=r"toy\.toml' cannot be read: it is not valid TOML"):
        load_track(toy)


@pytest.mark.parametrize(
    ("view", "words"), [("image", "the view 'image' shows no species"), ("positions", "'mini' has one species")]
)
def test_species_are_hidden_only_where_they_would_be_told(toy, view, words):
    toy.write_text(TOY.replace('view = "image"', f'view = "{view}"\ntold_species = false'))
    with pytest.raises(UsageError, match=words):
        load_track(toy)


def test_the_hash_tells_hidden_species_from_told_ones(toy):
    text = TOY.replace('view = "image"', 'view = "positions"\nspecs = ["mini_species"]')
    hashes = set()
    for told in ("", "told_species = true\n", "told_species = false\n"):
        toy.write_text(text.replace("[cells.10dB]", told + "\n[cells.10dB]"))
        hashes.add(load_track(toy).sha256)
    assert len(hashes) == 2


def test_both_cells_of_two_species_show_the_same_images():
    cells = load_track("species").cells
    assert cells["labelled"].specs == cells["hidden"].specs
    assert [cell.told_species for cell in cells.values()] == [True, False, True]
    assert {spec.observation_count for cell in cells.values() for spec in cell.specs} == {150}
