"""Imports a user's file and finds its model. ``load_model`` and ``import_file`` are for the worker only."""

from __future__ import annotations

import importlib.util
import inspect
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from qpibench.evaluation.isolation.shadowing import Guard, ShadowingError, check_names, is_library
from qpibench.tasks import VIEWS

_CONTRACT = (
    "write def predict(batch), or name a torch.nn.Module in it as FILE.py:NAME, whose forward(image) gets (n, 1, y, x)"
    " tensors ('qpibench new' writes an example)"
)


class InterfaceError(Exception):
    """A file was imported but contains no valid model."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A user's model.

    Attributes
    ----------
    predict
        Function from a batch to kernels.
    fit
        Function that learns from the training role; None if the model has none.
    encode_kernel
        Function from kernels to their latents; None if the model has none.
    autoencode
        Function from kernels to the model's own decoding of its encoding of them; None if the model has none.
    place
        File and line of predict, such as ``my_model.py:12``.
    declared
        Declarations ``needs``, ``knows``, ``trained_on``, ``weights``, ``takes_species`` and ``takes_pixels``; see
        :func:`load_model`.
    """

    predict: Callable[[Any], object]
    fit: Callable[[Any], object] | None
    encode_kernel: Callable[[Any], object] | None
    autoencode: Callable[[Any], object] | None
    place: str
    declared: dict[str, Any]


def load_model(path: Path, target: str | None, *, seed: int, run_folder: Path | None = None) -> Model:
    """Import a file and find its model.

    The model is the function ``predict`` or an instance of the class ``Model``; ``target`` names another function,
    class or object, which may also be a ``torch.nn.Module``. A class may define ``fit``, ``encode_kernel`` and
    ``autoencode`` too; a function uses the functions of these names in its module. A class with a run folder is called
    with the folder. The object or the module may declare

    - ``needs``: the least view that it can use, by default ``image``;
    - ``knows``: a list of texts, the prior knowledge built into the model;
    - ``trained_on``: a text or a list of texts;
    - ``weights``: names of the files beside it that it reads;
    - ``takes_species``: True if it can predict the kernels of two species of scatterers;
    - ``takes_pixels``: the only (ny, nx) that its images and kernels may have, by default any.

    Raises
    ------
    InterfaceError
        If the file has no model or a declaration has the wrong type.
    BaseException
        Any error that the file raises.
    """
    seed_generators(seed)
    module = import_file(path)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    found = found_in(module, path.name, target)
    if run_folder is not None or isinstance(found, type):
        found = _made(found, path.name, run_folder)
    declared = declarations_of(found, module)
    predict = predictor_of(found, path.name, declared["needs"])
    owner = module if inspect.isfunction(found) else found

    def method(name: str) -> Callable[[Any], object] | None:
        value = getattr(owner, name, None)
        return value if callable(value) else None

    return Model(
        predict=predict,
        fit=method("fit"),
        encode_kernel=method("encode_kernel"),
        autoencode=method("autoencode"),
        place=_place(found, path),
        declared=declared,
    )


def seed_generators(seed: int) -> None:
    """Seed the global generators of ``random``, NumPy and, if it is imported, PyTorch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (the model's own global generator)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def import_file(path: Path) -> ModuleType:
    """Import a user's file, with its folder on the path.

    Raises
    ------
    InterfaceError
        If it is no Python file, or one of the user's files has the name of a needed library.
    BaseException
        Any error that the file raises.
    """
    # A module name that hides no library, even if the library is imported later.
    name = path.stem if path.stem not in sys.modules and not is_library(path.stem) else f"entry_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise InterfaceError(f"'{path.name}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.meta_path.insert(0, Guard(path))
    sys.modules[name] = module
    try:
        check_names(path)
        # Compiled from the hashed source, as a cached .pyc file may belong to another version.
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
    except ShadowingError as error:
        raise InterfaceError(str(error)) from None
    return module


def found_in(module: ModuleType, file: str, target: str | None) -> Any:
    """Return the function, class or object of a file that is the model; see :func:`load_model`.

    Raises
    ------
    InterfaceError
        If there is none, or if the file defines both a function ``predict`` and a class ``Model``.
    """
    names = ("predict", "Model") if target is None else (target,)
    if target is None and all(_made_here(vars(module).get(name), module) for name in names):
        raise InterfaceError(
            f"{file} defines a function 'predict' and a class 'Model'; choose one as {file}:predict or {file}:Model"
        )
    for name in names:
        if hasattr(module, name):
            return getattr(module, name)
    if target is not None:
        raise InterfaceError(f"{file} has no function or class '{target}'")
    raise InterfaceError(
        f"{file} defines neither a function 'predict' nor a class 'Model'; {_named_module(module, file) or _CONTRACT}"
    )


def _named_module(module: ModuleType, file: str) -> str | None:
    """Return the advice for a file that defines a torch module under another name than Model."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    for name, value in vars(module).items():
        of_class = isinstance(value, type) and issubclass(value, torch.nn.Module) and _made_here(value, module)
        if isinstance(value, torch.nn.Module) or of_class:
            return f"it has the torch module '{name}', so give {file}:{name}"
    return None


