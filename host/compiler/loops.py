"""How often each loop of the engine runs for a layer, and where an iteration leads.

The one place where a layer's shape and the engine's size are brought together; tape writer and
cycle model both work from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import CONTROL_0, CONTROL_1, DELTA, Field

from .errors import CompileError
from .layers import Axis, Layer, Mode
from .nest import ceil_divide

#: Groups that a line can have.
MAX_GROUPS = 1 << CONTROL_1["groups"].width
#: Bytes that a row can have: what the offset within a row reaches.
MAX_ROW_BYTES = 1 << (DELTA["x"].width - 1)

#: Rows of a window, and columns of a channel-wise one.
MAX_WINDOW_HEIGHT = 1 << CONTROL_1["kernel_rows"].width
MAX_WINDOW_WIDTH = 1 << CONTROL_0["last_slot"].width


@dataclass(frozen=True)
class Loop:
    """A level of the nest.

    Attributes
    ----------
    count : int
        How often it runs.
    rows, x : int
        By how many picture rows, and bytes within a row, an iteration moves the window.
    write : int
        By how many bytes it moves the result.
    """

    count: int
    rows: int = 0
    x: int = 0
    write: int = 0


@dataclass(frozen=True)
class Loops:
    """The engine's loop nest for one layer: for tile, line, group, kernel row.

    Attributes
    ----------
    tile, line, group, kernel_row : Loop
    start_row, start_x : int
        Where the first window stands: picture row, and byte within it.
    height, row_bytes : int
        Of the source as the fetcher sees it; what lies beyond is padding.
    run_bytes : int
        Bytes of a kernel row that each stream gets.
    slot_step : int
        Bytes from one slot's run to the next one's; in a channel-wise layer from tap to tap.
    slots, lanes : int
        Slots drained from a window, and results of each.
    last_slots, last_lanes : int
        Those of them that hold a result where the picture ends.
    slot_write, lane_write : int
        Bytes from the result of one slot, or lane, to the next one's.
    """

    tile: Loop
    line: Loop
    group: Loop
    kernel_row: Loop
    start_row: int
    start_x: int
    height: int
    row_bytes: int
    run_bytes: int
    slot_step: int
    slots: int
    lanes: int
    last_slots: int
    last_lanes: int
    slot_write: int
    lane_write: int

    @property
    def tiles(self) -> int:
        return self.tile.count

    @property
    def taps(self) -> int:
        """Bytes of a window, and ring entries of a tile's weights."""
        return self.kernel_row.count * self.run_bytes

    @property
    def windows(self) -> int:
        """Windows of a tile."""
        return self.group.count * self.line.count

    @property
    def results(self) -> int:
        """Results drained from a window."""
        return self.slots * self.lanes

    @classmethod
    def of(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        """The loops that ``layer`` takes, arranged as it says.

        Raises
        ------
        CompileError
            If its window does not fit the weight ring, or a number its field on the tape.
        """
        if layer.mode is Mode.CONVOLUTION:
            loops = cls._convolution(layer, configuration)
        elif layer.mode is Mode.ADDITION:
            loops = cls._addition(layer, configuration)
        else:
            loops = cls._channel_wise(layer, configuration)
        reused = layer.weights is not None and loops.windows > 1
        if reused and loops.taps > configuration.window_taps:
            raise CompileError(
                f"layer {layer.name}: its window has {loops.taps} taps, the weight ring's "
                f"limit is {configuration.window_taps}"
            )
        _check_limits(layer, loops)
        return loops

    @classmethod
    def _convolution(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        source, target, kernel = layer.source, layer.target, layer.kernel
        lanes, pixels = configuration.lanes, configuration.pixels
        # Of the two directions: pictures' size, bytes to the next window, to the next result.
        rows = (target.height, kernel.stride_h, target.row_pitch)
        columns = (target.width, kernel.stride_w * source.pixel_pitch, target.pixel_pitch)
        flat = layer.arrangement.axis is Axis.ROWS
        # A flat picture is a single row, in which the next row is so many bytes away.
        across, along = (columns, rows) if flat else (rows, columns)
        groups = ceil_divide(along[0], pixels)
        tiles = ceil_divide(target.channels, lanes)
        row_x = source.row_pitch if flat else 0
        step = along[1] * (row_x or 1)
        return cls(
            tile=Loop(tiles, write=lanes),
            line=Loop(across[0], 0 if flat else across[1], across[1] if flat else 0, across[2]),
            group=Loop(groups, x=pixels * step, write=pixels * along[2]),
            kernel_row=Loop(
                kernel.height,
                rows=0 if flat else kernel.dilation_h,
                x=kernel.dilation_h * row_x,
            ),
            start_row=0 if flat else -kernel.top,
            start_x=-kernel.left * source.pixel_pitch - kernel.top * row_x,
            height=1 if flat else source.height,
            row_bytes=(source.height - 1) * row_x + source.row_bytes,
            run_bytes=kernel.width * source.pixel_pitch,
            slot_step=step,
            slots=min(pixels, along[0]),
            lanes=lanes,
            last_slots=along[0] - (groups - 1) * pixels,
            last_lanes=target.channels - (tiles - 1) * lanes,
            slot_write=along[2],
            lane_write=1,
        )

    @classmethod
    def _addition(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        source, target, group = layer.source, layer.target, configuration.channel_group
        pairs = configuration.lanes_per_pixel // 2
        if pairs < 1 or configuration.pixels > configuration.lanes:
            raise CompileError(
                f"layer {layer.name}: an addition takes two lanes for each pixel stream, the "
                f"engine has {configuration.lanes} lanes for {configuration.pixels}"
            )
        pixels = max(n for n in range(1, pairs + 1) if target.width % n == 0)
        return cls(
            tile=Loop(1),
            line=Loop(target.height, rows=1, write=target.row_pitch),
            group=Loop(
                target.width // pixels,
                x=pixels * source.pixel_pitch,
                write=pixels * target.pixel_pitch,
            ),
            # A row of either picture.
            kernel_row=Loop(2),
            start_row=0,
            start_x=0,
            height=source.height,
            row_bytes=source.row_bytes,
            run_bytes=pixels,
            slot_step=source.pixel_pitch,
            slots=group,
            lanes=pixels,
            last_slots=group,
            last_lanes=pixels,
            slot_write=1,
            lane_write=target.pixel_pitch,
        )

    @classmethod
    def _channel_wise(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        source, target, kernel = layer.source, layer.target, layer.kernel
        group, results = configuration.channel_group, layer.arrangement.results
        in_rows = layer.arrangement.axis is Axis.ROWS
        row = Loop(target.height, rows=kernel.stride_h, write=target.row_pitch)
        column = Loop(
            target.width, x=kernel.stride_w * source.pixel_pitch, write=target.pixel_pitch
        )
        channels = Loop(
            ceil_divide(source.channels, group), x=group, write=group * layer.output_step
        )
        line, other = (row, column) if in_rows else (column, row)
        lines = ceil_divide(line.count, results)
        kernel_rows, row_step = kernel.height, kernel.dilation_h
        taps, tap_step = kernel.width, kernel.dilation_w * source.pixel_pitch
        # Several results at once need every row, or column, that they span.
        if results > 1 and in_rows:
            kernel_rows = layer.span_h + (results - 1) * kernel.stride_h
            row_step = 1
        elif results > 1:
            taps = layer.span_w + (results - 1) * kernel.stride_w
            tap_step = source.pixel_pitch
        inside = layer.arrangement.channels_inside
        return cls(
            tile=other if inside else channels,
            line=Loop(lines, results * line.rows, results * line.x, results * line.write),
            group=channels if inside else other,
            kernel_row=Loop(kernel_rows, rows=row_step),
            start_row=-kernel.top,
            start_x=-kernel.left * source.pixel_pitch,
            height=source.height,
            row_bytes=source.row_bytes,
            run_bytes=taps,
            slot_step=tap_step,
            slots=min(group, source.channels),
            lanes=results,
            last_slots=group if inside else source.channels - (channels.count - 1) * group,
            # Pooling's one lane always holds a result.
            last_lanes=configuration.lanes
            if layer.mode is Mode.POOL
            else line.count - (lines - 1) * results,
            slot_write=layer.output_step,
            lane_write=line.write,
        )


def _check_limits(layer: Layer, loops: Loops) -> None:
    """Raise CompileError where a loop or a size does not fit its field."""

    def most(field: Field) -> int:
        """The greatest number of which one less fits ``field``."""
        return 1 << field.width

    kernel_width = loops.run_bytes if layer.mode.channel_wise else 0
    for what, amount, limit in (
        ("input row, in bytes,", loops.row_bytes, MAX_ROW_BYTES),
        ("input height", loops.height, most(CONTROL_0["height"]) - 1),
        ("window height", loops.kernel_row.count, MAX_WINDOW_HEIGHT),
        ("window width", kernel_width, MAX_WINDOW_WIDTH),
        (
            "step to the next column's pixels, in bytes,",
            loops.slot_step,
            most(CONTROL_0["slot_step"]) - 1,
        ),
        ("window, in taps,", loops.taps, most(CONTROL_1["taps"])),
        ("output width, in groups of pixels,", loops.group.count, MAX_GROUPS),
        ("output height, in lines of windows,", loops.line.count, most(CONTROL_1["lines"])),
        ("number of channels, in tiles,", loops.tile.count, most(CONTROL_1["tiles"])),
        ("output, in windows,", loops.windows, most(CONTROL_1["windows"])),
    ):
        if amount > limit:
            raise CompileError(
                f"layer {layer.name}: its {what} is {amount}, the engine's limit is {limit}"
            )
