"""A trained autoencoder of radial profiles in NumPy: :class:`LearnedProfiles`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from shared.radial import RadialBasis

Arrays = Mapping[str, NDArray[np.float64]]


class LearnedProfiles:
    """The profiles of a trained network, a :class:`shared.profiles.ProfileModel`.

    A shape is a latent, followed by the coefficients of what the decoder lacks.

    Parameters
    ----------
    weights
        State of a :class:`learned.profile_net.ProfileNet`, by name.
    """

    def __init__(self, weights: Arrays) -> None:
        self.basis = RadialBasis(float(weights["spacing_nm"]), weights["splines"])
        self.spread = weights["spread"]
        self._encoder, self._decoder = Perceptron(weights, "encoder"), Perceptron(weights, "decoder")
        bank, root = weights["bank"], weights["residual"]
        self.latents = bank.shape[1]
        functions = len(self.spread)
        self.mean = np.concatenate([bank.mean(axis=0), np.zeros(functions)])
        self.precision = np.zeros((len(self.mean), len(self.mean)))
        self.precision[: self.latents, : self.latents] = _inverse(np.atleast_2d(np.cov(bank.T)))
        self.precision[self.latents :, self.latents :] = _inverse(root @ root.T)
        self._bank = bank, self._decoder.values(bank)
        self._wider: tuple[LearnedProfiles, ...] = (self._with_free_residual(),)

    def alternatives(self) -> Sequence[LearnedProfiles]:
        """The model in which the decoder counts for nothing: all profiles that the basis can express."""
        return self._wider

    def _with_free_residual(self) -> LearnedProfiles:
        free = copy(self)
        free.precision = self.precision.copy()
        free.precision[self.latents :, self.latents :] = np.diag(self.spread**-2.0)
        free._wider = ()
        return free

    def starts(self, coefficient: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shapes (n, shape) and coefficients (n, function) for a descent: encoded from an estimate, and the bank's."""
        encoded = self._encoder.values(coefficient[None, 1:] / (2 * self.spread))
        latents = np.concatenate([encoded, self._bank[0]])
        decoded = np.concatenate([self._decoder.values(encoded), self._bank[1]])
        shapes = np.pad(latents, ((0, 0), (0, len(self.spread))))
        return shapes, np.column_stack([np.ones(len(decoded)), decoded])

    def coefficient(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients (function,) of a profile."""
        decoded = self._decoder.values(shape[None, : self.latents])[0]
        return np.concatenate([[1.0], decoded + shape[self.latents :]])

    def decoded(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """The shape (shape,) whose profile is the decoder's alone."""
        return np.concatenate([shape[: self.latents], np.zeros(len(self.spread))])

    def tangent(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives (function, shape) of the coefficients."""
        functions = len(self.spread)
        tangent = np.zeros((functions + 1, len(shape)))
        tangent[1:, : self.latents] = self._decoder.slopes(shape[: self.latents])
        tangent[1:, self.latents :] = np.eye(functions)
        return tangent


class Perceptron:
    """Linear layers with SiLU between them.

    Parameters
    ----------
    weights
        Weights and biases of a ``torch.nn.Sequential``, by name.
    name
        Name of the network.
    """

    def __init__(self, weights: Arrays, name: str) -> None:
        places = sorted(int(key.split(".")[1]) for key in weights if key.startswith(f"{name}.") and "weight" in key)
        *hidden, last = [(weights[f"{name}.{k}.weight"], weights[f"{name}.{k}.bias"]) for k in places]
        self._hidden, self._last = hidden, last

    def values(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs (n, output) of inputs (n, input)."""
        value = inputs
        for weight, bias in self._hidden:
            value = value @ weight.T + bias
            value = value * _logistic(value)
        return value @ self._last[0].T + self._last[1]

    def slopes(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives (output, input) at one input (input,)."""
        value, slope = inputs, np.eye(len(inputs))
        for weight, bias in self._hidden:
            value, slope = weight @ value + bias, weight @ slope
            gate = _logistic(value)
            slope = (gate * (1 + value * (1 - gate)))[:, None] * slope
            value = value * gate
        return self._last[0] @ slope


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _inverse(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a covariance that may be singular; its smallest eigenvalues are raised."""
    ridge = 1e-9 * float(np.trace(covariance)) / len(covariance) + 1e-15
    return np.asarray(np.linalg.inv(covariance + ridge * np.eye(len(covariance))), dtype=np.float64)
