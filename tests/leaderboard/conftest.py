"""What the tests of the leaderboard share: results made up from the numbers that matter."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from qpibench.evaluation.result import Interval, Result

OTHER_METRICS = {
    "mae": 0.0123456789,
    "mse": 0.00045678,
    "rmse": 0.0187654321,
    "mae_published": 0.0246913578,
    "mse_published": 0.00182712,
    "rmse_published": 0.0375308642,
    "rel_l2_median": 0.1357913579,
    "rel_l2_q90": 0.3141592653,
    "ssim": 0.8642097531,
    "psnr": 27.182818284,
}

RUN = {"seconds": 1.5, "peak_memory_bytes": None, "environment": {"python": "3.11"}}

_numbers = itertools.count(1)  # no two results are of the same predictions unasked


def _interval(value: float) -> Interval:
    return Interval(value=value, low=0.9 * value, high=1.1 * value)


def _make_result(
    *,
    name: str = "mine",
    capped: tuple[float, float, float] = (0.2, 0.18, 0.22),
    release: str = "paper",
    content_sha256: str = "a" * 64,
    tasks: tuple[str, ...] = ("ood",),
    view: str = "positions",
    n_images: int = 200,
    n_available: int = 10_000,
    n_failed: int = 0,
    stopped: bool = False,
    knows: tuple[str, ...] = (),
    needs: tuple[str, ...] = ("raster",),
    predictions_sha256: str | None = None,
) -> Result:
    """A result; ``capped`` is the ranking score as value, low, high. It passes every check where they fit together."""
    value, low, high = capped
    score = Interval(value=value, low=low, high=high)
    metrics = {metric: _interval(number).model_dump() for metric, number in OTHER_METRICS.items()} | {
        "rel_l2_capped": score.model_dump(),
        "rel_l2_mean": _interval(1.25 * value).model_dump(),
        "failure_rate": _interval(n_failed / n_images).model_dump(),
    }
    group = {"n_images": n_images, "n_kernels": 20, "metrics": {"rel_l2_capped": score.model_dump()}}
    part = {
        "release": {
            "name": release,
            "content_sha256": content_sha256,
            "spec_sha256": "b" * 64,
            "observation_count": 50_000,
            "kernel_count": 100,
            "grid": {"ny": 64, "nx": 64, "size_y_nm": 10.0, "size_x_nm": 10.0},
        },
        "view": view,
        "map_mode": "paper",
        "n_images": n_images,
        "n_available": n_available,
        "subset": n_images < n_available,
        "n_failed": n_failed,
        "n_kernels": 20,
        "failure": {"kind": "raised", "message": "ValueError: no", "task": tasks[0]} if stopped else None,
        "metrics": metrics,
        "breakdowns": {
            "scatterers": ({"label": "1-2", "order": 1, **group},),
            "stratum": ({"label": "4-fold", "order": 4, **group},),
        },
        "predictions_sha256": predictions_sha256 or f"{next(_numbers):064x}",
        "predict_seconds": 1.2,
        "prediction_run": RUN | {"seconds": 15.0},
    }
    return Result.model_validate(
        {
            "schema_version": 2,
            "evaluator_version": "0.1.0",
            "status": "failed" if stopped else "complete",
            "visibility": "public",
            "model": {
                "name": name,
                "file_sha256": "c" * 64,
                "weights": {},
                "knows": knows,
                "needs": needs,
                "trained_on": (),
            },
            "intervals": {"level": 0.95, "method": "bootstrap", "replicates": 2000, "seed": 0},
            "cells": {
                task: {
                    "record": None,
                    "primary": "rel_l2_capped",
                    "metrics": metrics,
                    "parts": ({"task": task, **part},),
                }
                for task in tasks
            },
            "scoring_run": RUN,
        }
    )


@pytest.fixture
def make_result() -> Callable[..., Result]:
    return _make_result
