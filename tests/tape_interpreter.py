"""A tape, executed literally: slow, plain, and independent of the compiler.

The specification in :mod:`gateware.interface.tape` as a program, step by step and delta by delta as
the engine does it. It is the compiler's test bench and the engine's reference: both must agree with
it on every byte of memory and on the order of the writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import TAPE_ADDRESS
from gateware.interface.protocol import EngineError
from gateware.interface.tape import (
    COMBINE_SHIFT,
    CONTROLS,
    DELTA,
    DESCRIPTOR_MAGIC,
    LEVELS,
    PARAMETER,
    TABLE_WORDS,
    WRAP,
    Level,
    decode_words,
    word_entries,
)

_ROW_BITS = 16
_X_BITS = 14
_WRITE_BITS = 20


@dataclass
class Execution:
    """What a run did.

    Attributes
    ----------
    error : EngineError
    layers : int
        Layers completed.
    best : int
        Index of the greatest byte among the last layer's results, in the order of writing.
    writes : list of (int, int)
        Byte address and value, in order.
    tape_bytes : int
        Bytes of the tape that were consumed.
    """

    error: EngineError = EngineError.NONE
    layers: int = 0
    best: int = 0
    writes: list[tuple[int, int]] = field(default_factory=list)
    tape_bytes: int = 0


def execute(
    configuration: EngineConfiguration,
    memory: npt.NDArray[np.int8],
    layers: int = 0,
    tape_address: int = TAPE_ADDRESS,
) -> Execution:
    """Run the tape in ``memory``, which is changed in place.

    Parameters
    ----------
    configuration : EngineConfiguration
    memory : ndarray of int8, shape (memory_bytes,)
    layers : int
        Stop after so many; 0: after the last.
    tape_address : int
        Where the tape begins.
    """
    if memory.dtype != np.int8 or memory.shape != (configuration.memory_bytes,):
        raise ValueError(f"Memory must be {configuration.memory_bytes} int8 values")
    interpreter = _Interpreter(configuration, memory, tape_address)
    interpreter.run(layers)
    return interpreter.execution


class _Interpreter:
    def __init__(
        self, configuration: EngineConfiguration, memory: npt.NDArray[np.int8], tape_address: int
    ) -> None:
        self.configuration = configuration
        self.memory = memory
        self.tape_begin = self.tape_position = tape_address
        self.table = np.zeros(TABLE_WORDS, np.int8)
        self.execution = Execution()

    def run(self, layers: int) -> None:
        while True:
            levels = [DELTA.unpack(word) for word in self.take_words(LEVELS)]
            control: dict[str, int] = {}
            for layout, word in zip(CONTROLS, self.take_words(len(CONTROLS))):
                control |= layout.unpack(word)
            if control["magic"] != DESCRIPTOR_MAGIC:
                self.execution.error = EngineError.BAD_DESCRIPTOR
                return
            if control["load_table"]:
                words = list(self.take_words(TABLE_WORDS))
                self.table = np.array([word & 0xFF for word in words], np.uint8).view(np.int8)
            _Layer(self, levels, control).run()
            self.execution.layers += 1
            self.execution.tape_bytes = self.tape_position - self.tape_begin
            if control["last"] or self.execution.layers == layers:
                return

    # Tape

    def take(self, size: int) -> bytes:
        data = self.memory[self.tape_position : self.tape_position + size].tobytes()
        assert len(data) == size, "the tape runs out of memory"
        self.tape_position += size
        return data

    def take_words(self, count: int) -> Iterator[int]:
        per_word = word_entries(self.configuration) * self.configuration.entry_bytes
        return decode_words(self.configuration, self.take(count * per_word), count)

    def take_weights(self, entries: int) -> npt.NDArray[np.int64]:
        """Shape (entries, lanes)."""
        data = self.take(entries * self.configuration.entry_bytes)
        rows = np.frombuffer(data, np.int8).reshape(entries, self.configuration.entry_bytes)
        return rows[:, : self.configuration.lanes].astype(np.int64)


class _Layer:
    """One layer: machines that the engine runs side by side, here in turn, window by window."""

    def __init__(
        self, interpreter: _Interpreter, levels: list[dict[str, int]], control: dict[str, int]
    ) -> None:
        self.interpreter = interpreter
        self.configuration = interpreter.configuration
        self.memory = interpreter.memory
        self.levels = levels
        self.control = control
        self.row = self.x = self.y = self.write = 0
        self.best_value: int | None = None
        self.results = 0

    def count(self, name: str) -> int:
        """A loop's count, of which the tape holds one less."""
        return self.control[name] + 1

    def run(self) -> None:
        lanes, pixels = self.configuration.lanes, self.configuration.pixels
        tiles, lines, groups = self.count("tiles"), self.count("lines"), self.count("groups")
        taps = self.count("taps")
        assert self.count("windows") == lines * groups, "windows is not groups * lines"
        if not self.control["pool"] and lines * groups > 1:
            assert taps <= self.configuration.window_taps, "a window larger than the ring"
        self.fetch_step(Level.START)
        self.write_step(Level.START)
        for tile in range(tiles):
            words = self.interpreter.take_words(lanes)
            parameters = [PARAMETER.unpack(word) for word in words]
            weights = None if self.control["pool"] else self.interpreter.take_weights(taps)
            for line in range(lines):
                for group in range(groups):
                    streams = self.fetch_window()
                    assert streams.shape == (taps, pixels), "runs and taps disagree"
                    self.drain(
                        self.accumulate(streams, weights),
                        parameters,
                        last_tile=tile == tiles - 1,
                        last_line=line == lines - 1,
                        last_group=group == groups - 1,
                    )
                    if group < groups - 1:
                        level = Level.GROUP
                    elif line < lines - 1:
                        level = Level.LINE
                    elif tile < tiles - 1:
                        level = Level.TILE
                    else:
                        break
                    self.fetch_step(level)
                    self.write_step(level)

    # Fetch

    def fetch_step(self, level: Level) -> None:
        delta = self.levels[level]
        self.row = (self.row + delta["row"]) % (1 << _ROW_BITS)
        self.x += delta["x"]
        assert -(1 << (_X_BITS - 1)) <= self.x < 1 << (_X_BITS - 1), "x overflows"
        self.y += delta["y"]

    def fetch_window(self) -> npt.NDArray[np.int64]:
        """The window's bytes, shape (taps, pixels)."""
        runs = []
        rows = self.count("kernel_rows")
        for kernel_row in range(rows):
            runs.append(self.fetch_run())
            if kernel_row < rows - 1:
                self.fetch_step(Level.KERNEL_ROW)
        return np.concatenate(runs)

    def fetch_run(self) -> npt.NDArray[np.int64]:
        """A kernel row's bytes, shape (bytes, pixels)."""
        control, word = self.control, self.configuration.word_bytes
        pixels = self.configuration.pixels
        if control["channel_wise"]:
            group = self.configuration.channel_group
            assert (control["run_words"], control["run_rest"]) == (0, 0)
            run = np.zeros((self.count("last_slot"), pixels), np.int64)
            for tap in range(len(run)):
                offset = self.x + tap * control["slot_step"]
                # One word is read, so its bytes are all that there is.
                assert offset % word + group <= word, "a channel group crosses a word"
                run[tap, :group] = self.read(np.arange(offset, offset + group))
            return run
        assert control["last_slot"] == word - 1, "a beat must have as many slots as a word bytes"
        size = control["run_words"] * word + control["run_rest"] + 1
        begins = self.x + np.arange(pixels) * control["slot_step"]
        return self.read(begins + np.arange(size)[:, np.newaxis])

    def read(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Bytes of the current row, or padding."""
        control, word = self.control, self.configuration.word_bytes
        pad = int(np.uint8(control["pad_value"]).view(np.int8))
        inside = (offsets >= 0) & (offsets < control["row_words"] * word + control["row_rest"])
        if not 0 <= self.y < control["height"]:
            inside[...] = False
        addresses = self.row * word + np.where(inside, offsets, 0)
        values = self.memory[addresses % len(self.memory)].astype(np.int64)
        return np.where(inside, values, pad)

    # Compute

    def accumulate(
        self, streams: npt.NDArray[np.int64], weights: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        """Accumulators, shape (lanes, pixels)."""
        if weights is None:
            greatest = 2 * (streams.max(axis=0) + 128)
            return np.broadcast_to(greatest, (self.configuration.lanes, len(greatest)))
        sums = weights.T @ streams
        limit = 1 << (self.configuration.accumulator_bits - 1)
        # The compiler promises that a sum that is used never overflows; wrapping is then no error.
        return (sums + limit) % (2 * limit) - limit

    def requantize(self, accumulator: int, parameter: dict[str, int]) -> int:
        control = self.control
        # MultiplyByQuantizedMultiplier: a rounding doubling high multiply, then a rounding shift.
        total = accumulator + parameter["bias"]
        high = (total * ((1 << 30) + parameter["multiplier"]) + (1 << 30)) >> 31
        shift = parameter["shift"]
        half = (1 << shift) >> 1
        result = (abs(high) + half) >> shift
        result = (result if high >= 0 else -result) + control["zero_point"]
        result = min(max(result, control["minimum"]), control["maximum"])
        return int(self.interpreter.table[result + 128]) if control["table"] else result

    # Drain

    def drain(
        self,
        accumulators: npt.NDArray[np.int64],
        parameters: list[dict[str, int]],
        last_tile: bool,
        last_line: bool,
        last_group: bool,
    ) -> None:
        control, lanes = self.control, self.configuration.lanes
        slots, drained = self.count("drain_slots"), self.count("drain_lanes")
        for slot in range(slots):
            first = self.configuration.first_lane(slot)
            for step in range(drained):
                lane = (first + step) % lanes
                if step > 0:
                    self.write_step(WRAP if lane == 0 else Level.LANE)
                elif slot > 0:
                    self.write_step(Level.FIRST_SLOT if slot == 1 else Level.SLOT)
                if control["lanes_end_on_line"]:
                    valid = not last_line or step <= control["last_lanes"]
                else:
                    valid = not last_tile or lane <= control["last_lanes"]
                if last_tile if control["channel_wise"] else last_group:
                    valid = valid and slot <= control["last_slots"]
                if valid:
                    if control["combine"]:
                        lane = first + 2 * step
                        total = int(accumulators[lane, slot])
                        total += int(accumulators[lane + 1, slot]) << COMBINE_SHIFT
                    else:
                        total = int(accumulators[lane, slot])
                    self.store(self.requantize(total, parameters[lane]))

    def write_step(self, level: int) -> None:
        self.write = (self.write + self.levels[level]["write"]) % (1 << _WRITE_BITS)

    def store(self, value: int) -> None:
        assert self.write < len(self.memory), "a write outside the memory"
        self.memory[self.write] = value
        execution = self.interpreter.execution
        execution.writes.append((self.write, value))
        if self.best_value is None or value > self.best_value:
            self.best_value = value
            execution.best = self.results
        self.results += 1
