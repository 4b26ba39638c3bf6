"""Conversion of batches and predictions to messages, and checks of the shapes and types of predictions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.isolation.protocol import Message
from qpibench.grid import Grid
from qpibench.tasks.batch import MAX_LATENT, Batch, Prediction

_INPUTS = ("image", "activation_map", "position_nm", "species")
_OF_KERNELS = ("kernel", "kernel_full", "std")
_OUTPUTS = (*_OF_KERNELS, "species", "latent")


class PredictionError(Exception):
    """The value returned by predict, encode_kernel or autoencode has the wrong type, shape or sign."""


def pack_batch(batch: Batch) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the fields and the arrays of a message for a batch."""
    arrays = {name: getattr(batch, name) for name in _INPUTS if getattr(batch, name) is not None}
    grids = {"grid": batch.grid.model_dump(), "kernel_grid": batch.kernel_grid.model_dump()}
    return {**grids, "species_count": batch.species_count}, arrays


def unpack_batch(message: Message) -> Batch:
    """Return the batch of a message."""
    return Batch(
        **{name: message.arrays.get(name) for name in _INPUTS},  # type: ignore[arg-type]
        grid=Grid(**message.fields["grid"]),
        kernel_grid=Grid(**message.fields["kernel_grid"]),
        species_count=message.fields["species_count"],
    )


def pack_prediction(returned: object, batch: Batch) -> dict[str, NDArray[Any]]:
    """Return the arrays of the value that predict returned.

    Raises
    ------
    PredictionError
        If the value is neither an array of the right shape and type nor a Prediction of such arrays, or a standard
        deviation is negative.
    """
    expected = _expected_shapes(batch)
    if isinstance(returned, Prediction):
        given = {name: value for name in _OUTPUTS if (value := getattr(returned, name)) is not None or name == "kernel"}
    else:
        given = {"kernel": returned}
    arrays = {
        name: as_array(
            value, "predict returned" if value is returned else f"the Prediction's {name} is", expected[name]
        )
        for name, value in given.items()
    }
    check_prediction(arrays, batch)
    if "species" in arrays:
        arrays["species"] = arrays["species"].astype(np.int32)
    return arrays


def check_prediction(arrays: Mapping[str, NDArray[Any]], batch: Batch) -> None:
    """Check the arrays of a prediction against its batch.

    Raises
    ------
    PredictionError
        If the kernel is missing, an array has the wrong shape or type, or a standard deviation is negative.
    """
    if "kernel" not in arrays:
        raise PredictionError("the prediction has no kernel")
    expected = _expected_shapes(batch)
    for name, array in arrays.items():
        kinds, wanted = ("iu", "integers") if name == "species" else ("f", "float16, float32 or float64")
        if array.dtype.kind not in kinds or array.dtype.itemsize > 8:
            raise PredictionError(f"predict returned a {name} of type {array.dtype}, expected {wanted}")
        if name == "latent":
            _check_latent(array, len(batch), "predict returned a latent")
        elif array.shape != expected.get(name):
            pair = batch.species_count > 1 and name in _OF_KERNELS
            raise PredictionError(
                f"predict returned a {name} of shape {array.shape}, expected {expected.get(name)}"
                + (", as the scatterers are of two species and each has its kernel" if pair else "")
            )
    if "std" in arrays and (arrays["std"] < 0).any():
        least = np.nanmin(arrays["std"])
        raise PredictionError(f"predict returned a std of {least:.3g}; a standard deviation is 0 or more")
    if batch.species_count > 1 and "species" in arrays:
        _check_species(arrays["species"], batch.species_count)


def max_prediction_bytes(batch: Batch) -> int:
    """Return the largest size in bytes of a valid prediction."""
    return 8 * sum(int(np.prod(shape)) for shape in _expected_shapes(batch).values())


def pack_latents(latents: object, count: int) -> NDArray[Any]:
    """Return the array that encode_kernel returned.

    Raises
    ------
    PredictionError
        If the value is not an array of ``count`` latents.
    """
    array = as_array(latents, "encode_kernel returned", (count, MAX_LATENT))
    check_latents(array, count)
    return array


def check_latents(array: NDArray[Any], count: int) -> None:
    """Check the latents of kernels.

    Raises
    ------
    PredictionError
        If they have the wrong shape or type.
    """
    _check_floating(array, "encode_kernel returned latents")
    _check_latent(array, count, "encode_kernel returned latents")


def _check_floating(array: NDArray[Any], what: str) -> None:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise PredictionError(f"{what} of type {array.dtype}, expected float16, float32 or float64")


def max_latents_bytes(count: int) -> int:
    """Return the largest size in bytes of valid latents of kernels."""
    return 8 * count * MAX_LATENT


def pack_autoencoded(kernels: object, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array that autoencode returned for kernels of a shape.

    Raises
    ------
    PredictionError
        If the value is not an array of floating-point kernels of that shape.
    """
    array = as_array(kernels, "autoencode returned", shape)
    check_autoencoded(array, shape)
    return array


def check_autoencoded(array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Check auto-encoded kernels.

    Raises
    ------
    PredictionError
        If they have the wrong shape or type.
    """
    _check_floating(array, "autoencode returned kernels")
    if array.shape != shape:
        raise PredictionError(f"autoencode returned kernels of shape {array.shape}, expected {shape}")


def _check_latent(array: NDArray[Any], count: int, what: str) -> None:
    if array.ndim != 2 or len(array) != count or not 1 <= array.shape[1] <= MAX_LATENT:
        raise PredictionError(f"{what} of shape {array.shape}, expected ({count}, d) with d from 1 to {MAX_LATENT}")


def _check_species(array: NDArray[Any], count: int) -> None:
    wrong = array[(array < -1) | (array >= count)]
    if len(wrong):
        raise PredictionError(
            f"predict returned the species {wrong[0]}; they are 0 to {count - 1}, with -1 after the last scatterer"
        )


def _expected_shapes(batch: Batch) -> dict[str, tuple[int, ...]]:
    n = len(batch)
    kernels = (n,) if batch.species_count == 1 else (n, batch.species_count)
    scatterers = 0 if batch.position_nm is None else batch.position_nm.shape[1]
    return {
        "kernel": (*kernels, *batch.kernel_grid.shape),
        "kernel_full": (*kernels, 2 * batch.grid.ny - 1, 2 * batch.grid.nx - 1),
        "std": (*kernels, *batch.kernel_grid.shape),
        "species": (n, scatterers),
        "latent": (n, MAX_LATENT),
    }


def as_array(value: object, what: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array that a model gave, which may be a torch tensor on any device, as a NumPy array.

    Its shape and type are not checked; ``what`` and ``shape`` are for the error.

    Raises
    ------
    PredictionError
        If the value is neither an array nor a tensor.
    """
    torch = sys.modules.get("torch")  # loaded only if the model did
    if torch is not None and isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    if not hasattr(value, "__array__"):
        name = "None" if value is None else f"an object of type {type(value).__name__}"
        raise PredictionError(f"{what} {name}, expected an array of shape {shape}")
    return np.asarray(value)
