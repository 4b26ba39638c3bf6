"""Structural similarity (scikit-image's) and peak signal-to-noise ratio, with the truth's range R.

R is that of :func:`qpibench.evaluation.metrics.value_range`.
"""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.metrics import Case, Metric, PerImage, Values, value_range

PSNR_LIMIT_DB = 150.0
"""Largest PSNR, slightly above the limit of float32 rounding; the PSNR of an exact prediction would be infinite."""

SSIM_WINDOW = 7
"""Width in pixels of the uniform window of the structural similarity: scikit-image's default."""


def structural_similarity(case: Case) -> Values:
    """Structural similarity (SSIM); 1 for an exact prediction.

    scikit-image's with its defaults: a uniform window of 7 x 7 pixels (the largest odd one that fits into a smaller
    image), K1 = 0.01, K2 = 0.03, sample covariances.

    References
    ----------
    Wang et al., IEEE Trans. Image Process. 13, 600 (2004), eq. 13.
    """
    from skimage.metrics import structural_similarity as ssim

    side = min(SSIM_WINDOW, *case.known.shape[1:])
    window = side - 1 + side % 2
    with np.errstate(invalid="ignore", over="ignore"):
        similarity = [
            ssim(t, p, data_range=span, win_size=window, use_sample_covariance=window > 1)  # type: ignore[no-untyped-call]
            for t, p, span in zip(case.known, case.prediction, value_range(case.known), strict=True)
        ]
    return np.array(similarity, dtype=np.float64)


def peak_signal_to_noise(case: Case) -> Values:
    """Peak signal-to-noise ratio (PSNR) in dB, ``10 log10(R^2 / mean (p - t)^2)``, at most 150."""
    # scikit-image's function has the same bits, and its import takes longer than the scores of a small release.
    with np.errstate(divide="ignore"):
        decibel = [
            10 * np.log10(float(span) ** 2 / np.mean((t - p) ** 2, dtype=np.float64))
            for t, p, span in zip(case.known, case.prediction, value_range(case.known), strict=True)
        ]
    return np.minimum(np.array(decibel, dtype=np.float64), PSNR_LIMIT_DB)


METRICS = (
    Metric(
        name="ssim",
        label="SSIM",
        description="Structural similarity with the truth's range, averaged over images.",
        better="higher",
        bounds=(-1.0, 1.0),
        columns=(PerImage(name="ssim", measure=structural_similarity, worse="lower"),),
    ),
    Metric(
        name="psnr",
        label="PSNR",
        unit="dB",
        description="Peak signal-to-noise ratio with the truth's range, averaged over images.",
        better="higher",
        bounds=(-np.inf, PSNR_LIMIT_DB),
        columns=(PerImage(name="psnr", measure=peak_signal_to_noise, worse="lower"),),
    ),
)
