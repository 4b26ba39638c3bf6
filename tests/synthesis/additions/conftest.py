"""Toy additions, each of one file: their folders are searched as those of the package are."""

from pathlib import Path

import pytest

from qpibench import corruptions, families
from qpibench.corruptions import get_corruption
from qpibench.families import get_family
from qpibench.readers import images
from qpibench.specs import ReleaseSpec

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def toy_folders():
    """Every command knows them while these tests run."""
    packages = (families, corruptions, images)
    for package in packages:
        package.__path__.append(str(HERE / package.__name__.rpartition(".")[2]))
    yield
    for package in packages:
        package.__path__.pop()


SPECIES = {
    "drawn species": {"second": "drawn", "share": [0.2, 0.8], "min_contrast": 0.1, "min_each": 0},
    "rotated species": {"second": "rotated", "angle_deg": [20, 90], "min_contrast": 0.1, "min_each": 0},
}
"""Tables of two species, by names that can stand among those of corruptions."""

SUPERPOSITIONS = {"multiple": {"superposition": "multiple", "min_separation_nm": 0.7}}
"""Keys of scatterers, likewise."""

IN_PAIRS = {"rotated species": {"folds": [2, 3, 4, 6]}, "drawn species": {"drawn": True}}


@pytest.fixture
def spec_of():
    """A small release of a family, with corruptions by name, all with their examples, or with names of above."""

    def spec(family="eq7", corruptions=(), *, name="toy", **fields):
        species = next((each for each in corruptions if each in SPECIES), None)
        if species is not None:
            corruptions = [each for each in corruptions if each != species]
            own = get_family(family).Ranges.model_fields
            pairs = {field: value for field, value in IN_PAIRS[species].items() if field in own}
            kernels = {"family": family, "count": 10, **get_family(family).EXAMPLE, **pairs}
            fields = {"kernels": kernels, "species": SPECIES[species], **fields}
        scattered = {key: value for each in corruptions for key, value in SUPERPOSITIONS.get(each, {}).items()}
        corruptions = [each for each in corruptions if each not in SUPERPOSITIONS]
        return ReleaseSpec.model_validate(
            {
                "name": name,
                "grid": {"ny": 48, "nx": 40, "size_y_nm": 7.5, "size_x_nm": 6.25},
                "kernels": {"family": family, "count": 10, **get_family(family).EXAMPLE},
                "observations_per_kernel": 6,
                "scatterers": {"min": 1, "max": 7, **scattered},
                "corruptions": {each: get_corruption(each).EXAMPLE for each in corruptions} or None,
                **fields,
            }
        )

    return spec
