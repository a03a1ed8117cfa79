"""Data sets: pictures, their classes, and a fixed split into training and test.

Built in, and readable offline: ``patterns`` (made by `.patterns`), ``digits`` and ``mnist-5k``
(carried along in ``model/data``, with source and licence). Fetched once: ``mnist`` (`.mnist`).
From outside: a folder with one subfolder of pictures for each class, or with two such folders,
``train`` and ``test`` (`.folders`); or an ``.npz`` file (`.npz_files`).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np

from model.datasets import mnist, patterns
from model.datasets.folders import SIDE, Folder, Parts, parts, read_folder, read_parts
from model.datasets.npz_files import check_classes, check_labels, check_pixels, pictures, read_npz
from model.errors import DataError

__all__ = ["NAMES", "Dataset", "Loading", "Samples", "load", "samples", "to_int8"]

NAMES: Final = ("patterns", "digits", "mnist-5k", "mnist")

Loading = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is to do."""

_DATA: Final = Path(__file__).parents[1] / "data"

_SPLIT_SEED: Final = 0
_TEST_SHARE: Final = 0.2

_PATTERNS_TRAIN: Final = 4000
_PATTERNS_TEST: Final = 400

_UNBALANCED: Final = 1.5
"""Times as many pictures in the largest class as in the smallest, from which classes are weighted:
what people collect is often beyond, the data sets carried along are not."""


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
    notes : tuple of str
        What one should know about it before trusting an accuracy, a line each.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels of a picture."""
        return self.x_train.shape[1:]

    @property
    def class_counts(self) -> np.ndarray:
        """Training pictures of each class."""
        return np.bincount(self.y_train, minlength=len(self.labels))

    @property
    def test_counts(self) -> np.ndarray:
        """Test pictures of each class."""
        return np.bincount(self.y_test, minlength=len(self.labels))

    @property
    def class_weights(self) -> np.ndarray | None:
        """How much a training picture of each class should count in the loss.

        n / (K n[k]) for n pictures in K classes, so that all classes count the same and the mean
        over the pictures is 1 (G. King, L. Zeng, "Logistic Regression in Rare Events Data", 2001).
        None where the classes are of about the same size, and need no weights.
        """
        counts = self.class_counts
        present = counts[counts > 0]
        if present.max() < _UNBALANCED * present.min():
            return None
        # A class without pictures, as a part that is held out may leave it, never asks.
        return (counts.sum() / (len(present) * np.maximum(counts, 1))).astype(np.float32)


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


def load(
    name_or_path: str | Path,
    progress: Loading | None = None,
    size: tuple[int, int] = (SIDE, SIDE),
    channels: int | None = None,
) -> Dataset:
    """A data set by its name, or from a folder or file.

    Parameters
    ----------
    name_or_path : str or Path
        One of `NAMES`; a folder with one subfolder of pictures a class, or with such folders
        ``train`` and ``test``; or an ``.npz`` with
        ``x_train``, ``y_train``, ``x_test``, ``y_test``, or with ``x`` and ``y``, of which a fifth
        becomes the test part. Pixels are uint8, or int8 (pixel - 128). An array ``labels`` of
        strings may name the classes.
    progress : callable, optional
        Told of what takes long: ``mnist``'s download, and reading a folder's pictures.
    size : tuple of int
        Height and width that a folder's pictures are brought to.
    channels : int, optional
        1 for grey, 3 for colours; without it, as a folder's pictures are.

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
    if name == "mnist-5k":
        return _load_mnist_5k()
    if name == "mnist":
        return Dataset("mnist", *mnist.load(_doing("Downloading MNIST", progress)), _numbers(10))
    path = Path(name_or_path)
    if path.is_dir():
        return _load_folder(path, _doing("Reading pictures", progress), size, channels)
    if path.suffix == ".npz":
        return _load_npz(path)
    raise DataError(
        f"no data set {name!r}: give {', '.join(NAMES)}, a folder of pictures, or an .npz file"
    )


