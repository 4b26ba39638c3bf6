"""Specs: what is shipped, what overrides do, and what is refused with which words."""

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import Grid
from qpibench.specs import ImportedSpec, ReleaseSpec, load_spec, spec_from_json, spec_names
from qpibench.specs.schema import spec_keys
from qpibench.specs.suggest import suggestions

SHIPPED_SHA256 = {
    "ag111_128": "5ed7f90a",
    "ag111_64": "2fc595fc",
    "ag111_64_multiple": "bb7b3a84",
    "cu111_128": "53b9d43a",
    "cu111_64": "789df505",
    "damped_hexagonal_192": "2517dec0",
    "damped_nematic_192": "592c98e9",
    "damped_square_192": "fcc2ebe5",
    "damped_surface_192": "92527fc6",
    "hexagonal_128": "bd7fa33c",
    "hexagonal_64": "f0ae57ef",
    "mini": "645cfd12",
    "mini_species": "58edaf27",
    "nematic_128": "d3ef8cc3",
    "nematic_64": "c0aca933",
    "paper": "7fe8053c",
    "scatterer64": "b8b55305",
    "square_128": "24ac1afa",
    "square_64": "6907f396",
}
"""First digits of the hash of each shipped spec."""


def test_the_shipped_specs_are_the_documented_ones():
    assert spec_names() == tuple(SHIPPED_SHA256)
    presets = [name for name in spec_names() if name.endswith(("_64", "_128"))]
    assert {load_spec(name).observation_count for name in presets} == {10_000}
    paper = load_spec("paper")
    assert (paper.observation_count, paper.scatterers.min, paper.scatterers.max) == (50_000, 1, 100)
    assert load_spec("mini").observation_count == 100
    field = load_spec("scatterer64")
    assert (field.grid.size_x_nm, field.scatterers.max, field.scatterers.margin_nm) == (40.0, 20, -10.0)
    assert field.kernels.wavelength_nm[0] >= 3 * field.grid.pitch_x_nm


@pytest.mark.parametrize("name", spec_names())
def test_a_spec_survives_its_json(name):
    spec = load_spec(name)
    assert spec_from_json(spec.canonical_json()) == spec
    assert json.loads(spec.canonical_json())["name"] == name


HOSTILE = ("source", '"source":', "kernels", "{}", "null", "\\", "\\u0000", "'", '"', " ", "[", "%s", "../x", "1e999")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_spec_of_any_name_survives_its_json(name):
    spec = load_spec("mini").model_copy(update={"name": name})
    imported = ImportedSpec(name=name, files_sha256=(name,), grid=spec.grid)
    assert spec_from_json(spec.canonical_json()) == spec
    assert spec_from_json(imported.canonical_json()) == imported


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=200))
def test_a_spec_of_any_printable_name_survives_its_json(name):
    spec = ReleaseSpec.model_validate(load_spec("mini").model_dump() | {"name": name})
    assert spec_from_json(spec.canonical_json()) == spec


def test_an_override_that_changes_something_shows_in_the_name():
    assert load_spec("mini", overrides=["seed=0"]).name == "mini"
    assert load_spec("mini", overrides=["seed=7", "kernels.count = 20"]).name == "mini+kernels.count=20,seed=7"
    assert load_spec("mini", overrides=["seed=7", "name=other"]).name == "other"


def test_the_same_values_are_the_same_spec_however_they_are_written():
    specs = {load_spec("mini", overrides=[f"seed={text}"]) for text in ("1000", "1_000", "0x3e8", "'0x3e8'")}
    assert len(specs) == 1
    assert load_spec("mini", overrides=["seed=1", "seed=2"]) == load_spec("mini", overrides=["seed=2"])
    assert load_spec("mini", overrides=["seed=1", "seed=0"]).name == "mini"
    assert load_spec("mini", overrides=["grid.size_x_nm=9"]) == load_spec("mini", overrides=["grid.size_x_nm = 9.0"])


def test_a_spec_without_corruptions_is_one_spec_with_one_hash():
    mini = load_spec("mini")
    assert "corruptions" not in mini.canonical_json()
    assert load_spec("mini", overrides=["corruptions={}"]) == mini
    assert load_spec("mini", overrides=["corruptions={}"]).sha256 == mini.sha256
    noisy = load_spec("mini", overrides=["corruptions.white_noise.snr_db=10"])
    assert spec_from_json(noisy.canonical_json()) == noisy


