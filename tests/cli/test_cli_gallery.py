"""``qpibench gallery`` through the command line."""

import pytest
from PIL import Image

from qpibench.specs import spec_names


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_picture_is_named_after_its_spec(qpibench, here):
    outcome = qpibench("gallery", "mini", "--json")
    assert outcome.json["pictures"] == [
        {"path": "mini.png", "spec": "mini", "bytes": (here / "mini.png").stat().st_size}
    ]
    with Image.open(here / "mini.png") as picture:
        assert picture.format == "PNG"


def test_a_spec_with_overrides_is_drawn(qpibench, here):
    outcome = qpibench("gallery", "cu111_64", "--set", "kernels.count=2", "-o", "cu.png")
    assert "cu111_64+kernels.count=2" in outcome.stdout
    assert [path.name for path in here.iterdir()] == ["cu.png"]


def test_an_existing_picture_stays_without_overwrite(qpibench, here, unchanged):
    (here / "mini.png").write_bytes(b"mine")
    with unchanged():
        qpibench("gallery", "mini").fails(2, "mini.png' exists already", "--overwrite")
    assert qpibench("gallery", "mini", "--overwrite", "--corruption", "position_error").exit_code == 0
    assert (here / "mini.png").read_bytes()[:4] == b"\x89PNG"


def test_all_specs_are_drawn_into_a_folder(qpibench, here, monkeypatch):
    monkeypatch.setattr("qpibench.gallery.gallery.draw_gallery", lambda spec, examples: spec.name.encode())
    assert qpibench("gallery", "--all", "-o", "pictures/new").exit_code == 0
    assert {path.name: path.read_text() for path in (here / "pictures" / "new").iterdir()} == {
        f"{name}.png": name for name in spec_names()
    }


def test_one_existing_picture_of_all_is_refused_before_any_is_drawn(qpibench, here, unchanged):
    (here / "gallery").mkdir()
    (here / "gallery" / "paper.png").write_bytes(b"mine")
    with unchanged():
        qpibench("gallery", "--all").fails(2, "paper.png' exists already")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "Name a spec"),
        ("mini --all", "Name a spec"),
        ("minni", "did you mean 'mini'"),
        ("mini --corruption white_nose", "did you mean 'white_noise'"),
        ("mini --corruptions --corruption drift", "give one of them"),
        ("mini -o picture.svg", "ends with .svg"),
        ("mini -o missing/mini.png", "Folder 'missing' does not exist"),
        ("mini --set grid.nx=8", "would alias"),
    ],
)
def test_a_bad_request_is_refused_and_writes_nothing(qpibench, here, arguments, words):
    qpibench("gallery", *arguments.split()).fails(2, words)
    assert not list(here.iterdir())


def test_a_spec_is_not_written_over(qpibench, here, unchanged):
    (here / "mine.png").write_text('name = "mine"')
    with unchanged():
        qpibench("gallery", "mine.png", "--overwrite").fails(2, "given twice")


def test_a_file_that_is_no_spec_is_refused(qpibench, here):
    (here / "mine.toml").write_text("name = ")
    qpibench("gallery", "mine.toml").fails(3, "mine.toml")
    assert [path.name for path in here.iterdir()] == ["mine.toml"]


def test_a_full_disk_leaves_no_part_of_a_picture(qpibench, here, full_disk):
    with full_disk(1000):
        outcome = qpibench("gallery", "mini", "--corruption", "position_error", "-o", "mini.png")
    outcome.fails(1, "Picture 'mini.png' cannot be written")
    assert not list(here.iterdir())
