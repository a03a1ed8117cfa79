"""The cycle model: predicts the cycles of each layer.

A model of the engine with the events that matter: when tape entries arrive in the ring and are
freed, when pixels arrive, when windows end, when the drain is free. Within a window everything is
steady, so the model computes whole tiles at once, except for tape entries, each of which has its
own time. The constants are latencies of the gateware's blocks; the tests compare the predictions
with the hardware's own counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import (
    CONTROLS,
    LEVELS,
    TABLE_WORDS,
    parameter_entries,
    word_entries,
)
from gateware.interface.timing import (
    COMBINATION_CYCLES,
    PIXEL_BUFFER_BYTES,
    RUN_CYCLES,
    pixel_margin,
)

from .layers import Axis, Layer, Mode
from .loops import Loops
from .nest import ceil_divide
from .ring import Ring, in_turn

#: Fewest cycles between windows, by writes a window, when there are too few writes to hide the
#: latency of the next window's sums or greatest bytes.
FEW_SUMS, FEW_MAXIMA = {1: 6, 2: 7, 3: 8}, {1: 4, 2: 5}
#: Cycles from a layer's descriptor to what follows it on the tape, and from there to a pixel.
START_LATENCY = 2
PIXEL_LATENCY = 17
#: From there to the last result's being in memory, but for the results before it, which come as
#: often as that.
RESULT_LATENCY = {1: 28, 2: 25}
#: More where it meets what lies in its place.
COMBINATION_LATENCY = 7


def buffer_bytes(configuration: EngineConfiguration) -> int:
    """Bytes that a pixel stream can read ahead (:mod:`gateware.engine.pixel_buffers`)."""
    return PIXEL_BUFFER_BYTES - pixel_margin(configuration)


@dataclass(frozen=True)
class Sharing:
    """Probabilities of a bank conflict between two clients' accesses in the same cycle: 0 to 1.

    A write takes precedence over a pixel read, and both over the tape.
    """

    source_target: float = 0.0
    tape_source: float = 0.0
    tape_target: float = 0.0


@dataclass(frozen=True)
class CycleEstimate:
    """Predicted cycles of a layer.

    Attributes
    ----------
    cycles : int
        Cycles from the last result of the layer before to the last one of this layer.
    multipliers, port, requantiser, tape : int
        Cycles for which each resource is busy.
    """

    cycles: int
    multipliers: int
    port: int
    requantiser: int
    tape: int

    @property
    def bound(self) -> str:
        """The resource that is busy longest."""
        names = ("multipliers", "port", "requantiser", "tape")
        return max(names, key=lambda name: int(getattr(self, name)))


@dataclass(frozen=True)
class Work:
    """A layer, with everything that the cycle model needs to know of it."""

    layer: Layer
    loops: Loops
    configuration: EngineConfiguration
    sharing: Sharing = Sharing()
    streams: bool = False

    @property
    def vectors(self) -> int:
        """Writes of a window: results leave R at a time."""
        lanes = ceil_divide(self.loops.lanes, self.configuration.requantizers)
        return self.loops.slots * lanes

    @property
    def _writes(self) -> float:
        """Of a tile's results, without those that are no results where the picture ends."""
        loops, at_once = self.loops, self.configuration.requantizers
        tiles, groups, lines = loops.tiles, loops.group.count, loops.line.count
        channel_wise = self.layer.mode.channel_wise
        results = self.layer.arrangement.results if channel_wise else 1
        last_results = loops.last_results if channel_wise else 1
        if self.layer.arrangement.channels_inside:
            tiles, groups = groups, tiles
        lanes = self.configuration.channel_group if channel_wise else self.configuration.lanes
        lanes, last_lanes = (
            ceil_divide(each, at_once) for each in (min(lanes, loops.lanes), loops.last_lanes)
        )
        written = (tiles - 1) * lanes + last_lanes
        written *= (groups - 1) * loops.slots + loops.last_slots
        written *= (lines - 1) * results + last_results
        return written / loops.tiles

    @property
    def _target_reads(self) -> float:
        """Of what a tile's results meet: with an addition each, in a pooled layer those of every
        second line."""
        if self.layer.epilogue.addition is not None:
            return self._writes
        return self._writes / 2 if self.layer.pooled else 0.0

    @property
    def _accesses(self) -> float:
        """To the target's memory, of a tile."""
        return self._writes + self._target_reads

    @property
    def drain(self) -> int:
        """Cycles from one window's results to the next's, if the requantiser has no pause."""
        if self.layer.mode is Mode.POOL:
            few, later = FEW_MAXIMA, self.configuration.pool_latency - 2
        else:
            few, later = FEW_SUMS, self.configuration.mac_latency - 4
        # What loads a cycle later than the drain expects waits for another result's time, unless
        # results leave only every other cycle by themselves: then there is a cycle for it.
        free = self.vectors * self.result_cycles
        if not self.combines:
            free += later * self.result_cycles
        return max(few.get(self.vectors, few[2]) + later, free)

    @property
    def result_cycles(self) -> int:
        """Between results that leave together and the next ones."""
        return COMBINATION_CYCLES if self.combines else self.configuration.result_cycles

    @property
    def combines(self) -> bool:
        """Whether results are combined with the bytes at their destinations."""
        return self.layer.pooled or self.layer.epilogue.addition is not None

    def _places(self, by_row: bool) -> npt.NDArray[np.int64]:
        """Picture row, or byte within it, of each kernel row of each window of the first tile."""
        loops = self.loops
        places = np.array([loops.start_row if by_row else loops.start_x])
        for loop in (loops.line, loops.group, loops.kernel_row):
            places = np.add.outer(places, (loop.rows if by_row else loop.x) * np.arange(loop.count))
        return places

    @property
    def _fetches(self) -> int:
        """Cycles of the memory port for a tile's runs.

        A beat gives each slot one word, a cycle a slot. A run that begins within a word may touch
        one word more; where the slots are not aligned alike, one of them is taken to.
        """
        loops, word = self.loops, self.configuration.word_bytes
        runs = loops.windows * loops.kernel_row.count
        if self.layer.mode.channel_wise:
            return runs * loops.run_bytes
        words, rest = divmod(loops.run_bytes - 1, word)
        if loops.slot_step % word:
            tails = runs * (rest != 0)
        else:
            tails = int(np.count_nonzero(self._places(by_row=False) % word + rest >= word))
        return runs * (words + 1) * word + tails * word

    @property
    def _run_cycles(self) -> int:
        """Cycles of the slot generator for them, which takes its time for a short one."""
        loops, word = self.loops, self.configuration.word_bytes
        words = loops.run_bytes
        if not self.layer.mode.channel_wise:
            words = ceil_divide(loops.run_bytes, word) * word
        pauses = loops.windows * loops.kernel_row.count * max(0, RUN_CYCLES - words)
        return self._fetches + pauses

    @property
    def _reads(self) -> float:
        """Reads of a tile's runs: none outside the picture, nor for slots without a pixel."""
        loops = self.loops
        if self.layer.mode.channel_wise:
            reads = float(loops.windows * loops.pops)
        else:
            reads = self._run_cycles * self.configuration.pixels / self.configuration.word_bytes
        rows = self._places(by_row=True)
        inside = (rows >= 0) & (rows < loops.height)
        if self.layer.arrangement.axis is Axis.ROWS and not self.layer.mode.channel_wise:
            begins = self._places(by_row=False)
            inside &= (begins >= 0) & (begins < loops.row_bytes)
        return reads * float(np.mean(inside))

    @cached_property
    def _crowded(self) -> float:
        """Cycles of a tile's pixels where all results go to their bank.

        An access of theirs goes before a read, and costs a cycle if there is one: always, while the
        port has no pause, but for reads of nothing but padding. Where two tensors are read, a
        window is short, and each is like the one before: what waited once comes at another time
        from then on. Where a tile has one window, its results come when the next tile's pixels are
        buffered, if there is room for both.
        """
        if self.loops.windows == 1 and 2 * self.loops.pops <= buffer_bytes(self.configuration):
            return self._run_cycles
        runs, fetches, accesses = self._run_cycles, self._fetches, self._accesses
        if self.layer.other is not None:
            return max(runs, self._reads + accesses)
        return max(runs, fetches + accesses * self._reads / fetches)

    @property
    def port(self) -> float:
        """Cycles that a tile's pixels take to come through the memory port.

        Layers sweep through their banks, so for a part of the time all results go to the pixels'
        bank, and for the rest none.
        """
        shared = self.sharing.source_target
        return (1 - shared) * self._run_cycles + shared * self._crowded

    @property
    def period(self) -> float:
        """Cycles from window to window, over the tile."""
        return max(self.busy, self.port / self.loops.windows)

    @property
    def busy(self) -> float:
        """Of them those that pixels which were read ahead cannot shorten.

        Where results go to another bank for a part of the time, pixels are read ahead meanwhile,
        unless the port has an access in every cycle afterwards.
        """
        windows, pops = self.loops.windows, self.loops.pops
        free, ahead = max(pops, self.drain), 0.0
        elsewhere = windows * (1 - self.sharing.source_target)
        if not self.combines:
            ahead = elsewhere * max(0.0, free * windows / self._run_cycles - 1)
            ahead = min(ahead, buffer_bytes(self.configuration) / pops)
        crowded = self._crowded / windows * (windows - elsewhere - ahead)
        return (free * elsewhere + max(free * (windows - elsewhere), crowded)) / windows

    @cached_property
    def entry_cycles(self) -> float:
        """Of the tape reader for an entry, while the layer runs.

        Other accesses to the same bank come before it, but not more of them than there are; reads
        of what results meet do in any bank (:class:`gateware.memory.scratchpad.Scratchpad`).
        """
        others = self._reads * self.sharing.tape_source
        return self._beside(others + self._writes * self.sharing.tape_target + self._target_reads)

    @cached_property
    def first_entry_cycles(self) -> float:
        """The same before the layer's first results."""
        return self._beside(self._reads * self.sharing.tape_source)

    def _beside(self, others: float) -> float:
        """Cycles of the tape reader for an entry beside so many other accesses of a tile."""
        words, windows = self.configuration.entry_words, self.loops.windows
        busy = min(others / (windows * self.period), 0.99)
        return min(words / (1 - busy), words + others / self.tile_entries)

    @property
    def tile_entries(self) -> int:
        weights = self.loops.taps if self.layer.weights is not None else 0
        return parameter_entries(self.configuration) + weights

    @property
    def head_words(self) -> int:
        table = TABLE_WORDS if self.layer.epilogue.has_tables else 0
        return LEVELS + len(CONTROLS) + table


