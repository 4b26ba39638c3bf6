"""The excess over the Cramer-Rao bound: known for eq. 7 with white noise, taken over well-conditioned images."""

import numpy as np
import pytest

from qpibench.errors import UsageError
from qpibench.evaluation import facts
from qpibench.evaluation.cells import cell_requests
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.statistics import Statistic, bootstrap_intervals
from qpibench.release import open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

SMALL = ["kernels.count=5", "observations_per_kernel=2", "splits.ood_kernels=1", "grid.ny=24", "grid.nx=24"]
SMALL += ["kernels.wavelength_nm=[1,3]", "scatterers.max=5"]
NOISE = "corruptions.white_noise.snr_db=10"


@pytest.fixture
def release(tmp_path):
    """Make a small release of eq. 7 with some changes of its spec."""

    def make(*changes):
        path = tmp_path / "release.h5"
        write_release(load_spec("mini", overrides=[*SMALL, *changes]), path, backend=get_backend("cpu")[0])
        return open_release(path)

    return make


def truth(release):
    return release.kernels.image[release.observation_kernel]


def test_errors_at_the_bound_have_an_excess_of_1_and_no_error_has_0(release, metrics_of):
    noisy = release(NOISE)
    bound = facts.bound_of(noisy, np.arange(10), noisy.grid)
    metrics = metrics_of(noisy, kernel=truth(noisy) + np.sqrt(bound)[:, None, None])
    assert metrics["excess"].value == pytest.approx(1, rel=1e-4)
    assert metrics["ill_conditioned_share"].value == 0
    assert metrics_of(noisy, kernel=truth(noisy))["excess"].value == 0


def test_an_image_without_an_answer_enters_with_the_error_of_zeros(release, metrics_of):
    noisy = release(NOISE)
    kernel, bound = truth(noisy), facts.bound_of(noisy, np.arange(10), noisy.grid)
    kernel[0] = np.nan
    expected = np.sqrt((truth(noisy)[0] ** 2).mean() / bound.sum())
    assert metrics_of(noisy, kernel=kernel)["excess"].value == pytest.approx(expected, rel=1e-4)


def test_ill_conditioned_images_are_counted_apart_with_an_answer_or_not(release, metrics_of, monkeypatch):
    noisy = release(NOISE)
    whole = facts.bound_of(noisy, np.arange(10), noisy.grid)
    monkeypatch.setattr(facts, "CONDITION_LIMIT", 20)
    some = np.isfinite(facts.bound_of(noisy, np.arange(10), noisy.grid))
    assert 0 < some.sum() < 10
    kernel = truth(noisy) + np.where(some, np.sqrt(whole), 100)[:, None, None]
    kernel[~some] = np.nan
    metrics = metrics_of(noisy, kernel=kernel)
    assert metrics["excess"].value == pytest.approx(1, rel=1e-4)
    assert metrics["ill_conditioned_share"].value == pytest.approx(1 - some.mean())


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (NOISE, "corruptions.position_error.sigma_nm=0.1"),
        (NOISE, "corruptions.amplitude_spread.relative_std=0.3"),
    ],
)
def test_other_images_have_no_excess(release, metrics_of, changes):
    clean = release(*changes)
    assert not {"excess", "ill_conditioned_share"} & set(metrics_of(clean, kernel=truth(clean)))


def test_the_interval_of_a_root_of_a_ratio_is_the_root_of_that_of_the_ratio():
    rng = np.random.default_rng(0)
    values, over, kernel = rng.random(40), 1 + rng.random(40), np.arange(40) // 4
    found = bootstrap_intervals(
        {"ratio": Statistic(values, over=over), "root": Statistic(values, over=over, root=True)}, kernel
    )
    assert [e**2 for e in vars(found["root"]).values()] == pytest.approx(list(vars(found["ratio"]).values()))
    assert found["root"].value == pytest.approx(np.sqrt(values.sum() / over.sum()))


def test_a_metric_that_does_not_rank_is_no_primary(tmp_path, mini_release):
    cell = 'specs = ["mini"]\ntask = "ood"\nview = "image"\nmetrics = ["mae", "{0}"]\nprimary = "{0}"\n'
    names = [name for name, metric in all_metrics().items() if not metric.ranks]
    assert {"excess", "q_error", "q_failure_rate", "q_scored_share"} < set(names)  # they may have no value, or no entry
    for name in names:
        (tmp_path / "own.toml").write_text(f'summary = "a line"\n[cells.toy]\n{cell.format(name)}')
        with pytest.raises(UsageError, match=f"metric '{name}' does not rank entries.*out of: mae"):
            cell_requests(str(tmp_path / "own.toml"), [mini_release])
