"""What a model declares, as its worker process reports it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self

from qpibench.errors import InvalidDataError
from qpibench.evaluation.entries import Entry, file_sha256
from qpibench.evaluation.isolation.protocol import ProtocolError
from qpibench.tasks import VIEWS


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Declarations of a model; ``weights`` holds the SHA-256 of each file, by name.

    ``takes_species`` says whether it can predict the kernels of two species of scatterers, and ``takes_pixels`` is the
    only (ny, nx) that its images and kernels may have, None for any.
    """

    needs: str | None
    knows: tuple[str, ...]
    trained_on: tuple[str, ...]
    weights: dict[str, str]
    takes_species: bool
    takes_pixels: tuple[int, int] | None
    has_fit: bool
    has_latents: bool
    has_autoencoder: bool

    @classmethod
    def of(cls, fields: dict[str, Any], entry: Entry, trained: dict[str, str]) -> Self:
        """Check what a worker reports, and hash the weights that it names.

        Parameters
        ----------
        fields
            The worker's reply.
        entry
            The model's file.
        trained
            SHA-256 of the weights of a run folder, by name.

        Raises
        ------
        ProtocolError
            If the reply is no declaration.
        InvalidDataError
            If a declared file of weights is missing.
        """
        texts = {name: fields.get(name) for name in ("knows", "trained_on", "weights")}
        if not all(
            isinstance(value, list) and all(isinstance(text, str) for text in value) for value in texts.values()
        ):
            raise ProtocolError("a declaration is not a list of texts")
        needs = fields.get("needs")
        if needs is not None and needs not in VIEWS:
            raise ProtocolError(f"{needs!r} is not a view")
        pixels = fields.get("takes_pixels")
        if pixels is not None and not (isinstance(pixels, list) and [type(n) for n in pixels] == [int, int]):
            raise ProtocolError(f"{pixels!r} is not a number of rows and one of columns")
        return cls(
            needs=needs,
            knows=tuple(texts["knows"] or ()),
            trained_on=tuple(texts["trained_on"] or ()),
            weights=declared_weights(entry, texts["weights"] or ()) | trained,
            takes_species=fields.get("takes_species") is True,
            takes_pixels=None if pixels is None else (pixels[0], pixels[1]),
            has_fit=bool(fields.get("has_fit")),
            has_latents=bool(fields.get("has_latents")),
            has_autoencoder=bool(fields.get("has_autoencoder")),
        )


def declared_weights(entry: Entry, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the files of weights that a model declares, by name.

    Raises
    ------
    InvalidDataError
        If one of them does not lie beside the model's file, or cannot be read.
    """
    return {name: _weights_sha256(entry, name) for name in names}


def _weights_sha256(entry: Entry, name: str) -> str:
    path = entry.path.parent / name
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts or not path.is_file():
        raise InvalidDataError(
            f"{entry.path.name} declares the weights '{name}', but there is no such file beside it in '{path.parent}'."
        )
    return file_sha256(path)
