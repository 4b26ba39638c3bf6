"""docs/arithmetic.md, docs/format.md and docs/spec.md define every bit of a release.

`tests/written_from_the_docs.py` and the files `*_from_the_docs.py` beside it compute the values of a release, and the
functions here its canonical JSON, types and hash, all with constants and texts from the pages. They are compared with
what the command line writes. Only parameters and samples of surface states and lattices come from the package.
"""

import hashlib
import importlib.util
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from qpibench.families import get_family
from qpibench.release import Shard, write_shard
from qpibench.specs import spec_from_json
from qpibench.synthesis import get_backend


def _beside(name):
    source = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


docs, scatterers = _beside("written_from_the_docs"), _beside("scatterers_from_the_docs")
species, fused = _beside("species_from_the_docs"), _beside("fused_arrays")
images, tables = _beside("images_from_the_docs"), _beside("tables_from_the_docs")
SAMPLED = {"surface_state": tables.SurfaceState, "tight_binding": tables.TightBinding}

SPEC = (docs.DOCS / "spec.md").read_text()
BLOCK_LINE, ARRAY_LINE, RELEASE_LINE, DIGEST_LINE = (
    re.search(pattern, docs.FORMAT)[1]
    for pattern in (r"`(\w+ block [A-Z ]+)`", r"`(\w+ array [A-Z ]+)`", r"`(\w+ release 1)`", r"`(NAME DIGEST)`")
)


def canonical_json(given):
    """The spec with the defaults of the page's table, as the text that is hashed."""
    spec = json.loads(json.dumps(given))
    head = ("key", "type", "unit", "default", "bounds", "meaning")
    family = spec["kernels"].get("family", "eq7")
    of_family = SPEC[SPEC.index(f"## Kernels of the family `{family}`") :]
    for key, _, _, default, *_ in docs.table(SPEC, *head) + docs.table(of_family, *head):
        *tables, name = key.split(".")
        is_used = tables[:1] != ["corruptions"] or tables[1] in spec.get("corruptions", {})
        is_used &= tables != ["species"] or "species" in spec
        if default and default != "required" and is_used:
            target = spec
            for table in tables:
                target = target.setdefault(table, {})
            target.setdefault(name, json.loads(default))
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


def dtypes():
    """Types of all arrays by name, from both tables of the page."""
    rows = docs.table(docs.FORMAT, "array", "dimensions", "type", "what it is")
    of_columns = docs.table(docs.FORMAT, "column", "per", "type", "units", "meaning", "absent", "declared by")
    return {row[0]: row[2] for row in rows} | {
        f"{row[1].replace('scatterer', 'observation')}s/{row[0]}": row[2] for row in of_columns
    }


def release(given):
    """The canonical JSON of a spec, and all arrays of its release by name."""
    if given["kernels"].get("family") == "file":
        found = {"sha256": tables.numbers_sha256(NUMBERS), "available": len(NUMBERS), "size_px": NUMBERS.shape[1]}
        given = given | {"kernels": given["kernels"] | found}
    text = canonical_json(given)
    spec, known = json.loads(text), dtypes()
    shown = kernels_of(spec)
    corrupted = scatterers if {*given.get("corruptions", ())} - {*images.ACTS, "tip_blur", "drift"} else None
    arrays = docs.derive(spec, images, shown, corrupted, species if "species" in given else None).items()
    return text, {name: _stored(values, known.get(name, known["splits/<task>/<role>"])) for name, values in arrays}


def kernels_of(spec):
    """The kernels of a spec; parameters and samples of surface states and lattices are those of the package."""
    name = spec["kernels"]["family"]
    if name not in SAMPLED:
        return tables.File(docs, spec, images, NUMBERS) if name == "file" else docs.Eq7(spec)
    family, parsed = get_family(name), spec_from_json(json.dumps(spec))
    columns = get_backend("cpu")[0].kernels(parsed).parameters
    given = [
        dict(zip(columns, row, strict=True)) for row in zip(*[each.tolist() for each in columns.values()], strict=True)
    ]

    def samples(parameters, dx, dy):
        return family.samples(parsed.kernels, {key: np.array([value]) for key, value in parameters.items()}, dx, dy)[0]

    return SAMPLED[name](docs, spec, images, given, samples)


