import hashlib
import shutil

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError
from qpibench.release import layout, open_release, verify_release, write_release
from qpibench.specs import load_spec

ARRAYS = [
    "x",
    "y",
    *(f"kernels/{name}" for name in ("image", "family", "fold", "phi1", "B", "phi2", "C")),
    *(f"observations/{name}" for name in ("image", "kernel", "n_scatterers", "position_nm")),
    *(f"splits/{task}/{role}" for task in ("id", "ood") for role in ("train", "validation", "test")),
]


def sha256(*parts):
    return hashlib.sha256(b"".join(p.encode() if isinstance(p, str) else p for p in parts))


def test_the_identity_is_what_its_description_says(small_release):
    lines = []
    with h5py.File(small_release) as file:
        for name in sorted(ARRAYS):
            values = file[name][...]
            signature = f"{name} {values.dtype.str} {'x'.join(map(str, values.shape))}"
            blocks = [
                sha256(f"qpibench block {signature} {index}\n", values[first : first + 256].tobytes()).digest()
                for index, first in enumerate(range(0, len(values), 256))
            ]
            lines.append(f"{name} {sha256(f'qpibench array {signature}' + chr(10), *blocks).hexdigest()}\n")
        expected = sha256("qpibench release 1\n", file.attrs["spec"], "\n", *lines).hexdigest()
        assert file.attrs["content_sha256"].decode() == expected
    assert verify_release(small_release) == expected


@pytest.mark.parametrize("name", ARRAYS)
def test_a_flipped_bit_in_any_array_is_found_and_named(tmp_path, small_release, fake_backend, name):
    path = shutil.copy(small_release, tmp_path / "a.h5")
    with h5py.File(path) as file:
        dataset = file[name]
        position = dataset.id.get_offset() + dataset.id.get_storage_size() - 1
    with open(path, "r+b") as raw:
        raw.seek(position)
        byte = raw.read(1)[0]
        raw.seek(position)
        raw.write(bytes([byte ^ 1]))
    with pytest.raises(InvalidDataError, match=f"{name} has changed"):
        verify_release(path)
    with pytest.raises(InvalidDataError, match=f"agree with its spec: {name} differs, first in rows"):
        verify_release(path, backend=fake_backend())


def test_a_changed_hash_is_found(tmp_path, small_release):
    path = shutil.copy(small_release, tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["content_sha256"] = np.bytes_("0" * 64)
    with pytest.raises(InvalidDataError, match=f"stored one is {'0' * 64}"):
        verify_release(path)


def test_regenerating_finds_values_that_were_signed_but_never_computed(tmp_path, spec, small_release, fake_backend):
    class Careless(fake_backend):
        def observations(self, spec, kernels, start, stop, *, domain="benchmark"):
            observations = super().observations(spec, kernels, start, stop)
            if start == 512:
                observations.image[0, 0, 0] += 1
            return observations

    path = tmp_path / "a.h5"
    content = write_release(spec, path, backend=Careless())
    assert verify_release(path) == content
    with pytest.raises(InvalidDataError, match="observations/image differs, first in rows 512 to 767"):
        verify_release(path, backend=fake_backend())


def test_progress_of_verification_ends_at_its_total(small_release, fake_backend):
    calls = []
    verify_release(small_release, progress=lambda *call: calls.append(call))
    verify_release(small_release, backend=fake_backend(), progress=lambda *call: calls.append(call))
    assert (1300, 1300) in calls
    assert calls[-1] == (2600, 2600)


def test_the_signature_of_a_block_names_the_array(small_release):
    with open_release(small_release) as release:
        stored = {array.sha256 for array in release.arrays.values()}
    assert len(stored) == len(ARRAYS)


def test_values_are_stored_little_endian(small_release):
    with h5py.File(small_release) as file:
        assert {file[name].dtype.str[0] for name in ARRAYS} == {"<", "|"}
        assert np.dtype(file["x"].dtype).str == "<f8"


@pytest.mark.parametrize(
    ("overrides", "pinned"),
    [([], "0fdb4ff80098a54c"), (["corruptions.white_noise.snr_db=10"], "89dcea26139dde3b")],
    ids=["format 1", "format 2"],
)
def test_units_and_long_names_of_released_formats_never_change(overrides, pinned):
    # verify compares them with those of the file, so another wording would refuse every older release.
    spec = load_spec("mini", overrides=overrides)
    arrays = layout.arrays(spec, layout.sizes(spec), {}).values()
    lines = sorted(f"{array.name} {array.units} {array.long_name}" for array in arrays)
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == pinned
