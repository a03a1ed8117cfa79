"""Pictures in a folder, with one subfolder for each class.

There may also be two such folders, for training and for testing: see `parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from model.datasets.npz_files import usable_labels
from model.datasets.pictures import SUFFIXES, open_picture, resized
from model.errors import DataError

__all__ = ["SIDE", "Folder", "Parts", "parts", "read_folder", "read_parts"]

SIDE: Final = 32
"""Height and width to which pictures are scaled by default."""
_CHANNELS: Final = 3

_TRAINING: Final = ("train", "training", "trainset")
_TESTING: Final = ("test", "testing", "testset", "val", "valid", "validation")
"""Names of folders with a part of a data set, in upper or lower case; of several for tests, the
first in this order is used."""


@dataclass(frozen=True, eq=False)
class Folder:
    """The contents of a folder.

    Attributes
    ----------
    x : ndarray of uint8, shape (n, height, width, channels)
        Unless a number is asked for, one channel if no picture has colours, whatever its file says;
        else three.
    y : ndarray of int64, shape (n,)
    labels : tuple of str
        The subfolders' names, in alphabetical order.
    files : tuple of str
        Path of each picture, relative to the folder.
    left_out : tuple of str
        Files in the subfolders whose names are not those of pictures.
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
    least: int = 2,
) -> Folder:
    """Read all pictures of a folder.

    Parameters
    ----------
    path : Path
    progress : callable, optional
        Called with the number of pictures read, and the total.
    size : tuple of int
        Height and width of the pictures.
    channels : int, optional
        1 for grey, 3 for colours.
    least : int
        Fewest classes.

    Raises
    ------
    DataError
        If there are fewer classes, a class has no pictures, or a picture cannot be read.
    """
    classes = _subfolders(path)
    if len(classes) < least:
        few = "no subfolders" if not classes else f"one class only ({classes[0].name})"
        deeper = len(classes) == 1 and _subfolders(classes[0])
        hint = f"; there are subfolders in {classes[0]}: give that" if deeper else ""
        raise DataError(
            f"{path}: {few}; a subfolder for each of two classes or more is needed{hint}"
        )
    labels = usable_labels(str(path), tuple(folder.name for folder in classes))
    found: list[tuple[Path, int]] = []
    left_out: list[str] = []
    for label, folder in enumerate(classes):
        entries = _entries(folder)
        chosen = [file for file in entries if _is_picture(file)]
        others = [file for file in entries if file not in set(chosen)]
        if not chosen:
            also = f" ({len(others)} of another kind, such as {others[0].name})" if others else ""
            raise DataError(f"{folder}: no pictures in it{also}")
        found += [(file, label) for file in chosen]
        left_out += [f"{folder.name}/{file.name}" for file in others]
    # Pictures are in colour until all have been read, and already small, however large the file is.
    mode, depth = ("L", 1) if channels == 1 else ("RGB", _CHANNELS)
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


@dataclass(frozen=True)
class Parts:
    """A folder that is already divided into parts.

    Attributes
    ----------
    train, test : Path
        The parts, each with a subfolder for each class.
    others : tuple of str
        Names of further subfolders, which are left out.
    """

    train: Path
    test: Path
    others: tuple[str, ...]


def parts(path: Path) -> Parts | None:
    """The parts of a folder with subfolders such as ``train`` and ``test``; None without them.

    A subfolder is a part if it has subfolders, and no pictures beside them; otherwise ``train`` is
    an ordinary class.

    Raises
    ------
    DataError
        If the folder cannot be read.
    """
    folders = _subfolders(path)
    named = {folder.name.lower(): folder for folder in folders if _is_part(folder)}
    train = next((named[name] for name in _TRAINING if name in named), None)
    test = next((named[name] for name in _TESTING if name in named), None)
    if train is None or test is None:
        return None
    others = tuple(each.name for each in folders if each not in (train, test))
    return Parts(train, test, others)


def _is_part(folder: Path) -> bool:
    if folder.name.lower() not in (*_TRAINING, *_TESTING):
        return False
    entries = _entries(folder)
    return any(each.is_dir() for each in entries) and not any(map(_is_picture, entries))


def read_parts(
    found: Parts,
    progress: Callable[[int, int], None] | None = None,
    size: tuple[int, int] = (SIDE, SIDE),
    channels: int | None = None,
) -> tuple[Folder, Folder]:
    """The training and the test part, with the same classes and channels.

    Parameters
    ----------
    found : Parts
    progress, size, channels : optional
        As in `read_folder`; the progress is that of one part and then of the other.

    Raises
    ------
    DataError
        As `read_folder`; or if the test part has a class that the training part does not have.
    """
    train = read_folder(found.train, progress, size, channels)
    test = read_folder(found.test, progress, size, channels, least=1)
    unknown = set(test.labels) - set(train.labels)
    if unknown:
        raise DataError(
            f"{found.test}: there is no class {min(unknown)!r} in {found.train} to learn it from"
        )
    numbers = np.array([train.labels.index(label) for label in test.labels])
    test = replace(test, y=numbers[test.y], labels=train.labels)
    if train.x.shape[-1] != test.x.shape[-1]:
        train, test = (
            replace(each, x=np.repeat(each.x, _CHANNELS // each.x.shape[-1], axis=-1))
            for each in (train, test)
        )
    return train, test


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file()


def _subfolders(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if entry.is_dir()]


def _entries(path: Path) -> list[Path]:
    """The entries of a folder whose names do not begin with a dot, in alphabetical order."""
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _pixels(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    picture = open_picture(path, max(size))
    try:
        return resized(picture, mode, width, height)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
