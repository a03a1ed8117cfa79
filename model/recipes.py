"""Which network for which data set, and how to train it: all that `host train` needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TypedDict

import numpy as np
from threadpoolctl import threadpool_limits

from model import datasets, reference
from model.augmentation import Augmentation
from model.datasets import Dataset
from model.graph import Graph, Padding
from model.history import History
from model.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sigmoid
from model.network import Network
from model.quantization import quantize
from model.training import Progress, Settings, accuracy, fit

__all__ = ["Recipe", "Report", "Trained", "recipe", "train"]

_CALIBRATION_PICTURES = 1000

_LEAST_STEPS = 1000
_MOST_EPOCHS = 250


@dataclass(frozen=True)
class Recipe:
    """Layers, still to be built, and how to train them."""

    layers: tuple[Layer, ...]
    settings: Settings


class Report(TypedDict):
    """What came out: accuracies are shares of the test part, seconds those of everything."""

    parameters: int
    macs: int
    float_accuracy: float
    int8_accuracy: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Trained:
    """All that a training leaves behind, to be looked at.

    Attributes
    ----------
    dataset : Dataset
    network : Network
        In floating point, as trained.
    graph : Graph
        In int8.
    history : History
    scores : ndarray of int8, shape (n, classes)
        The graph's answers to the test part.
    float_weights : tuple of ndarray
        What was quantised, one for each operator with weights.
    """

    dataset: Dataset
    network: Network
    graph: Graph
    history: History
    scores: np.ndarray
    float_weights: tuple[np.ndarray, ...]


def _paper(classes: int) -> Recipe:
    """The paper's network: three 3×3 filters without padding, sigmoid, dense."""
    layers = (Conv2D(3, 3, padding=Padding.VALID), Sigmoid(), Flatten(), Dense(classes))
    return Recipe(layers, Settings(epochs=100, batch=32, rate=3e-2, decay=0.0))


def _small(classes: int) -> Recipe:
    """For pictures of 8×8: small enough to be simulated gate by gate."""
    layers = (
        *(Conv2D(8, 3), ReLU(), MaxPool2D(2)),
        *(Conv2D(24, 3), ReLU(), MaxPool2D(2)),
        *(Flatten(), Dense(classes)),
    )
    moved = Augmentation(shift=0.5, turn=8, scale=0.08)
    return Recipe(layers, Settings(100, batch=32, rate=4e-3, decay=1e-2, augmentation=moved))


def _two_convolutions(classes: int) -> Recipe:
    """For MNIST and its like: 5×5 filters in multiples of eight keep all multipliers busy."""
    layers = (
        *(Conv2D(8, 5), ReLU(), MaxPool2D(2)),
        *(Conv2D(16, 5), ReLU(), MaxPool2D(2)),
        *(Flatten(), Dense(classes)),
    )
    moved = Augmentation(shift=2, turn=12, scale=0.1)
    return Recipe(layers, Settings(epochs=30, batch=32, rate=3e-3, augmentation=moved))


def _three_convolutions(classes: int) -> Recipe:
    """For ordinary pictures brought to about 32×32."""
    layers = (
        *(Conv2D(16, 3), ReLU(), MaxPool2D(2)),
        *(Conv2D(32, 3), ReLU(), MaxPool2D(2)),
        *(Conv2D(32, 3), ReLU(), MaxPool2D(2)),
        *(Flatten(), Dense(classes)),
    )
    moved = Augmentation(shift=2, turn=8, scale=0.1)
    return Recipe(layers, Settings(epochs=30, batch=32, rate=2e-3, augmentation=moved))


def recipe(dataset: Dataset) -> Recipe:
    """The network and the settings for a data set, by the size of its pictures.

    Returns
    -------
    Recipe
        With fresh layers.
    """
    side = min(dataset.shape[:2])
    classes = len(dataset.labels)
    if side < 8:
        # a 3×3 filter without padding needs three pixels; below, one layer of nodes is all
        return _paper(classes) if side >= 3 else Recipe((Flatten(), Dense(classes)), Settings(100))
    if side < 16:
        return _small(classes)
    if side < 32 and dataset.shape[2] == 1:
        return _two_convolutions(classes)
    return _three_convolutions(classes)


def _enough_epochs(settings: Settings, pictures: int) -> int:
    """The recipe's epochs, or more where pictures are so few that there would be few steps."""
    steps_per_epoch = -(-pictures // settings.batch)
    return max(settings.epochs, min(_MOST_EPOCHS, -(-_LEAST_STEPS // steps_per_epoch)))


def train(
    dataset: str | Path | Dataset,
    *,
    seed: int = 0,
    epochs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    inspect: Callable[[Trained], None] | None = None,
) -> tuple[Graph, Report]:
    """Train a network on a data set and quantise it.

    Parameters
    ----------
    dataset : str, Path or Dataset
        As `model.datasets.load` takes it, or already loaded.
    seed : int
        Not negative. The same seed gives the same graph, bit for bit, on the same machine.
    epochs : int, optional
        Instead of the recipe's.
    progress : callable, optional
        Called after every step; see `model.progress.progress_bar`.
    inspect : callable, optional
        Called in the end with all that came out.

    Returns
    -------
    graph : Graph
    report : Report

    Raises
    ------
    DataError
        If the data set cannot be used.
    """
    start = perf_counter()
    if not isinstance(dataset, Dataset):
        dataset = datasets.load(dataset)
    rng = np.random.default_rng(seed)
    chosen = recipe(dataset)
    if epochs is None:
        epochs = _enough_epochs(chosen.settings, len(dataset.x_train))
    settings = replace(chosen.settings, epochs=epochs)
    # One thread: the products are too small for more to help, and its sums have a fixed order.
    with threadpool_limits(limits=1):
        network = Network(chosen.layers, dataset.shape, rng)
        history = fit(network, dataset, settings, rng, progress)
        calibration = rng.permutation(len(dataset.x_train))[:_CALIBRATION_PICTURES]
        graph = quantize(network, dataset.x_train[calibration], dataset.name, dataset.labels)
        answers = reference.predict(graph, datasets.to_int8(dataset.x_test))
        float_accuracy = accuracy(network.predict(dataset.x_test), dataset.y_test)
    report = Report(
        parameters=graph.parameters,
        macs=graph.total_macs,
        float_accuracy=float_accuracy,
        int8_accuracy=accuracy(answers, dataset.y_test),
        seconds=perf_counter() - start,
    )
    if inspect is not None:
        learned = [layer.parameters for layer in network.layers if "weights" in layer.parameters]
        float_weights = tuple(parameters["weights"] for parameters in learned)
        scores = answers.reshape(len(answers), -1)
        inspect(Trained(dataset, network, graph, history, scores, float_weights))
    return graph, report
