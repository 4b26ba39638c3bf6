"""Files of positions: written and read without loss, in several units, and refused by line."""

from pathlib import Path

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.extraction.positions import origin_of, read_positions, write_positions


def test_positions_are_read_as_they_were_written(tmp_path):
    positions = np.random.default_rng(0).uniform(-5, 5, (7, 2))
    write_positions(tmp_path / "p.csv", positions)
    found, pixels = read_positions(tmp_path / "p.csv")
    assert np.array_equal(found, positions)
    assert not pixels


@pytest.mark.parametrize(
    ("text", "expected", "in_pixels"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]], False),
        ("# by eye\n\nx_nm\ty_nm\n1\t2\n", [[1, 2]], False),
        ("y_m;x_m;height\n2e-9;1e-9;7\n", [[1, 2]], False),
        ("x_angstrom,y_angstrom\n10,20\n", [[1, 2]], False),
        ("row,column\n2,1\n", [[1, 2]], True),
        ("\ufeff1 2\r\n", [[1, 2]], False),
        ("x_A,y_A\n10,20\n", [[1, 2]], False),
        ("x (nm);y (nm)\n1;2\n", [[1, 2]], False),
        ("x [Å]\ty [Å]\n10\t20\n", [[1, 2]], False),
        ("x_nm;y_nm\n1,5;-2,25\n,5;3e0\n", [[1.5, -2.25], [0.5, 3]], False),
        ("1,5 -2,25\n3 4\n", [[1.5, -2.25], [3, 4]], False),
        ("1,5;2\n", [[1.5, 2]], False),
        ('"1,5","2,5"\n', [[1.5, 2.5]], False),
        ("1,2,3.5\n", [[1, 2]], False),
        ("layer,x_nm,y_nm\n4,1,2\n4,3,4\n", [[1, 2], [3, 4]], False),
        ("# y_nm,x_nm\n2,1\n", [[1, 2]], False),
        ("# x_angstrom y_angstrom\n10 20\n", [[1, 2]], False),
        ("# by eye, 1 nm\n#column,row\n1,2\n", [[1, 2]], True),
        ("# x_nm,y_nm\n# as below\n1,2\n", [[1, 2]], False),
        ("# x_angstrom, y_angstrom\n10 20\n", [[1, 2]], False),
        ("# column, row\n1 2\n", [[1, 2]], True),
        ("# X (pm) Y (pm)\n1000 2000\n", [[1, 2]], False),
        ("# y_um;x_um\n2e-3,1e-3\n", [[1, 2]], False),
        ("# x_m\ty_m\n1e-9 2e-9\n", [[1, 2]], False),
        ("# x and y, by eye\n1 2\n", [[1, 2]], False),
    ],
)
def test_columns_are_known_by_name_and_unit(tmp_path, text, expected, in_pixels):
    (tmp_path / "p.csv").write_text(text, encoding="utf-8", newline="")
    found, pixels = read_positions(tmp_path / "p.csv")
    assert found == pytest.approx(np.array(expected, dtype=float))
    assert pixels is in_pixels


def test_a_file_in_the_western_encoding_of_a_spreadsheet_is_read(tmp_path):
    (tmp_path / "p.csv").write_bytes("x_Å;y_Å\n10,5;20\n".encode("latin-1"))
    assert read_positions(tmp_path / "p.csv")[0] == pytest.approx(np.array([[1.05, 2.0]]))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no scatterer"),
        (b"x_nm,y_nm\n", "but no scatterer"),
        (b"a,b\n1,2\n", "line 1, names the columns a, b"),
        (b"# by eye\n# x_mm y_mm\n1 2\n", "line 2, names the columns x_mm, y_mm; expected x_nm and y_nm"),
        (b"# height, x [mm], y [mm]\n7 1 2\n", "line 1, names the columns height, x_mm, y_mm; expected"),
        (b"1,2\n3\n", "line 2, has no numbers"),
        (b"1,2\n3,nan\n", "line 2, has a position that is not finite"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"x_nm,y_nm\n1,5,2,5\n", "line 2, has 4 fields, and there are names of 2; .* decimal comma.* semicolons"),
        (b"1,5,2,5\n", "line 1, has 4 fields of whole numbers; .* decimal comma.* semicolons"),
        (b"Layer,x_nm,y_nm\n0,1,2\n0,3,4\n2,1,2\n", "has the scatterers of 2 layers; keep the lines of one layer"),
        (b"1.234,5;2\n", "names the columns 1.234,5, 2"),
    ],
)
def test_what_is_no_table_of_positions_is_refused_by_line(tmp_path, content, sentence):
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(InvalidDataError, match=sentence):
        read_positions(tmp_path / "p.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"There is no file"):
        read_positions(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("origin", "in_pixels", "expected"),
    [(None, False, "centre"), (None, True, "pixel"), ("pixel", True, "pixel"), ("corner", False, "corner")],
)
def test_positions_are_measured_from_where_their_columns_or_the_user_say(origin, in_pixels, expected):
    assert origin_of(Path("s.csv"), origin, in_pixels=in_pixels) == expected


@pytest.mark.parametrize("origin", ["corner", "centre"])
def test_columns_of_pixels_are_not_taken_as_nm(origin):
    with pytest.raises(UsageError, match="columns of pixels, which count from the first pixel; leave out --origin"):
        origin_of(Path("s.csv"), origin, in_pixels=True)
