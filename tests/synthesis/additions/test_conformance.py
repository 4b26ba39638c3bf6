"""Rules that every family and every corruption follows, of the package or in a user's file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qpibench import families
from qpibench.columns import BUILT_IN, Column
from qpibench.corruptions import STAGES, corruption_names, get_corruption
from qpibench.errors import UnavailableError, UsageError
from qpibench.families import family_names, get_family, is_tabulated
from qpibench.locator import locate
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.readers.images.csv import read as read_csv
from qpibench.release import open_release, verify_release, write_release
from qpibench.release.csv_export import export_csv
from qpibench.specs import spec_from_json
from qpibench.specs.columns import scatterer_capacity
from qpibench.synthesis import get_backend
from qpibench.synthesis.fields import known_fields, stream_fields
from qpibench.synthesis.stream import fresh_batches

SHIPPED = family_names(), corruption_names()
FAMILIES = [*family_names(), "ring", "ripple"]
CORRUPTIONS = [*corruption_names(), "shaken", "dimmed", "unseen", "pushed"]
WORLDS = [(family, ()) for family in FAMILIES] + [("eq7", (name,)) for name in CORRUPTIONS]
NOT_OF_IMAGES = tuple(name for name in corruption_names() if get_corruption(name).STAGE != "image")
WORLDS += [(family, ("unseen_scatterers",)) for family in FAMILIES if family not in ("eq7", "tight_binding")]
WORLDS += [("eq7", NOT_OF_IMAGES), ("tight_binding", NOT_OF_IMAGES)]
WORLDS += [(family, ("shaken", "white_noise", "dimmed", "unseen", "pushed")) for family in FAMILIES]
WORLDS += [(family, ("drawn species",)) for family in FAMILIES]
WORLDS += [("eq7", ("rotated species", *NOT_OF_IMAGES)), ("surface_state", ("drawn species", *NOT_OF_IMAGES))]
WORLDS += [("tight_binding", ("drawn species", *NOT_OF_IMAGES, "tip_blur", "drift", "white_noise"))]
WORLDS += [("eq7", ("drawn species", "unseen", "tip_blur", "drift", "white_noise"))]
OF_IMAGES = tuple(name for name in corruption_names() if get_corruption(name).STAGE == "image")
EVERYTHING = [("surface_state", (*NOT_OF_IMAGES, *OF_IMAGES)), ("file", ("drawn species", *NOT_OF_IMAGES, *OF_IMAGES))]
WORLDS += EVERYTHING
MULTIPLE = [
    (family, ("multiple", "missing_scatterers", "position_error", "tip_blur", "drift", "white_noise"))
    for family in ("surface_state", "tight_binding")
]
WORLDS += MULTIPLE
REPEATED = {*EVERYTHING} | {
    (family, corruptions)
    for family, corruptions in WORLDS
    if family not in ("eq7", "file") and corruptions and corruptions[0] in ("shaken", "drawn species")
}
"""What other worlds have apart from each other; the slow tests have it together."""

HEADERS = locate("kernels_cuda") / "families"
TABULATED = [*(name for name in family_names() if is_tabulated(get_family(name))), "ripple"]
ON_GPU = [
    world
    for world in WORLDS
    if world not in MULTIPLE and (world[0] in TABULATED or (HEADERS / f"{world[0]}.cuh").exists())
]
DTYPES = {"<f8", "<f4", "<i4"}


def _each(worlds):
    marked = [pytest.param(*world, marks=pytest.mark.slow if world in REPEATED else ()) for world in worlds]
    return pytest.mark.parametrize(("family", "corruptions"), marked)


@pytest.fixture
def backend():
    return get_backend("cpu")[0]


def _same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def _check_columns(columns, *, per):
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert isinstance(column, Column)
        assert column.name.isidentifier()
        assert column.per in per
        assert column.dtype in DTYPES
        assert column.units
        assert column.long_name
        assert column.empty(2).dtype == np.dtype(column.dtype)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_declares_its_columns_and_describes_its_kernels(name, spec_of, backend):
    family, spec = get_family(name), spec_of(name)
    _check_columns(family.COLUMNS, per={"kernel"})
    assert {column.name: column.dtype for column in family.COLUMNS}[family.STRATUM] == "<i4"
    kernels = backend.kernels(spec)
    declared = {column.name: np.empty(0, column.dtype) for column in family.COLUMNS}
    _same({name: values[:0] for name, values in kernels.parameters.items()}, declared)
    assert kernels.family.tolist() == [name.encode()] * len(kernels)
    for row in range(len(kernels)):
        described = family.describe({column: values[row] for column, values in kernels.parameters.items()})
        assert family.stratum_label(int(kernels.parameters[family.STRATUM][row])) in described
    unknown = {column.name: column.empty(1)[0] for column in family.COLUMNS}
    assert family.describe(unknown)[0] == family.stratum_label(-1) == "unknown"
    assert family.wavevector(kernels.parameters).shape == (len(kernels),)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_strata_of_a_family_go_on_without_end(name, spec_of):
    family, ranges = get_family(name), spec_of(name).kernels
    far = 2**40
    whole = family.strata(ranges, far, far + 50)
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(whole[20:30], family.strata(ranges, far + 20, far + 30))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_refuses_periods_that_would_alias(name, spec_of):
    with pytest.raises(ValueError, match="would alias"):
        spec_of(name, grid={"ny": 4, "nx": 4, "size_y_nm": 90.0, "size_x_nm": 90.0})


@pytest.mark.parametrize("name", FAMILIES)
def test_the_fast_images_of_a_family_are_those_of_its_reference(name, spec_of, backend):
    family, spec = get_family(name), spec_of(name)
    kernels = backend.kernels(spec)
    made = backend.observations(spec, kernels, 0, spec.observation_count)
    parameters = [{column: values[row] for column, values in kernels.parameters.items()} for row in range(len(kernels))]
    for image, given in zip(kernels.image, parameters, strict=True):
        expected = kernel_image(spec.grid, family, **given)
        assert np.abs(image - expected).max() < 1e-7 * np.abs(expected).max()
    for image, position, row in zip(made.image, made.position_nm, made.kernel, strict=True):
        expected = superpose(spec.grid, family, position, **parameters[row])
        assert np.abs(image - expected).max() < 5e-6 * np.abs(expected).max()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_declares_its_columns_and_its_stage(name):
    corruption = get_corruption(name)
    assert corruption.STAGE in STAGES
    _check_columns(corruption.COLUMNS, per={"observation", "scatterer"})
    others = {c.name for other in CORRUPTIONS if other != name for c in get_corruption(other).COLUMNS}
    assert others.isdisjoint(column.name for column in corruption.COLUMNS)


def test_the_order_of_the_packages_corruptions_is_not_a_matter_of_their_names():
    places = [(get_corruption(name).STAGE, get_corruption(name).ORDER) for name in SHIPPED[1]]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_leaves_alone_what_it_does_not_act_on(name, spec_of, backend):
    clean, spec = spec_of(), spec_of(corruptions=[name])
    kernels = backend.kernels(spec)
    without, made = (backend.observations(each, kernels, 0, 60) for each in (clean, spec))
    stage = get_corruption(name).STAGE
    assert np.array_equal(made.image, without.image) == (stage == "told")
    if stage != "scatterers":
        np.testing.assert_array_equal(made.position_nm[:, :7], without.position_nm)
        np.testing.assert_array_equal(made.n_scatterers, without.n_scatterers)
        assert np.array_equal(made.told, without.told, equal_nan=True) == (stage == "image")
    assert made.position_nm.shape == made.told.shape == (60, scatterer_capacity(spec), 2)
    assert ((~np.isnan(made.position_nm[..., 0])).sum(axis=1) == made.n_scatterers).all()
    assert list(made.extra) == [column.name for column in get_corruption(name).COLUMNS]


def test_a_scatterer_that_is_added_is_in_the_image_and_not_told(spec_of, backend, tmp_path):
    spec = spec_of(corruptions=["unseen"])
    kernels = backend.kernels(spec)
    clean = backend.observations(spec_of(), kernels, 0, 60)
    write_release(spec, tmp_path / "release.h5", backend=backend)
    with open_release(tmp_path / "release.h5") as release:
        made = release.observations(np.arange(60))
    np.testing.assert_array_equal(made.n_scatterers, clean.n_scatterers + 1)
    np.testing.assert_array_equal(made.told[:, :7], clean.position_nm)
    assert np.isnan(made.told[:, 7]).all()
    assert np.abs(made.image - clean.image - kernels.image[made.kernel]).max() < 1e-5


def test_a_map_and_a_file_in_csv_know_of_the_same_scatterers_as_told_and_true_positions(spec_of, backend, tmp_path):
    square = {"ny": 40, "nx": 40, "size_y_nm": 6.25, "size_x_nm": 6.25}
    spec = spec_of(corruptions=["unseen"], grid=square)
    drawn = spec_of(grid=square)
    unseen, seen = (backend.fresh(each, 0, 9, fields=["activation_map"], map_mode="exact") for each in (spec, drawn))
    _same(unseen, seen)
    write_release(spec, tmp_path / "release.h5", backend=backend)
    assert verify_release(tmp_path / "release.h5", backend=backend)
    with open_release(tmp_path / "release.h5") as release:
        export_csv(release, 3, tmp_path / "kernel3.csv")
        exported = release.observations(np.flatnonzero(release.observation_kernel == 3))
    read = read_csv([tmp_path / "kernel3.csv"])
    np.testing.assert_array_equal(read.position_nm, exported.position_nm)
    np.testing.assert_array_equal(read.image, exported.image)


@pytest.mark.parametrize("names", [["pushed", "shaken"], ["shaken", "pushed"]])
def test_a_model_is_told_where_scatterers_moved_to_and_then_what_a_corruption_makes_of_it(names, spec_of, backend):
    clean, alone, both = (spec_of(corruptions=each) for each in ([], ["pushed"], names))
    drawn, moved, shaken = (backend.observations(spec, backend.kernels(spec), 0, 60) for spec in (clean, alone, both))
    np.testing.assert_array_equal(moved.position_nm, drawn.position_nm + np.array([0.5, 0.0]))
    assert moved.told_position_nm is None
    np.testing.assert_array_equal(shaken.position_nm, moved.position_nm)
    np.testing.assert_array_equal(shaken.told[..., 0], moved.position_nm[..., 0] + shaken.extra["off_nm"])
    np.testing.assert_array_equal(shaken.told[..., 1], moved.position_nm[..., 1])


def test_scatterers_that_are_added_without_a_word_are_refused(spec_of, backend, monkeypatch):
    monkeypatch.delattr(get_corruption("unseen"), "extra_scatterers")
    spec = spec_of(corruptions=["unseen"])
    message = "a corruption adds scatterers and does not define extra_scatterers"
    with pytest.raises(ValueError, match=message):
        backend.observations(spec, backend.kernels(spec), 0, 60)
    with pytest.raises(ValueError, match=message):
        backend.fresh(spec, 0, 60, fields=["image"], map_mode="exact")


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"name": "fold"}, "'dimmed' declares the column 'fold', which 'eq7' has already"),
        ({"name": "index"}, "'dimmed' declares the column 'index', which every release has already"),
        ({"name": "x"}, "'dimmed' declares the column 'x', which every release has already"),
        ({"name": "split_id_test"}, "'dimmed' declares the column 'split_id_test', which every release has already"),
        ({"name": "new", "per": "kernel"}, "'dimmed' declares the column 'new' of kernels, which only families do"),
    ],
)
def test_columns_that_a_release_cannot_have_are_refused(spec_of, monkeypatch, column, told):
    declared = replace(get_corruption("dimmed").COLUMNS[0], **column)
    monkeypatch.setattr(get_corruption("dimmed"), "COLUMNS", (declared,))
    with pytest.raises(ValueError, match=told):
        spec_of(corruptions=["dimmed"])


def test_no_declared_column_can_have_a_name_that_views_of_a_release_use(spec_of, backend, tmp_path):
    xarray_view = pytest.importorskip("qpibench.release.xarray_view")
    torch_view = pytest.importorskip("qpibench.release.torch_view")
    spec = spec_of(corruptions=["rotated species", "unseen"])
    write_release(spec, tmp_path / "release.h5", backend=backend)
    with open_release(tmp_path / "release.h5") as release, xarray_view.to_xarray(release) as dataset:
        used = {*dataset.variables, *dataset.dims, *torch_view.sample_fields(release), *known_fields(spec)}
        columns = {column.name for name in corruption_names() for column in get_corruption(name).COLUMNS}
        assert used - columns - release.kernels.parameters.keys() == BUILT_IN


def test_a_family_whose_name_a_release_would_cut_is_refused(spec_of, tmp_path, monkeypatch):
    toy = Path(get_family("ring").__file__).read_text(encoding="utf-8")
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    for name in ("ring" * 4, "ring" * 4 + "s"):
        (tmp_path / f"{name}.py").write_text(toy.replace('"ring"', f'"{name}"'))
    assert spec_of("ring" * 4).kernels.family == "ring" * 4
    with pytest.raises(UsageError, match="'ringringringrings' has a name of more than 16 bytes; rename its file"):
        get_family("ring" * 4 + "s")


@_each(WORLDS)
def test_runs_and_batches_do_not_matter(family, corruptions, spec_of, backend):
    spec = spec_of(family, corruptions)
    kernels = backend.kernels(spec)
    whole = backend.observations(spec, kernels, 0, 60).columns()
    for start, stop in [(0, 1), (17, 31), (59, 60)]:
        part = backend.observations(spec, kernels, start, stop).columns()
        _same(part, {name: values[start:stop] for name, values in whole.items()})
    batch, part = (fresh_batches(spec, batch_size=size, map_mode="exact")(step) for size, step in ((24, 1), (4, 7)))
    _same(part, {name: values[4:8] for name, values in batch.items()})
    assert tuple(batch) == stream_fields(spec)


@_each(WORLDS)
def test_a_stream_has_the_bits_of_a_release_in_the_training_domain(family, corruptions, spec_of, backend):
    spec = spec_of(family, corruptions)
    kernels = backend.kernels(spec, domain="training")
    made = backend.observations(spec, kernels, 0, 60, domain="training").columns()
    batch = fresh_batches(spec, batch_size=60, images_per_kernel=spec.observations_per_kernel)(0)
    shared = made.keys() & batch.keys()
    assert {"image", "position_nm", "n_scatterers"} < shared
    for name in shared - {"kernel"}:
        np.testing.assert_array_equal(batch[name], made[name], err_msg=name)
    np.testing.assert_array_equal(batch["kernel"], kernels.image[made["kernel"]])


@_each(WORLDS)
def test_a_file_gives_back_what_was_made_and_its_spec_gives_it_again(family, corruptions, spec_of, backend, tmp_path):
    spec, path = spec_of(family, corruptions), tmp_path / "release.h5"
    content = write_release(spec, path, backend=backend, threads=1)
    assert content == write_release(spec, tmp_path / "again.h5", backend=backend, threads=3)
    assert verify_release(path, backend=backend) == content
    with open_release(path) as release:
        assert release.spec == spec == spec_from_json(spec.canonical_json())
        kernels = backend.kernels(spec)
        _same(release.kernels.columns(), kernels.columns())
        rows = np.array([40, 3, 59])
        made = backend.observations(spec, kernels, 0, 60)
        _same(release.observations(rows).columns(), {name: values[rows] for name, values in made.columns().items()})
        np.testing.assert_array_equal(release.told_position_nm(rows), made.told[rows])
        np.testing.assert_array_equal(release.stratum, kernels.parameters[get_family(family).STRATUM])
        test = release.observation_kernel[release.split("ood", "test")]
        assert set(release.stratum[test].flat) == set(release.stratum)


@_each(ON_GPU)
@pytest.mark.usefixtures("cupy_on_host")
def test_the_cuda_backend_has_the_same_bits(family, corruptions, spec_of, backend):
    spec = spec_of(family, corruptions, observations_per_kernel=2)
    cuda = get_backend("cuda")[0]
    kernels = backend.kernels(spec)
    found, expected = (each.observations(spec, kernels, 3, 20).columns() for each in (cuda, backend))
    _same(found, expected)
    fields = stream_fields(spec)
    found, expected = (each.fresh(spec, 3, 20, fields=fields, map_mode="exact") for each in (cuda, backend))
    _same({name: array.host for name, array in found.items()}, expected)


@pytest.mark.parametrize(("family", "corruptions"), MULTIPLE)
@pytest.mark.usefixtures("cupy_on_host")
def test_the_cuda_backend_refuses_multiple_scattering_in_one_sentence(family, corruptions, spec_of):
    spec, cuda = spec_of(family, corruptions), get_backend("cuda")[0]
    told = 'scatterers.superposition = "multiple", which no CUDA kernel makes; use the CPU'
    with pytest.raises(UnavailableError, match=told):
        cuda.observations(spec, cuda.kernels(spec), 0, 5)
    with pytest.raises(UnavailableError, match=told):
        cuda.fresh(spec, 0, 5, fields=["image"], map_mode="exact")


@pytest.mark.usefixtures("cupy_on_host")
def test_the_cuda_backend_takes_no_column_of_a_family_for_the_amplitude_of_scatterers(spec_of, monkeypatch):
    family, cuda, spec = get_family("eq7"), get_backend("cuda")[0], spec_of()
    expected = cuda.fresh(spec, 7, 16, fields=["image", "B"], map_mode="exact")
    renamed = [replace(column, name="amplitude") if column.name == "B" else column for column in family.COLUMNS]
    monkeypatch.setattr(family, "COLUMNS", tuple(renamed))
    found = cuda.fresh(spec, 7, 16, fields=["image", "amplitude"], map_mode="exact")
    np.testing.assert_array_equal(found["image"].host, expected["image"].host)
    np.testing.assert_array_equal(found["amplitude"].host, expected["B"].host)


@pytest.mark.usefixtures("cupy_on_host")
def test_a_family_without_a_cuda_header_is_refused_on_the_gpu(spec_of):
    spec = spec_of("ring")
    cuda = get_backend("cuda")[0]
    with pytest.raises(UnavailableError, match="kernel family 'ring' has no CUDA header; use the CPU"):
        cuda.observations(spec, cuda.kernels(spec), 0, 5)
    with pytest.raises(UnavailableError, match="kernel family 'ring' has no CUDA header; use the CPU"):
        cuda.fresh(spec, 0, 5, fields=["image"], map_mode="exact")
