"""Foreign files are compared with the superposition of their kernel before they become a release."""

import pytest


@pytest.fixture(scope="module")
def files(qpibench, mini, tmp_path_factory):
    """The CSV files of kernels 0 and 5."""
    folder = tmp_path_factory.mktemp("csv")
    for kernel in (0, 5):
        qpibench("export-csv", mini, "--kernel", kernel, "-o", folder / f"{kernel}.csv")
    return folder


def swapped(files, path, change):
    """The file of kernel 0 with another kernel row."""
    rows = (files / "0.csv").read_text().splitlines()
    rows[2] = change(rows[2], (files / "5.csv").read_text().splitlines()[2])
    path.write_text("\n".join(rows) + "\n")
    return path


def zeros(row, _other):
    return ",".join(["0"] * len(row.split(",")))


def test_the_files_of_a_release_are_imported_with_their_residual(qpibench, files, tmp_path):
    imported = qpibench("import", files / "0.csv", files / "5.csv", "-o", tmp_path / "back.h5", "--json").json
    residual = imported["forward_residual"]
    assert 0 < residual["median"] <= residual["largest"] < 0.5


@pytest.mark.parametrize("change", [zeros, lambda row, other: other], ids=["zeros", "another file's kernel"])
def test_a_kernel_row_that_does_not_belong_to_the_images_is_refused(qpibench, files, tmp_path, change):
    wrong = swapped(files, tmp_path / "wrong.csv", change)
    outcome = qpibench("import", wrong, "-o", tmp_path / "wrong.h5", "--json")
    outcome.fails(3, "of 10 images", "residual above 0.5", "wrong.csv', row ", "--max-residual", "multiple scattering")
    assert not (tmp_path / "wrong.h5").exists()


def test_it_is_imported_with_a_warning_when_told(qpibench, files, tmp_path):
    wrong = swapped(files, tmp_path / "wrong.csv", zeros)
    outcome = qpibench("import", wrong, "-o", tmp_path / "wrong.h5", "--max-residual", 1, "--json")
    assert outcome.exit_code == 0
    (warning,) = outcome.json["warnings"]
    assert warning.startswith("10 of 10 images have a forward residual above 0.1, the largest is 1 (")
    assert "noise, a truncated kernel, multiple scattering" in warning


def test_one_image_at_the_wrong_place_is_named_by_its_row(qpibench, files, tmp_path):
    rows = [row.split(",") for row in (files / "0.csv").read_text().splitlines()]
    rows[7] = [*rows[7][: 64 * 64], *rows[8][64 * 64 :]]
    (tmp_path / "wrong.csv").write_text("\n".join(map(",".join, rows)))
    outcome = qpibench("import", tmp_path / "wrong.csv", "-o", tmp_path / "wrong.h5")
    outcome.fails(3, "1 of 10 images", "wrong.csv', row 8)")
