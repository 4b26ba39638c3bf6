"""Tabulated kernels: the error of their splines, what lies beyond a table, and the same bits in any circumstances."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import make_interp_spline

from qpibench.arithmetic.tables import GAIN, coefficients
from qpibench.corruptions import get_corruption
from qpibench.families import get_family
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.synthesis import get_backend, tables
from qpibench.synthesis.fields import stream_fields


@pytest.fixture
def backend():
    return get_backend("cpu")[0]


def _made(spec, backend):
    kernels = backend.kernels(spec)
    return kernels, backend.observations(spec, kernels, 0, spec.observation_count)


def _of(kernels, row):
    return {name: values[row] for name, values in kernels.parameters.items()}


def _worst(spec, backend):
    """The largest error of the images of scatterers, over the largest value of their kernel."""
    family = get_family(spec.kernels.family)
    kernels, made = _made(spec, backend)
    errors = []
    for image, position, row in zip(made.image, made.position_nm, made.kernel, strict=True):
        expected = superpose(spec.grid, family, position, **_of(kernels, row))
        peak = np.abs(kernel_image(spec.grid.offsets, family, **_of(kernels, row))).max()
        errors.append(np.abs(image - expected).max() / peak)
    return max(errors)


def test_coefficients_are_those_of_the_septic_spline():
    samples = np.random.default_rng(1).normal(size=(70, 90))
    expected = np.pad(samples, 60, mode="reflect")
    for _ in range(2):
        expected = make_interp_spline(np.arange(len(expected)), expected, k=7).c.T
    np.testing.assert_allclose(GAIN * coefficients(samples), expected[60:-60, 60:-60], atol=1e-11)


@pytest.mark.parametrize("grid", [(48, 40, 7.5, 6.25), (33, 65, 4.0, 10.0), (130, 70, 6.0, 3.0), (21, 24, 4.0, 4.6)])
@pytest.mark.parametrize("family", ["ripple", "file"])
def test_an_image_of_a_scatterer_is_within_1e_5_of_the_kernel(spec_of, backend, family, grid):
    spec = spec_of(family, grid=dict(zip(("ny", "nx", "size_y_nm", "size_x_nm"), grid, strict=True)))
    single = spec.model_copy(update={"scatterers": spec.scatterers.model_copy(update={"max": 1})})
    assert _worst(single, backend) < 1e-5


def test_scatterers_outside_the_field_are_seen_as_far_as_their_margin(spec_of, backend):
    assert _worst(spec_of("ripple", scatterers={"max": 4, "margin_nm": 5.0}), backend) < 1e-5
    assert _worst(spec_of("ripple", ["pushed"], scatterers={"max": 4}), backend) < 1e-5


@pytest.mark.parametrize("reach", [0.4, 1.0, 3.0, 20.0])
def test_beyond_its_reach_a_kernel_is_zero(spec_of, backend, reach):
    ripples = get_family("ripple").EXAMPLE | {"family": "ripple", "count": 10, "reach_nm": reach}
    spec = spec_of("ripple", kernels=ripples, scatterers={"max": 4, "margin_nm": min(reach, 1.0)})
    assert _worst(spec, backend) < 1e-5
    kernels = backend.kernels(spec)
    for row, image in enumerate(kernels.image):
        assert np.abs(image - kernel_image(spec.grid, get_family("ripple"), **_of(kernels, row))).max() < 1e-7


def test_samples_do_not_depend_on_the_other_offsets(spec_of, backend):
    for name in ("ripple", "file"):
        spec, family = spec_of(name), get_family(name)
        parameters = backend.kernels(spec).parameters
        offsets = np.linspace(-3, 3, 41)
        whole = family.samples(spec.kernels, parameters, offsets, offsets)
        part = {column: values[3:5] for column, values in parameters.items()}
        found = family.samples(spec.kernels, part, offsets[7:9], offsets[::5])
        np.testing.assert_array_equal(found, whole[3:5, ::5, 7:9])


def test_a_corruption_that_does_not_say_how_far_outside_it_places_scatterers_is_refused(spec_of, backend, monkeypatch):
    monkeypatch.delattr(get_corruption("pushed"), "outside_nm")
    spec = spec_of("ripple", ["pushed"])
    with pytest.raises(ValueError, match=r"places scatterers \d.* nm too far outside the field"):
        _made(spec, backend)


def test_a_margin_that_needs_too_large_a_table_is_refused_and_the_largest_is_named(spec_of):
    message = (
        r"scatterers.margin_nm = 70 needs a table of \d+ MiB per kernel, and at most 8 MiB are allowed; use at most"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qpibench.specs.lattice.MAX_TABLE_BYTES", 8 << 20)
        with pytest.raises(ValueError, match=message) as refused:
            spec_of("ripple", scatterers={"max": 4, "margin_nm": 70.0})
        most = float(str(refused.value).split("use at most ")[1].split()[0])
        assert 20 < most < 70
        spec_of("ripple", scatterers={"max": 4, "margin_nm": most})


def test_a_field_that_needs_too_large_a_table_is_refused(spec_of):
    fine = {"ny": 4096, "nx": 4096, "size_y_nm": 1200.0, "size_x_nm": 1200.0}
    with pytest.raises(ValueError, match=r"a field of 1200 x 1200 nm with samples every .* at most 128 MiB"):
        spec_of("ripple", grid=fine)


def test_threads_and_a_memory_for_one_table_change_no_bit(spec_of, backend, monkeypatch):
    spec = spec_of("ripple")
    kernels, made = _made(spec, backend)
    monkeypatch.setattr(tables, "KEPT_BYTES", 1)
    monkeypatch.setattr(tables, "_kept", tables._Cache())
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda k: backend.observations(spec, kernels, k, k + 7).image, range(0, 49, 7)))
    np.testing.assert_array_equal(np.concatenate(rows), made.image[:49])
    assert tables._kept._bytes <= 4 * max(entry.made.values.nbytes for entry in tables._kept._entries.values())


@pytest.mark.parametrize("order", [1, 2], ids=["backward", "shuffled"])
@pytest.mark.parametrize("grid", [(48, 40, 7.5, 6.25), (33, 65, 2.0, 10.0)])
def test_the_turns_of_gpu_threads_and_the_size_of_groups_of_tables_do_not_matter(
    spec_of, backend, cupy_on_host, monkeypatch, order, grid
):
    monkeypatch.setattr(cupy_on_host.cuda.Module, "order", order)
    monkeypatch.setattr("qpibench.synthesis.gpu_kernels.TABLE_BYTES", 1)
    ripples = get_family("ripple").EXAMPLE | {"family": "ripple", "count": 10, "reach_nm": 3.0}
    grid = dict(zip(("ny", "nx", "size_y_nm", "size_x_nm"), grid, strict=True))
    spec = spec_of("ripple", kernels=ripples, grid=grid, scatterers={"min": 40, "max": 40, "margin_nm": 1.0})
    fields = stream_fields(spec)
    found, expected = (
        each.fresh(spec, 7, 20, fields=fields, map_mode="exact") for each in (get_backend("cuda")[0], backend)
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name].host, values, err_msg=name)


RELEASE_OF_FILE = """
import sys
from qpibench.families.file import EXAMPLE
from qpibench.release import write_release
from qpibench.specs import ReleaseSpec
from qpibench.synthesis import get_backend
spec = ReleaseSpec.model_validate({
    "name": "file",
    "grid": {"ny": 70, "nx": 90, "size_y_nm": 7.0, "size_x_nm": 9.0},
    "kernels": {"family": "file", "count": 10, **EXAMPLE},
    "observations_per_kernel": 3,
    "scatterers": {"max": 9, "margin_nm": 1.0},
})
print(write_release(spec, sys.argv[1], backend=get_backend("cpu")[0]))
"""


@pytest.mark.parametrize(
    "processor", ["", *(pytest.param(name, marks=pytest.mark.slow) for name in ("haswell", "generic"))]
)
def test_a_release_of_tables_has_its_hash_on_every_instruction_set(tmp_path, processor):
    environment = dict(os.environ)
    if processor:  # the cache is that of test_bits.py, which benchmarks/numba_cache.py deletes when sources change
        cache = Path(__file__).parents[1] / "__pycache__" / processor
        environment |= {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", RELEASE_OF_FILE, str(tmp_path / "release.h5")]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["93e29722a09e59edd88eb69757aef96ce15506d4ace4a9bf457d85e0560b61c9"]