def content_sha256(text, arrays):
    def sha256(line, *parts):
        return hashlib.sha256(b"".join([line.encode(), b"\n", *parts]))

    lines = [text]
    for name in sorted(arrays):
        values = arrays[name]
        names = {"NAME": name, "DTYPE": values.dtype.str, "SHAPE": "x".join(map(str, values.shape))}
        digests = []
        for first in range(0, len(values), docs.C["BLOCK_ROWS"]):
            names["INDEX"] = str(first // docs.C["BLOCK_ROWS"])
            data = values[first : first + docs.C["BLOCK_ROWS"]].tobytes()
            digests.append(sha256(_filled(BLOCK_LINE, names), data).digest())
        names["DIGEST"] = sha256(_filled(ARRAY_LINE, names), *digests).hexdigest()
        lines.append(_filled(DIGEST_LINE, names))
    return sha256(RELEASE_LINE, *(f"{line}\n".encode() for line in lines)).hexdigest()


def _filled(line, names):
    return " ".join(names.get(word, word) for word in line.split())


def _stored(values, dtype):
    array = np.array(values, dtype)
    if array.dtype.kind == "f":
        array = array + array.dtype.type(0)
        array[np.isnan(array)] = np.frombuffer(struct.pack("<Q", docs.C["NAN_F64"]), "<f8")[0]
    return array


SMALL = {
    "name": 'two blocks, "quoted"',
    "seed": 0x0123456789ABCDEF_FEDCBA9876543210,
    "grid": {"ny": 3, "nx": 3, "size_y_nm": 2.0, "size_x_nm": 2.5},
    "kernels": {"count": 11, "wavelength_nm": [3.0, 4.5], "decay_nm": [1.0, 5.0]},
    "observations_per_kernel": 24,
    "scatterers": {"max": 2, "margin_nm": 0.5},
}
NOISY = {
    "name": "more pixels than lanes",
    "seed": 7,
    "grid": {"ny": 16, "nx": 17, "size_y_nm": 9.0, "size_x_nm": 10.0},
    "kernels": {"count": 4, "wavelength_nm": [1.5, 3.0], "decay_nm": [0.1, 2.0], "fold_counts": {"0": 1, "6": 3}},
    "observations_per_kernel": 2,
    "scatterers": {"min": 2, "max": 3},
    "splits": {"id_test": 0.5, "validation": 0.0},
    "corruptions": {"white_noise": {"snr_db": [-5.0, 20.0]}},
}
TOLD = {
    "name": "told otherwise",
    "seed": 2**127,
    "grid": {"ny": 6, "nx": 8, "size_y_nm": 6.0, "size_x_nm": 9.0},
    "kernels": {"count": 5, "wavelength_nm": [3.0, 4.5], "decay_nm": [1.0, 3.0]},
    "observations_per_kernel": 12,
    "scatterers": {"max": 14, "margin_nm": 1.25},
    "corruptions": {
        "amplitude_spread": {"relative_std": 0.5},
        "unseen_scatterers": {"reach_nm": 2.25},
        "missing_scatterers": {"share": 0.3},
        "spurious_scatterers": {"share": 0.4},
        "position_error": {"sigma_nm": 0.2},
        "merged_pixels": {"cell_px": 2},
    },
}
DENSE = TOLD | {
    "splits": {"ood_kernels": 1.0},
    "scatterers": {"min": 2, "max": 4, "margin_nm": -0.5, "min_separation_nm": 1.4},
    "corruptions": {
        "unseen_scatterers": {"reach_nm": 2.0, "density_per_nm2": 0.04},
        "position_error": {"sigma_nm": 1.0},
    },
}
PAIRED = {
    "name": "two species, told otherwise",
    "seed": 99,
    "grid": {"ny": 5, "nx": 6, "size_y_nm": 6.0, "size_x_nm": 7.0},
    "kernels": {"count": 11, "wavelength_nm": [3.0, 4.5], "decay_nm": [1.0, 3.0]},
    "observations_per_kernel": 3,
    "scatterers": {"min": 2, "max": 12},
    "species": {"second": "drawn", "share": [0.1, 0.7], "min_contrast": 0.7},
    "corruptions": {
        "unseen_scatterers": {"reach_nm": 2.0},
        "missing_scatterers": {"share": 0.3},
        "spurious_scatterers": {"share": 0.4},
    },
}
TURNED = PAIRED | {
    "kernels": {"count": 6, "folds": [2, 3, 6], "wavelength_nm": [3.0, 4.5], "decay_nm": [1.0, 3.0]},
    "species": {"second": "rotated", "angle_deg": [5.0, 200.0], "min_each": 0, "min_contrast": 0.5},
    "corruptions": {"white_noise": {"snr_db": [10.0, 10.0]}},
}


NUMBERS = np.random.default_rng(5).standard_normal((3, 10, 10))
IMAGED = {
    "name": "kernels of a file, as an instrument shows them",
    "seed": 12,
    "grid": {"ny": 7, "nx": 9, "size_y_nm": 1.8, "size_x_nm": 2.3},
    "kernels": {"family": "file", "count": 3, "pixel_nm": 0.35, "core_radius_nm": 0.4},
    "observations_per_kernel": 3,
    "scatterers": {"min": 1, "max": 4, "margin_nm": 0.2},
    "corruptions": {
        "amplitude_spread": {"relative_std": 0.5},
        "unseen_scatterers": {"reach_nm": 0.9},
        "tip_blur": {"fwhm_nm": [0.2, 0.4]},
        "drift": {"drift_nm": [0.1, 0.6], "creep_nm": [0.0, 0.3]},
        "white_noise": {"sigma_over_kernel_rms": [0.1, 0.9]},
        "line_noise": {"strength": [0.2, 1.0]},
        "corrugation": {
            "lattice": "hexagonal",
            "lattice_constant_nm": 0.7,
            "angle_rad": [0.1, 2.5],
            "strength": [0.1, 0.9],
        },
        "line_offsets": {"strength": [0.1, 0.7]},
        "plane_tilt": {"strength": [0.3, 2.0]},
        "gain_offset": {"gain": [0.5, 2.0], "offset": [-1.0, 1.0]},
    },
}
FILED = {
    "name": "two species drawn from a file",
    "seed": 4,
    "grid": {"ny": 6, "nx": 5, "size_y_nm": 1.75, "size_x_nm": 1.4},
    "kernels": {"family": "file", "count": 4, "pixel_nm": 0.35, "drawn": True},
    "observations_per_kernel": 2,
    "scatterers": {"min": 2, "max": 5},
    "species": {"second": "drawn", "share": [0.3, 0.7]},
    "corruptions": {
        "missing_scatterers": {"share": 0.4},
        "tip_blur": {"fwhm_nm": [0.2, 0.3]},
        "corrugation": {"lattice": "square", "lattice_constant_nm": 1.1, "strength": [0.1, 0.9]},
        "white_noise": {"sigma_over_kernel_rms": [0.1, 0.9]},
    },
}
RIPPLED = {
    "name": "surface states",
    "seed": 3,
    "grid": {"ny": 6, "nx": 7, "size_y_nm": 2.5, "size_x_nm": 3.0},
    "kernels": {"family": "surface_state", "count": 2, **get_family("surface_state").EXAMPLE},
    "observations_per_kernel": 3,
    "scatterers": {"max": 3, "margin_nm": 0.5},
    "corruptions": {"unseen_scatterers": {"reach_nm": 1.5}, "line_offsets": {"strength": [0.1, 0.7]}},
}
LATTICED = {
    "name": "scatterers on sites",
    "seed": 8,
    "grid": {"ny": 9, "nx": 8, "size_y_nm": 2.0, "size_x_nm": 1.6},
    "kernels": {"family": "tight_binding", "count": 2, **get_family("tight_binding").EXAMPLE},
    "observations_per_kernel": 3,
    "scatterers": {"max": 3, "margin_nm": 0.3},
    "corruptions": {"plane_tilt": {"strength": [0.3, 2.0]}, "white_noise": {"snr_db": [5.0, 9.0]}},
}


SPECS = {
    "images": IMAGED,
    "file": FILED,
    "surface state": RIPPLED,
    "lattice": LATTICED,
    "clean": SMALL,
    "noisy": NOISY,
    "told": TOLD,
    "dense": DENSE,
    "pairs": PAIRED,
    "rotated": TURNED,
}

FAST = ("file", "surface state", "lattice", "clean")


def _toml(table):
    """A spec in TOML; JSON is a notation of its scalars and lists, and of tables of one line up to the separator."""
    return json.dumps(table).replace('": ', '" = ') if isinstance(table, dict) else json.dumps(table)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(spec, id=name, marks=pytest.mark.slow if name not in FAST else ()) for name, spec in SPECS.items()
    ],
)
def written(request, tmp_path_factory):
    """A spec, and the release that the command line makes of it."""
    folder = tmp_path_factory.mktemp("release")
    given = dict(request.param)
    if given["kernels"].get("family") == "file":
        given["kernels"] = given["kernels"] | {"path": "kernels.npy"}
    lines = [f"{name} = {_toml(value)}" for name, value in given.items() if name != "seed"]
    np.save(folder / "kernels.npy", NUMBERS)
    (folder / "spec.toml").write_text("\n".join([f'seed = "{request.param["seed"]:#x}"', *lines]))
    command = [sys.executable, "-m", "qpibench.cli.main", "generate", folder / "spec.toml", "-o", folder / "release.h5"]
    subprocess.run(command, check=True, capture_output=True)
    return request.param, folder / "release.h5"


