"""Ordinary pictures in a folder, with one subfolder for each class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from model.datasets.npz_files import usable_labels
from model.datasets.pictures import SUFFIXES, open_picture, resized
from model.errors import DataError

__all__ = ["SIDE", "Folder", "read_folder"]

SIDE: Final = 32
"""Pictures are brought to this height and width, unless another size is asked for."""


@dataclass(frozen=True, eq=False)
class Folder:
    """What a folder holds.

    Attributes
    ----------
    x : ndarray of uint8, shape (n, height, width, channels)
        Unless a number is asked for, one channel if no picture has colours, whatever its file says;
        else three.
    y : ndarray of int64, shape (n,)
    labels : tuple of str
        The subfolders' names, in alphabetical order.
    files : tuple of str
        Where each picture is from, below the folder.
    left_out : tuple of str
        Files in the subfolders that are no pictures by their names.
    """

    x: np.ndarray
    y: np.ndarray
    labels: tuple[str, ...]
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def read_folder(
    path: Path,
    progress: Callable[[int, int], None] | None = None,
    size: tuple[int, int] = (SIDE, SIDE),
    channels: int | None = None,
) -> Folder:
    """Read all pictures of a folder.

    Parameters
    ----------
    path : Path
    progress : callable, optional
        Called with the pictures read and to be read.
    size : tuple of int
        Height and width of the pictures.
    channels : int, optional
        1 for grey, 3 for colours.

    Raises
    ------
    DataError
        If there are not two classes at least, each with pictures, all of which can be read.
    """
    classes = [entry for entry in _entries(path) if entry.is_dir()]
    if len(classes) < 2:
        few = "no subfolders" if not classes else f"one class only ({classes[0].name})"
        raise DataError(f"{path}: {few}; a subfolder for each of two classes or more is needed")
    labels = usable_labels(str(path), tuple(folder.name for folder in classes))
    found: list[tuple[Path, int]] = []
    left_out: list[str] = []
    for label, folder in enumerate(classes):
        entries = _entries(folder)
        chosen = [file for file in entries if file.suffix.lower() in SUFFIXES and file.is_file()]
        others = [file for file in entries if file not in set(chosen)]
        if not chosen:
            also = f" ({len(others)} of another kind, such as {others[0].name})" if others else ""
            raise DataError(f"{folder}: no pictures in it{also}")
        found += [(file, label) for file in chosen]
        left_out += [f"{folder.name}/{file.name}" for file in others]
    # In colour until all are seen, small as they will be, however large the file.
    mode, depth = ("L", 1) if channels == 1 else ("RGB", 3)
    x = np.empty((len(found), *size, depth), np.uint8)
    for index, (file, _) in enumerate(found):
        x[index] = _pixels(file, mode, size).reshape(*size, depth)
        if progress is not None:
            progress(index + 1, len(found))
    if channels is None and (x == x[..., :1]).all():
        x = np.ascontiguousarray(x[..., :1])
    return Folder(
        x,
        np.array([label for _, label in found], np.int64),
        labels,
        tuple(f"{labels[label]}/{file.name}" for file, label in found),
        tuple(left_out),
    )


def _entries(path: Path) -> list[Path]:
    """What is in a folder, but for what begins with a dot, in order of the names."""
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _pixels(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    picture = open_picture(path, max(size))
    try:
        return resized(picture, mode, width, height)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: a picture of mode {picture.mode} cannot be used") from error
