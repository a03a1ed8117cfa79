"""Write a layer's part of the tape: descriptor, table, parameters, weights.

The format is :mod:`gateware.interface.tape`'s; this file decides what goes into its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import (
    CONTROL_0,
    CONTROL_1,
    CONTROL_2,
    DELTA,
    DESCRIPTOR_MAGIC,
    LEVELS,
    PARAMETER,
    WRAP,
    Level,
    encode_words,
)

from .errors import CompileError
from .layers import Axis, Layer, Mode
from .loops import Loops
from .nest import ceil_divide, deltas

_UNIT_MULTIPLIER = 1 << 30
_ROW_MASK = (1 << DELTA["row"].width) - 1
_WRITE_MASK = (1 << DELTA["write"].width) - 1


@dataclass(frozen=True)
class Addresses:
    """Where a layer's source views and its target tensor begin, in bytes."""

    sources: tuple[int, ...]
    target: int


def write_layer(
    layer: Layer,
    loops: Loops,
    addresses: Addresses,
    configuration: EngineConfiguration,
    last: bool,
) -> bytes:
    """The layer's part of the tape.

    Parameters
    ----------
    layer : Layer
    loops : Loops
        Those of ``layer``.
    addresses : Addresses
    configuration : EngineConfiguration
    last : bool
        Whether the tape ends with this layer.

    Raises
    ------
    CompileError
        If a number does not fit its field; the text names layer, limit and amount.
    """
    writer = _LayerWriter(layer, loops, addresses, configuration)
    try:
        words = [*writer.levels(), *writer.controls(last)]
        if layer.epilogue.table is not None:
            words += layer.epilogue.table.view(np.uint8).tolist()
        parts = [encode_words(configuration, words)]
        for tile in range(loops.tiles):
            parts.append(encode_words(configuration, writer.parameters(tile)))
            if layer.weights is not None:
                parts.append(writer.weight_entries(tile).tobytes())
    except ValueError as error:
        raise CompileError(f"layer {layer.name}: {error}") from None
    return b"".join(parts)


