"""A stream of training images as PyTorch tensors: an endless iterator, and a data set for `DataLoader`."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

from qpibench.errors import UnavailableError, UsageError
from qpibench.processors import processors
from qpibench.specs import ReleaseSpec
from qpibench.synthesis.stream import FreshBatches, ahead, fresh_batches, whole_number

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
    from torch.utils.dlpack import from_dlpack
except ModuleNotFoundError as error:
    raise UnavailableError(
        f"A stream gives tensors and needs PyTorch ({error}): pip install 'qpibench[torch]'."
    ) from None


def stream(
    spec: str | Path | ReleaseSpec,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    start: int = 0,
    fields: Sequence[str] | None = None,
    map_mode: str | None = None,
    images_per_kernel: int = 1,
    threads: int | None = None,
) -> Stream:
    """Return an endless stream of fresh training batches.

    All images are drawn in the training domain of the spec's seed, so none is part of a release. Image i of the stream
    has the same bits for any batch size, number of threads or workers, and device.

    Parameters
    ----------
    spec
        Name of a shipped spec, path of a TOML file, or a spec. Its observations per kernel have no effect. Its number
        of kernels is the period after which the folds repeat.
    device
        Device that makes and holds the batches: ``"cpu"``, ``"cuda"``, or ``"auto"``, the GPU if there is one. The GPU
        is the first that ``CUDA_VISIBLE_DEVICES`` shows. Batches are made on PyTorch's current CUDA stream, so they
        can be used like PyTorch's own tensors.
    batch_size
        Images in a batch.
    start
        The first step; a run that was stopped after k batches resumes with ``start=k``.
    fields
        Fields of a batch, out of :func:`qpibench.synthesis.fields.stream_fields`; others are not computed. If None, all
        fields, and the activation map only if ``map_mode`` is given.
    map_mode
        How scatterers are rasterised, ``"exact"`` or ``"paper"``; see
        :func:`qpibench.physics.activation.activation_map`. The field ``activation_map`` needs it.
    images_per_kernel
        Number of consecutive images with the same kernel.
    threads
        CPU only: number of threads that make batches in advance. If None, the number of processors, divided among the
        workers of a `DataLoader`. About ``threads + 2`` batches are in memory.

    Returns
    -------
    Stream
        Batches as dictionaries of tensors, every field with a leading batch axis.

    Raises
    ------
    UsageError
        If there is no such spec, device, field or mode, a map is asked for without its mode, or a number is out of
        range.
    UnavailableError
        If the device is ``"cuda"`` and no GPU can be used.

    Examples
    --------
    >>> import qpibench
    >>> batches = qpibench.stream("paper", batch_size=8, threads=1)
    >>> batch = next(batches)
    >>> batch["image"].shape, batches.step
    (torch.Size([8, 64, 64]), 1)
    >>> batches.close()
    """
    batches = fresh_batches(
        spec,
        device=_backend_name(device),
        batch_size=batch_size,
        fields=fields,
        map_mode=map_mode,
        images_per_kernel=images_per_kernel,
    )
    if threads is not None:
        threads = whole_number("threads", threads, 1, 1024)
    return Stream(batches, start=start, threads=threads)


def _backend_name(device: str | torch.device) -> str:
    """Name of the backend for a PyTorch device."""
    name = str(device).removesuffix(":0")
    if name.startswith("cuda:"):
        raise UsageError(
            f"A stream cannot be made on '{name}', only on 'cuda', the first GPU that CUDA_VISIBLE_DEVICES shows;"
            " set that variable to choose another."
        )
    if name == "auto" and not torch.cuda.is_available():
        return "cpu"
    return name


class Stream(IterableDataset[dict[str, torch.Tensor]]):
    """An endless iterator of batches, made by :func:`stream`.

    It is also a data set for ``DataLoader(stream, batch_size=None, num_workers=w)``: each of w workers makes every w-th
    batch, and the batches arrive in order. The workers have copies of the stream, so the step of the original does not
    change: count the batches, and call `seek` before iterating over the loader again.
    """

    def __init__(self, batches: FreshBatches, *, start: int = 0, stride: int = 1, threads: int | None = None) -> None:
        if batches.backend.name != "cpu" and not torch.cuda.is_available():
            raise UnavailableError(
                f"PyTorch {torch.__version__} finds no CUDA device for the tensors of a stream on the GPU;"
                " install PyTorch with CUDA, or use device='cpu' (same values)."
            )
        self.batches = batches
        self.stride = stride
        self.threads = threads
        self._waiting: Generator[Mapping[str, Any], None, None] | None = None
        self.seek(start)

    @property
    def step(self) -> int:
        """Number of the next batch; ``seek(step)`` resumes the stream from it."""
        return self._step

    def seek(self, step: int) -> Self:
        """Continue at a step; return the stream itself.

        Raises
        ------
        UsageError
            If it is not a whole number from 0 to the step of the last image.
        """
        step = self.batches.check(step)
        self.close()
        self._step = step
        return self

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """Make the batch of any step in this thread; the step of the stream does not change."""
        with self._in_order():
            return _tensors(self.batches(step))

    def close(self) -> None:
        """Stop making batches in advance and discard those that wait; the next request starts it again."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.close()

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        if worker is None:
            return self
        if self.batches.backend.name != "cpu":
            raise UsageError("Batches made on the GPU cannot come from a DataLoader's workers; use num_workers=0.")
        threads = self.threads or max(1, processors() // worker.num_workers)
        return Stream(self.batches, start=self.step + worker.id, stride=worker.num_workers, threads=threads)

    def __next__(self) -> dict[str, torch.Tensor]:
        if self._waiting is None:
            self._waiting = self._ahead()
        try:
            with self._in_order():
                batch = _tensors(next(self._waiting))
        except BaseException:
            self.close()
            raise
        self._step += self.stride
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_waiting": None}

    def _ahead(self) -> Generator[Mapping[str, Any], None, None]:
        steps = itertools.count(self._step, self.stride)
        if self.batches.backend.name == "cpu":
            return ahead(self.batches, steps, threads=self.threads or processors())
        # A GPU needs no threads: its work is queued, in the order of the caller's own work.
        return (self.batches(step) for step in steps)

    def _in_order(self) -> AbstractContextManager[None]:
        backend: Any = self.batches.backend
        return nullcontext() if backend.name == "cpu" else backend.on_stream(torch.cuda.current_stream(0).cuda_stream)


def _tensors(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Tensors that share the memory of the arrays, on their device."""
    return {field: from_dlpack(array) for field, array in arrays.items()}
