import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _the_next_test_may_choose_its_precision():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def tiny_spec():
    """Ten kernels with twelve images each, on 12 x 12 pixels."""
    from qpibench.specs import ReleaseSpec

    return ReleaseSpec.model_validate(
        {
            "name": "tiny",
            "grid": {"ny": 12, "nx": 12, "size_y_nm": 4.0, "size_x_nm": 4.0},
            "kernels": {"count": 10, "wavelength_nm": [1.0, 3.0], "decay_nm": [1.0, 2.0]},
            "observations_per_kernel": 12,
            "scatterers": {"min": 1, "max": 6},
        }
    )


@pytest.fixture(scope="session")
def tiny_release(tiny_spec, tmp_path_factory):
    from qpibench.release import write_release
    from qpibench.synthesis import get_backend

    path = tmp_path_factory.mktemp("tiny") / "tiny.h5"
    write_release(tiny_spec, path, backend=get_backend("cpu")[0])
    return path
