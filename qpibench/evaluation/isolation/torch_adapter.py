"""Adapter that uses a torch module as a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from qpibench.tasks.batch import Batch


def module_predictor(module: torch.nn.Module, *, with_map: bool) -> Callable[[Batch], Any]:
    """Predict with a network: ``forward(image)`` or ``forward(image, activation_map)``.

    Both are (n, 1, y, x) float32 tensors on the device of the module's parameters; the kernel comes back as
    (n, 1, y, x) or (n, y, x). The module is put into evaluation mode and no gradients are kept.
    """
    module.eval()
    parameter = next(module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device

    def predict(batch: Batch) -> Any:
        inputs = [batch.image, batch.activation_map] if with_map else [batch.image]
        with torch.no_grad():
            kernel = module(*(torch.from_numpy(array)[:, None].to(device) for array in inputs))
        is_image = isinstance(kernel, torch.Tensor) and kernel.ndim == 4 and kernel.shape[1] == 1
        return kernel[:, 0] if is_image else kernel

    return predict
