"""Recipes: the network for a data set, and how to train it.

`train` is all that `host train` needs. The steps, in their order, are in `model.datasets`,
`.layers` and `.network`, `.loss`, `.optimizer` and `.fit`; then in `.folding`, `.quantization` and
`.quantized_training`. `model.int8.tflite` writes the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, TypedDict
from zlib import crc32

import numpy as np
from threadpoolctl import threadpool_limits

from model.datasets import datasets
from model.datasets.datasets import Dataset
from model.int8 import reference
from model.int8.graph import Graph, Padding
from model.training.augmentation import Augmentation
from model.training.checkpoint import Checkpoint
from model.training.fit import Progress, Settings, accuracy, fit, hold_out
from model.training.folding import fold
from model.training.history import Epoch, History
from model.training.layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sigmoid
from model.training.network import Network
from model.training.quantization import calibrate
from model.training.quantized_training import QuantizedNetwork
from model.training.schedule import Schedule

__all__ = ["Recipe", "Report", "Size", "Trained", "recipe", "train"]

_CALIBRATION_PICTURES = 1000

_LEAST_STEPS = 1000
_MOST_EPOCHS = 250

_HELD_OUT = 0.1
"""Share of the training part that early stopping holds out."""


@dataclass(frozen=True)
class Recipe:
    """Layers that are not built yet, and the settings to train them.

    Attributes
    ----------
    layers : tuple of Layer
    settings : Settings
        Settings of the training in floating point.
    fine_tuning : Settings, optional
        Settings of the training that follows, in the arithmetic of int8.
    """

    layers: tuple[Layer, ...]
    settings: Settings
    fine_tuning: Settings | None = None


class Size(NamedTuple):
    """The size of a network, compared with its recipe's.

    Attributes
    ----------
    width : float
        Its convolutions have so many times the channels, an even number.
    fewer : int
        So many of the last convolutions are left out; the first one stays.
    """

    width: float = 1.0
    fewer: int = 0

    def channels(self, *channels: int) -> list[int]:
        """Those of each convolution, of the recipe's."""
        kept = channels[: max(1, len(channels) - self.fewer)]
        if self.width == 1:
            return list(kept)
        return [2 * max(1, round(each * self.width / 2)) for each in kept]


AS_IT_IS = Size()


class Report(TypedDict):
    """Figures of a training: accuracies are shares of the test part, and seconds cover
    everything."""

    parameters: int
    macs: int
    float_accuracy: float
    int8_accuracy: float
    seconds: float


class Trained(NamedTuple):
    """The results of a training.

    Attributes
    ----------
    graph : Graph
        The int8 network.
    report : Report
    history : History
        The epochs in floating point, then those in int8.
    network : Network
        The float network, folded, before its training in int8.
    scores : ndarray of int8, shape (n, classes)
        The graph's answers to the data set's test part.
    """

    graph: Graph
    report: Report
    history: History
    network: Network
    scores: np.ndarray


def _block(filters: int, kernel: int) -> tuple[Layer, ...]:
    """Convolution, batch normalisation, ReLU, max pool.

    Pool and ReLU commute; in this order the ReLU has a quarter of the work.
    """
    return (Conv2D(filters, kernel, bias=False), BatchNorm(), MaxPool2D(2), ReLU())


def _paper(classes: int, size: Size) -> Recipe:
    """The paper's network: three 3×3 filters without padding, sigmoid, dense."""
    (channels,) = size.channels(3)
    layers = (Conv2D(channels, 3, padding=Padding.VALID), Sigmoid(), Flatten(), Dense(classes))
    return Recipe(layers, Settings(epochs=100, batch=32, rate=3e-2, decay=0.0))


def _small(classes: int, size: Size) -> Recipe:
    """A network for pictures of 8×8, small enough to be simulated gate by gate."""
    blocks = [(Conv2D(each, 3), MaxPool2D(2), ReLU()) for each in size.channels(8, 24)]
    layers = (*chain(*blocks), Flatten(), Dense(classes))
    moved = Augmentation(shift=0.5, turn=8, scale=0.08)
    settings = Settings(100, batch=32, rate=4e-3, decay=1e-2, augmentation=moved)
    return Recipe(layers, settings, replace(settings, epochs=5, rate=4e-4))


def _digits(classes: int, count: int, size: Size) -> Recipe:
    """A network for MNIST and similar: a 5×5 filter where it is cheap, channels in multiples of
    eight."""
    first, *others = size.channels(8, 24, 48)
    blocks = [_block(first, 5), *(_block(each, 3) for each in others)]
    layers = (*chain(*blocks), Flatten(), Dense(classes))
    moved = Augmentation(shift=2, turn=10, scale=0.1)
    # A small data set needs more epochs.
    epochs = 15 if count >= 20_000 else 40
    settings = Settings(epochs, batch=128, rate=6e-3, decay=1e-2, augmentation=moved)
    return Recipe(layers, settings, replace(settings, epochs=2, rate=1e-4))


def _three_convolutions(classes: int, size: Size) -> Recipe:
    """A network for ordinary pictures scaled to about 32×32."""
    blocks = [_block(each, 3) for each in size.channels(16, 32, 32)]
    layers = (*chain(*blocks), Flatten(), Dense(classes))
    moved = Augmentation(shift=2, turn=8, scale=0.1)
    settings = Settings(30, batch=32, rate=2e-3, augmentation=moved)
    return Recipe(layers, settings, replace(settings, epochs=2, rate=2e-4))


