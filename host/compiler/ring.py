"""When tape entries arrive in the weight ring: a part of the cycle model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration

__all__ = ["Ring", "Times", "in_turn"]

#: Cycles from the start until the first tape entry is available.
TAPE_LATENCY = 7
#: Cycles from the release of an entry to the request that fills its place, and to its arrival.
REFILL_LATENCY = 7
Times = npt.NDArray[np.float64]


def in_turn(ready: Times, begin: float, step: float = 1.0) -> Times:
    """Ends of consecutive actions of ``step`` cycles, none of which begins before its input is
    ready."""
    index = np.arange(len(ready))
    slack = np.maximum.accumulate(np.maximum(ready, begin) - step * index)
    return slack + step * (index + 1)


class Ring:
    """The times at which tape entries arrive in the weight ring.

    The reader fetches one entry after the other, but waits until the entry that is a ring's length
    before has been freed. How long it takes for one depends on the layer that runs meanwhile, which
    may be one before that whose entry it is; from flash every entry takes as long.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.streams = False
        self.flash_cycles = 2 * configuration.entry_bytes
        #: When an entry began to take other cycles, the entries that the reader could have fetched
        #: by then, and the cycles of one since.
        self._times: list[float] = [0.0]
        self._fetched: list[float] = [0.0]
        self._cycles: float = configuration.entry_words
        self.depth = configuration.window_taps
        #: When the last entries were freed; the next to arrive takes the first one's place.
        self.freed: Times = np.full(self.depth, -np.inf)
        self.last_arrival: float = TAPE_LATENCY

    def begin(self, time: float, cycles: float, streams: bool) -> None:
        """From ``time`` on an entry in memory takes so many cycles; whether the next ones are."""
        self._fetched.append(self._fetched[-1] + (time - self._times[-1]) / self._cycles)
        self._times.append(time)
        self._cycles, self.streams = cycles, streams

    def arrivals(self, count: int) -> Times:
        """When the next ``count`` entries (at most ``depth``) are there."""
        may_begin = np.maximum(self.freed[:count] + REFILL_LATENCY, self.last_arrival)
        if self.streams:
            return in_turn(may_begin, 0.0, self.flash_cycles)
        far = 1e12
        times = np.array([*self._times, self._times[-1] + far])
        fetched = np.array([*self._fetched, self._fetched[-1] + far / self._cycles])
        return np.interp(in_turn(np.interp(may_begin, times, fetched), 0.0), fetched, times)

    def free(self, arrivals: Times, times: Times) -> None:
        """The entries that arrived at ``arrivals`` were freed at ``times``."""
        self.last_arrival = float(arrivals[-1])
        self.freed = np.concatenate([self.freed[len(times) :], times])
