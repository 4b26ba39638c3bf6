"""docs/arithmetic.md and docs/format.md define every bit of a release.

`tests/written_from_the_docs.py`, which takes all constants from the two pages, is compared with what the command line
writes.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

_source = importlib.util.spec_from_file_location(
    "written_from_the_docs", Path(__file__).parent / "written_from_the_docs.py"
)
docs = importlib.util.module_from_spec(_source)
_source.loader.exec_module(docs)

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


def _toml(table):
    """A spec in TOML; JSON is a notation of its scalars and lists, and of tables of one line up to the separator."""
    return json.dumps(table).replace('": ', '" = ') if isinstance(table, dict) else json.dumps(table)


@pytest.fixture(scope="module", params=[SMALL, NOISY], ids=["clean", "noisy"])
def written(request, tmp_path_factory):
    """A spec, and the release that the command line makes of it."""
    folder = tmp_path_factory.mktemp("release")
    lines = [f"{name} = {_toml(value)}" for name, value in request.param.items() if name != "seed"]
    (folder / "spec.toml").write_text("\n".join([f'seed = "{request.param["seed"]:#x}"', *lines]))
    command = [sys.executable, "-m", "qpibench.cli.main", "generate", folder / "spec.toml", "-o", folder / "release.h5"]
    subprocess.run(command, check=True, capture_output=True)
    return request.param, folder / "release.h5"


@pytest.fixture(scope="module")
def derived(written):
    """The canonical JSON and all arrays, computed from the pages alone."""
    return docs.release(written[0])


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
    assert set(found) - set(derived[1]) == {"kernel", "observation", "scatterer", "xy"}
    assert not any(found[name] for name in set(found) - set(derived[1]))


def test_the_pages_give_the_canonical_json_and_the_content_hash(written, derived):
    with h5py.File(written[1]) as file:
        assert derived[0] == file.attrs["spec"].decode()
        assert docs.content_sha256(*derived) == file.attrs["content_sha256"].decode()


def test_the_small_releases_reach_the_special_cases(derived):
    """Two blocks, r = 0 in a kernel's image, a shuffled OOD task; more pixels than lanes, a role without images."""
    text, arrays = derived
    if "corruptions" in text:
        assert arrays["observations/image"][0].size > docs.CONSTANTS["LANES"]
        assert not len(arrays["splits/id/validation"])
    else:
        assert len(arrays["observations/image"]) > docs.CONSTANTS["BLOCK_ROWS"]
        assert 0.0 in arrays["x"]
        assert 0.0 in arrays["y"]
        assert len(arrays["splits/ood/test"])
