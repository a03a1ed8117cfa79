"""From rows of features to scores and events.

A network with state takes a few new rows a run, and remembers. Any other takes the last second or
so, and runs again whenever so many rows are new. A word has been heard when the mean of the last
scores passes the cutoff; then, and at the begin, a second passes before the next one can be, as in
ESPHome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import DataError

from ..model_card import ModelCard
from .features import CHANNELS, Samples, feature_rows
from .parameters import Parameters

__all__ = ["Event", "Listener", "Step", "rows_of"]

#: Seconds after an event, and at the begin, in which there is none.
_QUIET_SECONDS = 1.0
#: A network without state runs each time that so many ms are new.
_EVERY_MS = 100
#: Classes that are no word.
_NO_WORD = frozenset({"silence", "unknown", "background", "noise", "other"})


@dataclass(frozen=True)
class Event:
    """A word that was heard.

    Attributes
    ----------
    time : float
        Seconds of sound from the begin.
    label : str
    score : float
        Mean of the last scores, above the cutoff.
    """

    time: float
    label: str
    score: float


@dataclass(frozen=True, eq=False)
class Step:
    """A run of the network.

    Attributes
    ----------
    time : float
        Seconds of sound from the begin.
    rows : ndarray of int8, shape (n, 40)
        The rows of features that are new since the run before.
    scores : ndarray of float
        Of each class; of a wake word one. What the network gives, from 0 to 1.
    means : ndarray of float
        Of the last scores.
    event : Event or None
    """

    time: float
    rows: npt.NDArray[np.int8]
    scores: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    event: Event | None


def rows_of(card: ModelCard) -> int:
    """Rows of features that a network takes in a run.

    Raises
    ------
    DataError
        If it takes anything else than rows of 40 int8 features.
    """
    given = card.input.before
    count = prod(given.shape)
    if len(card.inputs) != 1 or given.type != "int8" or count % CHANNELS or count > 1 << 16:
        shape = "x".join(map(str, given.shape))
        raise DataError(
            f"{card.name}: takes {given.type} of {shape}, and listening is for networks that take "
            f"int8 rows of {CHANNELS} features, as microWakeWord's and micro_speech"
        )
    return count // CHANNELS


class Listener:
    """Turns sound into events.

    Parameters
    ----------
    run : callable
        ``run(x)`` gives what the network makes of an input: its first output.
    card : ModelCard
        Of the network.
    parameters : Parameters

    Raises
    ------
    DataError
        If the network is none that listens.
    """

    def __init__(
        self,
        run: Callable[[npt.NDArray[np.int8]], npt.NDArray[Any]],
        card: ModelCard,
        parameters: Parameters,
    ) -> None:
        self._run = run
        self._card = card
        self._parameters = parameters
        self._rows = rows_of(card)
        #: Rows of features from one run to the next.
        self.new_rows = self._rows if card.variables else max(1, _EVERY_MS // parameters.step_ms)

    def steps(self, blocks: Iterable[Samples]) -> Iterator[Step]:
        """A step for each run of the network, as soon as there is enough sound for it.

        Parameters
        ----------
        blocks : iterable of ndarray of int16
            Sound of 16,000 samples a second.
        """
        parameters, shape = self._parameters, self._card.input.before.shape
        recent: deque[npt.NDArray[np.int8]] = deque(maxlen=self._rows)
        scores: deque[npt.NDArray[np.float64]] = deque(maxlen=parameters.window)
        seconds = parameters.step_ms / 1000
        quiet_until = _QUIET_SECONDS
        waiting: list[npt.NDArray[np.int8]] = []
        for count, row in enumerate(feature_rows(blocks, parameters.step_ms), start=1):
            recent.append(row)
            waiting.append(row)
            if len(recent) < self._rows or len(waiting) < self.new_rows:
                continue
            time = count * seconds
            score = self._scores(self._run(np.stack(recent).reshape(shape)))
            scores.append(score)
            means = np.sum(scores, axis=0) / parameters.window
            event = None
            if time >= quiet_until:
                event = self._event(time, means)
            if event is not None:
                quiet_until = time + _QUIET_SECONDS
                scores.clear()
            yield Step(time, np.stack(waiting), score, means, event)
            waiting = []

    def events(self, blocks: Iterable[Samples]) -> Iterator[Event]:
        """The words that are heard."""
        return (step.event for step in self.steps(blocks) if step.event is not None)

    def label(self, index: int) -> str:
        """What a score is of."""
        if self._classes() == 1:
            return self._parameters.word or self._card.name
        return self._card.label(index)

    def _classes(self) -> int:
        return prod(self._card.output.behind.shape)

    def _scores(self, output: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """What a network gives as numbers from 0 to 1: bytes are 255ths, as in ESPHome."""
        given = output.astype(np.float64).reshape(-1)
        if output.dtype == np.int8:
            given += 128
        scaled = given if output.dtype == np.float32 else given / 255
        return np.clip(scaled, 0, 1)

    def _event(self, time: float, means: npt.NDArray[np.float64]) -> Event | None:
        best = int(means.argmax())
        label = self.label(best)
        word = len(means) == 1 or label.strip("_ ").lower() not in _NO_WORD
        if word and means[best] > self._parameters.cutoff:
            return Event(round(time, 3), label, round(float(means[best]), 4))
        return None