def recipe(dataset: Dataset, size: Size = AS_IT_IS) -> Recipe:
    """The network and the settings for a data set, by the size of its pictures.

    Returns
    -------
    Recipe
        With fresh layers.
    """
    side = min(dataset.shape[:2])
    classes = len(dataset.labels)
    if side < 8:
        # A 3×3 filter without padding needs three pixels; smaller pictures get a single layer.
        if side < 3:
            return Recipe((Flatten(), Dense(classes)), Settings(100))
        return _paper(classes, size)
    if side < 16:
        return _small(classes, size)
    if side < 32 and dataset.shape[2] == 1:
        return _digits(classes, len(dataset.x_train), size)
    return _three_convolutions(classes, size)


def _enough_epochs(settings: Settings, pictures: int) -> int:
    """The recipe's epochs, or more if so few pictures would give too few steps."""
    steps_per_epoch = -(-pictures // settings.batch)
    return max(settings.epochs, min(_MOST_EPOCHS, -(-_LEAST_STEPS // steps_per_epoch)))


def train(
    dataset: str | Path | Dataset,
    *,
    seed: int = 0,
    size: Size = AS_IT_IS,
    epochs: int | None = None,
    rate: float | None = None,
    schedule: Schedule | None = None,
    patience: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[str, Epoch], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Trained:
    """Train a network on a data set and quantise it.

    Parameters
    ----------
    dataset : str, Path or Dataset
        An argument of `model.datasets.datasets.load`, or a loaded data set.
    seed : int
        At least 0. The same seed gives the same graph, bit for bit, on the same machine.
    size : Size
        Of the network, compared with the recipe's.
    epochs, rate, schedule : optional
        Values to use instead of the recipe's.
    patience : int, optional
        Stop early, judged by a tenth of the training part that is held out: see `Settings`.
    progress : callable, optional
        Called after every step; see `model.training.progress.progress_bar`.
    on_epoch : callable, optional
        Called after every epoch with its phase, ``float`` or ``int8``, and what was recorded.
    checkpoint : Path, optional
        File to save to after every epoch.
    resume : bool
        Continue from `checkpoint`. The graph is the same as that of a run without interruption.

    Returns
    -------
    Trained

    Raises
    ------
    DataError
        If the data set cannot be used.
    TrainingError
        If training diverged, or the checkpoint cannot be used.
    """
    start = perf_counter()
    if not isinstance(dataset, Dataset):
        dataset = datasets.load(dataset)
    chosen = recipe(dataset, size)
    settings = replace(
        chosen.settings,
        epochs=epochs or _enough_epochs(chosen.settings, len(dataset.x_train)),
        rate=rate or chosen.settings.rate,
        schedule=schedule or chosen.settings.schedule,
        patience=patience,
    )
    fine_tuning = chosen.fine_tuning
    if fine_tuning is not None:
        # The rate keeps its ratio to the first phase's.
        fine_tuning = replace(
            fine_tuning,
            epochs=min(fine_tuning.epochs, settings.epochs),
            rate=fine_tuning.rate * settings.rate / chosen.settings.rate,
            schedule=settings.schedule,
            patience=patience,
        )
    # Each purpose has a generator of its own, so the draws of one do not change those of the
    # others.
    weights, split, training, calibration, tuning = (
        np.random.default_rng([seed, purpose]) for purpose in range(5)
    )
    # One thread, because the products are too small for more to help, and its sums have a fixed
    # order.
    with threadpool_limits(limits=1):
        network = Network(chosen.layers, dataset.shape, weights)
        saved = None
        if checkpoint is not None:
            run = _identity(dataset, seed, settings, fine_tuning)
            if size != AS_IT_IS:
                run["size"] = repr(size)
            saved = Checkpoint(checkpoint, run, resume)
        watched = dataset if patience is None else hold_out(dataset, _HELD_OUT, split)
        history = fit(network, watched, settings, training, progress, saved, "float", on_epoch)
        folded, to_tune = fold(network), fold(network)
        pictures = calibration.permutation(len(watched.x_train))[:_CALIBRATION_PICTURES]
        ranges = calibrate(to_tune, watched.x_train[pictures])
        quantized = QuantizedNetwork(to_tune, ranges, dataset.name, dataset.labels)
        if fine_tuning is not None:
            tuned = fit(quantized, watched, fine_tuning, tuning, progress, saved, "int8", on_epoch)
            history = History([*history.epochs, *tuned.epochs])
        graph = quantized.graph
        answers = reference.predict(graph, datasets.to_int8(dataset.x_test))
        float_accuracy = accuracy(folded.predict(dataset.x_test), dataset.y_test)
    report = Report(
        parameters=graph.parameters,
        macs=graph.total_macs,
        float_accuracy=float_accuracy,
        int8_accuracy=accuracy(answers, dataset.y_test),
        seconds=perf_counter() - start,
    )
    return Trained(graph, report, history, folded, answers.reshape(len(answers), -1))


def _identity(
    dataset: Dataset, seed: int, settings: Settings, fine_tuning: Settings | None
) -> dict[str, str | int]:
    """The facts that identify a run, for its checkpoint."""
    return {
        "seed": seed,
        "training": repr(settings),
        "fine tuning": repr(fine_tuning),
        "data set": dataset.name,
        "pictures": crc32(dataset.x_train.tobytes(), crc32(dataset.y_train.tobytes())),
    }
