"""Scatterer CSV files become releases and back."""

import gzip
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.readers.images.csv.rows import angstrom, nanometres
from qpibench.release.csv_export import export_csv
from qpibench.release.importing import import_arrays, import_release
from qpibench.release.reader import open_release
from qpibench.release.writer import write_imported
from qpibench.specs import ImportedSpec
from qpibench.synthesis.contract import Kernels, Observations

FIELD = Grid(ny=12, nx=12, size_y_nm=10.0, size_x_nm=10.0)
TWOFOLD = {"fold": 2, "phi1": 0.7, "B": 1.5, "phi2": 0.4, "C": 0.2}
MOST = 4
FIRST_COORDINATE = 12 * 12


def table(*, axis_order="x_first", grid=FIELD, parameters=TWOFOLD, counts=(2, 4, 3), seed=0):
    """Rows of a CSV file as lists of text, and what they mean."""
    rng = np.random.default_rng(seed)
    half = grid.size_x_nm / 2
    positions = [np.round(rng.uniform(-half, half, (count, 2)), 5) for count in counts]
    kernel = kernel_image(grid, eq7, **parameters).astype(np.float32)
    images = [superpose(grid, eq7, position_nm, **parameters).astype(np.float32) for position_nm in positions]

    def row(image, position_nm):
        pixels = (image.T if axis_order == "x_first" else image).ravel()
        coordinates = np.full((MOST, 2), 1000.0)
        coordinates[: len(position_nm)] = 10 * position_nm
        return [str(value) for value in pixels] + [f"{value:.6g}" for value in coordinates.ravel()]

    rows = [[str(grid.nx), str(MOST)], [f"{10 * x:.6g}" for x in grid.x_nm], row(kernel, np.zeros((1, 2)))]
    return rows + [row(*pair) for pair in zip(images, positions, strict=True)], kernel, images, positions


def write(path, rows, *, separator=","):
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    return path


def write_release(path, *, grid=FIELD, position_nm=None, observation_kernel=(0, 1, 0, 1, 0)):
    """A release of two kernels with awkward numbers."""
    rng = np.random.default_rng(1)
    count = len(observation_kernel)
    if position_nm is None:
        position_nm = rng.uniform(-5, 5, (count, MOST, 2)) * rng.choice([1, 1, 1e-9], (count, MOST, 2))
    n_scatterers = np.arange(count, dtype=np.int32) % MOST + 1
    position_nm = np.where(np.arange(MOST)[:, None] < n_scatterers[:, None, None], position_nm, np.nan)
    unknown = np.full(2, np.nan)
    kernels = Kernels(
        image=np.array([kernel_image(grid, eq7, **TWOFOLD)] * 2, dtype=np.float32),
        family=np.full(2, b"unknown", dtype="S16"),
        parameters={
            "fold": np.full(2, -1, dtype=np.int32),
            "phi1": unknown,
            "B": unknown,
            "phi2": unknown,
            "C": unknown,
        },
    )
    image = np.array([superpose(grid, eq7, scatterers, **TWOFOLD) for scatterers in position_nm], dtype=np.float32)
    image[0, 0, :4] = [1e-42, 1 / 3, -1e-20, 0]
    observations = Observations(
        image=image,
        kernel=np.array(observation_kernel, dtype=np.int32),
        n_scatterers=n_scatterers,
        position_nm=position_nm,
    )
    spec = ImportedSpec(name="awkward", files_sha256=("0" * 64,), axis_order="x_first", grid=grid)
    write_imported(spec, path, kernels, observations)
    return open_release(path)


@pytest.mark.parametrize("axis_order", ["x_first", "y_first"])
def test_images_come_out_y_first_whatever_the_file_says(tmp_path, axis_order):
    rows, kernel, images, positions = table(axis_order=axis_order)
    spec, kernels, observations, maps = import_arrays([write(tmp_path / "kernel.csv", rows)])
    assert spec.axis_order == axis_order
    assert axis_order in maps.remark
    np.testing.assert_array_equal(kernels.image[0], kernel)
    np.testing.assert_array_equal(observations.image, images)
    for padded, position_nm in zip(observations.position_nm, positions, strict=True):
        np.testing.assert_array_equal(padded[: len(position_nm)], position_nm)
        assert np.isnan(padded[len(position_nm) :]).all()


def test_what_a_file_does_not_tell_is_unknown(tmp_path):
    kernels = import_arrays([write(tmp_path / "kernel.csv", table()[0])])[1]
    assert kernels.parameters["fold"].tolist() == [-1]
    assert kernels.family.tolist() == [b"unknown"]
    assert np.isnan([kernels.parameters[name] for name in ("phi1", "B", "phi2", "C")]).all()