def _made_here(value: Any, module: ModuleType) -> bool:
    """Tell whether a function or class was defined in this module, not imported by it."""
    return getattr(value, "__module__", None) == module.__name__


def _made(found: Any, file: str, run_folder: Path | None) -> Any:
    """Return an instance of a class, made with the run folder if there is one."""
    name = getattr(found, "__name__", type(found).__name__)
    wanted = "write class Model with def __init__(self, run_folder)"
    if not isinstance(found, type):
        raise InterfaceError(f"{file}: '{name}' is no class, so it cannot be given the run folder; {wanted}")
    given = () if run_folder is None else (run_folder,)
    try:
        inspect.signature(found).bind(*given)
    except ValueError:  # a class that does not tell
        pass
    except TypeError:
        if given:
            raise InterfaceError(f"{file}: class '{name}' does not take the run folder alone; {wanted}") from None
        raise InterfaceError(
            f"{file}: class '{name}' has arguments; if it is trained, name its run folder instead of the file"
        ) from None
    return found(*given)


def predictor_of(found: Any, file: str, needs: str | None) -> Callable[[Any], object]:
    """Return the function from a batch to kernels of a model, which has a method predict or is itself such a function.

    A ``torch.nn.Module`` is wrapped.

    Raises
    ------
    InterfaceError
        If the model cannot predict.
    """
    predict = getattr(found, "predict", None)
    if callable(predict):
        return predict  # type: ignore[no-any-return]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(found, torch.nn.Module):
        from qpibench.evaluation.isolation.torch_adapter import module_predictor

        with_map = needs in ("raster", "positions")
        _check_forward(found, file, with_map=with_map)
        return module_predictor(found, with_map=with_map)
    if callable(found):
        return found  # type: ignore[no-any-return]
    raise InterfaceError(f"{file}: '{type(found).__name__}' has no method predict; write def predict(self, batch)")


def _check_forward(module: Any, file: str, *, with_map: bool) -> None:
    inputs = ("image", "activation_map") if with_map else ("image",)
    try:
        inspect.signature(module.forward).bind(*inputs)
    except ValueError:  # a function that does not tell
        return
    except TypeError:
        raise InterfaceError(
            f"{file}: forward of the torch module '{type(module).__name__}' must take ({', '.join(inputs)}); it gets"
            " the activation map too if the module declares needs = 'raster' or 'positions', and the image alone"
            " otherwise"
        ) from None


def declarations_of(found: Any, module: ModuleType) -> dict[str, Any]:
    """Return the declarations of a model or, where it has none, of its file; see :func:`load_model`.

    Raises
    ------
    InterfaceError
        If one is not valid.
    """

    def declared(name: str) -> Any:
        return getattr(found, name, getattr(module, name, None))

    needs = declared("needs")
    if needs is not None and needs not in VIEWS:
        raise InterfaceError(f"needs = {needs!r} is not a view; choose one of {', '.join(VIEWS)}")
    texts = {name: _texts(name, declared(name)) for name in ("knows", "trained_on", "weights")}
    takes_species = declared("takes_species")
    if takes_species not in (None, False, True):
        raise InterfaceError(f"takes_species = {takes_species!r} must be True or False")
    pixels = declared("takes_pixels")
    return {"needs": needs, **texts, "takes_species": bool(takes_species), "takes_pixels": _pixels(pixels)}


def _pixels(value: Any) -> list[int] | None:
    if value is None:
        return None
    if not (isinstance(value, (list, tuple)) and len(value) == 2 and all(type(n) is int and n > 0 for n in value)):
        raise InterfaceError(f"takes_pixels = {value!r} must be two positive integers, rows and columns")
    return list(value)


def _texts(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    texts = [value] if isinstance(value, str) else value
    if not (isinstance(texts, (list, tuple)) and all(isinstance(text, str) and text for text in texts)):
        raise InterfaceError(f"{name} = {value!r} must be a text or a list of texts")
    return list(texts)


def _place(found: Any, path: Path) -> str:
    function = getattr(type(found), "predict", None) or getattr(type(found), "forward", None) or found
    code = getattr(function, "__code__", None)
    if code is None or code.co_filename != str(path):
        return path.name
    return f"{path.name}:{code.co_firstlineno}"