def test_a_ratio_is_one_number_or_a_range_and_the_same_hash_however_it_is_written():
    overrides = [f"corruptions.white_noise.snr_db={text}" for text in ("0", "0.0", "[0, 0]", "[-0.0, 0e0]")]
    specs = {load_spec("mini", overrides=[override]).sha256 for override in overrides}
    assert len(specs) == 1
    noisy = load_spec("mini", overrides=["corruptions={white_noise={snr_db=10}}"])
    assert noisy.corruptions["white_noise"].snr_db == (10, 10)
    assert load_spec("mini", overrides=["corruptions.white_noise.snr_db=[5, 15]"]).corruptions[
        "white_noise"
    ].snr_db == (5, 15)
    assert load_spec("mini").corruptions is None


def test_a_spec_file_may_have_a_table_of_its_noise(tmp_path):
    path = tmp_path / "own.toml"
    mini = (resources.files("qpibench.specs") / "mini.toml").read_text()
    path.write_text(f"{mini}\n[corruptions.white_noise]\nsnr_db = [10.0, 10.0]\n")
    named = ["name=mini", "corruptions.white_noise.snr_db=10"]
    assert load_spec(path) == load_spec("mini", overrides=named)
    assert load_spec(path, overrides=["corruptions={}", "name=mini"]) == load_spec("mini")


@pytest.mark.parametrize(("count", "ends"), [("20", (20, 20)), ("[3, 20]", (3, 20)), ("1", (1, 1))])
def test_a_count_of_scatterers_is_short_for_its_range(tmp_path, count, ends):
    long = load_spec("mini", overrides=[f"scatterers.min={ends[0]}", f"scatterers.max={ends[1]}"])
    assert load_spec("mini", overrides=[f"scatterers.count={count}"]) == long
    assert load_spec("mini", overrides=[f"scatterers={{count={count}}}", f"name={long.name}"]).sha256 == long.sha256
    path = tmp_path / "own.toml"
    mini = (resources.files("qpibench.specs") / "mini.toml").read_text()
    path.write_text(mini.replace("min = 1\nmax = 100", f"count = {count}"))
    assert load_spec(path, overrides=[f"name={long.name}"]).canonical_json() == long.canonical_json()
    assert load_spec(path, overrides=["scatterers.max=50"]).scatterers.max == 50


def test_the_hashes_of_the_shipped_specs_are_what_they_were():
    assert {name: load_spec(name).sha256[:8] for name in spec_names()} == SHIPPED_SHA256


def test_a_key_of_another_family_is_refused_with_the_name_of_that_family():
    told = "field 'kernels.wavelength_nm' is of the family eq7, and kernels.family is surface_state; leave it out"
    with pytest.raises(UsageError, match=told):
        load_spec("cu111_64", overrides=["kernels.wavelength_nm=[1, 2]"])
    with pytest.raises(UsageError, match=r"field 'kernels.folds' is of the family eq7, and kernels.family is"):
        load_spec("mini", overrides=["kernels.family=surface_state"])


def test_a_misspelt_name_of_a_family_is_told_in_one_sentence():
    with pytest.raises(UsageError, match=r"no kernel family 'surfacestate' \(did you mean 'surface_state'\?\)\.$"):
        load_spec("mini", overrides=["kernels.family=surfacestate"])


def test_a_misspelt_key_is_told_with_the_right_one():
    with pytest.raises(InvalidDataError, match=r"unknown field 'kernels.cuont' \(did you mean 'kernels.count'\?\)"):
        spec_from_json(load_spec("mini").canonical_json().replace('"count"', '"cuont"'))