class _LayerWriter:
    def __init__(
        self,
        layer: Layer,
        loops: Loops,
        addresses: Addresses,
        configuration: EngineConfiguration,
    ) -> None:
        self.layer = layer
        self.loops = loops
        self.addresses = addresses
        self.configuration = configuration

    # Descriptor

    def levels(self) -> list[int]:
        """The delta words."""
        fields: list[dict[str, int]] = [{} for _ in range(LEVELS)]
        self._fetcher_deltas(fields)
        self._writer_deltas(fields)
        return [DELTA.pack(**values) for values in fields]

    def _fetcher_deltas(self, fields: list[dict[str, int]]) -> None:
        loops, word = self.loops, self.configuration.word_bytes
        pitch = self.layer.source.row_pitch // word
        begin = self.addresses.sources[0] // word
        nest = {
            Level.TILE: loops.tile,
            Level.LINE: loops.line,
            Level.GROUP: loops.group,
            Level.KERNEL_ROW: loops.kernel_row,
        }
        counts = [loop.count for loop in nest.values()]
        words = [loop.rows * pitch for loop in nest.values()]
        if self.layer.mode is Mode.ADDITION:
            # A window's second row is the other picture's.
            words[-1] = self.addresses.sources[1] // word - begin
        fields[Level.START] |= {
            "row": begin + loops.start_row * pitch & _ROW_MASK,
            "x": loops.start_x,
            "y": loops.start_row,
        }
        steps = zip(
            nest,
            counts,
            deltas(words, counts),
            deltas([loop.x for loop in nest.values()], counts),
            deltas([loop.rows for loop in nest.values()], counts),
        )
        for level, count, row, x, y in steps:
            # A level that never advances keeps zeros, which always fit.
            if count > 1:
                fields[level] |= {"row": row & _ROW_MASK, "x": x, "y": y}

    def _writer_deltas(self, fields: list[dict[str, int]]) -> None:
        layer, loops, target = self.layer, self.loops, self.layer.target
        lanes = self.configuration.lanes

        def offset(at_slot: int, step: int) -> int:
            """Of the slot's result number ``step``, from the window's first."""
            first = 0 if layer.mode.channel_wise else self.configuration.first_lane(at_slot)
            return at_slot * loops.slot_write + (first + step) % lanes * loops.lane_write

        last = loops.lanes - 1
        end = offset(loops.slots - 1, last)
        nest = {Level.TILE: loops.tile, Level.LINE: loops.line, Level.GROUP: loops.group}
        writes = {
            Level.START: self.addresses.target + target.offset,
            Level.LANE: loops.lane_write,
            WRAP: 0 if layer.mode.channel_wise else -(lanes - 1) * loops.lane_write,
            Level.FIRST_SLOT: offset(1, 0) - offset(0, last),
            Level.SLOT: offset(2, 0) - offset(1, last),
        }
        strides = [loop.write for loop in nest.values()]
        counts = [loop.count for loop in nest.values()]
        for level, delta in zip(nest, deltas(strides, counts)):
            writes[level] = delta - end
        for level, delta in writes.items():
            fields[level]["write"] = delta & _WRITE_MASK

    def controls(self, last: bool) -> list[int]:
        """The control words."""
        layer, loops, word = self.layer, self.loops, self.configuration.word_bytes
        row_words, row_rest = divmod(loops.row_bytes, word)
        if layer.mode.channel_wise:
            run_words = run_rest = 0
            last_slot = loops.run_bytes - 1
        else:
            run_words, run_rest = divmod(loops.run_bytes - 1, word)
            last_slot = word - 1
        epilogue = layer.epilogue
        return [
            CONTROL_0.pack(
                slot_step=loops.slot_step,
                run_words=run_words,
                run_rest=run_rest,
                last_slot=last_slot,
                row_words=row_words,
                row_rest=row_rest,
                height=loops.height,
            ),
            CONTROL_1.pack(
                kernel_rows=loops.kernel_row.count - 1,
                groups=loops.group.count - 1,
                lines=loops.line.count - 1,
                tiles=loops.tiles - 1,
                taps=loops.taps - 1,
                windows=loops.windows - 1,
                combine=layer.mode is Mode.ADDITION,
            ),
            CONTROL_2.pack(
                pad_value=layer.pad_value & 0xFF,
                zero_point=epilogue.zero_point,
                minimum=epilogue.minimum,
                maximum=epilogue.maximum,
                drain_lanes=loops.lanes - 1,
                drain_slots=loops.slots - 1,
                last_lanes=loops.last_lanes - 1,
                last_slots=loops.last_slots - 1,
                lanes_end_on_line=layer.mode in (Mode.DEPTHWISE, Mode.ADDITION),
                channel_wise=layer.mode.channel_wise,
                pool=layer.mode is Mode.POOL,
                table=epilogue.table is not None,
                load_table=epilogue.table is not None,
                last=last,
                magic=DESCRIPTOR_MAGIC,
            ),
        ]

    # Tiles

    def _lane_channels(self, tile: int) -> Iterator[tuple[int, int, int]]:
        """(lane, channel, place among the slot's results) of the lanes that compute something."""
        if not self.layer.mode.channel_wise:
            first = tile * self.configuration.lanes
            last = min(first + self.configuration.lanes, self.layer.target.channels)
            yield from ((lane, channel, 0) for lane, channel in enumerate(range(first, last)))
            return
        inside = self.layer.arrangement.channels_inside
        first = 0 if inside else tile * self.configuration.channel_group
        last = min(first + self.configuration.channel_group, self.layer.source.channels)
        lanes = 2 if self.layer.mode is Mode.ADDITION else 1
        for slot, channel in enumerate(range(first, last)):
            for place in range(self.loops.lanes):
                yield self.configuration.first_lane(slot) + lanes * place, channel, place

    def parameters(self, tile: int) -> list[int]:
        """The tile's parameter words, one a lane."""
        words = [PARAMETER.pack()] * self.configuration.lanes
        epilogue = self.layer.epilogue
        for lane, channel, _ in self._lane_channels(tile):
            words[lane] = PARAMETER.pack(
                bias=epilogue.bias[channel],
                shift=epilogue.shift[channel],
                multiplier=epilogue.multiplier[channel] - _UNIT_MULTIPLIER,
            )
        return words

    def weight_entries(self, tile: int) -> npt.NDArray[np.int8]:
        """The tile's weights in the order of use: shape (taps, entry bytes)."""
        layer, loops, kernel = self.layer, self.loops, self.layer.kernel
        assert layer.weights is not None
        rows, taps = loops.kernel_row.count, loops.run_bytes
        entries = np.zeros((rows, taps, self.configuration.entry_bytes), np.int8)
        for lane, channel, place in self._lane_channels(tile):
            if layer.mode is Mode.ADDITION:
                entries[:, place, lane : lane + 2] = layer.weights
            elif layer.mode is Mode.CONVOLUTION:
                entries[:, :, lane] = layer.weights[channel].reshape(rows, taps)
            else:
                down = layer.arrangement.axis is Axis.ROWS
                top = place * kernel.stride_h if down else 0
                left = 0 if down else place * kernel.stride_w
                row_step = kernel.dilation_h // loops.kernel_row.rows
                tap_step = kernel.dilation_w * layer.source.pixel_pitch // loops.slot_step
                entries[
                    top : top + (kernel.height - 1) * row_step + 1 : row_step,
                    left : left + (kernel.width - 1) * tap_step + 1 : tap_step,
                    lane,
                ] = layer.weights[channel]
        return entries


def tape_bytes(layer: Layer, loops: Loops, configuration: EngineConfiguration) -> int:
    """Length of the layer's part of the tape."""
    per_word = ceil_divide(8, configuration.lanes) * configuration.entry_bytes
    words = LEVELS + 3 + (256 if layer.epilogue.table is not None else 0)
    weights = loops.taps * configuration.entry_bytes if layer.weights is not None else 0
    return words * per_word + loops.tiles * (configuration.lanes * per_word + weights)
