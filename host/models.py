"""Models by name or file."""

from __future__ import annotations

import os
from pathlib import Path

from model import zoo
from model.errors import ModelError
from model.int8 import tflite
from model.int8.graph import Graph

__all__ = ["load_model"]


def load_model(name_or_path: str | os.PathLike[str]) -> Graph:
    """Read a model that comes along, by its name, or a ``.tflite`` file.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be used.
    """
    path = zoo.resolve(Path(name_or_path) if not isinstance(name_or_path, str) else name_or_path)
    if not path.exists():
        raise ModelError(
            f"{name_or_path}: there is no such model: give a .tflite file or one of "
            f"{', '.join(zoo.NAMES)}"
        )
    return tflite.load(path)
