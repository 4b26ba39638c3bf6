"""A spec that no sample, instrument or file can have is refused in one sentence, and nothing is written."""

import h5py
import numpy as np
import pytest

from qpibench.corruptions import line_offsets, plane_tilt

FILE = "kernels={{family='file', count=2, path='{path}', pixel_nm=0.2{more}}}"
FIELD = "grid={ny=16, nx=16, size_y_nm=3.0, size_x_nm=3.0}"


@pytest.fixture
def refused(qpibench, tmp_path, unchanged):
    """Hold `generate` with these overrides to a sentence with these words."""

    def check(spec, overrides, *words):
        options = [each for override in overrides for each in ("--set", override)]
        with unchanged():
            qpibench("generate", spec, *options, "-o", tmp_path / "release.h5").fails(2, *words)

    return check


@pytest.mark.parametrize(
    ("spec", "overrides", "words"),
    [
        ("cu111_64", ["kernels.energy_mev=[-500, 0]"], ["energy_mev must be at least -439", "found -500 to 0"]),
        ("square_64", ["kernels.energy_mev=[-500, 0]"], ["energy_mev", "from -130 to 670", "found -500 to 0"]),
        ("cu111_64", ["kernels.linewidth_mev=[-1, 3]"], ["kernels.linewidth_mev.0", "equal to 0", "found -1"]),
        ("square_64", ["kernels.broadening_mev=-1"], ["kernels.broadening_mev", "greater than 0", "found -1"]),
        ("mini", ["kernels.wavelength_nm=[0.1, 3]"], ["kernels", "period of 0.1 nm would alias", "0.3175 nm"]),
        ("cu111_64", ["grid.nx=8"], ["kernels", "period of 1.3537 nm would alias", "3.714 nm"]),
        (
            "mini",
            ["corruptions.corrugation={lattice='square', lattice_constant_nm=0.1, strength=1}"],
            ["corruptions.corrugation.lattice_constant_nm = 0.1 would alias", "at least 0.3175 nm"],
        ),
        ("mini", ["corruptions.white_noise.snr_db=1000"], ["corruptions.white_noise.snr_db", "equal to 100"]),
        ("cu111_64", ["scatterers.margin_nm=150"], ["scatterers.margin_nm = 150", "at most 130 nm"]),
        ("cu111_64", ["scatterers.margin_nm=-7"], ["scatterers.margin_nm = -7", "above -6.5 nm"]),
        (
            "cu111_64",
            ["corruptions.unseen_scatterers.reach_nm=900"],
            ["corruptions.unseen_scatterers.reach_nm = 900", "at most 130 nm"],
        ),
        ("mini", ["scatterers.min_separation_nm=5"], ["scatterers.min_separation_nm = 5", "at most 0.401"]),
        ("square_64", ["scatterers.min_separation_nm=20"], ["min_separation_nm = 20", "441 sites", "at most 1.13"]),
    ],
)
def test_an_unphysical_number_is_named_with_its_value_and_the_allowed_range(refused, spec, overrides, words):
    refused(spec, overrides, *words)


@pytest.mark.parametrize(
    ("name", "more", "overrides", "words"),
    [
        ("k.h5", "", [], ["pixel_nm = 0.2", "states 0.15 nm", "use this value"]),
        ("nan.npy", "", [], ["must be finite, found nan in kernel 1, row 2, column 3"]),
        ("flat.npy", "", ["corruptions.white_noise.snr_db=5"], ["must vary", "found 2 in all pixels of kernel 0"]),
        (
            "k.npy",
            ", sha256='" + 64 * "0" + "'",
            [],
            [f"sha256 = {64 * '0'}, but the kernels in", "use the right file"],
        ),
        ("k.npy", "", ["scatterers.margin_nm=1.3"], ["scatterers.margin_nm = 1.3", "at most 1.2 nm"]),
        (
            "k.npy",
            "",
            ["corruptions.unseen_scatterers.reach_nm=1.3"],
            ["corruptions.unseen_scatterers.reach_nm = 1.3", "at most 1.2 nm"],
        ),
    ],
)
def test_a_file_of_kernels_that_does_not_fit_is_refused(refused, tmp_path, name, more, overrides, words):
    kernels = np.random.default_rng(0).standard_normal((2, 12, 12))
    np.save(tmp_path / "k.npy", kernels)
    np.save(tmp_path / "flat.npy", np.full((2, 12, 12), 2.0))
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file.create_dataset("kernels", data=kernels).attrs["pixel_nm"] = 0.15
    kernels[1, 2, 3] = np.nan
    np.save(tmp_path / "nan.npy", kernels)
    refused("mini", [FIELD, FILE.format(path=tmp_path / name, more=more), *overrides], *words)


def test_corruptions_whose_order_is_ambiguous_are_refused(refused, monkeypatch):
    monkeypatch.setattr(plane_tilt, "ORDER", line_offsets.ORDER)
    both = ["corruptions.line_offsets.strength=1", "corruptions.plane_tilt.strength=1"]
    refused("mini", both, "'line_offsets' and 'plane_tilt' both have the order 60", "ambiguous", "leave one out")
