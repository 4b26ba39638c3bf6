"""What a release is made of: shares of the folds, ranges of the parameters, places of the scatterers."""

import numpy as np
import pytest

from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.draws import draw_parameters


def test_folds_have_equal_shares_and_the_remainder_goes_out_in_order():
    spec = load_spec("paper", overrides=["kernels.count=13"])
    values, counts = np.unique(draw_parameters(spec, domain="benchmark")["fold"], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 3, 2: 3, 3: 3, 4: 2, 6: 2}


def test_a_spec_may_give_counts_of_the_folds():
    shares = "kernels.fold_counts={0=12, 2=27, 3=19, 4=24, 6=18}"
    spec = load_spec("paper", overrides=[shares, "observations_per_kernel=1"])
    backend, _ = get_backend("cpu")
    kernels = backend.kernels(spec)
    assert [int((kernels.parameters["fold"] == value).sum()) for value in (0, 2, 3, 4, 6)] == [12, 27, 19, 24, 18]
    assert backend.observations(spec, kernels, 0, 100).kernel.tolist() == list(range(100))


def test_parameters_fill_their_ranges():
    draws = draw_parameters(load_spec("paper", overrides=["kernels.count=2000"]), domain="benchmark")
    for value, low, high in [
        (np.pi / draws["B"], 0.6, 3.0),
        (1 / np.sqrt(draws["C"]), 1.0, 5.0),
        (draws["phi2"], 0.0, np.pi),
        (draws["phi1"][draws["fold"] != 0], 0.0, np.pi),
    ]:
        assert low <= value.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < value.max() <= high
        assert value.mean() == pytest.approx((low + high) / 2, abs=0.04 * (high - low))
    assert (draws["phi1"][draws["fold"] == 0] == np.pi / 2).all()


@pytest.mark.parametrize("margin", [0.0, 2.0, -3.0])
def test_scatterers_lie_in_the_field_widened_by_the_margin(margin):
    overrides = [f"scatterers.margin_nm={margin}", "grid.size_y_nm=8", "scatterers.min=7", "scatterers.max=30"]
    spec = load_spec("mini", overrides=overrides)
    backend, _ = get_backend("cpu")
    observations = backend.observations(spec, backend.kernels(spec), 0, 100)
    count = observations.n_scatterers
    assert (count.min(), count.max()) == (7, 30)
    padded = np.arange(30)[None, :] >= count[:, None]
    assert np.array_equal(np.isnan(observations.position_nm), np.repeat(padded[..., None], 2, axis=2))
    reach = np.nanmax(np.abs(observations.position_nm), axis=(0, 1))
    assert reach == pytest.approx([5 + margin, 4 + margin], rel=0.01)
    assert (reach <= [5 + margin, 4 + margin]).all()


def test_training_and_benchmark_domains_never_share_a_draw():
    spec = load_spec("mini")
    backend, _ = get_backend("cpu")
    official, training = backend.kernels(spec), backend.kernels(spec, domain="training")
    assert not np.intersect1d(official.parameters["B"], training.parameters["B"]).size
    images = backend.observations(spec, official, 0, 10)
    others = backend.observations(spec, training, 0, 10, domain="training")
    assert not np.intersect1d(images.position_nm[:, 0], others.position_nm[:, 0]).size
