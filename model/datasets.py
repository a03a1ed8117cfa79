"""Data sets: pictures, their classes, and a fixed split into training and test.

Built in, and readable offline: ``patterns`` (made by `model.patterns`), ``digits`` and ``mnist``
(carried along in ``model/data``, with source and licence). From outside: a folder with one
subfolder of pictures for each class, or an ``.npz`` file.
"""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from model import patterns
from model.errors import DataError

__all__ = ["NAMES", "Dataset", "Samples", "load", "samples", "to_int8"]

NAMES: Final = ("patterns", "digits", "mnist")

_DATA: Final = Path(__file__).parent / "data"

_SPLIT_SEED: Final = 0
_TEST_SHARE: Final = 0.2

_PATTERNS_TRAIN: Final = 4000
_PATTERNS_TEST: Final = 400

_PICTURE_SIDE: Final = 32
"""Pictures of a folder are brought to this height and width."""
_PICTURE_SUFFIXES: Final = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_GREY_MODES: Final = frozenset({"1", "L", "LA", "I", "I;16", "F"})

_MAX_NPZ_BYTES: Final = 4 << 30


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures with their classes, split.

    Attributes
    ----------
    name : str
    x_train, x_test : ndarray of uint8, shape (n, height, width, channels)
    y_train, y_test : ndarray of int64, shape (n,)
        In 0 .. number of labels - 1.
    labels : tuple of str
        Class names.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels of a picture."""
        return self.x_train.shape[1:]


@dataclass(frozen=True, eq=False)
class Samples:
    """What a network is tried on.

    Attributes
    ----------
    x : ndarray of int8, shape (n, ...)
        As the network's input takes it.
    y : ndarray of int64, shape (n,), or None
        Classes, where they are known.
    """

    x: np.ndarray
    y: np.ndarray | None


def to_int8(x: np.ndarray) -> np.ndarray:
    """uint8 pixels as int8: 128 taken away, which is the quantisation 1/255, zero point -128."""
    return (x ^ np.uint8(0x80)).view(np.int8)


def load(name_or_path: str | Path) -> Dataset:
    """A data set by its name, or from a folder or file.

    Parameters
    ----------
    name_or_path : str or Path
        One of `NAMES`; a folder with one subfolder of pictures a class; or an ``.npz`` with
        ``x_train``, ``y_train``, ``x_test``, ``y_test``, or with ``x`` and ``y``, of which a fifth
        becomes the test part. Pixels are uint8, or int8 (pixel - 128). An array ``labels`` of
        strings may name the classes.

    Raises
    ------
    DataError
        If there is no such data set, or it cannot be used.
    """
    name = str(name_or_path)
    if name == "patterns":
        return _load_patterns()
    if name == "digits":
        return _load_digits()
    if name == "mnist":
        return _load_mnist()
    path = Path(name_or_path)
    if path.is_dir():
        return _load_folder(path)
    if path.suffix == ".npz":
        return _load_npz(path)
    raise DataError(
        f"no data set {name!r}: give {', '.join(NAMES)}, a folder of pictures, or an .npz file"
    )


def samples(name_or_path: str | Path) -> Samples:
    """What to try a network on: a data set's test part, or all of an ``.npz``'s ``x`` and ``y``.

    Raises
    ------
    DataError
        As `load`.
    """
    path = Path(name_or_path)
    if str(name_or_path) not in NAMES and path.suffix == ".npz" and not path.is_dir():
        arrays = _read_npz(path)
        if "x" in arrays:
            x = arrays["x"]
            _check_pixels(str(path), x)
            y = arrays.get("y")
            if y is not None:
                y = _check_classes(str(path), y, len(x))
            return Samples(x if x.dtype == np.int8 else to_int8(x), y)
    dataset = load(name_or_path)
    return Samples(to_int8(dataset.x_test), dataset.y_test)


def _load_patterns() -> Dataset:
    rng = np.random.default_rng(_SPLIT_SEED)
    return Dataset(
        "patterns",
        *patterns.generate(_PATTERNS_TRAIN, rng),
        *patterns.generate(_PATTERNS_TEST, rng),
        patterns.LABELS,
    )


def _load_digits() -> Dataset:
    with gzip.open(_DATA / "digits.csv.gz") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.int64)
    pixels = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8)
    return _split("digits", pixels.reshape(-1, 8, 8, 1), table[:, -1], _numbers(10))


def _load_mnist() -> Dataset:
    arrays = _read_npz(_DATA / "mnist_5k.npz")
    x = arrays["x"][..., np.newaxis]
    return _split("mnist", x, arrays["y"].astype(np.int64), _numbers(10))


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _split(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    labels: tuple[str, ...],
    source: str | None = None,
) -> Dataset:
    """Put a fifth of each class into the test part, and mix both parts; always the same.

    An error names the `source`, or else the data set.
    """
    rng = np.random.default_rng(_SPLIT_SEED)
    in_test = np.zeros(len(y), bool)
    for label in range(len(labels)):
        members = np.flatnonzero(y == label)
        if len(members) < 2:
            raise DataError(
                f"{source or name}: class {labels[label]} has {len(members)} pictures; "
                "at least 2 are needed"
            )
        count = max(1, round(len(members) * _TEST_SHARE))
        in_test[rng.permutation(members)[:count]] = True
    train = rng.permutation(np.flatnonzero(~in_test))
    test = rng.permutation(np.flatnonzero(in_test))
    return Dataset(name, x[train], y[train], x[test], y[test], labels)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_NPZ_BYTES:
            raise DataError(f"{path}: {size} bytes; {_MAX_NPZ_BYTES} are possible")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError, MemoryError) as error:
        raise DataError(f"{path}: is no readable .npz file") from error


def _check_pixels(name: str, x: np.ndarray) -> None:
    if x.dtype not in (np.uint8, np.int8):
        raise DataError(f"{name}: pixels are {x.dtype}; uint8 (0 to 255) or int8 is needed")
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{name}: an array of shape {x.shape} holds no pictures")


def _check_classes(name: str, y: np.ndarray, count: int) -> np.ndarray:
    if y.shape != (count,):
        raise DataError(f"{name}: {count} pictures but classes of shape {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{name}: classes are {y.dtype}; integers from 0 are needed")
    if y.min() < 0:
        raise DataError(f"{name}: class {y.min()} is below 0")
    return y.astype(np.int64)


def _pictures(name: str, x: np.ndarray) -> np.ndarray:
    """Pixels as uint8 of shape (n, height, width, channels)."""
    _check_pixels(name, x)
    if x.dtype == np.int8:
        x = x.view(np.uint8) ^ np.uint8(0x80)
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim != 4:
        raise DataError(f"{name}: pictures of shape {x.shape[1:]}; height, width, channels needed")
    return x


def _load_npz(path: Path) -> Dataset:
    arrays = _read_npz(path)
    name = str(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        parts = [(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")]
    elif {"x", "y"} <= arrays.keys():
        parts = [(arrays["x"], arrays["y"])]
    else:
        raise DataError(f"{name}: neither x and y nor x_train, y_train, x_test and y_test in it")
    checked = []
    for x, y in parts:
        pictures = _pictures(name, x)
        checked.append((pictures, _check_classes(name, y, len(pictures))))
    classes = 1 + max(int(y.max()) for _, y in checked)
    labels = tuple(map(str, arrays.get("labels", np.array(_numbers(classes))).ravel()))
    if classes > len(labels):
        raise DataError(f"{name}: class {classes - 1} has no label; there are {len(labels)}")
    if len(labels) < 2:
        raise DataError(f"{name}: one class only; there is nothing to tell apart")
    if len(checked) == 1:
        return _split(path.stem, *checked[0], labels, source=name)
    (x_train, y_train), (x_test, y_test) = checked
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(f"{name}: training and test pictures differ in size")
    missing = set(range(len(labels))) - set(y_train.tolist())
    if missing:
        raise DataError(f"{name}: no training picture of class {labels[min(missing)]}")
    return Dataset(path.stem, x_train, y_train, x_test, y_test, labels)


def _open_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.copy()
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: is no readable picture") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: is too large a picture") from error


def _load_folder(path: Path) -> Dataset:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    folders = [folder for folder in folders if not folder.name.startswith(".")]
    if len(folders) < 2:
        raise DataError(f"{path}: {len(folders)} subfolders; one for each of two classes or more")
    pictures, y = [], []
    for label, folder in enumerate(folders):
        files = sorted(
            entry for entry in folder.iterdir() if entry.suffix.lower() in _PICTURE_SUFFIXES
        )
        if not files:
            raise DataError(f"{folder}: no pictures in it")
        for file in files:
            pictures.append(_open_picture(file))
            y.append(label)
    mode = "L" if all(picture.mode in _GREY_MODES for picture in pictures) else "RGB"
    side = (_PICTURE_SIDE, _PICTURE_SIDE)
    x = np.stack(
        [
            np.asarray(picture.convert(mode).resize(side, Image.Resampling.BILINEAR))
            for picture in pictures
        ]
    ).reshape(len(pictures), *side, len(mode))
    labels = tuple(folder.name for folder in folders)
    return _split(path.resolve().name, x, np.array(y, np.int64), labels, source=str(path))
