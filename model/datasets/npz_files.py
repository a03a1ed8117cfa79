"""Reading and checking pictures and classes in NumPy's ``.npz`` files."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.errors import DataError
from model.file_kinds import refusal

__all__ = [
    "channels_come_first",
    "check_classes",
    "check_labels",
    "check_pixels",
    "is_sound",
    "pictures",
    "read_npz",
    "usable_labels",
]

_MAX_BYTES: Final = 4 << 30
_MAX_CLASS: Final = 1 << 31
"""Far more than any network's outputs, and small enough for arithmetic with int64."""
_COLOURS: Final = (1, 3)
_ALPHA: Final = 4


def read_npz(path: Path, name: str | None = None) -> dict[str, np.ndarray]:
    """All arrays of a file, by name.

    Parameters
    ----------
    path : Path
    name : str, optional
        Name of the file in errors; its path by default.

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
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return _arrays(name, {key: archive[key] for key in archive.files})
    except DataError:
        raise
    except Exception as error:  # what NumPy and the decompressors raise is in no list
        if "allow_pickle" in str(error):
            raise DataError(
                f"{name}: is no readable .npz file: it holds an array of objects, as pictures of "
                "mixed sizes make it; one array of uint8 is needed"
            ) from error
        why = refusal(path, error, "is no readable .npz file", ".npz")
        raise DataError(f"{name}: {why}") from error


def _arrays(name: str, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Check that everything found is an array: other files in an archive are returned as bytes."""
    for key, value in found.items():
        if not isinstance(value, np.ndarray):
            raise DataError(f"{name}: is no readable .npz file: {key} in it is no array")
        if not is_sound(value):
            raise DataError(f"{name}: is no readable .npz file: {key} in it is no text")
    return found


def is_sound(array: np.ndarray) -> bool:
    """Whether an array of strings has characters only.

    NumPy reads any numbers as characters, and Python crashes in many ways on strings of them.
    """
    if array.dtype.kind != "U" or not array.nbytes:
        return True
    numbers = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
    return int(np.ascontiguousarray(array).reshape(-1).view(numbers).max()) <= sys.maxunicode


def check_pixels(name: str, x: np.ndarray) -> None:
    """Raise DataError unless `x` can be pictures."""
    if np.issubdtype(x.dtype, np.floating):
        broken = int(x.size - np.isfinite(x).sum())
        also = f", {broken} of them NaN or infinite" if broken else ""
        scale = "" if broken or not _are_shares(x) else ": (x * 255).round().astype(np.uint8)"
        raise DataError(
            f"{name}: pixels are {x.dtype}{also}; uint8 (0 to 255) or int8 is needed{scale}"
        )
    if x.dtype not in (np.uint8, np.int8):
        raise DataError(f"{name}: pixels are {x.dtype}; uint8 (0 to 255) or int8 is needed")
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{name}: an array of shape {x.shape} holds no pictures")


def _are_shares(x: np.ndarray) -> bool:
    return bool(x.size) and 0 <= x.min() and x.max() <= 1


def check_classes(name: str, y: np.ndarray, count: int) -> np.ndarray:
    """Convert classes to int64, one for each of `count` pictures.

    Raises
    ------
    DataError
        If they are not integers from 0.
    """
    if y.shape == (count, 1):
        y = y[:, 0]
    if y.shape != (count,):
        one_hot = y.ndim == 2 and len(y) == count
        hint = "; of one row for each, y.argmax(axis=1) makes numbers" if one_hot else ""
        raise DataError(f"{name}: {count} pictures but classes of shape {y.shape}{hint}")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{name}: classes are {y.dtype}; integers from 0 are needed")
    if y.min() < 0:
        raise DataError(f"{name}: class {y.min()} is below 0")
    if y.max() > _MAX_CLASS:
        raise DataError(f"{name}: class {y.max()} is out of range")
    return y.astype(np.int64)


def check_labels(name: str, labels: np.ndarray) -> tuple[str, ...]:
    """Convert class names to text that a model can contain, one a line.

    Raises
    ------
    DataError
        If one is empty, has a line break or space around it, is not Unicode text, or occurs twice.
    """
    if labels.dtype.kind not in "US":
        raise DataError(f"{name}: labels are {labels.dtype}; strings are needed")
    try:
        texts = tuple(np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: labels are no UTF-8 text") from error
    return usable_labels(name, tuple(map(str, texts)))


def usable_labels(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return `labels`, or raise a DataError."""
    seen: set[str] = set()
    for label in labels:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise DataError(f"{name}: {_no_text(label)}") from None
        if not label or label.strip() != label or label.splitlines() != [label]:
            raise DataError(f"{name}: the class name {label!r} is no line of plain text")
        if label in seen:
            raise DataError(f"{name}: two classes are named {label!r}")
        seen.add(label)
    return labels


def _no_text(label: str) -> str:
    """What to say of a class name with half characters, which no file can hold.

    Python makes them of bytes in the name of a folder that are no UTF-8, as in old archives.
    """
    try:
        guess = os.fsencode(label).decode("latin-1")
    except UnicodeEncodeError:
        return f"the class name {label!r} is no Unicode text"
    return f"the class name {label!r} is no UTF-8 text; rename the folder, perhaps to {guess!r}"


def channels_come_first(shape: tuple[int, ...]) -> bool:
    """Whether pictures of a shape seem to have channels, height, width: PyTorch's order."""
    if len(shape) != 3:
        return False
    channels, height, width = shape
    few = (*_COLOURS, _ALPHA)
    return channels in few and width not in few and height > channels


def pictures(name: str, x: np.ndarray) -> np.ndarray:
    """Convert pixels to uint8 of shape (n, height, width, channels).

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
    size = "x".join(map(str, x.shape[1:]))
    if channels_come_first(x.shape[1:]):
        raise DataError(
            f"{name}: pictures of {size}: channels come first (NCHW); height, width, channels "
            "(NHWC) are needed: x.transpose(0, 2, 3, 1)"
        )
    if x.shape[3] == _ALPHA:
        raise DataError(
            f"{name}: pictures of {size}: four channels, as colours with transparency (RGBA) have "
            "them; leave it out: x[..., :3]"
        )
    return x