def load_cycles(configuration: EngineConfiguration) -> int:
    """Cycles for a tile's parameters, if the tape has them: in two halves with one requantiser."""
    halves = configuration.lanes if configuration.requantizers == 1 else 0
    return parameter_entries(configuration) + halves


def estimate(works: Sequence[Work], configuration: EngineConfiguration) -> list[CycleEstimate]:
    """Predict the cycles of each layer of a tape."""
    engine = _Engine(configuration)
    flash_cycles = engine.ring.flash_cycles
    estimates = []
    for work in works:
        begin = engine.time
        engine.run(work)
        tiles, loops = work.loops.tiles, work.loops
        entries = tiles * work.tile_entries + work.head_words * word_entries(configuration)
        estimates.append(
            CycleEstimate(
                cycles=round(engine.time) - round(begin),
                multipliers=tiles * loops.windows * loops.pops,
                port=round(tiles * work.port),
                requantiser=tiles * loops.windows * work.drain,
                tape=round(entries * (flash_cycles if work.streams else work.entry_cycles)),
            )
        )
    return estimates


class _Engine:
    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        self.ring = Ring(configuration)
        self.time: float = 0

    def run(self, work: Work) -> None:
        """A layer, from its descriptor to its last result."""
        self.ring.begin(self.time, work.configuration.entry_words, work.streams)
        epilogue = work.layer.epilogue
        self._words(LEVELS + len(CONTROLS))
        self.time += START_LATENCY
        # The fetcher works ahead from here on, as far as its buffers reach.
        fetched = self.time + PIXEL_LATENCY
        loops = work.loops
        window_port = work.port / loops.windows
        buffered = min(buffer_bytes(self.configuration), loops.windows * loops.pops)
        ahead = window_port / loops.pops * buffered
        if epilogue.has_tables:
            self._words(TABLE_WORDS)
        # Until now nothing else happened in memory.
        self.ring.begin(self.time, work.first_entry_cycles, work.streams)
        drained = 0.0
        for tile in range(loops.tiles):
            self._parameters()
            begin = self.time
            first = max(drained, fetched + window_port, begin + loops.pops)
            # At best the buffers are full when the first window begins.
            fetched = max(fetched, begin - ahead) + work.port
            self.time = self._windows(work, first, fetched)
            if tile == 0:
                self.ring.begin(first, work.entry_cycles, work.streams)
            fetched = max(fetched, self.time - ahead)
            drained = self.time + work.drain
        pools = work.layer.mode is Mode.POOL
        configuration = work.configuration
        self.time += configuration.pool_latency if pools else configuration.mac_latency
        self.time += work.vectors * work.result_cycles + RESULT_LATENCY[work.result_cycles]
        if work.combines:
            self.time += COMBINATION_LATENCY

    def _parameters(self) -> None:
        """Take a tile's parameters off the ring: as words, or an entry a cycle."""
        if self.configuration.requantizers == 1:
            self._words(self.configuration.lanes)
        else:
            self._entries(parameter_entries(self.configuration), 1)

    def _words(self, count: int) -> None:
        """Take ``count`` words off the ring, in two halves each."""
        entries = word_entries(self.configuration)
        self._entries(count * entries, 1 + 1 / entries)

    def _entries(self, count: int, cycles: float) -> None:
        while count:
            now = min(count, self.ring.depth // 2)
            arrivals = self.ring.arrivals(now)
            times = in_turn(arrivals, self.time, cycles)
            self.ring.free(arrivals, times)
            self.time = float(times[-1])
            count -= now

    def _windows(self, work: Work, first: float, last: float) -> float:
        """A tile's windows: the first does not end before ``first``, nor the last before ``last``.

        Returns when the last one ends.
        """
        loops = work.loops
        others = (loops.windows - 1) * work.busy
        if work.layer.weights is None:
            return max(first + others, last)
        if loops.windows == 1:
            end = self.time
            # Each entry waits for its pixels too, of which the last come at `last`.
            pixels = last - work.port / loops.taps * np.arange(loops.taps - 1, -1, -1)
            for part in np.array_split(pixels, ceil_divide(loops.taps, self.ring.depth // 2)):
                arrivals = self.ring.arrivals(len(part))
                times = in_turn(np.maximum(arrivals, part), end)
                self.ring.free(arrivals, times)
                end = float(times[-1])
            return max(end, first)
        arrivals = self.ring.arrivals(loops.taps)
        end_of_first = max(first, float(in_turn(arrivals, self.time)[-1]))
        end = max(end_of_first + others, last)
        to_end = work.period / loops.taps * np.arange(loops.taps - 1, -1, -1, dtype=np.float64)
        self.ring.free(arrivals, end - to_end)
        return end
