"""The training loop: mini-batches, gradients, steps, and reports of progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from time import perf_counter
from typing import Any

import numpy as np

from model.datasets.datasets import Dataset
from model.errors import TrainingError
from model.training.augmentation import Augmentation
from model.training.checkpoint import Checkpoint, Snapshot
from model.training.history import Epoch, History
from model.training.loss import softmax_cross_entropy
from model.training.network import Network, to_float
from model.training.optimizer import AdamW
from model.training.schedule import Schedule

__all__ = ["Progress", "Settings", "accuracy", "fit", "gradients", "hold_out"]

_MICRO_BATCH = 16
"""Pictures whose gradients are computed at once; few enough for all arrays to stay in the cache."""


@dataclass(frozen=True)
class Settings:
    """Settings of a training.

    Attributes
    ----------
    epochs : int
        Number of passes over the training pictures, unless `patience` ends training.
    batch : int
        Number of pictures in each step.
    rate : float
        Largest learning rate.
    decay : float
        Weight decay.
    schedule : Schedule
        The course of the rate; if there are several epochs, it rises over the first one.
    augmentation : Augmentation
    patience : int, optional
        Number of epochs without a better accuracy on the test part after which training stops. The
        test part should then be a held-out one (see `hold_out`). The best epoch's weights are kept.
    """

    epochs: int
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-4
    schedule: Schedule = Schedule.COSINE
    augmentation: Augmentation = field(default_factory=Augmentation)
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(
                f"epochs and batch must be at least 1, not {self.epochs!r} and {self.batch!r}"
            )
        if not self.rate > 0:
            raise ValueError(f"the learning rate must be above 0, not {self.rate!r}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, not {self.patience!r}")


@dataclass(frozen=True)
class Progress:
    """The progress of a training after a step.

    Attributes
    ----------
    step, steps : int
        Steps done and steps in all.
    epoch, epochs : int
        Epoch of this step, from 1, and epochs in all.
    loss, accuracy : float
        Mean over the augmented training pictures of this epoch so far.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float


def hold_out(dataset: Dataset, share: float, rng: np.random.Generator) -> Dataset:
    """Make a data set whose test part is a `share` of the training part, drawn by `rng`."""
    order = rng.permutation(len(dataset.x_train))
    count = max(1, round(share * len(order)))
    held_out, rest = np.sort(order[:count]), np.sort(order[count:])
    return replace(
        dataset,
        x_train=dataset.x_train[rest],
        y_train=dataset.y_train[rest],
        x_test=dataset.x_train[held_out],
        y_test=dataset.y_train[held_out],
    )


