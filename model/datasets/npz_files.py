"""Pictures and classes in NumPy's ``.npz`` files: read, and checked before anything is learned."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from model.errors import DataError

__all__ = ["check_classes", "check_labels", "check_pixels", "pictures", "read_npz", "usable_labels"]

_MAX_BYTES: Final = 4 << 30


def read_npz(path: Path, name: str | None = None) -> dict[str, np.ndarray]:
    """All arrays of a file, by name.

    Parameters
    ----------
    path : Path
    name : str, optional
        What errors call the file; its path without it.

    Raises
    ------
    DataError
        If it cannot be read, is too large, or holds anything but plain arrays.
    """
    name = name or str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_BYTES:
            raise DataError(f"{name}: {size} bytes; {_MAX_BYTES} are possible")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{name}: is no readable .npz file: it holds an array of objects, as pictures of "
                "mixed sizes make it; one array of uint8 is needed"
            ) from error
        raise DataError(f"{name}: is no readable .npz file") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, MemoryError) as error:
        raise DataError(f"{name}: is no readable .npz file") from error


def check_pixels(name: str, x: np.ndarray) -> None:
    """Raise DataError unless these can be pictures."""
    if np.issubdtype(x.dtype, np.floating):
        broken = int(x.size - np.isfinite(x).sum())
        also = f", {broken} of them NaN or infinite" if broken else ""
        raise DataError(f"{name}: pixels are {x.dtype}{also}; uint8 (0 to 255) or int8 is needed")
    if x.dtype not in (np.uint8, np.int8):
        raise DataError(f"{name}: pixels are {x.dtype}; uint8 (0 to 255) or int8 is needed")
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{name}: an array of shape {x.shape} holds no pictures")


def check_classes(name: str, y: np.ndarray, count: int) -> np.ndarray:
    """Classes as int64, one for each of `count` pictures.

    Raises
    ------
    DataError
        If they are not integers from 0.
    """
    if y.shape == (count, 1):
        y = y[:, 0]
    if y.shape != (count,):
        raise DataError(f"{name}: {count} pictures but classes of shape {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{name}: classes are {y.dtype}; integers from 0 are needed")
    if y.min() < 0:
        raise DataError(f"{name}: class {y.min()} is below 0")
    return y.astype(np.int64)


def check_labels(name: str, labels: np.ndarray) -> tuple[str, ...]:
    """Class names as text that a model can carry, one a line.

    Raises
    ------
    DataError
        If one is empty, has a line break or space around it, or is there twice.
    """
    if labels.dtype.kind not in "US":
        raise DataError(f"{name}: labels are {labels.dtype}; strings are needed")
    try:
        texts = tuple(np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: labels are no UTF-8 text") from error
    return usable_labels(name, tuple(map(str, texts)))


def usable_labels(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The same `labels`, or a DataError."""
    seen: set[str] = set()
    for label in labels:
        if not label or label.strip() != label or label.splitlines() != [label]:
            raise DataError(f"{name}: the class name {label!r} is no line of plain text")
        if label in seen:
            raise DataError(f"{name}: two classes are named {label!r}")
        seen.add(label)
    return labels


def pictures(name: str, x: np.ndarray) -> np.ndarray:
    """Pixels as uint8 of shape (n, height, width, channels).

    Raises
    ------
    DataError
        If they are not pictures.
    """
    check_pixels(name, x)
    if x.dtype == np.int8:
        x = x.view(np.uint8) ^ np.uint8(0x80)
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim != 4:
        raise DataError(f"{name}: pictures of shape {x.shape[1:]}; height, width, channels needed")
    return x
