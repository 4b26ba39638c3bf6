"""Numbers reported in the literature. They were measured on other data, so the page shows them in a separate table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One row of a published table, in the published convention.

    Attributes
    ----------
    method
        Name of the method, and of the part that was left out.
    task
        ``"id"`` or ``"ood"``.
    mae, mse, rmse
        The figures as printed; the RMSE is a mean of the RMSE of each image.
    """

    method: str
    task: str
    mae: float
    mse: float
    rmse: float


SOURCE = "arXiv:2506.05325v1"
SOURCE_URL = "https://arxiv.org/abs/2506.05325v1"

REPORTED = (
    Reported(method="two-step", task="id", mae=0.0099, mse=0.0003, rmse=0.0163),
    Reported(method="one-step", task="id", mae=0.0213, mse=0.0019, rmse=0.0340),
    Reported(method="two-step", task="ood", mae=0.0595, mse=0.0142, rmse=0.0924),
    Reported(method="two-step without symmetry loss", task="ood", mae=0.0636, mse=0.0179, rmse=0.1004),
    Reported(method="one-step", task="ood", mae=0.0722, mse=0.0216, rmse=0.1193),
)
"""The tables of the first version of the article, by task and error."""
