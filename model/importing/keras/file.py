"""`.keras` files as plain data: a model's configuration, and its weights.

A `.keras` file is a zip archive of ``config.json`` and ``model.weights.h5``; the package h5py reads
the latter. Nothing in it is trusted: sizes are bounded, links out of the file are refused, and no
object is made from it.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.errors import ModelError

__all__ = ["KerasWeights", "read_keras"]

_MAX_BYTES: Final = 512 << 20
_MAX_VARIABLES: Final = 64

_DAMAGED: Final = (ArithmeticError, KeyError, RuntimeError, TypeError, ValueError)
"""What zipfile, json and h5py raise at content that makes no sense."""


class KerasWeights:
    """The weights of a model, by group: a layer's variables are numbered.

    Parameters
    ----------
    group
        An open group of h5py.
    """

    def __init__(self, group: Any) -> None:
        self._group = group

    def child(self, name: str) -> KerasWeights | None:
        """The group of that name, if there is one."""
        import h5py

        try:
            link = self._group.get(name, getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise ModelError(f"its weights {name} lie elsewhere, which is not supported")
            found = self._group[name]
        except (OSError, *_DAMAGED) as error:
            raise ModelError("its weights are damaged") from error
        return KerasWeights(found) if isinstance(found, h5py.Group) else None

    def variables(self) -> list[np.ndarray]:
        """The layer's variables, in the order in which it made them, in float64."""
        import h5py

        group = self.child("vars")
        found: list[np.ndarray] = []
        while group is not None and len(found) < _MAX_VARIABLES:
            name = str(len(found))
            try:
                link = group._group.get(name, getlink=True)
                if link is None:
                    break
                data = group._group[name] if isinstance(link, h5py.HardLink) else None
                if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                    raise ModelError("its weights lie elsewhere, which is not supported")
                if data.dtype.kind not in "fiu" or data.size * 8 > _MAX_BYTES:
                    raise ModelError(f"weights of type {data.dtype} and shape {data.shape}")
                found.append(np.asarray(data, np.float64))
            except (OSError, *_DAMAGED) as error:
                raise ModelError("its weights are damaged") from error
        return found


def read_keras(path: Path) -> tuple[dict[str, Any], KerasWeights]:
    """Read a `.keras` file.

    Returns
    -------
    config : dict
        The model's class and configuration.
    weights : KerasWeights

    Raises
    ------
    ModelError
        If h5py is missing, or the file cannot be read or is damaged. The text is without the file's
        name.
    """
    try:
        import h5py
    except ImportError as error:
        raise ModelError(
            "reading .keras needs the package h5py: pip install 'eyespot[keras]'"
        ) from (error)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [archive.getinfo(name) for name in ("config.json", "model.weights.h5")]
            for part in parts:
                if part.file_size > _MAX_BYTES:
                    raise ModelError(f"{part.filename}: {part.file_size} bytes")
            config, weights = (archive.read(part) for part in parts)
        loaded = json.loads(config)
        file = h5py.File(io.BytesIO(weights), "r")
    except OSError as error:
        raise ModelError(error.strerror or "its weights are damaged") from error
    except (EOFError, MemoryError, zipfile.BadZipFile, zlib.error, *_DAMAGED) as error:
        raise ModelError("is damaged, truncated, or no .keras model") from error
    if not isinstance(loaded, dict):
        raise ModelError("is damaged, truncated, or no .keras model")
    return loaded, KerasWeights(file)