@pytest.mark.parametrize(
    ("toml", "path"),
    [
        ("[noise]\nsnr_db = 10", "corruptions.white_noise.snr_db"),
        ("[noise]\nlevel = 10", "corruptions.white_noise.snr_db"),
        ("[corruptions.noise]\nsnr_db = 10", "corruptions.white_noise.snr_db"),
        ("[corruptions]\nsnr_db = 10", "corruptions.white_noise.snr_db"),
        ("[corruptions.white_noise]\nsigma = 10", "corruptions.white_noise.snr_db"),
        ("[white_noise]\nsnr_db = 10", "corruptions.white_noise"),
        ("[kernel]\ncount = 3", "kernels"),
        ("[scatterer]\nmax = 3", "scatterers"),
    ],
)
def test_a_table_that_is_guessed_is_answered_with_the_right_path(tmp_path, toml, path):
    spec = tmp_path / "own.toml"
    spec.write_text((resources.files("qpibench.specs") / "mini.toml").read_text() + f"\n{toml}\n")
    with pytest.raises(UsageError, match=rf"did you mean .*'{path}'"):
        load_spec(spec)


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("snr_db=10", "corruptions.white_noise.snr_db"),
        ("noise=10", "corruptions.white_noise.snr_db"),
        ("sigma=0.1", "corruptions.white_noise.snr_db"),
        ("kernels.sigma=0.1", "corruptions.white_noise.snr_db"),
        ("n_images=10", "observations_per_kernel"),
        ("images_per_kernel=10", "observations_per_kernel"),
        ("observations=10", "observations_per_kernel"),
        ("size=10", "grid.size_x_nm"),
        ("grid.size_nm=10", "grid.size_x_nm"),
        ("grid.size=10", "grid.size_x_nm"),
        ("nx=64", "grid.nx"),
        ("pixels=64", "grid.nx"),
        ("fold=4", "kernels.folds"),
        ("folds=[4]", "kernels.folds"),
        ("kernels.fold=4", "kernels.folds"),
        ("wavelength=2", "kernels.wavelength_nm"),
        ("kernels.decay=2", "kernels.decay_nm"),
        ("n_kernels=2", "kernels.count"),
        ("n_scatterers=2", "scatterers.count"),
        ("scatterers.cuont=2", "scatterers.count"),
        ("margin=2", "scatterers.margin_nm"),
        ("validation=0.1", "splits.validation"),
        ("random_state=1", "seed"),
    ],
)
def test_a_key_that_is_guessed_is_answered_with_the_right_path(override, path):
    with pytest.raises(UsageError, match=rf"did you mean .*'{path}'"):
        load_spec("mini", overrides=[override])


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("size=256", "'grid.ny' or 'grid.nx' or 'grid.size_y_nm' or 'grid.size_x_nm'"),
        ("grid.size=256", "'grid.ny' or 'grid.nx' or 'grid.size_y_nm' or 'grid.size_x_nm'"),
        ("scatterers.n=3", "'scatterers.count'"),
        ("kernels.n=3", "'kernels.count'"),
    ],
)
def test_the_likeliest_key_is_suggested_first(override, first):
    with pytest.raises(UsageError, match=rf"\(did you mean {first}"):
        load_spec("mini", overrides=[override])


@pytest.mark.parametrize("path", [key.path for key in spec_keys()])
def test_a_key_that_lacks_a_letter_is_answered_with_itself(path):
    known = [key.path for key in spec_keys()]
    typos = {path[:at] + path[at + 1 :] for at in range(len(path)) if path[at] != "."} - set(known)
    assert all(path in suggestions(typo, 1, known, synonyms=True) for typo in typos if "" not in typo.split("."))


def test_every_suggested_key_is_a_key():
    from qpibench.specs.suggest import _SYNONYMS

    known = {key.path for key in spec_keys()}
    assert known.issuperset(path for paths in _SYNONYMS.values() for path in paths)


def test_many_overrides_make_a_name_that_still_fits():
    overrides = [f"scatterers.margin_nm={value}" for value in range(1, 21)]
    names = {load_spec("mini", overrides=overrides + more).name for more in ([], ["seed=1"])}
    assert len(names) == 2
    assert all(len(name) <= 200 for name in names)


