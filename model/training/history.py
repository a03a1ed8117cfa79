"""The course of a training, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Epoch", "History"]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pictures.

    Attributes
    ----------
    loss : float
        Mean over the augmented training pictures, each before the step that it led to.
    accuracy : float
        Share of them that were right.
    test_accuracy : float
        Share of the held-out pictures that are right after the epoch.
    rate : float
        Learning rate at the epoch's end.
    seconds : float
        Duration of the epoch.
    """

    loss: float
    accuracy: float
    test_accuracy: float
    rate: float
    seconds: float


@dataclass
class History:
    """All epochs, in order."""

    epochs: list[Epoch] = field(default_factory=list)