@pytest.fixture(scope="module")
def derived(written):
    """The canonical JSON and all arrays, computed from the pages alone."""
    return release(written[0])


def test_fused_multiply_adds_of_arrays_are_those_of_exact_fractions():
    random = np.random.default_rng(1)
    a, b = random.standard_normal((2, 200))
    c = -a * b * (1 + random.integers(-2, 3, 200) * 2.0 ** random.integers(-52, 3, 200))
    for scalar, arrays, kind in ((docs.fma64, fused.fma64, float), (docs.fma32, fused.fma32, np.float32)):
        given = [each.astype(kind) for each in (a, b, c)]
        assert arrays(*given).tolist() == [scalar(*map(float, row)) for row in zip(*given, strict=True)]


def test_the_pages_give_every_array_bit_for_bit(written, derived):
    with h5py.File(written[1]) as file:
        for name, values in derived[1].items():
            assert (file[name].dtype, file[name].shape) == (values.dtype, values.shape), name
            assert file[name][...].tobytes() == values.tobytes(), name


def test_the_pages_name_all_data_sets(written, derived):
    """What is in no table is a placeholder of a dimension, without values."""
    found = {}
    with h5py.File(written[1]) as file:
        file.visititems(
            lambda name, item: found.update({name: item.id.get_storage_size()} if hasattr(item, "shape") else {})
        )
    assert set(derived[1]) <= set(found)
    of_pairs = {"species"} if "species" in written[0] else set()
    assert set(found) - set(derived[1]) == {"kernel", "observation", "scatterer", "xy", *of_pairs}
    assert not any(found[name] for name in set(found) - set(derived[1]))