def test_several_files_make_one_release_with_a_kernel_each(tmp_path):
    files = [write(tmp_path / f"{seed}.csv", table(seed=seed, counts=(seed, 4))[0]) for seed in (3, 1, 2)]
    content, maps = import_release(files, tmp_path / "three.h5")
    with open_release(tmp_path / "three.h5") as release:
        assert release.content_sha256 == content
        assert release.name == "three"
        assert len(set(release.spec.files_sha256)) == 3
        assert release.observation_kernel.tolist() == [0, 0, 1, 1, 2, 2]
        assert release.observations(range(6)).n_scatterers.tolist() == [3, 4, 1, 4, 2, 4]
        np.testing.assert_array_equal(release.kernels.image, maps.kernel_image)


@pytest.mark.parametrize(("size_nm", "most"), [(40.0, 20), (10.0, 100)], ids=["400 A, 20", "100 A, 100"])
def test_both_published_layouts_are_read(tmp_path, size_nm, most):
    grid = Grid(ny=64, nx=64, size_y_nm=size_nm, size_x_nm=size_nm)
    scatterers = ["12.5", "-30", *["1000"] * (2 * most - 2)]
    rows = [
        ["64", str(most)],
        [f"{10 * x:.4f}" for x in grid.x_nm],
        ["0.5"] * 4096 + ["1000"] * (2 * most),
        ["0.25"] * 4096 + scatterers,
    ]
    file = write(tmp_path / "kernel.csv", rows)
    spec, _kernels, observations, _maps = import_arrays([file], max_residual=np.inf)
    assert spec.grid == grid
    assert observations.position_nm.shape == (1, most, 2)
    assert observations.position_nm[0, 0].tolist() == [1.25, -3.0]


def test_unused_places_may_lie_between_used_ones(tmp_path):
    rows = table()[0]
    rows[3][FIRST_COORDINATE:] = ["1000", "1000", "1", "2", "1000", "1000", "3", "4"]
    observations = import_arrays([write(tmp_path / "kernel.csv", rows)], max_residual=np.inf)[2]
    assert observations.n_scatterers[0] == 2
    assert observations.position_nm[0, :2].tolist() == [[0.1, 0.2], [0.3, 0.4]]


def spelled(number):
    """The same number, written otherwise."""
    return f" {Decimal(number):+e} " if "." in number else number


SPELLINGS = {
    "CRLF": lambda rows: "\r\n".join(map(",".join, rows)).encode(),
    "blank lines": lambda rows: "\n\n".join(map(",".join, [*rows, [], []])).encode(),
    "a byte order mark": lambda rows: b"\xef\xbb\xbf" + "\n".join(map(",".join, rows)).encode(),
    "spaces beside commas": lambda rows: "\n".join(map(", ".join, rows)).encode(),
    "semicolons": lambda rows: "\n".join(map(";".join, rows)).encode(),
    "tabs": lambda rows: "\n".join(map("\t".join, rows)).encode(),
    "spaces": lambda rows: "\n".join(map("  ".join, rows)).encode(),
    "gzip": lambda rows: gzip.compress("\n".join(map(",".join, rows)).encode()),
    "other digits": lambda rows: "\n".join(",".join(map(spelled, row)) for row in rows).encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_the_same_numbers_make_the_same_release_however_they_are_written(tmp_path, spelling):
    rows = table()[0]
    (tmp_path / "other.csv").write_bytes(spelling(rows))
    plain = import_release([write(tmp_path / "plain.csv", rows)], tmp_path / "plain.h5", name="same")[0]
    assert import_release([tmp_path / "other.csv"], tmp_path / "other.h5", name="same")[0] == plain


@pytest.mark.parametrize("axis_order", ["x_first", "y_first"])
def test_an_exported_release_is_imported_with_the_same_hash(tmp_path, axis_order):
    rows = table(axis_order=axis_order)[0]
    rows[3][FIRST_COORDINATE:] = ["1000", "1000", *rows[3][FIRST_COORDINATE:-2]]
    file = write(tmp_path / "kernel.csv", rows, separator=";")
    first = import_release([file], tmp_path / "first.h5", name="same")[0]
    with open_release(tmp_path / "first.h5") as release:
        export_csv(release, 0, tmp_path / "exported.csv")
    assert import_release([tmp_path / "exported.csv"], tmp_path / "second.h5", name="same")[0] == first


def test_another_number_makes_another_hash(tmp_path):
    rows = table()[0]
    specs = [import_arrays([write(tmp_path / "a.csv", rows)])[0]]
    rows[4][7] = str(np.nextafter(np.float32(rows[4][7]), np.float32(1)))
    specs.append(import_arrays([write(tmp_path / "a.csv", rows)])[0])
    assert specs[0].files_sha256 != specs[1].files_sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda text: text.encode("utf-16"), "is text in UTF-16; expected UTF-8"),
        (
            lambda text: text.replace("12,4", "\u00e9,4").encode("latin-1"),
            "row 1, column 1: the file is not text in UTF-8",
        ),
        (lambda text: bytes(range(256)) * 4, "is not text; expected a CSV file in UTF-8"),
        (lambda text: gzip.compress(text.encode())[:-20], "is a damaged gzip file"),
        (lambda text: gzip.compress(text.encode())[:50] + b"?" * 50, "is a damaged gzip file"),
        (lambda text: text.replace(",", "|").encode(), r"row 1: expected two numbers, .* separated by .* found '12|4'"),
        (
            lambda text: text.replace(",", ";").replace(".", ",").encode(),
            r"row 2, column 2: .* a number with a decimal comma",
        ),
        (
            lambda text: text.replace(",", "\t").replace(".", ",").encode(),
            r"row 2, column 2: .* a number with a decimal comma",
        ),
        (
            lambda text: "12,0,4,0" + text[4:],
            r"row 1: expected 2 numbers separated by commas, found 4; .* decimal commas",
        ),
        (
            lambda text: "12;4" + text[4:],
            r"row 2: expected 12 pixel coordinates separated by semicolons, .* found 1 columns",
        ),
    ],
)
def test_text_that_is_written_otherwise_is_refused_in_one_sentence(tmp_path, content, words):
    changed = content(write(tmp_path / "kernel.csv", table()[0]).read_text())
    (tmp_path / "kernel.csv").write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(InvalidDataError, match=r"^'.*kernel\.csv'.*" + words):
        import_arrays([tmp_path / "kernel.csv"])


