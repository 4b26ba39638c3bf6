"""Worker process that runs the user's code: ``python -m qpibench.evaluation.isolation.worker READ_FD WRITE_FD PARENT``.

The worker receives the path of the model's file and, for a trained model, that of its run folder. It then receives
training rows and batches over the pipe READ_FD and sends predictions over WRITE_FD. It does not learn which release
they are from. If the model encodes or auto-encodes kernels, it receives the true kernels after all its predictions.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import QpibenchError, UnavailableError
from qpibench.evaluation.isolation.exchange import (
    PredictionError,
    pack_autoencoded,
    pack_latents,
    pack_prediction,
    unpack_batch,
)
from qpibench.evaluation.isolation.failure import describe
from qpibench.evaluation.isolation.loading import InterfaceError, Model, load_model, seed_generators
from qpibench.evaluation.isolation.process import die_with
from qpibench.evaluation.isolation.protocol import Channel, Message
from qpibench.evaluation.isolation.training import Train
from qpibench.extras import missing_module, missing_package
from qpibench.grid import Grid
from qpibench.paths import unquoted
from qpibench.tasks.batch import Batch


def main() -> None:
    """Load the model and serve requests until the pipe is closed."""
    read_fd, write_fd, parent = (int(text) for text in sys.argv[1:])
    die_with(parent)
    for fd in (read_fd, write_fd):
        os.set_inheritable(fd, False)
    _leave_no_core_file()
    faulthandler.enable()
    channel = Channel(read_fd, write_fd)
    try:
        request = channel.receive().fields
        path = unquoted(request["path"])
        run_folder = None if request["run_folder"] is None else unquoted(request["run_folder"])
        sys.argv = [str(path)]
        model = _load(channel, path, request, run_folder)
        while model is not None:
            _serve(channel, model, path.parent, channel.receive())
    except (EOFError, BrokenPipeError):
        pass
    # Threads that the model left running must not delay the end.
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(0)


def _leave_no_core_file() -> None:
    """Let the system write no core file if the model crashes."""
    import resource  # Windows has no such module, and this module is imported there too

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _load(channel: Channel, path: Path, request: dict[str, Any], run_folder: Path | None) -> Model | None:
    try:
        model = load_model(path, request["target"], seed=request["seed"], run_folder=run_folder)
        if "torch" in sys.modules:  # overrides the file, as the result records this number
            sys.modules["torch"].set_num_threads(request["threads"])
    except BaseException as error:
        kind, message, traceback = _why_not_loaded(error, path)
        channel.send("failed", {"kind": kind, "message": message, "traceback": traceback})
        return None
    methods = {
        "has_fit": model.fit is not None,
        "has_latents": model.encode_kernel is not None,
        "has_autoencoder": model.autoencode is not None,
    }
    channel.send("ready", {**model.declared, **methods})
    return model


def _why_not_loaded(error: BaseException, path: Path) -> tuple[str, str, str]:
    """Return kind, message and traceback of a model's failure."""
    match error:
        case InterfaceError():
            return "interface", str(error), ""
        case UnavailableError():
            return "missing package", str(error).rstrip("."), ""
        case QpibenchError():  # a sentence already, such as one on weights
            return "import", str(error).rstrip("."), ""
    message, traceback = describe(error, path.parent)
    if isinstance(error, ImportError) and (module := missing_module(error)) is not None:
        return "missing package", missing_package(path.name, module), traceback
    return "import", message, traceback


def _serve(channel: Channel, model: Model, folder: Path, request: Message) -> None:
    try:
        if request.fields.get("seed") is not None:
            seed_generators(request.fields["seed"])
        if request.kind == "fit":
            assert model.fit is not None
            model.fit(_remote_train(channel, request))
            reply = Message("fitted")
        elif request.kind == "encode":
            assert model.encode_kernel is not None
            kernels = request.arrays["kernels"]
            reply = Message("encoded", arrays={"latents": pack_latents(model.encode_kernel(kernels), len(kernels))})
        elif request.kind == "autoencode":
            assert model.autoencode is not None
            kernels = request.arrays["kernels"]
            shape = kernels.shape  # a model may reshape the array in place
            reply = Message("autoencoded", arrays={"kernels": pack_autoencoded(model.autoencode(kernels), shape)})
        else:
            reply = _predict(model, request)
    except PredictionError as error:
        reply = Message("failed", {"kind": "prediction", "message": f"{model.place}: {error}", "traceback": ""})
    except BaseException as error:
        message, traceback = describe(error, folder)
        kind = "exited" if isinstance(error, SystemExit) else "raised"
        reply = Message("failed", {"kind": kind, "message": message, "traceback": traceback})
    channel.send(reply.kind, reply.fields, reply.arrays)


def _predict(model: Model, request: Message) -> Message:
    batch = unpack_batch(request)
    before = {name: array.copy() for name, array in request.arrays.items()} if request.fields["compare"] else {}
    arrays = pack_prediction(model.predict(batch), batch)
    changed = [
        name for name, array in before.items() if not np.array_equal(array, request.arrays[name], equal_nan=True)
    ]
    return Message("prediction", {"changed": changed}, arrays)


def _remote_train(channel: Channel, request: Message) -> Train:
    """Return the training role, whose rows are requested from the other process on access."""

    def fetch_rows(rows: NDArray[np.int64]) -> Batch:
        channel.send("rows", arrays={"rows": rows})
        return unpack_batch(channel.receive())

    def fetch_kernels() -> NDArray[np.float32]:
        channel.send("kernels")
        return channel.receive().arrays["kernels"]

    return Train(
        kernel_index=request.arrays["kernel_index"],
        grid=Grid(**request.fields["grid"]),
        kernel_grid=Grid(**request.fields["kernel_grid"]),
        fetch_rows=fetch_rows,
        fetch_kernels=fetch_kernels,
    )


if __name__ == "__main__":
    main()