def _doing(what: str, progress: Loading | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


def samples(name_or_path: str | Path, progress: Loading | None = None) -> Samples:
    """What to try a network on: a data set's test part, or what an ``.npz`` has.

    That is all of ``x``, or ``x_test`` where there is no ``x``; ``y``, or ``y_test``, may be
    missing.

    Raises
    ------
    DataError
        As `load`.
    """
    path = Path(name_or_path)
    if str(name_or_path) not in NAMES and path.suffix == ".npz" and not path.is_dir():
        arrays = read_npz(path)
        x_name, y_name = ("x", "y") if "x" in arrays else ("x_test", "y_test")
        if x_name not in arrays:
            raise DataError(
                f"{path}: no array x in it{_instead(arrays)}; x alone is enough, y may give the "
                "classes"
            )
        x, y = arrays[x_name], arrays.get(y_name)
        check_pixels(str(path), x)
        if y is not None:
            y = check_classes(str(path), y, len(x))
        return Samples(x if x.dtype == np.int8 else to_int8(x), y)
    dataset = load(name_or_path, progress)
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


def _load_mnist_5k() -> Dataset:
    arrays = read_npz(_DATA / "mnist_5k.npz")
    x = arrays["x"][..., np.newaxis]
    return _split("mnist-5k", x, arrays["y"].astype(np.int64), _numbers(10))


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _split(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    labels: tuple[str, ...],
    source: str | None = None,
) -> Dataset:
    """A data set of pictures that came without a split: see `_divide`."""
    train, test = _divide(y, labels, source or name)
    return Dataset(name, x[train], y[train], x[test], y[test], labels)


def _divide(y: np.ndarray, labels: tuple[str, ...], source: str) -> tuple[np.ndarray, np.ndarray]:
    """Put a fifth of each class into the test part, and mix both parts; always the same.

    Returns
    -------
    train, test : ndarray of int
        Positions in `y`.
    """
    rng = np.random.default_rng(_SPLIT_SEED)
    in_test = np.zeros(len(y), bool)
    for label in range(len(labels)):
        members = np.flatnonzero(y == label)
        if len(members) < 2:
            found = f"{len(members)} picture{'s' if len(members) != 1 else ''}"
            raise DataError(
                f"{source}: class {labels[label]} has {found}; at least 2 are needed, one to learn "
                "from and one to test with"
            )
        count = max(1, round(len(members) * _TEST_SHARE))
        in_test[rng.permutation(members)[:count]] = True
    train = rng.permutation(np.flatnonzero(~in_test))
    test = rng.permutation(np.flatnonzero(in_test))
    return train, test


def _load_npz(path: Path) -> Dataset:
    arrays = read_npz(path)
    name = str(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        parts = [(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")]
    elif {"x", "y"} <= arrays.keys():
        parts = [(arrays["x"], arrays["y"])]
    else:
        raise DataError(
            f"{name}: neither x and y nor x_train, y_train, x_test and y_test in it"
            f"{_instead(arrays)}"
        )
    checked = []
    for x, y in parts:
        checked_x = pictures(name, x)
        checked.append((checked_x, check_classes(name, y, len(checked_x))))
    count = sum(len(y) for _, y in checked)
    classes = 1 + max(int(y.max()) for _, y in checked)
    if "labels" in arrays:
        labels = check_labels(name, arrays["labels"].ravel())
    elif classes <= count:
        labels = _numbers(classes)
    else:
        raise DataError(f"{name}: class {classes - 1} is out of range: there are {count} pictures")
    if classes > len(labels):
        raise DataError(f"{name}: class {classes - 1} has no label; there are {len(labels)}")
    if len(labels) < 2:
        raise DataError(f"{name}: one class only; there is nothing to tell apart")
    if len(checked) == 1:
        ((x, y),) = checked
        train, test = _divide(y, labels, name)
        files = tuple(f"picture {index}" for index in range(len(x)))
        notes = _duplicates(x, y, labels, train, test, files, name)
        return Dataset(_name(path.stem), x[train], y[train], x[test], y[test], labels, notes)
    (x_train, y_train), (x_test, y_test) = checked
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(f"{name}: training and test pictures differ in size")
    missing = set(range(len(labels))) - set(y_train.tolist())
    if missing:
        raise DataError(f"{name}: no training picture of class {labels[min(missing)]}")
    notes = _duplicates(
        np.concatenate([x_train, x_test]),
        np.concatenate([y_train, y_test]),
        labels,
        np.arange(len(x_train)),
        np.arange(len(x_train), len(x_train) + len(x_test)),
        tuple(f"x_{part}[{i}]" for part, n in _parts(x_train, x_test) for i in range(n)),
        name,
    )
    return Dataset(_name(path.stem), x_train, y_train, x_test, y_test, labels, notes)


def _instead(arrays: Iterable[str]) -> str:
    """Names of the arrays that there are, to be told where others are missed."""
    return f" (there are {', '.join(arrays)})" if arrays else " (there are none)"


def _parts(x_train: np.ndarray, x_test: np.ndarray) -> tuple[tuple[str, int], ...]:
    return ("train", len(x_train)), ("test", len(x_test))


def _load_folder(
    path: Path,
    progress: Callable[[int, int], None] | None,
    size: tuple[int, int],
    channels: int | None,
) -> Dataset:
    divided = parts(path)
    if divided is not None:
        return _load_parts(path, divided, *read_parts(divided, progress, size, channels))
    found = read_folder(path, progress, size, channels)
    x, y, labels = found.x, found.y, found.labels
    train, test = _divide(y, labels, str(path))
    notes = _duplicates(x, y, labels, train, test, found.files, str(path)) + _left_out(found)
    name = _name(path.resolve().name)
    return Dataset(name, x[train], y[train], x[test], y[test], labels, notes)


def _load_parts(path: Path, divided: Parts, train: Folder, test: Folder) -> Dataset:
    x, y = np.concatenate([train.x, test.x]), np.concatenate([train.y, test.y])
    first, second = np.split(np.arange(len(x)), [len(train.x)])
    files = tuple(
        f"{folder.name}/{file}"
        for folder, part in ((divided.train, train), (divided.test, test))
        for file in part.files
    )
    here, there = divided.train.name, divided.test.name
    notes: tuple[str, ...] = (
        f"{here} and {there} are the parts to learn from and to test with, as they are",
    )
    notes += tuple(f"{other} is left out" for other in divided.others)
    notes += _duplicates(x, y, train.labels, first, second, files, str(path))
    notes += _left_out(train) + _left_out(test)
    mixed = np.random.default_rng(_SPLIT_SEED).permutation(second)
    return Dataset(
        _name(path.resolve().name), train.x, train.y, x[mixed], y[mixed], train.labels, notes
    )


def _left_out(found: Folder) -> tuple[str, ...]:
    count = len(found.left_out)
    if not count:
        return ()
    files = f"{count} file{'s are' if count > 1 else ' is'}"
    return (f"{files} left out, no picture by the name: {found.left_out[0]}{_more(count)}",)


def _name(name: str) -> str:
    """A file's name as text that a model can carry: bytes that are no UTF-8 become "?"."""
    return name.encode(errors="replace").decode()


def _more(count: int) -> str:
    return " and others" if count > 1 else ""


def _duplicates(
    x: np.ndarray,
    y: np.ndarray,
    labels: tuple[str, ...],
    train: np.ndarray,
    test: np.ndarray,
    names: tuple[str, ...],
    source: str,
) -> tuple[str, ...]:
    """Notes on pictures that are there more than once, bit for bit, where it does harm.

    In both parts: what was learned by heart is then taken for understood. In two classes: one of
    them is wrong. Where all are the same, it is an error that names the `source`.
    """
    keys = [blake2b(picture, digest_size=16).digest() for picture in np.ascontiguousarray(x)]
    if len(set(keys)) == 1:
        raise DataError(f"{source}: all pictures are the same; there is nothing to learn")
    learned = {keys[index]: index for index in train.tolist()}
    both = [(index, learned[keys[index]]) for index in test.tolist() if keys[index] in learned]
    notes: list[str] = []
    if both:
        here, there = both[0]
        notes.append(
            f"{len(both)} of {len(test)} test pictures are in the training part too, which "
            f"flatters the accuracy: {names[here]} is {names[there]}{_more(len(both))}"
        )
    classes: dict[bytes, int] = {}
    torn = [
        (index, first)
        for index, key in enumerate(keys)
        if y[first := classes.setdefault(key, index)] != y[index]
    ]
    if torn:
        here, there = torn[0]
        notes.append(
            f"{len(torn)} picture{'s are' if len(torn) > 1 else ' is'} in two classes: "
            f"{names[there]} ({labels[y[there]]}) is {names[here]} ({labels[y[here]]})"
            f"{_more(len(torn))}"
        )
    return tuple(notes)