def test_an_exported_kernel_is_imported_bit_for_bit(tmp_path):
    with write_release(tmp_path / "awkward.h5") as release:
        files = [tmp_path / "0.csv", tmp_path / "1.csv"]
        assert [export_csv(release, kernel, file) for kernel, file in enumerate(files)] == [3, 2]
        written = release.observations(np.argsort(release.observation_kernel, kind="stable"))
        kernels = release.kernels
    spec, found, observations, _ = import_arrays(files)
    assert spec.axis_order == "x_first"
    np.testing.assert_array_equal(found.image, kernels.image)
    np.testing.assert_array_equal(observations.image, written.image)
    np.testing.assert_array_equal(observations.position_nm, written.position_nm)
    np.testing.assert_array_equal(observations.n_scatterers, written.n_scatterers)
    assert spec.grid == FIELD


def test_a_name_that_ends_in_gz_gives_a_compressed_file_with_the_same_text(tmp_path):
    with write_release(tmp_path / "awkward.h5") as release:
        export_csv(release, 0, tmp_path / "0.csv")
        export_csv(release, 0, tmp_path / "0.csv.gz")
    assert gzip.decompress((tmp_path / "0.csv.gz").read_bytes()) == (tmp_path / "0.csv").read_bytes()


def test_a_kernel_row_names_its_own_scatterer(tmp_path):
    with write_release(tmp_path / "awkward.h5") as release:
        export_csv(release, 0, tmp_path / "0.csv")
    rows = [line.split(",") for line in (tmp_path / "0.csv").read_text().splitlines()]
    assert rows[0] == ["12", "4"]
    assert [float(x) for x in rows[2][FIRST_COORDINATE:]] == [0, 0] + 6 * [1000]


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e3, max_value=1e3))
def test_lengths_survive_the_change_of_units(nm):
    assert nanometres(angstrom(nm)) == nm


@pytest.mark.parametrize("text", ["12.5", "1.25e1", " 125E-1 ", "+12.50"])
def test_lengths_are_read_in_any_notation(text):
    assert nanometres(text) == 1.25


def set_field(row, column, text):
    def change(rows):
        rows[row - 1][column - 1] = text

    return change


def drop_column(row):
    return lambda rows: rows[row - 1].pop()


def keep(count):
    def change(rows):
        del rows[count:]

    return change