def fit(
    network: Network,
    dataset: Dataset,
    settings: Settings,
    rng: np.random.Generator,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
    phase: str = "training",
    on_epoch: Callable[[str, Epoch], None] | None = None,
) -> History:
    """Train `network` in place on the training part of `dataset`.

    Classes of very different sizes count the same; see `Dataset.class_weights`. The same network,
    data, settings and state of `rng` give the same weights, bit for bit, on the same machine: also
    if it was interrupted and goes on from a checkpoint.

    Parameters
    ----------
    network : Network
    dataset : Dataset
        The accuracy on its test part is recorded after each epoch.
    settings : Settings
    rng : numpy.random.Generator
        Draws the order of the pictures, their augmentation, and dropout.
    progress : callable, optional
        Called after every step.
    checkpoint : Checkpoint, optional
        Receives a snapshot after each epoch; if it has one already, training continues from there.
    phase : str
        The snapshot's name.
    on_epoch : callable, optional
        Called with the phase and what was recorded after every epoch.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        If the loss is no longer a finite number, or the checkpoint cannot be written.
    """
    run = _Run(network, AdamW(network.parameters, settings.decay), rng)
    if checkpoint is not None and (snapshot := checkpoint.load(phase)) is not None:
        run.restore(snapshot)
    count = len(dataset.x_train)
    class_weights = dataset.class_weights
    steps_per_epoch = -(-count // settings.batch)
    steps = settings.epochs * steps_per_epoch
    warm_up = steps_per_epoch if settings.epochs > 1 else 0
    while len(run.history.epochs) < settings.epochs and not run.is_done(settings.patience):
        start = perf_counter()
        epoch = len(run.history.epochs)
        order = rng.permutation(count)
        loss, correct, seen = 0.0, 0, 0
        for index in range(steps_per_epoch):
            chosen = order[index * settings.batch : (index + 1) * settings.batch]
            x = settings.augmentation.apply(dataset.x_train[chosen], rng)
            y = dataset.y_train[chosen]
            batch_loss, batch_correct = gradients(network, x, y, rng, class_weights)
            loss, correct, seen = loss + batch_loss, correct + batch_correct, seen + len(chosen)
            if not isfinite(loss):
                raise TrainingError(
                    f"training diverged: the loss is {loss} in epoch {epoch + 1}; "
                    f"try a learning rate below {settings.rate:g}"
                )
            step = epoch * steps_per_epoch + index
            rate = settings.rate * settings.schedule.share(step, steps, warm_up)
            run.optimizer.step(network.gradients, rate)
            if progress is not None:
                progress(
                    Progress(
                        step + 1, steps, epoch + 1, settings.epochs, loss / seen, correct / seen
                    )
                )
        test_accuracy = accuracy(network.predict(dataset.x_test), dataset.y_test)
        seconds = perf_counter() - start
        run.end_epoch(Epoch(loss / seen, correct / seen, test_accuracy, rate, seconds))
        if on_epoch is not None:
            on_epoch(phase, run.history.epochs[-1])
        if checkpoint is not None:
            checkpoint.save(phase, run.snapshot())
    if settings.patience is not None:
        run.take_best()
    return run.history


def gradients(
    network: Network,
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    class_weights: np.ndarray | None = None,
) -> tuple[float, int]:
    """Compute the gradients of a batch's mean loss, and leave them in `network`.

    Parameters
    ----------
    network : Network
    x : ndarray of uint8, shape (n, height, width, channels)
    y : ndarray of int, shape (n,)
        True classes.
    rng : numpy.random.Generator
        Generator for the layers that draw.
    class_weights : ndarray of float32, shape (classes,), or None
        Weight of a picture of each class; None for equal weights.

    Returns
    -------
    loss : float
        Summed over the batch.
    correct : int
        Number of pictures that were right.
    """
    network.clear_gradients()
    loss, correct = 0.0, 0
    # The parts are nearly equal: batch normalisation would learn little from a last part of one
    # picture.
    parts = -(-len(x) // _MICRO_BATCH)
    for index in range(parts):
        part = slice(index * len(x) // parts, (index + 1) * len(x) // parts)
        # An overflow shows in the loss.
        with np.errstate(over="ignore", invalid="ignore"):
            z = network.forward(to_float(x[part]), rng)
            part_loss, dz = softmax_cross_entropy(z, y[part], class_weights)
            network.backward(dz / np.float32(len(x)))
        loss += part_loss
        correct += int((z.argmax(axis=1) == y[part]).sum())
    return loss, correct


class _Run:
    """Everything that changes from epoch to epoch, and so everything that a snapshot must hold."""

    def __init__(self, network: Network, optimizer: AdamW, rng: np.random.Generator) -> None:
        self.network = network
        self.optimizer = optimizer
        self.rng = rng
        self.history = History()
        self.best_epoch = 0
        self.best: list[np.ndarray] = []

    @property
    def _values(self) -> list[np.ndarray]:
        return [*self.network.parameters, *self.network.state]

    def is_done(self, patience: int | None) -> bool:
        """Whether `patience` epochs have passed since the best."""
        return patience is not None and len(self.history.epochs) - self.best_epoch >= patience

    def end_epoch(self, epoch: Epoch) -> None:
        """Record the epoch; keep the weights if they are the best so far."""
        best = self.history.epochs[self.best_epoch - 1].test_accuracy if self.best else -1.0
        self.history.epochs.append(epoch)
        if epoch.test_accuracy > best:
            self.best_epoch = len(self.history.epochs)
            self.best = [value.copy() for value in self._values]

    def take_best(self) -> None:
        """Put the best epoch's weights into the network."""
        _copy(self.best, self._values)

    def snapshot(self) -> Snapshot:
        """The snapshot of the run."""
        facts: dict[str, Any] = {
            "steps": self.optimizer.steps,
            "rng": self.rng.bit_generator.state,
            "history": [asdict(epoch) for epoch in self.history.epochs],
            "best_epoch": self.best_epoch,
        }
        arrays = {
            "values": [value.copy() for value in self._values],
            "moments": [moment.copy() for moment in self.optimizer.moments],
            "best": self.best,
        }
        return Snapshot(arrays, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Restore the run from `snapshot`."""
        try:
            _copy(snapshot.arrays["values"], self._values)
            _copy(snapshot.arrays["moments"], self.optimizer.moments)
            facts = snapshot.facts
            self.best = [array.copy() for array in snapshot.arrays["best"]]
            self.optimizer.steps = int(facts["steps"])
            self.best_epoch = int(facts["best_epoch"])
            self.history = History([Epoch(**epoch) for epoch in facts["history"]])
            self.rng.bit_generator.state = facts["rng"]
        except Exception as error:  # it comes from a file, and may hold anything
            raise TrainingError("the checkpoint does not fit the network") from error


def _copy(sources: Sequence[np.ndarray], destinations: Sequence[np.ndarray]) -> None:
    for source, destination in zip(sources, destinations, strict=True):
        if source.shape != destination.shape:
            raise ValueError(f"shape {source.shape} for {destination.shape}")
        destination[...] = source


def accuracy(scores: np.ndarray, y: np.ndarray) -> float:
    """Share of rows of `scores` whose largest entry, the first among equals, is the class `y`."""
    return float((scores.argmax(axis=-1) == y).mean())
