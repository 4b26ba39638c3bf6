"""The latent view of a report shows the model's latents, with the same bytes every time."""

import re
import sys

import h5py
import numpy as np
import pytest

from qpibench.evaluation import latents
from qpibench.evaluation.predict import predict
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.report import report
from qpibench.evaluation.score import score

MODEL = """
import numpy as np
from qpibench import Prediction

def encode_kernel(kernels):
    return kernels[:, ::9, ::9].reshape(len(kernels), -1)

def predict(batch):
    return Prediction(kernel=np.zeros_like(batch.image), latent=encode_kernel(batch.image))
"""


def cloud(count=60, size=5, seed=0):
    return np.random.default_rng(seed).standard_normal((count, size)) * np.arange(size, 0, -1) + 7


def test_principal_components_are_those_of_the_covariance():
    points = cloud()
    coordinates, shares = latents.principal_components(points)
    variances, directions = np.linalg.eigh(np.cov(points.T))
    np.testing.assert_allclose(shares, variances[:-3:-1] / variances.sum())
    expected = (points - points.mean(axis=0)) @ directions[:, :-3:-1]
    np.testing.assert_allclose(np.abs(coordinates), np.abs(expected))


def test_principal_components_do_not_flip():
    points = cloud()
    coordinates, _ = latents.principal_components(points)
    mirrored, _ = latents.principal_components(points[::-1])
    np.testing.assert_allclose(mirrored[::-1], coordinates, atol=1e-12)


def test_one_dimension_has_no_second_component():
    coordinates, shares = latents.principal_components(np.array([[1.0], [2.0], [6.0]]))
    assert coordinates.tolist() == [[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]]
    assert shares.tolist() == [1.0, 0.0]


def test_tsne_keeps_clusters_and_is_the_same_every_time():
    pytest.importorskip("sklearn")
    points = np.concatenate([cloud(seed=1), cloud(seed=2) + 100])
    plane = latents.neighbour_embedding(points)
    distance = np.linalg.norm(plane[:, None] - plane, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert ((distance.argmin(axis=1) < 60) == (np.arange(120) < 60)).all()
    np.testing.assert_array_equal(latents.neighbour_embedding(points), plane)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.h5"


@pytest.fixture
def predicted(mini_release, path, write_model):
    assert predict(write_model(MODEL), mini_release, path).warnings == ()
    return path


def read(path, release):
    with open_predictions(path, release) as predictions:
        return latents.read_latents(predictions, release)


def test_every_point_is_of_the_kernel_it_shows(mini_release, predicted):
    found = read(predicted, mini_release)
    assert found.points.shape == (70, 64)
    images = mini_release.kernels.image
    encoded = images[:, ::9, ::9].reshape(len(images), -1)
    np.testing.assert_array_equal(found.points[found.is_kernel], encoded)
    np.testing.assert_array_equal(found.kernel[found.is_kernel], np.arange(10))
    rows = np.concatenate([h5py.File(predicted)[f"{task}/index"][:] for task in ("id", "ood")])
    np.testing.assert_array_equal(found.kernel[~found.is_kernel], mini_release.observation_kernel[rows])


def test_of_many_images_some_are_shown_from_first_to_last(mini_release, predicted, monkeypatch):
    monkeypatch.setattr(latents, "MAX_IMAGES", 4)
    monkeypatch.setattr(latents, "MAX_KERNELS", 3)
    found = read(predicted, mini_release)
    assert (~found.is_kernel).sum() == 8
    assert found.kernel[found.is_kernel].tolist() == [0, 4, 9]
    with open_predictions(predicted, mini_release) as predictions:
        np.testing.assert_array_equal(found.points[:4], predictions.latent("id", np.array([0, 3, 6, 9])))


def test_points_without_a_place_are_left_out(mini_release, predicted):
    with h5py.File(predicted, "r+") as file:
        file["id/latent"][2] = np.nan
        file["kernels/latent"][5, 3] = np.inf
    found = read(predicted, mini_release)
    assert len(found.points) == 68
    assert 5 not in found.kernel[found.is_kernel]


def test_there_is_no_view_of_nothing_or_of_a_single_point(mini_release, path, predicted):
    with h5py.File(predicted, "r+") as file:
        for group in file.values():
            group["latent"][:] = 1.0
    assert read(predicted, mini_release) is None
    predict("zeros", mini_release, path)
    assert read(path, mini_release) is None


@pytest.fixture
def report_of(mini_release, monkeypatch):
    """The report of a predictions file, without its gallery of images, which takes longest."""
    monkeypatch.setattr("qpibench.evaluation.report.pick_by_rank", lambda errors: [])

    def write(path):
        target = path.with_suffix(".html")
        with open_predictions(path, mini_release) as predictions:
            report(score(path, mini_release), predictions, mini_release, target)
        return target.read_text()

    return write


def plots(html):
    """Latent figures by their captions."""
    found = re.findall(r"<figcaption>((?:Principal|t-SNE)[^<]*)</figcaption>(<svg.*?</svg>)", html, flags=re.DOTALL)
    return dict(found)


def test_the_report_shows_images_and_kernels_by_symmetry_and_wavelength(predicted, report_of):
    pytest.importorskip("sklearn")
    html = report_of(predicted)
    shown = plots(html)
    assert list(shown) == [
        "Principal components, by fold",
        "Principal components, by wavelength",
        "t-SNE, by fold",
        "t-SNE, by wavelength",
    ]
    for caption, svg in shown.items():
        # A marker is defined for each kind, and used by each of its points.
        uses = re.findall(r'<use xlink:href="#(C\w+)"', svg)
        assert sorted(uses.count(name) for name in set(uses)) == [10, 60], caption
        assert ("wavelength 2π/q (nm)" in svg) == caption.endswith("wavelength")
    assert "60 images (at most 250 of a task) and 10 true kernels" in html
    assert re.search(r'class="kernel">kernel</span>.*total.*2-fold', html)
    assert report_of(predicted) == html


def test_without_scikit_learn_the_report_says_what_is_missing(predicted, report_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    html = report_of(predicted)
    assert 't-SNE needs scikit-learn: pip install "qpibench[training]".' in html
    assert len(plots(html)) == 2


def test_a_report_without_latents_says_nothing_of_them(mini_release, path, report_of):
    predict("zeros", mini_release, path)
    assert "Latent space" not in report_of(path)