BAD_FILES = {
    "text for a pixel": (set_field(5, 17, "abc"), r"row 5, column 17: .*'abc'"),
    "NaN for a pixel": (set_field(4, 2, "nan"), r"row 4, column 2: .*'nan'"),
    "infinite in float32": (set_field(4, 2, "1e39"), r"row 4, column 2: .*'1e39'"),
    "nothing for a pixel": (set_field(3, 144, ""), r"row 3, column 144: .*nothing"),
    "text for a coordinate": (set_field(6, 146, "x"), r"row 6, column 146: .*'x'"),
    "an endless exponent": (set_field(4, 145, "1e" + 5000 * "0" + "1"), r"row 4, column 145: the number is too long"),
    "x outside the field": (set_field(4, 147, "50.1"), r"row 4, column 147: x = 50\.1 .* -50 to 50"),
    "y outside the field": (set_field(5, 150, "-51"), r"row 5, column 150: y = -51 "),
    "half of a pair unused": (set_field(4, 145, "1000"), r"row 4, column 145: x = 1000 "),
    "a column missing in an image": (drop_column(6), r"row 6: expected 152 columns .* found 151"),
    "a column missing in the kernel": (drop_column(3), r"row 3: expected 152 columns .* found 151"),
    "a pixel coordinate missing": (drop_column(2), r"row 2: expected 12 pixel coordinates .*, found 11"),
    "an uneven pixel coordinate": (set_field(2, 3, "7"), r"row 2, column 3: .* found 7 "),
    "a resolution that is no integer": (set_field(1, 1, "12.5"), r"row 1, column 1: .*12\.5"),
    "zero scatterers": (set_field(1, 2, "0"), r"row 1, column 2: .* found 0"),
    "another number of scatterers": (set_field(1, 2, "5"), r"row 3: expected 154 columns .* found 152"),
    "one number in the first row": (drop_column(1), r"row 1: expected two numbers"),
    "no images": (keep(3), r"ends before the first image row"),
    "no kernel": (keep(2), r"ends before the kernel row"),
    "nothing at all": (keep(0), r"is empty"),
}


@pytest.mark.parametrize(("change", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_named_with_row_and_column(tmp_path, change, message):
    rows = table()[0]
    change(rows)
    with pytest.raises(InvalidDataError, match=r"bad\.csv'.*" + message):
        import_arrays([write(tmp_path / "bad.csv", rows)])


def test_a_field_that_reaches_the_placeholder_is_refused(tmp_path):
    rows = table(grid=Grid(ny=12, nx=12, size_y_nm=200, size_x_nm=200))[0]
    with pytest.raises(InvalidDataError, match="marks an unused scatterer"):
        import_arrays([write(tmp_path / "wide.csv", rows)])


def test_missing_and_repeated_files_and_folders_are_refused(tmp_path):
    file = write(tmp_path / "kernel.csv", table()[0])
    with pytest.raises(UsageError, match=r"There is no file .*absent\.csv"):
        import_arrays([file, tmp_path / "absent.csv"])
    with pytest.raises(UsageError, match="is a folder"):
        import_arrays([tmp_path])
    with pytest.raises(UsageError, match="give every kernel once"):
        import_arrays([file, file])
    with pytest.raises(UsageError, match="name at least one"):
        import_arrays([])
    with pytest.raises(UsageError, match="cannot be named"):
        import_arrays([file], name="")


def test_files_of_different_grids_do_not_mix(tmp_path):
    other = Grid(ny=12, nx=12, size_y_nm=20, size_x_nm=20)
    files = [write(tmp_path / "a.csv", table()[0]), write(tmp_path / "b.csv", table(grid=other)[0])]
    with pytest.raises(InvalidDataError, match=r"b\.csv' has 12 pixels on 20 nm, but .*a\.csv"):
        import_arrays(files)


def test_an_export_never_harms_an_existing_file(tmp_path):
    target = tmp_path / "0.csv"
    target.write_text("precious")
    with write_release(tmp_path / "awkward.h5") as release:
        with pytest.raises(UsageError, match="exists already"):
            export_csv(release, 0, target)
        with pytest.raises(UsageError, match="has no kernel 2; it has 0 to 1"):
            export_csv(release, 2, target, overwrite=True)
        assert target.read_text() == "precious"
        export_csv(release, 0, target, overwrite=True)
    assert target.read_text().startswith("12,4\n")
    with pytest.raises(UsageError, match="does not exist"):
        export_csv(release, 0, tmp_path / "nowhere" / "0.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": Grid(ny=8, nx=12, size_y_nm=10, size_x_nm=10)}, "square images only"),
        ({"grid": Grid(ny=12, nx=12, size_y_nm=200, size_x_nm=200)}, "marks an unused scatterer"),
        ({"position_nm": np.full((5, MOST, 2), 5.1)}, r"Observation 0 has a scatterer at \(5.1, 5.1\) nm"),
    ],
    ids=["oblong", "too wide", "scatterers outside"],
)
def test_what_the_layout_cannot_hold_is_refused_and_leaves_nothing(tmp_path, options, message):
    with (
        write_release(tmp_path / "awkward.h5", **options) as release,
        pytest.raises(InvalidDataError, match=message),
    ):
        export_csv(release, 0, tmp_path / "0.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["awkward.h5"]


def test_a_failed_write_is_explained(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with write_release(tmp_path / "awkward.h5") as release:
        monkeypatch.setattr("qpibench.release.csv_export.open", full, raising=False)
        with pytest.raises(QpibenchError, match="No space left on device"):
            export_csv(release, 0, tmp_path / "0.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["awkward.h5"]
