"""A user's file with the name of a library is named in one sentence, before it becomes a riddle."""

from __future__ import annotations

import pytest

from qpibench.errors import InvalidDataError
from qpibench.evaluation.predict import predict

PREDICT = "def predict(batch):\n    return batch.image\n"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "predictions.h5"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("torch.py", "import torch\n"),
        ("torch.py", ""),
        ("numpy.py", "import numpy as np\n"),
        ("random.py", ""),
        ("qpibench.py", ""),
        ("pdb.py", "import pdb\n"),
    ],
)
def test_a_model_with_the_name_of_a_library_is_told_to_be_renamed(memory_release, write_model, out, name, source):
    sentence = f"the model's file '{name}' has the name of .* '{name[:-3]}', so one hides the other; rename it"
    with pytest.raises(InvalidDataError, match=sentence) as error:
        predict(write_model(source + PREDICT, name), memory_release, out)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sibling", "source"),
    [
        ("random.py", "import random\n"),
        ("random.py", "from random import my_function\n"),
        ("h5py.py", "import h5py\n"),
        ("pdb.py", "import doctest\n"),  # which imports pdb
        ("helper.py", "import helper\n"),  # which imports random
    ],
)
def test_a_file_beside_the_model_that_hides_a_library_is_named(memory_release, write_model, out, sibling, source):
    write_model("import random\n", "helper.py")
    write_model("", "random.py" if sibling == "helper.py" else sibling)
    clash = "random" if sibling == "helper.py" else sibling[:-3]
    with pytest.raises(InvalidDataError, match=f"'{clash}.py' beside the model my_model.py has the name of") as error:
        predict(write_model(source + PREDICT), memory_release, out)
    assert str(error.value).endswith("rename it.")


def test_a_file_that_hides_a_library_which_nobody_imports_does_no_harm(memory_release, write_model, out):
    for name in ("random.py", "test.py", "queue.py", "antigravity.py"):
        write_model("raise ImportError", name)
    assert predict(write_model("import json\n" + PREDICT), memory_release, out).exit_code == 0
    assert predict(write_model(PREDICT, "test.py"), memory_release, out).exit_code == 0
