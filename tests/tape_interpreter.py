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
    ADDITION_SHIFT,
    CONTROLS,
    DELTA,
    DESCRIPTOR_MAGIC,
    LEAST_WEIGHT,
    LEVELS,
    PARAMETER,
    TABLE,
    TABLE_WORDS,
    Level,
    decode_words,
    entry_parameters,
    parameter_entries,
    word_entries,
)

_ROW_BITS = 18
_X_BITS = 15
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
    results : int
        Results of the last layer.
    writes : list of (int, int)
        Byte address and value, in order.
    tape_bytes : int
        Bytes of the tape that were consumed.
    """

    error: EngineError = EngineError.NONE
    layers: int = 0
    best: int = 0
    results: int = 0
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
        #: Of the layer, if it has one.
        self.table: list[dict[str, int]] = []
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
            if control["table"] or control["add"]:
                self.table = [TABLE.unpack(word) for word in self.take_words(TABLE_WORDS)]
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

    def take_parameters(self) -> Iterator[int]:
        configuration = self.configuration
        data = self.take(parameter_entries(configuration) * configuration.entry_bytes)
        together = entry_parameters(configuration)
        return decode_words(configuration, data, configuration.lanes, together)

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
            words = self.interpreter.take_parameters()
            parameters = [PARAMETER.unpack(word) for word in words]
            weights = None if self.control["pool"] else self.interpreter.take_weights(taps)
            for line in range(lines):
                for group in range(groups):
                    streams = self.fetch_window()
                    assert streams.shape == (taps, pixels, lanes), "runs and taps disagree"
                    self.drain(
                        self.accumulate(streams, weights),
                        parameters,
                        last_tile=tile == tiles - 1,
                        last_line=line == lines - 1,
                        last_group=group == groups - 1,
                        second_line=bool(self.control["pooled"] and line % 2),
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
                    pair = self.control["pooled"] and level is Level.LINE and line % 2
                    self.write_step(Level.KERNEL_ROW if pair else level)

    # Fetch

    def fetch_step(self, level: Level) -> None:
        delta = self.levels[level]
        self.row = (self.row + delta["row"]) % (1 << _ROW_BITS)
        self.x += delta["x"]
        assert -(1 << (_X_BITS - 1)) <= self.x < 1 << (_X_BITS - 1), "x overflows"
        self.y += delta["y"]

    def fetch_window(self) -> npt.NDArray[np.int64]:
        """What each pixel and lane multiplies at each step, shape (taps, pixels, lanes)."""
        runs = []
        rows = self.count("kernel_rows")
        for kernel_row in range(rows):
            runs.append(self.fetch_words() if self.control["channel_wise"] else self.fetch_run())
            if kernel_row < rows - 1:
                self.fetch_step(Level.KERNEL_ROW)
        return np.concatenate(runs)

    def fetch_run(self) -> npt.NDArray[np.int64]:
        """A kernel row of an ordinary layer, shape (bytes, pixels, lanes)."""
        control, word = self.control, self.configuration.word_bytes
        pixels = self.configuration.pixels
        assert control["last_slot"] == word - 1, "a beat must have as many slots as a word bytes"
        size = control["run_words"] * word + control["run_rest"] + 1
        begins = self.x + np.arange(pixels) * control["slot_step"]
        run = self.read(begins + np.arange(size)[:, np.newaxis])
        return np.repeat(run[:, :, np.newaxis], self.configuration.lanes, axis=2)

    def fetch_words(self) -> npt.NDArray[np.int64]:
        """The steps of a kernel row of a channel-wise layer, shape (steps, pixels, lanes)."""
        control, word = self.control, self.configuration.word_bytes
        pixels, group = self.configuration.pixels, self.configuration.channel_group
        assert (control["run_words"], control["run_rest"]) == (0, 0)
        assert not (control["pool"] and control["drain_slots"]), "a pool has one pixel"
        words = []
        for index in range(self.count("last_slot")):
            offset = self.x + index * control["slot_step"]
            # One word is read, so its bytes are all that there is.
            assert offset % word + group <= word, "a channel group crosses a word"
            words.append(self.read(np.arange(offset, offset + group)))
        distance = 2 if control["every_second"] else 1
        lane_channels = np.arange(self.configuration.lanes) % group
        steps = []
        for now in range(control["drain_slots"] * distance, len(words)):
            step = np.zeros((pixels, self.configuration.lanes), np.int64)
            for pixel in range(pixels):
                then = now - (pixels - 1 - pixel) * distance
                # What came before the run is seen by pixels that are not drained.
                if then >= 0:
                    step[pixel] = words[then][lane_channels]
            steps.append(step)
        return np.array(steps)

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
            # Those of the last pixel's first G lanes are drained.
            return 2 * (streams.max(axis=0).T + 128)
        if self.control["product"]:
            sums = self.products(streams, weights)
        else:
            sums = np.einsum("tpl,tl->lp", streams, weights)
        limit = 1 << (self.configuration.accumulator_bits - 1)
        # The compiler promises that a sum that is used never overflows; wrapping is then no error.
        return (sums + limit) % (2 * limit) - limit

    def products(
        self, streams: npt.NDArray[np.int64], weights: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Sums of a layer with products, shape (lanes, pixels); those that are drained."""
        control, group = self.control, self.configuration.channel_group
        drained = self.count("drain_lanes") * self.configuration.requantizers
        assert control["channel_wise"] and not control["drain_slots"] and drained <= group
        sums = np.zeros(streams.shape[:0:-1], np.int64)
        kept: npt.NDArray[np.int64] | None = None
        for word, weight in zip(streams[:, -1, :group], weights[:, :group]):
            if weight[0] < LEAST_WEIGHT:
                assert kept is not None, "a product with what came before the window"
                sums[:group, -1] += word * kept
            else:
                sums[:group, -1] += word * weight
                kept = word
        return sums

    def requantize(self, accumulator: int, parameter: dict[str, int]) -> int:
        """A result, or with ``add`` the index of what is added."""
        control = self.control
        # A sum may have wrapped, if it does not with its bias.
        limit = 1 << (self.configuration.accumulator_bits - 1)
        total = (accumulator + parameter["bias"] + limit) % (2 * limit) - limit
        # MultiplyByQuantizedMultiplier: a rounding doubling high multiply, then a rounding shift.
        high = (total * ((1 << 30) + parameter["multiplier"]) + (1 << 30)) >> 31
        shift = parameter["shift"]
        half = (1 << shift) >> 1
        result = (abs(high) + half) >> shift
        result = (result if high >= 0 else -result) + control["zero_point"]
        if control["add"]:
            return min(max(result, -128), 127)
        result = self.clamp(result)
        if control["table"]:
            byte = self.interpreter.table[result + 128]["first"] & 0xFF
            return byte - 256 if byte >= 128 else byte
        return result

    def clamp(self, value: int) -> int:
        return min(max(value, self.control["minimum"]), self.control["maximum"])

    def add(self, result: int, other: int) -> int:
        """The sum of a result and the byte that lies in its place."""
        table = self.interpreter.table
        total = table[result + 128]["first"] + table[other + 128]["second"]
        return self.clamp(total >> ADDITION_SHIFT)

    # Drain

    def drain(
        self,
        accumulators: npt.NDArray[np.int64],
        parameters: list[dict[str, int]],
        last_tile: bool,
        last_line: bool,
        last_group: bool,
        second_line: bool,
    ) -> None:
        control, at_once = self.control, self.configuration.requantizers
        group, channel_wise = self.configuration.channel_group, control["channel_wise"]
        slots = self.count("drain_slots")
        first_pixel = self.configuration.pixels - slots if channel_wise else 0
        last_slots = last_tile if control["channels_inside"] else last_group
        for slot in range(slots):
            for first in range(0, self.count("drain_lanes") * at_once, at_once):
                if first > 0:
                    self.write_step(Level.LANE if first % group else Level.LANES)
                elif slot > 0:
                    self.write_step(Level.SLOT)
                for lane in range(first, first + at_once):
                    channel = lane % group if channel_wise else lane
                    if (
                        (last_tile and channel > control["last_lanes"])
                        or (last_line and lane // group > control["last_results"])
                        or (last_slots and slot > control["last_slots"])
                    ):
                        continue
                    assert self.write % at_once == 0, "results cross a word"
                    if control["pooled"]:
                        total = self.greater(*map(int, accumulators[lane, 2 * slot : 2 * slot + 2]))
                    else:
                        total = int(accumulators[lane, first_pixel + slot])
                    result = self.requantize(total, parameters[lane])
                    self.store(self.write + lane - first, result, second_line)

    def write_step(self, level: int) -> None:
        self.write = (self.write + self.levels[level]["write"]) % (1 << _WRITE_BITS)

    def greater(self, one: int, other: int) -> int:
        """Of two sums that may have wrapped, but lie less than half the range apart."""
        limit = 1 << (self.configuration.accumulator_bits - 1)
        return other if (one - other) % (2 * limit) >= limit else one

    def store(self, address: int, value: int, second_line: bool) -> None:
        assert address < len(self.memory), "a write outside the memory"
        if second_line:
            value = max(value, int(self.memory[address]))
        if self.control["add"]:
            value = self.add(value, int(self.memory[address]))
        self.memory[address] = value
        execution = self.interpreter.execution
        execution.writes.append((address, value))
        if self.best_value is None or value > self.best_value:
            self.best_value = value
            execution.best = self.results
        self.results += 1
        execution.results = self.results
