"""Training: mini-batches, gradients, steps, and a word about it now and then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from model.augmentation import Augmentation
from model.datasets import Dataset
from model.history import Epoch, History
from model.loss import softmax_cross_entropy
from model.network import Network, to_float
from model.optimizer import AdamW, cosine

__all__ = ["Progress", "Settings", "accuracy", "fit"]

_MICRO_BATCH = 16
"""Pictures whose gradients are computed at once: so few that all arrays stay in the cache."""


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    epochs : int
        Times that every training picture is seen.
    batch : int
        Pictures for each step.
    rate : float
        Largest learning rate; it rises over the first epoch and falls as half a cosine.
    decay : float
        Weight decay.
    augmentation : Augmentation
    """

    epochs: int
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-4
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(
                f"epochs and batch must be at least 1, not {self.epochs!r} and {self.batch!r}"
            )


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step.

    Attributes
    ----------
    step, steps : int
        Steps done and steps in all.
    epoch, epochs : int
        Epoch of this step, from 1, and epochs in all.
    loss, accuracy : float
        Mean over the pictures of this epoch so far; on the training pictures as augmented.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float


def fit(
    network: Network,
    dataset: Dataset,
    settings: Settings,
    rng: np.random.Generator,
    progress: Callable[[Progress], None] | None = None,
) -> History:
    """Train `network` in place on the training part of `dataset`.

    Classes of very different sizes count the same; see `Dataset.class_weights`. The same network,
    data, settings and state of `rng` give the same weights, bit for bit, on the same machine.

    Parameters
    ----------
    progress : callable, optional
        Called after every step.
    """
    optimizer = AdamW(network.parameters, settings.decay)
    weights = dataset.class_weights
    count = len(dataset.x_train)
    steps_per_epoch = -(-count // settings.batch)
    steps = settings.epochs * steps_per_epoch
    step = 0
    history = History()
    for epoch in range(1, settings.epochs + 1):
        begun = perf_counter()
        order = rng.permutation(count)
        loss, correct, seen = 0.0, 0, 0
        for start in range(0, count, settings.batch):
            chosen = order[start : start + settings.batch]
            x = settings.augmentation.apply(dataset.x_train[chosen], rng)
            batch_loss, batch_correct = _gradients(network, x, dataset.y_train[chosen], weights)
            rate = settings.rate * cosine(step, steps, warm_up=steps_per_epoch)
            optimizer.step(network.gradients, rate)
            step += 1
            loss, correct, seen = loss + batch_loss, correct + batch_correct, seen + len(chosen)
            if progress is not None:
                progress(Progress(step, steps, epoch, settings.epochs, loss / seen, correct / seen))
        test_accuracy = accuracy(network.predict(dataset.x_test), dataset.y_test)
        seconds = perf_counter() - begun
        history.epochs.append(Epoch(loss / seen, correct / seen, test_accuracy, rate, seconds))
    return history


def _gradients(
    network: Network, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None
) -> tuple[float, int]:
    """Leave the gradients of the batch's mean loss in `network`; return summed loss and hits."""
    network.clear_gradients()
    loss, correct = 0.0, 0
    for start in range(0, len(x), _MICRO_BATCH):
        labels = y[start : start + _MICRO_BATCH]
        z = network.forward(to_float(x[start : start + _MICRO_BATCH]))
        part, dz = softmax_cross_entropy(z, labels, weights)
        network.backward(dz / np.float32(len(x)))
        loss += part
        correct += int((z.argmax(axis=1) == labels).sum())
    return loss, correct


def accuracy(scores: np.ndarray, y: np.ndarray) -> float:
    """Share of rows of `scores` whose largest entry, the first among equals, is the class `y`."""
    return float((scores.argmax(axis=-1) == y).mean())
