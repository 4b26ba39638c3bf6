"""What a prediction is worth: one function per metric.

Every metric takes two stacks of images, the truth t and the prediction p, both (n, y, x) of any floating type, and
returns one float64 per image, (n,). It computes in float64 whatever it is given. A prediction that is not finite gets a
score that is not finite; what becomes of it is not decided here.

Metrics that are measured against the truth's range R = max t - min t take ``|t|`` for R where t is constant, and 1
where it is zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PSNR_LIMIT_DB = 150.0
"""The largest PSNR given, a little beyond the rounding of single precision: an exact prediction has none."""

SSIM_WINDOW = 7
"""Width in pixels of the uniform window of the structural similarity: scikit-image's default."""

Images = NDArray[np.floating]
PerImage = NDArray[np.float64]


def absolute_error(truth: Images, prediction: Images) -> PerImage:
    """Mean absolute error, ``mean |p - t|``, in native units."""
    return _mean(np.abs(_difference(truth, prediction)))


def squared_error(truth: Images, prediction: Images) -> PerImage:
    """Mean squared error, ``mean (p - t)^2``, in native units."""
    return _mean(_difference(truth, prediction) ** 2)


def root_mean_square_error(truth: Images, prediction: Images) -> PerImage:
    """Root of the mean squared error, ``sqrt(mean (p - t)^2)``, in native units."""
    return np.sqrt(squared_error(truth, prediction))


def absolute_error_published(truth: Images, prediction: Images) -> PerImage:
    """Mean absolute error in the published convention, ``2 mean |p - t| / R``.

    Truth and prediction are both mapped by the truth's minimum and maximum to [0, 1], and the error is multiplied by 2:
    that of images on [-1, 1] (code of arXiv:2506.05325).
    """
    return 2 * absolute_error(truth, prediction) / value_range(truth)


def squared_error_published(truth: Images, prediction: Images) -> PerImage:
    """Mean squared error in the published convention, ``4 mean (p - t)^2 / R^2``.

    See :func:`absolute_error_published`.
    """
    return 4 * squared_error(truth, prediction) / value_range(truth) ** 2


def root_mean_square_error_published(truth: Images, prediction: Images) -> PerImage:
    """Root of the mean squared error in the published convention, ``2 sqrt(mean (p - t)^2) / R``.

    See :func:`absolute_error_published`.
    """
    return 2 * root_mean_square_error(truth, prediction) / value_range(truth)


def relative_l2(truth: Images, prediction: Images) -> PerImage:
    """Relative L2 error, ``||p - t|| / ||t||`` with the Euclidean norm over pixels.

    Zeros score exactly 1. Against a truth of zeros, zeros score 0 and everything else infinity.
    """
    error, norm = (np.sqrt(_sum_of_squares(x)) for x in (_difference(truth, prediction), _float64(truth)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((norm == 0) & (error == 0), 0.0, error / norm)


def structural_similarity(truth: Images, prediction: Images) -> PerImage:
    """Structural similarity (SSIM) with the truth's range; 1 for an exact prediction.

    scikit-image's with its defaults: a uniform window of 7 x 7 pixels (the largest odd one that fits into a smaller
    image), K1 = 0.01, K2 = 0.03, sample covariances.

    References
    ----------
    Wang et al., IEEE Trans. Image Process. 13, 600 (2004), eq. 13.
    """
    from skimage.metrics import structural_similarity as ssim

    side = min(SSIM_WINDOW, *truth.shape[1:])
    window = side - 1 + side % 2
    with np.errstate(invalid="ignore", over="ignore"):
        similarity = [
            ssim(t, p, data_range=span, win_size=window, use_sample_covariance=window > 1)  # type: ignore[no-untyped-call]
            for t, p, span in zip(_float64(truth), _float64(prediction), value_range(truth), strict=True)
        ]
    return np.array(similarity, dtype=np.float64)


def peak_signal_to_noise(truth: Images, prediction: Images) -> PerImage:
    """Peak signal-to-noise ratio (PSNR) in dB, ``10 log10(R^2 / mean (p - t)^2)``, at most 150."""
    from skimage.metrics import peak_signal_noise_ratio as psnr

    with np.errstate(divide="ignore"):
        decibel = [
            psnr(t, p, data_range=span)  # type: ignore[no-untyped-call]
            for t, p, span in zip(_float64(truth), _float64(prediction), value_range(truth), strict=True)
        ]
    return np.minimum(np.array(decibel, dtype=np.float64), PSNR_LIMIT_DB)


def value_range(truth: Images) -> PerImage:
    """Range R of every image, (n,): largest minus smallest value; see above for a constant image."""
    truth = _float64(truth)
    low, high = truth.min(axis=(1, 2)), truth.max(axis=(1, 2))
    span = np.where(high > low, high - low, np.abs(high))
    return np.where(span > 0, span, 1.0)


def _float64(images: Images) -> NDArray[np.float64]:
    return np.asarray(images, dtype=np.float64)


def _difference(truth: Images, prediction: Images) -> NDArray[np.float64]:
    return _float64(prediction) - _float64(truth)


def _mean(images: NDArray[np.float64]) -> PerImage:
    mean: PerImage = images.mean(axis=(1, 2))
    return mean


def _sum_of_squares(images: NDArray[np.float64]) -> PerImage:
    total: PerImage = np.einsum("nyx,nyx->n", images, images)
    return total