def test_the_pages_give_the_canonical_json_and_the_content_hash(written, derived):
    with h5py.File(written[1]) as file:
        assert derived[0] == file.attrs["spec"].decode()
        assert content_sha256(*derived) == file.attrs["content_sha256"].decode()


def test_the_small_releases_reach_the_special_cases(derived):
    """Two blocks, r = 0 in a kernel's image, a shuffled OOD task; more pixels than lanes, a role without images."""
    text, arrays = derived
    if '"eq7"' not in text:
        assert (arrays["observations/image"] < 0).any()
        if '"drift"' in text:
            assert arrays["observations/n_unseen"].any()
            assert np.nanmax(np.abs(arrays["observations/position_nm"])) > 1.15
    elif '"species"' in text:
        has_told = "observations/told_species" in arrays
        assert has_told == ("unseen" in text)
        assert {0, 1} <= set(arrays["observations/told_species" if has_told else "observations/species"].flat)
    elif "amplitude_spread" in text:
        for name in ("n_unseen", "n_missing", "n_spurious", "n_merged", "n_off_raster"):
            assert arrays[f"observations/{name}"].any()
    elif "density_per_nm2" in text:
        assert arrays["observations/n_unseen"].mean() == pytest.approx(0.04 * (10 * 13 - 6 * 9), abs=0.7)
    elif "corruptions" in text:
        assert arrays["observations/image"][0].size > docs.C["LANES"]
        assert not len(arrays["splits/id/validation"])
    else:
        assert len(arrays["observations/image"]) > docs.C["BLOCK_ROWS"]
        assert 0.0 in arrays["x"]
        assert 0.0 in arrays["y"]
        assert len(arrays["splits/ood/test"])


def test_the_pages_give_the_scatterers_of_the_last_of_a_billion_images(tmp_path):
    many = {"kernels": SMALL["kernels"] | {"count": 1000}, "observations_per_kernel": 1_000_000}
    text = canonical_json(SMALL | many)
    blocks = -(-(10**9) // docs.C["BLOCK_ROWS"])
    shard = write_shard(spec_from_json(text), tmp_path, Shard(blocks, blocks), backend=get_backend("cpu")[0])
    found = shard.read("observations/position_nm", 10**9 - 2, 10**9)
    for image, places in zip((999_998, 999_999), found, strict=True):
        assert places[~np.isnan(places[:, 0])].tolist() == docs.scatterers(json.loads(text), image, 999)
