"""Toy additions, each of one file: their folders are searched as those of the package are."""

from pathlib import Path

import pytest

from qpibench import corruptions, families, readers
from qpibench.corruptions import get_corruption
from qpibench.families import get_family
from qpibench.specs import ReleaseSpec

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def toy_folders():
    """Every command knows them while these tests run."""
    packages = (families, corruptions, readers)
    for package in packages:
        package.__path__.append(str(HERE / package.__name__.rpartition(".")[2]))
    yield
    for package in packages:
        package.__path__.pop()


@pytest.fixture
def spec_of():
    """A small release of a family, with corruptions by name, all with their examples."""

    def spec(family="eq7", corruptions=(), *, name="toy", **fields):
        return ReleaseSpec.model_validate(
            {
                "name": name,
                "grid": {"ny": 48, "nx": 40, "size_y_nm": 7.5, "size_x_nm": 6.25},
                "kernels": {"family": family, "count": 10, **get_family(family).EXAMPLE},
                "observations_per_kernel": 6,
                "scatterers": {"min": 1, "max": 7},
                "corruptions": {each: get_corruption(each).EXAMPLE for each in corruptions} or None,
                **fields,
            }
        )

    return spec
