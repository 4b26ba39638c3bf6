"""Each rule of the model contract is reported for a model that breaks it, and for no other."""

from __future__ import annotations

import pytest

from qpibench.errors import UsageError
from qpibench.evaluation.check import check
from qpibench.evaluation.model_template import TEMPLATE

LOADS = "can be imported, has a predict, and declares what it needs"
SHAPES = "predicts floating-point kernels of the right shape for one image and for three"
FINITE = "predicts finite numbers"
SINGLE = "predicts the kernel of an image with a single scatterer"
UNCHANGED = "does not change its inputs"
DETERMINISTIC = "predicts the same kernel for the same image twice"
INDEPENDENT = "predicts the same kernel for an image whatever else is in the batch"


def _problems(findings):
    return {finding.demand: finding.problem for finding in findings if finding.problem is not None}


@pytest.mark.parametrize("name", ["zeros", "median_kernel"])
def test_shipped_entries_keep_the_contract(name):
    assert _problems(check(name)) == {}


def test_the_template_keeps_the_contract(write_model):
    model = write_model(TEMPLATE.format(name="my_model.py"))
    findings = check(model)
    assert _problems(findings) == {}
    assert [finding.demand for finding in findings] == [
        LOADS, SHAPES, FINITE, SINGLE, UNCHANGED, DETERMINISTIC, INDEPENDENT
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "demand", "sentence"),
    [
        ("import nothing_of_this_name", LOADS, "my_model.py:1: ModuleNotFoundError"),
        ("needs = 'all'\ndef predict(batch): ...", LOADS, "needs = 'all' is not a view"),
        ("weights = ['a.npz']\ndef predict(batch): ...", LOADS, "declares the weights 'a.npz'"),
        ("def predict(batch): ...", SHAPES, "my_model.py:1: predict returned None"),
        ("def predict(batch): return batch.image[:1]", SHAPES, "shape (1, 64, 64), expected (3, 64, 64)"),
        ("def predict(batch): return batch.image / 0 * 0", FINITE, "values of the kernel are NaN or infinite"),
        (
            "def predict(batch): return 0 * batch.image.astype(float) + 1e200",
            FINITE,
            "12288 of 12288 values of the kernel",
        ),
        (
            "import numpy as np\n"
            "def predict(batch):\n"
            "    single = np.isfinite(batch.position_nm[:, :, 0]).sum(1) == 1\n"
            "    return np.where(single[:, None, None], np.nan, batch.image)",
            SINGLE,
            "the kernel has NaN or infinite values",
        ),
        (
            "def predict(batch):\n    image = batch.image\n    image -= 1\n    return image",
            UNCHANGED,
            "predict changed batch.image;",
        ),
        (
            "import numpy as np\n\ndef predict(batch): return np.random.random(batch.image.shape)",
            DETERMINISTIC,
            "the kernel differs by",
        ),
        ("def predict(batch): return batch.image - batch.image.mean()", INDEPENDENT, "the kernel differs by"),
        ("def predict(batch): return 0 * batch.image + batch.image[0]", INDEPENDENT, "in another order"),
        (
            "import time\ndef predict(batch): time.sleep(60)",
            SHAPES,
            "predict took longer than 0.5 s, with 0.",
        ),
        ("import os\ndef predict(batch): os._exit(1)", SHAPES, "ended with exit code 1"),
        (
            "def fit(train): raise ValueError('bad')\ndef predict(batch): ...",
            "learns from the training role",
            "my_model.py:1: ValueError: bad",
        ),
    ],
)
def test_a_broken_demand_is_found(write_model, source, demand, sentence):
    problems = _problems(check(write_model(source), time_limit_s=0.5))
    assert demand in problems
    assert sentence in problems[demand]
    earlier = [LOADS, "learns from the training role", SHAPES, FINITE, SINGLE, UNCHANGED, DETERMINISTIC]
    assert not problems.keys() & set(earlier[: earlier.index(demand)] if demand in earlier else earlier)


def test_a_model_is_shown_the_view_that_it_needs(write_model):
    source = "needs = 'image'\ndef predict(batch):\n    assert batch.activation_map is None\n    return batch.image"
    assert _problems(check(write_model(source))) == {}


@pytest.mark.parametrize(("apart", "problems"), [(3e-5, set()), (3e-4, {INDEPENDENT})], ids=["rounding", "more"])
def test_the_rounding_of_a_deep_network_is_no_dependence_on_batch_mates(write_model, apart, problems):
    source = f"def predict(batch): return batch.image * (1 + {apart} * (len(batch) > 1))"
    assert _problems(check(write_model(source))).keys() == problems


def test_a_missing_model_is_a_wrong_request():
    with pytest.raises(UsageError, match="There is no model file"):
        check("missing.py")
