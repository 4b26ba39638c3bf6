from pathlib import Path

import one_step
import pytest
import two_step
from learned.recipes import ONE_STEP, TWO_STEP, choose_recipe, resolve_config
from pydantic import ValidationError

from qpibench.errors import UsageError
from qpibench.locator import locate
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.training import RunFolder, TrainingRun, load_run


def run_of(entry="two_step", **given):
    return TrainingRun(entry=entry, entry_path=Path("entry.py"), folder=Path("run"), spec=load_spec("mini"), **given)


@pytest.fixture(scope="module")
def coarse_release(tmp_path_factory):
    """The release `mini` on 16 x 16 pixels."""
    overrides = ["grid.ny=16", "grid.nx=16", "kernels.wavelength_nm=[3, 6]"]
    path = tmp_path_factory.mktemp("coarse") / "coarse.h5"
    write_release(load_spec("mini", overrides=overrides), path, backend=get_backend("cpu")[0])
    return path


@pytest.fixture
def train(coarse_release, tmp_path):
    """Train an entry for some steps on that release."""

    def train_(entry, **given):
        name, request = entry.__name__, {"preset": "tiny", "precision": "no", **given}
        place, folder = locate("baselines") / f"{name}.py", tmp_path / "run"
        entry.train(TrainingRun(entry=name, entry_path=place, folder=folder, release_path=coarse_release, **request))
        return folder

    return train_


def with_options(recipes=TWO_STEP, recipe="code", **options):
    return choose_recipe(recipes, run_of(recipe=recipe, options=options))


def test_the_article_recipe_has_the_numbers_of_the_text():
    recipe = TWO_STEP["article"]
    assert (recipe.symmetry_weight, recipe.kl_weight, recipe.batch_size) == (0.75, 0, 8)
    assert (recipe.kernel_epochs, recipe.alignment_epochs) == (350, 40)
    assert (recipe.kernel_learning_rate, recipe.alignment_learning_rate) == (1e-4, 1e-4)
    assert {fold: recipe.symmetry_angles[fold] for fold in (2, 3, 4, 6)} == {2: (180,), 3: (120,), 4: (90,), 6: (60,)}


def test_the_code_recipe_has_the_numbers_of_the_code():
    recipe = TWO_STEP["code"]
    assert (recipe.symmetry_weight, recipe.kl_weight, recipe.batch_size, recipe.clip_norm) == (0.7, 1e-6, 8, 1.0)
    assert (recipe.kernel_epochs, recipe.kernel_learning_rate) == (300, 1e-4)
    assert (recipe.kernel_decay_epochs, recipe.kernel_decay_factor) == (20, 0.97)
    assert (recipe.alignment_epochs, recipe.alignment_learning_rate, recipe.images_per_kernel) == (50, 5e-5, 250)
    assert recipe.symmetry_window * 64 == 40
    assert sorted(recipe.symmetry_angles[6]) == [-120, -60, 60, 120, 180]


@pytest.mark.parametrize("name", ["article", "code"])
@pytest.mark.parametrize("recipes", [ONE_STEP, TWO_STEP])
def test_a_recipe_is_called_as_it_calls_itself_and_cannot_be_changed(recipes, name):
    assert recipes[name].name == name
    with pytest.raises(ValidationError):
        recipes[name].batch_size = 1


def test_every_number_of_a_recipe_can_be_set():
    article, code = TWO_STEP["article"], TWO_STEP["code"]
    for field in type(article).model_fields:
        if field != "name":
            value = code.model_dump(mode="json")[field]
            given = with_options(recipe="article", **{field: "none" if value is None else value})
            assert getattr(given, field) == getattr(code, field)


def test_what_is_not_set_stays():
    assert with_options(symmetry_weight=0) == TWO_STEP["code"].model_copy(update={"symmetry_weight": 0.0})


def test_none_switches_an_option_off():
    assert with_options(clip_norm="none").clip_norm is None


def test_an_unknown_option_is_a_usage_error_that_lists_the_known():
    with pytest.raises(UsageError, match=r"no option 'symetry_weight'. Did you mean 'symmetry_weight'\? .*map_mode"):
        with_options(symetry_weight=0)
    with pytest.raises(UsageError, match="no option 'symmetry_weight'"):
        with_options(ONE_STEP, symmetry_weight=0)
    with pytest.raises(UsageError, match="no option 'name'"):
        with_options(name="code")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_weight": -1}, "kl_weight"),
        ({"map_mode": "sharp"}, "map_mode: .*'paper' or 'exact'"),
        ({"noise_snr_db": [20, 0]}, "reversed"),
        ({"noise_snr_db": [5]}, "noise_snr_db"),
        ({"symmetry_angles": {"2": [180]}}, "lacks the fold 0"),
        ({"symmetry_angles": {"5": [72]}}, "symmetry_angles"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_a_value_that_makes_no_sense_is_a_usage_error_that_names_its_option(options, message):
    with pytest.raises(UsageError, match=message):
        with_options(**options)


def test_a_spread_cannot_be_asked_of_a_recipe_that_does_not_train_it():
    assert with_options(samples=8).samples == 8
    with pytest.raises(UsageError, match="samples needs alignment"):
        with_options(recipe="article", samples=8)


def test_an_unknown_recipe_or_preset_is_a_usage_error():
    with pytest.raises(UsageError, match="no recipe 'thesis'; choose one of article, code"):
        with_options(recipe="thesis")
    with pytest.raises(UsageError, match="no preset 'huge'"):
        resolve_config(TWO_STEP["code"], run_of(preset="huge"), load_spec("mini").grid)


@pytest.mark.parametrize(
    ("entry", "recipe"),
    [
        pytest.param(one_step, "article", id="one_step, article"),
        pytest.param(one_step, "code", id="one_step, code"),
        pytest.param(two_step, "code", marks=pytest.mark.slow, id="two_step, code"),
    ],
)
def test_the_recipe_that_the_command_is_not_tested_with_can_be_trained(train, entry, recipe):
    record = load_run(train(entry, recipe=recipe, steps=6))
    assert (record.config["recipe"]["name"], record.status, record.steps_done) == (recipe, "complete", 6)


@pytest.mark.parametrize("entry", [one_step, two_step], ids=["one_step", "two_step"])
def test_an_option_that_an_entry_does_not_have_leaves_no_run(train, entry, tmp_path):
    with pytest.raises(UsageError, match=f"{entry.__name__} has no option 'alpha'"):
        train(entry, options={"alpha": 0.5})
    assert not RunFolder(tmp_path / "run").record.exists()
