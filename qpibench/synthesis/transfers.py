"""Copies of arrays from the host to the GPU and back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.corruptions import Draft
from qpibench.synthesis.drafts import count_told


class Transfers:
    """Copies arrays to a device and from it, given the modules cupy and cupyx. Several threads may call it at once."""

    def __init__(self, cupy: Any, cupyx: Any) -> None:
        self._cupy, self._cupyx = cupy, cupyx
        self._of_thread = threading.local()

    def upload(self, draft: Draft, rows: slice = slice(None)) -> dict[str, Any]:
        """Copy the scatterers of a draft to the device."""
        told = draft.told_position_nm[rows]
        arrays = {
            "n_scatterers": draft.n_scatterers[rows].astype(np.int64),
            "position_nm": draft.position_nm[rows],
            "amplitude": draft.amplitude[rows],
            "told_position_nm": told,
            "n_told": count_told(told).astype(np.int64),
        }
        if len(draft.species):
            arrays["species"] = draft.species[rows]
        return {name: self._cupy.asarray(np.ascontiguousarray(values)) for name, values in arrays.items()}

    def stream(self) -> Any:
        """The CUDA stream of the calling thread."""
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = self._cupy.cuda.Stream(non_blocking=True)
            self._of_thread.pinned = {}
        return self._of_thread.stream

    def download(self, name: str, array: Any, stream: Any) -> NDArray[Any]:
        """Start copying a GPU array to pinned host memory, which the next call in this thread overwrites."""
        pinned: dict[str, NDArray[np.uint8]] = self._of_thread.pinned
        if name not in pinned or pinned[name].nbytes < array.nbytes:
            pinned[name] = self._cupyx.empty_pinned(array.nbytes, np.uint8)
        target: NDArray[Any] = pinned[name][: array.nbytes].view(array.dtype).reshape(array.shape)
        array.data.copy_to_host_async(target.ctypes.data, array.nbytes, stream)
        return target
