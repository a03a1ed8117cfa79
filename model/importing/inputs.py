"""Typical inputs for a float network, in the shape that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from model.datasets import datasets
from model.datasets.datasets import Dataset, Loading, divide
from model.datasets.npz_files import check_classes, check_labels, read_npz
from model.errors import DataError
from model.importing.float_operators import Shape
from model.int8.operators.examined import written

__all__ = ["Inputs", "load_inputs", "shape_of"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs to calibrate with, and others to compare on.

    Attributes
    ----------
    calibration, test : ndarray, shape (n, *input shape)
        uint8 pixels, or float32.
    calibration_classes, test_classes : ndarray of int64, or None
        Where the classes are known.
    labels : tuple of str
        Class names; empty where the data has none.
    """

    calibration: np.ndarray
    test: np.ndarray
    calibration_classes: np.ndarray | None
    test_classes: np.ndarray | None
    labels: tuple[str, ...] = ()

    def divided(self, name: str) -> Inputs:
        """The same, with a fifth of each class kept for the test, where all of it is both.

        Raises
        ------
        DataError
            If the classes are not known, or inputs are no pixels.
        """
        if self.calibration_classes is None or not self.are_pixels:
            what = "classes (y)" if self.are_pixels else "pixels (uint8 or int8)"
            raise DataError(f"{name}: learning needs {what}")
        if self.calibration is not self.test:
            return self
        y = self.calibration_classes
        labels = self.labels or tuple(map(str, range(int(y.max()) + 1)))
        if int(y.max()) >= len(labels):
            raise DataError(f"{name}: class {int(y.max())} has no label; there are {len(labels)}")
        train, test = divide(y, labels, name)
        x = self.calibration
        return Inputs(x[train], x[test], y[train], y[test], self.labels)

    @property
    def are_pixels(self) -> bool:
        """Whether inputs are pixels, 0 to 255, not real numbers."""
        return self.test.dtype == np.uint8


def load_inputs(name_or_path: str, shape: Shape, progress: Loading | None = None) -> Inputs:
    """Inputs from a data set by its name, a folder of pictures, or an ``.npz``.

    Parameters
    ----------
    name_or_path : str
        As `model.datasets.load` takes it. Pictures of a folder are brought to the size and the
        number of channels of `shape`. An ``.npz`` may hold ``x`` alone, or with ``y``: all of it
        then calibrates, and all of it is compared on. Its ``x`` is uint8 (pixels), int8 (pixels
        less 128), or float32: what the network itself takes.
    shape : tuple of int
        Of the network's input: height, width and channels, or a vector's length.
    progress : callable, optional

    Raises
    ------
    DataError
        If there is no such data, or it does not fit the network.
    """
    path = Path(name_or_path)
    if name_or_path not in datasets.NAMES and path.suffix == ".npz" and not path.is_dir():
        arrays = read_npz(path)
        if "x" in arrays:
            return _from_arrays(name_or_path, arrays, shape)
    if name_or_path not in datasets.NAMES and path.is_dir():
        dataset = _from_folder(path, shape, progress)
    else:
        dataset = datasets.load(name_or_path, progress)
    return Inputs(
        _fitted(name_or_path, dataset.x_train, shape),
        _fitted(name_or_path, dataset.x_test, shape),
        dataset.y_train,
        dataset.y_test,
        dataset.labels,
    )


def shape_of(name_or_path: str) -> Shape | None:
    """Height, width and channels of an ``.npz``'s pictures, for models that leave them open.

    None for any other data, and where there are no pictures.
    """
    path = Path(name_or_path)
    if name_or_path in datasets.NAMES or path.suffix != ".npz" or not path.is_file():
        return None
    arrays = read_npz(path)
    x = arrays.get("x", arrays.get("x_train"))
    if x is None or x.ndim not in (3, 4):
        return None
    return (*x.shape[1:], 1) if x.ndim == 3 else x.shape[1:]


def _from_folder(path: Path, shape: Shape, progress: Loading | None) -> Dataset:
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            f"{path}: the model takes {written(shape)}, which is no picture: give an .npz file"
        )
    return datasets.load(path, progress, size=(shape[0], shape[1]), channels=shape[2])


def _from_arrays(name: str, arrays: dict[str, np.ndarray], shape: Shape) -> Inputs:
    x = arrays["x"]
    if x.dtype == np.int8:
        x = x.view(np.uint8) ^ np.uint8(0x80)
    elif x.dtype.kind == "f":
        x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise DataError(f"{name}: x has values that are not finite")
    elif x.dtype != np.uint8:
        raise DataError(f"{name}: x is {x.dtype}; uint8 (pixels), int8 or float32 is needed")
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{name}: an array of shape {x.shape} holds no inputs")
    x = _fitted(name, x, shape)
    y = arrays.get("y")
    if y is not None:
        y = check_classes(name, y, len(x))
    labels = check_labels(name, arrays["labels"].ravel()) if "labels" in arrays else ()
    return Inputs(x, x, y, y, labels)


def _fitted(name: str, x: np.ndarray, shape: Shape) -> np.ndarray:
    """The same inputs under the network's shape, if only sizes of 1 differ."""
    given = x.shape[1:]
    if given == shape:
        return x

    def essential(sizes: Shape) -> list[int]:
        return [size for size in sizes if size != 1]

    if essential(given) == essential(shape) or (len(shape) == 1 and prod(given) == shape[0]):
        return x.reshape(len(x), *shape)
    hint = ""
    if len(given) == 3 and (*given[1:], given[0]) == shape:
        hint = ": channels come last, so save np.moveaxis(x, 1, -1)"
    raise DataError(
        f"{name}: inputs of {written(given)}, but the model takes {written(shape)}{hint}"
    )
