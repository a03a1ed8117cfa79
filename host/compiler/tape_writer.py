"""The tape writer: a layer's descriptor, table, parameters and weights.

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
    DESCRIPTOR_WORDS,
    LEVELS,
    PARAMETER,
    TABLE,
    TABLE_WORDS,
    Level,
    encode_parameters,
    encode_words,
    parameter_entries,
    word_entries,
)

from .errors import CompileError
from .layers import UNIT_MULTIPLIER, Axis, Layer, Mode
from .loops import Loops
from .nest import ceil_divide, deltas

_ROW_MASK = (1 << DELTA["row"].width) - 1
_WRITE_MASK = (1 << DELTA["write"].width) - 1


@dataclass(frozen=True)
class Addresses:
    """Byte addresses at which a layer's source views and its target tensor begin."""

    sources: tuple[int, ...]
    target: int


def write_layer(
    layer: Layer,
    loops: Loops,
    addresses: Addresses,
    configuration: EngineConfiguration,
    last: bool,
) -> bytes:
    """Write the layer's part of the tape.

    Parameters
    ----------
    layer : Layer
    loops : Loops
        The loops of ``layer``.
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
        words = [*writer.levels(), *writer.controls(last), *writer.table()]
        parts = [encode_words(configuration, words)]
        for tile in range(loops.tiles):
            parts.append(encode_parameters(configuration, writer.parameters(tile)))
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
        pitch = loops.row_pitch // word
        source, other = self.addresses.sources[0], self.addresses.sources[-1]
        distance = other - source
        if distance % word:
            raise ValueError(
                f"its tensors lie {distance} bytes apart, the engine's words have {word}"
            )
        row, rest = divmod(source, word)
        fields[Level.START] |= {
            "row": row + loops.start_row * pitch & _ROW_MASK,
            "x": loops.start_x + rest,
            "y": loops.start_row,
        }
        counts = [loop.count for loop in loops.nest]
        words = [loop.rows * pitch for loop in loops.nest]
        words[-1] += distance // word
        steps = zip(
            (Level.TILE, Level.LINE, Level.GROUP, Level.KERNEL_ROW),
            counts,
            deltas(words, counts),
            deltas([loop.x for loop in loops.nest], counts),
            deltas([loop.rows for loop in loops.nest], counts),
        )
        for level, count, row_step, x, y in steps:
            # A level that never advances keeps zeros, which always fit.
            if count > 1:
                fields[level] |= {"row": row_step & _ROW_MASK, "x": x, "y": y}

    def _writer_deltas(self, fields: list[dict[str, int]]) -> None:
        loops, group = self.loops, self.configuration.channel_group
        at_once = self.configuration.requantizers
        last = loops.lanes - at_once
        # From a slot's first results to its last.
        end = last // group * loops.group_write + last % group * loops.lane_write
        lines = {Level.LINE: (loops.line.count, loops.line.write)}
        if self.layer.pooled:
            # Both lines of a pair go to the same place.
            lines = {
                Level.KERNEL_ROW: (loops.line.count // 2, loops.line.write),
                Level.LINE: (2, 0),
            }
        nest = {
            Level.TILE: (loops.tile.count, loops.tile.write),
            **lines,
            Level.GROUP: (loops.group.count, loops.group.write),
            Level.SLOT: (loops.slots, loops.slot_write),
        }
        counts, strides = zip(*nest.values())
        writes = {
            Level.START: self.addresses.target + self.layer.target.offset,
            Level.LANE: at_once * loops.lane_write,
            Level.LANES: loops.group_write - (group - at_once) * loops.lane_write,
        }
        for level, delta in zip(nest, deltas(strides, counts)):
            writes[level] = delta - end
        for level, delta in writes.items():
            fields[level]["write"] = delta & _WRITE_MASK

    def controls(self, last: bool) -> list[int]:
        """The control words."""
        layer, loops, word = self.layer, self.loops, self.configuration.word_bytes
        # A view may begin within a word, if there is no padding before its rows.
        row_words, row_rest = divmod(loops.row_bytes + self.addresses.sources[0] % word, word)
        channel_wise = layer.mode.channel_wise
        if channel_wise:
            run_words = run_rest = 0
            last_slot = loops.run_bytes - 1
        else:
            run_words, run_rest = divmod(loops.run_bytes - 1, word)
            last_slot = word - 1
        along = layer.direction(layer.arrangement.axis)
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
                last_results=loops.last_results - 1,
            ),
            CONTROL_1.pack(
                kernel_rows=loops.kernel_row.count - 1,
                groups=loops.group.count - 1,
                lines=loops.line.count - 1,
                tiles=loops.tiles - 1,
                taps=loops.taps - 1,
                windows=loops.windows - 1,
                every_second=channel_wise and loops.slots > 1 and along.stride == 2,
                pooled=layer.pooled,
                product=layer.mode is Mode.PRODUCT,
            ),
            CONTROL_2.pack(
                pad_value=layer.pad_value & 0xFF,
                zero_point=epilogue.zero_point,
                minimum=epilogue.minimum,
                maximum=epilogue.maximum,
                drain_lanes=ceil_divide(loops.lanes, self.configuration.requantizers) - 1,
                drain_slots=loops.slots - 1,
                last_lanes=loops.last_lanes - 1,
                last_slots=loops.last_slots - 1,
                channel_wise=channel_wise,
                channels_inside=layer.arrangement.channels_inside,
                pool=layer.mode is Mode.POOL,
                table=epilogue.table is not None,
                add=epilogue.addition is not None,
                last=last,
                magic=DESCRIPTOR_MAGIC,
            ),
        ]

    def table(self) -> list[int]:
        """The table words, if it has any."""
        table, addition = self.layer.epilogue.table, self.layer.epilogue.addition
        if addition is not None:
            return [TABLE.pack(first=a, second=b) for a, b in addition.tables.T]
        return [] if table is None else [TABLE.pack(first=value) for value in table]

    # Tiles

    def _lane_channels(self, tile: int) -> Iterator[tuple[int, int, int]]:
        """(lane, channel, place among its results) of the lanes that compute something."""
        if not self.layer.mode.channel_wise:
            first = tile * self.configuration.lanes
            last = min(first + self.configuration.lanes, self.layer.target.channels)
            yield from ((lane, channel, 0) for lane, channel in enumerate(range(first, last)))
            return
        group, arrangement = self.configuration.channel_group, self.layer.arrangement
        first = 0 if arrangement.channels_inside else tile * group
        last = min(first + group, self.layer.source.channels)
        for place in range(arrangement.results):
            for lane, channel in enumerate(range(first, last), place * group):
                yield lane, channel, place

    def parameters(self, tile: int) -> list[int]:
        """The tile's parameter words, one a lane."""
        words = [PARAMETER.pack()] * self.configuration.lanes
        epilogue = self.layer.epilogue
        for lane, channel, _ in self._lane_channels(tile):
            words[lane] = PARAMETER.pack(
                bias=epilogue.bias[channel],
                shift=epilogue.shift[channel],
                multiplier=epilogue.multiplier[channel] - UNIT_MULTIPLIER,
            )
        return words

    def weight_entries(self, tile: int) -> npt.NDArray[np.int8]:
        """The tile's weights in the order of use: shape (taps, entry bytes)."""
        layer, loops = self.layer, self.loops
        assert layer.weights is not None
        rows, steps = loops.kernel_row.count, loops.run_steps
        entries = np.zeros((rows, steps, self.configuration.entry_bytes), np.int8)
        if layer.mode is Mode.CONVOLUTION:
            for lane, channel, _ in self._lane_channels(tile):
                entries[:, :, lane] = layer.weights[channel].reshape(rows, steps)
            return entries
        if layer.mode is Mode.PRODUCT:
            for lane, channel, _ in self._lane_channels(tile):
                entries[:, :, lane] = layer.weights[channel]
            return entries
        axis = layer.arrangement.axis
        along, across = layer.direction(axis), layer.direction(axis.other)
        # Zeros lie between the weights where every row, or word, comes.
        row_step = across.dilation // loops.kernel_row.rows
        step = along.dilation if loops.slots > 1 else 1
        for lane, channel, place in self._lane_channels(tile):
            kernel = layer.weights[channel]
            top = place * across.stride
            entries[top : top + across.span : row_step, ::step, lane] = (
                kernel.T if axis is Axis.ROWS else kernel
            )
        return entries


def tape_bytes(layer: Layer, loops: Loops, configuration: EngineConfiguration) -> int:
    """Length of the layer's part of the tape."""
    words = DESCRIPTOR_WORDS + (TABLE_WORDS if layer.epilogue.has_tables else 0)
    weights = loops.taps if layer.weights is not None else 0
    tile = parameter_entries(configuration) + weights
    return configuration.entry_bytes * (words * word_entries(configuration) + loops.tiles * tile)
