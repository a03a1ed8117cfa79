"""The bundled trained models, by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from ..int8.graph import Graph

__all__ = ["NAMES", "load", "path", "resolve"]

NAMES = ("patterns", "digits", "mnist")


def path(name: str) -> Path:
    """File of one of the models in `NAMES`.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    if name not in NAMES:
        raise ValueError(f"no bundled model {name!r}; there are {', '.join(NAMES)}")
    return Path(__file__).parent / f"{name}.tflite"


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a bundled model, by its name, or any other file.

    A bundled model's name means that model even if a file of that name exists; write ``./digits``
    for the file.
    """
    name = os.fspath(name_or_path)
    return path(name) if name in NAMES else Path(name_or_path)


def load(name_or_path: str | os.PathLike[str]) -> Graph:
    """Read a bundled model, by its name, or a ``.tflite`` file.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be used.
    """
    from ..int8 import tflite

    file = resolve(name_or_path)
    if not file.exists():
        raise ModelError(
            f"{name_or_path}: there is no such model: give a .tflite file or one of "
            f"{', '.join(NAMES)}"
        )
    return tflite.load(file)
