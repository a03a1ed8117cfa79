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
    Field,
    Level,
    encode_words,
)

from .errors import CompileError
from .layers import Layer, Mode
from .loops import MAX_GROUPS, MAX_ROW_BYTES, Loops
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
    _check_limits(layer, loops)
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


def _check_limits(layer: Layer, loops: Loops) -> None:
    """Raise CompileError where a loop or a size does not fit its field."""

    def most(field: Field) -> int:
        """The greatest number of which one less fits ``field``."""
        return 1 << field.width

    kernel_width = layer.kernel.width if layer.mode.channel_wise else 0
    for what, amount, limit in (
        ("input row, in bytes,", layer.source.row_bytes, MAX_ROW_BYTES),
        ("input height", layer.source.height, most(CONTROL_0["height"]) - 1),
        ("window height", loops.kernel_rows, most(CONTROL_1["kernel_rows"])),
        ("window width", kernel_width, most(CONTROL_0["last_slot"])),
        ("window, in taps,", loops.taps, most(CONTROL_1["taps"])),
        ("output width, in groups of pixels,", loops.groups, MAX_GROUPS),
        ("output height, in lines of windows,", loops.lines, most(CONTROL_1["lines"])),
        ("number of channels, in tiles,", loops.tiles, most(CONTROL_1["tiles"])),
        ("output, in windows,", loops.windows, most(CONTROL_1["windows"])),
    ):
        if amount > limit:
            raise CompileError(
                f"layer {layer.name}: its {what} is {amount}, the engine's limit is {limit}"
            )


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

    def _addition_deltas(self, fields: list[dict[str, int]]) -> None:
        """A window has a row of each picture: the second lies `apart` words behind the first."""
        loops, source, word = self.loops, self.layer.source, self.configuration.word_bytes
        first, second = (address // word for address in self.addresses.sources)
        apart = second - first
        step = loops.lanes * source.pixel_pitch
        fields[Level.START]["row"] = first
        fields[Level.KERNEL_ROW]["row"] = apart & _ROW_MASK
        fields[Level.GROUP] |= {"row": -apart & _ROW_MASK, "x": step if loops.groups > 1 else 0}
        fields[Level.LINE] |= {
            "row": source.row_pitch // word - apart & _ROW_MASK,
            "x": -(loops.groups - 1) * step,
        }

    def _fetcher_deltas(self, fields: list[dict[str, int]]) -> None:
        if self.layer.mode is Mode.ADDITION:
            self._addition_deltas(fields)
            return
        layer, loops, source = self.layer, self.loops, self.layer.source
        kernel, word = layer.kernel, self.configuration.word_bytes
        rows_a_line = kernel.stride_h
        pixels_a_group, bytes_a_tile = self.configuration.pixels, 0
        if layer.mode.channel_wise:
            rows_a_line = loops.lanes * kernel.stride_h
            pixels_a_group, bytes_a_tile = 1, self.configuration.channel_group
        nest = {
            Level.TILE: (loops.tiles, 0, bytes_a_tile),
            Level.LINE: (loops.lines, rows_a_line, 0),
            Level.GROUP: (loops.groups, 0, pixels_a_group * kernel.stride_w * source.pixel_pitch),
            Level.KERNEL_ROW: (loops.kernel_rows, loops.row_step, 0),
        }
        counts, rows, columns = zip(*nest.values())
        pitch = source.row_pitch // word
        begin = self.addresses.sources[0] // word
        fields[Level.START] |= self._position(begin, pitch, -kernel.top)
        fields[Level.START]["x"] = -kernel.left * source.pixel_pitch
        steps = zip(nest, counts, deltas(rows, counts), deltas(columns, counts))
        for level, count, row, x in steps:
            # A level that never advances keeps zeros, which always fit.
            if count > 1:
                fields[level] |= self._position(0, pitch, row)
                fields[level]["x"] = x

    @staticmethod
    def _position(begin: int, pitch: int, rows: int) -> dict[str, int]:
        return {"row": begin + rows * pitch & _ROW_MASK, "y": rows}

    def _writer_deltas(self, fields: list[dict[str, int]]) -> None:
        layer, loops, target = self.layer, self.loops, self.layer.target
        lanes, rows = self.configuration.lanes, 1
        if layer.mode.channel_wise:
            rows = loops.lanes
            tile = self.configuration.channel_group * layer.output_step
            group, slot, lane = target.pixel_pitch, layer.output_step, target.row_pitch
            if layer.mode is Mode.ADDITION:
                rows, group, lane = 1, loops.lanes * target.pixel_pitch, target.pixel_pitch
        else:
            tile = lanes
            slot, lane = target.pixel_pitch, 1
            group = self.configuration.pixels * slot

        def offset(at_slot: int, step: int) -> int:
            """Of the slot's result number ``step``, from the window's first."""
            first = 0 if layer.mode.channel_wise else self.configuration.first_lane(at_slot)
            return at_slot * slot + (first + step) % lanes * lane

        last = loops.lanes - 1
        end = offset(loops.slots - 1, last)
        outer = ((loops.tiles, tile), (loops.lines, rows * target.row_pitch), (loops.groups, group))
        counts, strides = zip(*outer)
        writes = {
            Level.START: self.addresses.target + target.offset,
            Level.LANE: lane,
            WRAP: 0 if layer.mode.channel_wise else -(lanes - 1) * lane,
            Level.FIRST_SLOT: offset(1, 0) - offset(0, last),
            Level.SLOT: offset(2, 0) - offset(1, last),
        }
        for level, delta in zip((Level.TILE, Level.LINE, Level.GROUP), deltas(strides, counts)):
            writes[level] = delta - end
        for level, delta in writes.items():
            fields[level]["write"] = delta & _WRITE_MASK

    def controls(self, last: bool) -> list[int]:
        """The control words."""
        layer, loops, source = self.layer, self.loops, self.layer.source
        word = self.configuration.word_bytes
        row_words, row_rest = divmod(source.row_bytes, word)
        if layer.mode.channel_wise:
            run_words = run_rest = 0
            slot_step = source.pixel_pitch * layer.kernel.dilation_w
            last_slot = loops.run_bytes - 1
        else:
            run_words, run_rest = divmod(loops.run_bytes - 1, word)
            slot_step = layer.kernel.stride_w * source.pixel_pitch
            last_slot = word - 1
        epilogue = layer.epilogue
        return [
            CONTROL_0.pack(
                slot_step=slot_step,
                run_words=run_words,
                run_rest=run_rest,
                last_slot=last_slot,
                row_words=row_words,
                row_rest=row_rest,
                height=source.height,
            ),
            CONTROL_1.pack(
                kernel_rows=loops.kernel_rows - 1,
                groups=loops.groups - 1,
                lines=loops.lines - 1,
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
        """(lane, channel, output row within the window) of the lanes that compute something."""
        if not self.layer.mode.channel_wise:
            first = tile * self.configuration.lanes
            last = min(first + self.configuration.lanes, self.layer.target.channels)
            yield from ((lane, channel, 0) for lane, channel in enumerate(range(first, last)))
            return
        first = tile * self.configuration.channel_group
        last = min(first + self.configuration.channel_group, self.layer.source.channels)
        lanes = 2 if self.layer.mode is Mode.ADDITION else 1
        for slot, channel in enumerate(range(first, last)):
            for row in range(self.loops.lanes):
                yield self.configuration.first_lane(slot) + lanes * row, channel, row

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
        layer, loops = self.layer, self.loops
        assert layer.weights is not None
        entries = np.zeros(
            (loops.kernel_rows, loops.run_bytes, self.configuration.entry_bytes), np.int8
        )
        for lane, channel, row in self._lane_channels(tile):
            weights = layer.weights[channel] if layer.mode is not Mode.ADDITION else layer.weights
            if layer.mode is Mode.ADDITION:
                entries[:, row, lane : lane + 2] = layer.weights
            elif layer.mode is Mode.CONVOLUTION:
                entries[:, :, lane] = weights.reshape(loops.kernel_rows, loops.run_bytes)
            else:
                step = layer.kernel.dilation_h // loops.row_step
                begin = row * layer.kernel.stride_h
                rows = slice(begin, begin + (layer.kernel.height - 1) * step + 1, step)
                entries[rows, :, lane] = weights
        return entries


def tape_bytes(layer: Layer, loops: Loops, configuration: EngineConfiguration) -> int:
    """Length of the layer's part of the tape."""
    per_word = ceil_divide(8, configuration.lanes) * configuration.entry_bytes
    words = LEVELS + 3 + (256 if layer.epilogue.table is not None else 0)
    weights = loops.taps * configuration.entry_bytes if layer.weights is not None else 0
    return words * per_word + loops.tiles * (configuration.lanes * per_word + weights)
