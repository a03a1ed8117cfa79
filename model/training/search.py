"""Networks of several sizes, each trained with several seeds, to choose from.

They are chosen by a fifth of the training part that is held out, so that the test part says of the
chosen one what it says of any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from model.datasets import datasets
from model.datasets.datasets import Dataset
from model.errors import OutputError
from model.int8 import reference, tflite
from model.int8.graph import Graph
from model.training import recipes
from model.training.fit import accuracy, hold_out
from model.training.recipes import Size

__all__ = ["Candidate", "Entry", "Folder", "candidates", "front", "train_candidate"]

_WIDTHS = (1.0, 0.5, 2.0, 0.25, 1.5, 0.75)
_HELD_OUT = 0.2


class Candidate(NamedTuple):
    """A network to be trained."""

    size: Size
    seed: int

    @property
    def name(self) -> str:
        """For files: ``width-0.5-fewer-1-seed-0``."""
        return f"width-{self.size.width:g}-fewer-{self.size.fewer}-seed-{self.seed}"


class Entry(NamedTuple):
    """A network that was trained.

    Attributes
    ----------
    graph : Graph
    data : bytes
        Of its ``.tflite`` file.
    report : dict
        ``parameters``, ``macs``, ``validation_accuracy`` on what was held out, ``float_accuracy``
        and ``int8_accuracy`` on the test part, ``seconds``.
    """

    graph: Graph
    data: bytes
    report: dict[str, Any]


def candidates(count: int, seed: int = 0) -> list[Candidate]:
    """Sizes from a quarter of the recipe's channels to twice as many; then the next seed."""
    sizes = [Size(width, fewer) for fewer, width in product((0, 1), _WIDTHS)]
    return [Candidate(sizes[i % len(sizes)], seed + i // len(sizes)) for i in range(count)]


def train_candidate(
    dataset: str | Dataset, candidate: Candidate, options: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any]]:
    """The ``.tflite`` file of a candidate, and its report.

    Parameters
    ----------
    dataset : str or Dataset
        Name of one that everyone has, or the data set itself.
    candidate : Candidate
    options : mapping
        What else :func:`.recipes.train` takes.
    """
    if isinstance(dataset, str):
        dataset = datasets.load(dataset)
    # The same pictures for each, so that the networks can be compared.
    watched = hold_out(dataset, _HELD_OUT, np.random.default_rng(0))
    trained = recipes.train(watched, seed=candidate.seed, size=candidate.size, **options)
    answers = reference.predict(trained.graph, datasets.to_int8(dataset.x_test))
    report = {
        "parameters": trained.report["parameters"],
        "macs": trained.report["macs"],
        "validation_accuracy": trained.report["int8_accuracy"],
        "float_accuracy": accuracy(trained.network.predict(dataset.x_test), dataset.y_test),
        "int8_accuracy": accuracy(answers, dataset.y_test),
        "seconds": trained.report["seconds"],
    }
    return tflite.encode(trained.graph), report


class Folder:
    """What a search has found so far: of each candidate a ``.tflite`` and a ``.json`` file.

    Parameters
    ----------
    path : Path
        There.
    dataset : Dataset
    options : mapping
        Of the training: what was found with others is not taken for what is looked for.
    """

    def __init__(self, path: Path, dataset: Dataset, options: Mapping[str, Any]) -> None:
        self._path = path
        parts = (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test)
        pictures = 0
        for part in parts:
            pictures = crc32(part.tobytes(), pictures)
        self._search = {
            "pictures": pictures,
            "held out": _HELD_OUT,
            **{name: str(each) for name, each in options.items()},
        }

    def load(self, candidate: Candidate) -> Entry | None:
        """What was found, if it was and is whole."""
        path = self._path / f"{candidate.name}.tflite"
        try:
            record = json.loads(path.with_suffix(".json").read_text())
            data = path.read_bytes()
            if record.pop("search") != self._search or record.pop("crc") != crc32(data):
                return None
        except (OSError, ValueError, AttributeError, KeyError):
            return None
        return Entry(tflite.decode(data, str(path)), data, record)

    def save(self, candidate: Candidate, data: bytes, report: Mapping[str, Any]) -> None:
        """Keep it; raise OutputError if that fails."""
        path = self._path / f"{candidate.name}.tflite"
        record = {**report, "search": self._search, "crc": crc32(data)}
        try:
            path.write_bytes(data)
            path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def front(points: Sequence[tuple[int, float]]) -> list[int]:
    """Places of the points, each cycles and accuracy, that no other point beats in both.

    >>> front([(100, 0.9), (50, 0.8), (120, 0.9), (60, 0.7), (200, 0.95)])
    [1, 0, 4]
    """
    found: list[int] = []
    for place in sorted(range(len(points)), key=lambda each: (points[each][0], -points[each][1])):
        if not found or points[place][1] > points[found[-1]][1]:
            found.append(place)
    return found
