"""The complete MNIST: 60,000 handwritten digits to learn from, and 10,000 to test with.

It is too large to be bundled, so it is downloaded once and kept. It is the file that Keras uses,
identified by its checksum. The environment variable ``EYESPOT_MNIST`` can name an existing copy.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from model.cache import cache_directory, write_atomically
from model.datasets.download import download
from model.datasets.npz_files import check_classes, pictures, read_npz
from model.errors import DataError

__all__ = ["VARIABLE", "cached_file", "load"]

VARIABLE: Final = "EYESPOT_MNIST"
"""Environment variable with the path of an existing copy."""

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
SIZE = 11_490_434
SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"

Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_COUNTS: Final = {"train": 60_000, "test": 10_000}
_SIDE: Final = 28
_CLASSES: Final = 10


def cached_file() -> Path:
    """The path at which the download is kept."""
    return cache_directory() / "mnist.npz"


def load(progress: Callable[[int, int], None] | None = None) -> Parts:
    """Load pictures and classes of both parts, and download them if necessary.

    Parameters
    ----------
    progress : callable, optional
        Called with the bytes received and the total during a download.

    Returns
    -------
    x_train, y_train, x_test, y_test : ndarray
        Pictures of uint8, shape (n, 28, 28, 1); classes of int64, shape (n,).

    Raises
    ------
    DataError
        If the file can be neither found nor downloaded, or the existing copy is another file.
    """
    if own := os.environ.get(VARIABLE):
        return _read(Path(own), f"{VARIABLE}={own}")
    path = cached_file()
    if not _is_whole(path):
        _fetch(path, progress)
    return _read(path, str(path))


def _is_whole(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    except OSError:
        return False


def _fetch(path: Path, progress: Callable[[int, int], None] | None) -> None:
    try:
        data = download(URL, size=SIZE, sha256=SHA256, progress=progress)
    except DataError as error:
        another = " (what is there is another file)" if path.exists() else ""
        raise DataError(
            f"mnist: cannot be downloaded: {error}; put {URL} at {path}{another}, or name a copy "
            f"in {VARIABLE}; mnist-5k, with 5,000 of the pictures, needs no download"
        ) from error
    try:
        write_atomically(path, data)
    except OSError as error:
        raise DataError(
            f"mnist: {path} cannot be written: {error.strerror or error}; save {URL} elsewhere and "
            f"name it in {VARIABLE}"
        ) from error


def _read(path: Path, name: str) -> Parts:
    arrays = read_npz(path, name)
    found = []
    for part, count in _COUNTS.items():
        for key in (f"x_{part}", f"y_{part}"):
            if key not in arrays:
                raise DataError(f"{name}: is not MNIST: there is no array {key} in it")
        x = pictures(name, arrays[f"x_{part}"])
        y = check_classes(name, arrays[f"y_{part}"], len(x))
        if x.shape != (count, _SIDE, _SIDE, 1) or y.max() >= _CLASSES:
            shape = "x".join(map(str, x.shape[:3]))
            raise DataError(
                f"{name}: is not MNIST: x_{part} is {shape}, not {count}x{_SIDE}x{_SIDE}; "
                "give another data set's file by its path"
            )
        found += [x, y]
    x_train, y_train, x_test, y_test = found
    return x_train, y_train, x_test, y_test