def test_a_spec_file_with_the_shipped_fields_is_the_shipped_spec(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text((resources.files("qpibench.specs") / "paper.toml").read_text())
    assert load_spec(path) == load_spec("paper")


def test_seeds_have_up_to_128_bits():
    assert load_spec("mini", overrides=[f"seed={2**128 - 1}"]).seed == 2**128 - 1
    assert load_spec("mini", overrides=["seed='0xff'"]).seed == 255


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("kernels.cuont=3", "(did you mean 'kernels.count'?)"),
        ("sed=3", "(did you mean 'seed'?)"),
        ("kernel.count=3", "unknown field 'kernel' (did you mean 'kernels'?)"),
        ("scatterers.max=true", "'scatterers.max'"),
        ("seed=true", "'seed'"),
        ("seed=1.5", "'seed'"),
        ("seed=abc", "'seed': expected an integer from 0 to 2^128 - 1, found 'abc'"),
        (
            "scatterers=20",
            "be a table of fields (count, min, max, margin_nm, superposition, min_separation_nm), found 20",
        ),
        ("scatterers.count=20.0", "a whole number such as 20 or a range such as [1, 100], found 20.0"),
        ("scatterers.count='many'", "a whole number such as 20 or a range such as [1, 100], found 'many'"),
        ("scatterers={count=3, max=4}", "leave out one or the other"),
        ("scatterers.count=0", "'scatterers.min'"),
        ("kernels.wavelength_nm=[3, 1]", "kernels.wavelength_nm': the range is reversed: 3 is larger than 1"),
        ("kernels.wavelength_nm=1.5", "wavelength_nm': should be two numbers, such as [1.5, 1.5], found 1.5"),
        ("kernels.wavelength_nm=[1]", "'kernels.wavelength_nm"),
        ("kernels.wavelength_nm=['a', 2]", "'kernels.wavelength_nm.0': input should be a valid number"),
        ("kernels.decay_nm=[3, 1]", "kernels.decay_nm': the range is reversed"),
        ("scatterers.min=101", "scatterers min..max is reversed"),
        ("grid.nx=0", "'grid.nx'"),
        ("grid.size_x_nm=-1", "'grid.size_x_nm'"),
        ("kernels.count=-3", "'kernels.count'"),
        ("observations_per_kernel=0", "'observations_per_kernel'"),
        (f"seed={2**128}", "'seed'"),
        ("seed=-1", "'seed'"),
        ("scatterers.max=10001", "less than or equal to 10000"),
        ("scatterers.margin_nm=-5", "leaves no part of the field"),
        ("scatterers.margin_nm=1000", "more than 10 times the field"),
        ("kernels.wavelength_nm=[0.1, 1]", "would alias"),
        ("kernels.folds=[5]", "should be 0, 2, 3, 4 or 6"),
        ("kernels.folds=[2, 2]", "different folds"),
        ("kernels.fold_counts={0=1}", "fold_counts add up to 1, but count is 10"),
        ("kernels.count", "not of the form field=value"),
        ("grid=3", "'grid': should be a table of fields"),
        ("kernels.decay_nm=[nan, 1]", "'kernels.decay_nm.0'"),
        (
            "corruptions.white_noise.snr_db=[20, 5]",
            "corruptions.white_noise.snr_db': the range is reversed: 20 is larger than 5",
        ),
        ("corruptions.white_noise.snr_db=100.5", "less than or equal to 100"),
        ("corruptions.white_noise.snr_db=[-41, 0]", "greater than or equal to -40"),
        ("corruptions.white_noise.snr_db=nan", "finite number"),
        ("corruptions.white_noise.snr_db=true", "a ratio in dB or a range [low, high], found True"),
        ("corruptions.white_noise.snr_db=[1, 2, 3]", "a ratio in dB or a range [low, high], found [1, 2, 3]"),
        ("corruptions.white_noise={}", "'corruptions.white_noise': needs either snr_db (-40 to 100 dB) or sigma_over"),
        ("corruptions.white_noise={snr_db=1, sigma_over_kernel_rms=1}", "kernel_rms (0 to 1000), and both are given"),
        ("corruptions.white_noise.sigma_over_kernel_rms=-1", "greater than or equal to 0, found -1"),
        ("corruptions.white_noise.snr=3", "(did you mean 'corruptions.white_noise.snr_db'?)"),
        ("corruptions=3", "'corruptions': should be a table of fields"),
    ],
)
def test_a_bad_field_is_refused_in_words_that_name_it(override, words):
    with pytest.raises(UsageError) as caught:
        load_spec("mini", overrides=[override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_spec_is_refused_with_a_suggestion(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        load_spec("papper")
    broken = tmp_path / "broken.toml"
    broken.write_text("[grid")
    with pytest.raises(InvalidDataError, match=r"broken\.toml"):
        load_spec(broken)


def test_pixels_reach_both_edges_and_the_offset_lattice_has_the_origin():
    grid = Grid(ny=64, nx=5, size_y_nm=10, size_x_nm=8)
    assert (grid.y_nm[0], grid.y_nm[-1]) == (-5, 5)
    assert grid.x_nm.tolist() == [-4, -2, 0, 2, 4]
    assert 0 not in grid.y_nm
    offsets = grid.offsets
    assert offsets.shape == (127, 9)
    assert offsets.y_nm[63] == 0
    assert offsets.pitch_y_nm == pytest.approx(grid.pitch_y_nm)


def test_the_schema_names_every_key_with_its_meaning_and_no_other():
    keys = {key.path: key for key in spec_keys()}
    stored = json.loads(load_spec("paper", overrides=["corruptions.white_noise.snr_db=10"]).canonical_json())
    paths = {f"{table}.{key}" for table, inner in stored.items() if isinstance(inner, dict) for key in inner}
    assert paths - {"corruptions.white_noise"} < keys.keys()
    assert all(key.meaning for key in keys.values())
    assert (keys["grid.size_x_nm"].unit, keys["corruptions.white_noise.snr_db"].unit) == ("nm", "dB")
    assert (keys["seed"].default, keys["grid.nx"].default) == ("0", "required")
