"""Two species of scatterers: what a model is shown, what it returns, and what its file holds."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from qpibench.errors import UsageError
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.predict import Request, UnmetNeedError, predict


@pytest.fixture
def out(tmp_path):
    return tmp_path / "predictions.h5"


def test_a_model_is_told_the_species_at_the_told_positions(pairs, write_model, witness, out):
    outcome = predict(write_model(witness), pairs, out)
    assert (outcome.record.failure, outcome.warnings, outcome.record.told_species) == (None, (), True)
    with h5py.File(out) as file:
        index = file["ood/index"][:]
        told = pairs.take("told_species", index)
        np.testing.assert_array_equal(file["ood/species"], told)
        np.testing.assert_array_equal(file["ood/kernel"][:, 0, 0, 0], (told == 1).sum(1))
        assert file["ood/kernel"].shape == file["ood/std"].shape == (len(index), 2, 12, 10)
        assert (file["ood/species"].dtype, file.attrs["format_version"]) == (np.int32, 4)


@pytest.mark.parametrize(
    "request_", [Request(told_species=False), Request(view="raster", map_mode="exact"), Request(view="image")]
)
def test_hidden_species_and_other_views_show_none(pairs, write_model, witness, out, request_):
    assert predict(write_model(witness), pairs, out, request_).record.told_species is False
    with h5py.File(out) as file:
        assert not file["ood/kernel"][:, 0].any()
        assert "species" not in file["ood"]


def test_an_entry_that_does_not_say_so_takes_no_two_species(pairs, write_model, out):
    model = write_model("def predict(batch): return batch.image")
    with pytest.raises(UnmetNeedError, match=r"does not take two species of scatterers, which release 'pairs'"):
        predict(model, pairs, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("batch.image", r"kernel of shape \(\d+, 12, 10\), expected \(\d+, 2, 12, 10\), as the scatterers are of two"),
        ("Prediction(kernel=pair, std=batch.image)", r"a std of shape .*, expected \(\d+, 2, 12, 10\)"),
        ("Prediction(kernel=pair, species=batch.species[:, 1:])", r"a species of shape"),
        ("Prediction(kernel=pair, species=batch.species + 1)", "the species 2; they are 0 to 1, with -1 after"),
    ],
)
def test_another_shape_or_species_is_refused_in_one_sentence(pairs, write_model, out, returned, words):
    source = f"""
        import numpy as np
        from qpibench.tasks import Prediction

        takes_species = True

        def predict(batch):
            pair = np.stack([batch.image, batch.image], axis=1)
            return {returned}
    """
    failure = predict(write_model(source), pairs, out).record.failure
    assert failure.kind == "prediction"
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(failure.message)


def test_images_without_a_prediction_have_no_species(pairs, write_model, witness, out):
    model = write_model(witness.replace("batch.species.dtype == np.int32", "len(batch) > 2"))
    outcome = predict(model, pairs, out, Request(tasks=["id"]), Execution(batch_size=3))
    assert (outcome.exit_code, outcome.n_predicted) == (1, 3)
    with h5py.File(out) as file:
        assert np.isnan(file["id/kernel"][3:]).all()
        assert (file["id/species"][3:] == -1).all()


def test_a_model_cannot_learn_from_two_species_but_from_one(pairs, mini_release, write_model, witness, out):
    learner = write_model(witness + "\n    def fit(train):\n        train.kernels\n")
    with pytest.raises(UnmetNeedError, match="learning from release 'pairs' with two species of scatterers is not"):
        predict(learner, pairs, out)
    assert predict(learner, pairs, out, Request(training=mini_release)).exit_code == 0


def test_one_species_cannot_be_hidden(memory_release, out):
    with pytest.raises(UsageError, match="'memory' has one species of scatterers, so there is none to hide"):
        predict("zeros", memory_release, out, Request(told_species=False))


def test_a_declaration_that_is_no_truth_value_is_refused(pairs, write_model, witness, out):
    with pytest.raises(Exception, match="takes_species = 'yes' must be True or False"):
        predict(write_model(witness.replace("takes_species = True", "takes_species = 'yes'")), pairs, out)


def test_the_record_of_one_species_says_nothing_of_species(memory_release, out):
    assert predict("zeros", memory_release, out).record.told_species is None
    with h5py.File(out) as file:
        assert "told_species" not in file.attrs["record"]
        assert file.attrs["format_version"] == 2
