"""The tracks that come with the package: how large their releases are, and in what their cells differ."""

import pytest

from qpibench.families import get_family
from qpibench.synthesis.species import draw_kernels
from qpibench.tasks.suite import load_suite
from qpibench.tasks.track import load_track, track_names

ONE_FACTOR = ["exact", "noise", "window20", "robust", "materials", "materials64"]
"""Tracks whose cells differ in their corruptions only; for robust, apart from multiple scattering."""


V1 = "a2ee5ee6f2386cbee7e1a8cb3b1dac27139302902f2d44b08f4bc282367c1e51"
"""SHA-256 of the official suite, which is frozen."""


@pytest.fixture(scope="module")
def tracks():
    return {name: load_track(name) for name in track_names()}


def _ideal(spec):
    return spec.model_dump(mode="json", exclude={"name", "corruptions"})


def _kernels(spec):
    stratum = get_family(spec.kernels.family).STRATUM
    columns = draw_kernels(spec, domain="benchmark", stop=None).parameters
    return set(zip(*(values.tolist() for name, values in columns.items() if name != stratum), strict=True))


def test_releases_for_tests_have_one_image_of_each_kernel_and_few_of_them(tracks):
    for track in tracks.values():
        for cell in track.cells.values():
            images = sum(spec.observation_count for spec in cell.specs)
            assert images <= 300 if cell.size is None else cell.size <= 500
            assert cell.size is not None or all(spec.observations_per_kernel == 1 for spec in cell.specs)


def test_releases_for_training_are_small_enough_to_generate_in_seconds(tracks):
    specs = {spec.sha256: spec for track in tracks.values() for cell in track.cells.values() for spec in cell.all_specs}
    assert max(spec.observation_count for spec in specs.values()) == 50_000
    assert sum(4 * spec.observation_count * spec.grid.ny * spec.grid.nx for spec in specs.values()) < 3e9  # bytes


def test_no_kernel_of_a_test_is_one_of_training(tracks):
    cells = [cell for track in tracks.values() for cell in track.cells.values() if cell.training is not None]
    of_training = {cell.training.sha256: _kernels(cell.training) for cell in cells}
    for cell in cells:
        for spec in cell.specs:
            if spec.splits.ood_kernels == 1:  # otherwise the split of the release keeps them apart
                assert not _kernels(spec) & of_training[cell.training.sha256]


@pytest.mark.parametrize("name", ONE_FACTOR)
def test_cells_of_a_track_differ_only_in_their_corruptions(tracks, name):
    cells = [cell for each, cell in tracks[name].cells.items() if not each.startswith("multiple")]
    assert len({str([_ideal(spec) for spec in cell.specs]) for cell in cells}) == 1
    shown = {str(cell.model_dump(mode="json", exclude={"specs", "training", "task"})) for cell in cells}
    assert len(shown) == 1


def test_noise_is_added_to_the_images_of_the_exact_track(tracks):
    (clean,) = tracks["exact"].cell("clean").specs
    for cell in tracks["noise"].cells.values():
        assert list(cell.specs[0].corruptions) == ["white_noise"]
        assert _ideal(cell.specs[0]) == _ideal(clean)


def test_a_factor_of_the_robust_track_is_one_corruption_or_a_pair(tracks):
    reference, *cells = tracks["robust"].cells.values()
    assert all(list(spec.corruptions) == ["white_noise"] for spec in reference.specs)
    for cell in cells:
        added = [set(spec.corruptions) - {"white_noise"} for spec in cell.specs]
        assert all(each == added[0] for each in added)
        assert len(added[0]) <= 2


def test_the_instrument_shows_the_kernels_of_the_materials(tracks):
    measured, clean = (
        tracks[name].cells[cell].specs for name, cell in (("instrument", "chain"), ("materials", "clean"))
    )
    assert [_ideal(spec) for spec in measured] == [_ideal(spec) for spec in clean]


def test_the_official_suite_has_every_cell_but_those_for_quick_answers(tracks):
    listed = {each.label for each in load_suite("v1").cells}
    every = {f"{name}/{cell}" for name, track in tracks.items() for cell in track.cells}
    assert every - listed == {f"materials64/{cell}" for cell in tracks["materials64"].cells}


def test_a_frozen_suite_does_not_change():
    told = "a frozen suite does not change: leave its cells as they are, and put a corrected cell into the next suite"
    assert load_suite("v1").sha256 == V1, f"{told} (docs/tracks/README.md)"
