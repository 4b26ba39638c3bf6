"""The table [species] of a spec: what it may say, and what it does not change."""

import json

import pytest

from qpibench.errors import UsageError
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

DRAWN, ROTATED = "species.second=drawn", "species={second='rotated', angle_deg=[20, 70]}"
PAIRED = ["scatterers.min=2", "kernels.folds=[2, 3]"]


def test_a_spec_with_one_species_does_not_name_the_table():
    spec = load_spec("mini")
    assert spec.species is None
    assert "species" not in json.loads(spec.canonical_json())


def test_a_number_stands_for_a_range():
    one, two = (
        load_spec("mini", overrides=[DRAWN, *PAIRED, f"species.share={share}"]) for share in ("0.4", "[0.4, 0.4]")
    )
    assert one == two
    assert one.species.share == (0.4, 0.4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([DRAWN], r"species.min_each = 1 needs scatterers.min = 2 or more, found 1"),
        ([DRAWN, "scatterers.min=9", "species.min_each=5"], r"species.min_each = 5 needs scatterers.min = 10 or more"),
        (["species.min_contrast=0.3", *PAIRED], r"field 'species.second': field required"),
        (["species.second=melted", *PAIRED], r"field 'species.second'.*'drawn' or 'rotated'"),
        (["species.second=rotated", *PAIRED], r"angle_deg is missing, for example \[20, 70\]"),
        ([DRAWN, "species.angle_deg=20", *PAIRED], 'angle_deg needs second = "rotated"'),
        (
            [ROTATED, "scatterers.min=2"],
            r"needs kernels with a direction, and fold 0 has none; leave 0 out of kernels.folds",
        ),
        ([ROTATED, "scatterers.min=2", "kernels.fold_counts={0=1, 2=9}"], "fold 0 has none"),
        ([DRAWN, "species.share=[0.7, 0.2]", *PAIRED], r"species.share.*the range is reversed: 0.7 is larger than 0.2"),
        ([DRAWN, "species.share=1.5", *PAIRED], r"species.share.*less than or equal to 1"),
        ([DRAWN, "species.min_contrast=nan", *PAIRED], r"species.min_contrast"),
        ([DRAWN, "species.contrast=1", *PAIRED], r"unknown field 'species.contrast' \(did you mean"),
    ],
)
def test_a_table_that_cannot_be_is_refused_in_a_sentence(overrides, message):
    with pytest.raises(UsageError, match=message):
        load_spec("mini", overrides=overrides)


@pytest.mark.parametrize("name", ["cu111_64", "square_64"])
def test_kernels_whose_direction_is_that_of_the_crystal_are_not_rotated(name):
    with pytest.raises(UsageError, match=r"species.second = 'rotated' is not possible with kernels.family = '"):
        load_spec(name, overrides=[ROTATED, "scatterers.min=2"])


def test_kernels_in_the_order_of_a_file_have_no_second_species(tmp_path):
    from qpibench.families.file import EXAMPLE

    kernels = f"kernels={{family='file', count=3, path='{EXAMPLE['path']}', pixel_nm=0.2, drawn=false}}"
    with pytest.raises(UsageError, match=r"needs kernels that are drawn, .*; set kernels.drawn = true"):
        load_spec("mini", overrides=[kernels, DRAWN, "scatterers.min=2"])


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(
            ["species={second='rotated', angle_deg=180}", "kernels.folds=[2]"], id="half a turn of 2-fold kernels"
        ),
        pytest.param(
            [DRAWN, "kernels.decay_nm=[1, 1]", "kernels.wavelength_nm=[2, 2]", "species.min_contrast=1"], id="1"
        ),
    ],
)
def test_a_contrast_that_no_draw_reaches_is_refused_in_a_sentence(overrides):
    spec = load_spec("mini", overrides=["scatterers.min=2", *overrides])
    with pytest.raises(
        UsageError, match=r"species.min_contrast = .* is above the contrast of 1000 draws of the pair of"
    ):
        get_backend("cpu")[0].kernels(spec)
