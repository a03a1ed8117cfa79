"""The engine's loops for a layer: how often each runs, and how far an iteration moves.

This is the only place that combines a layer's shape with the engine's size; tape writer and cycle
model both use it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import CONTROL_0, CONTROL_1, DELTA, Field

from .errors import CompileError, TooLargeError
from .layers import Axis, Layer, Mode
from .nest import ceil_divide, deltas, round_up

#: Groups that a line can have.
MAX_GROUPS = 1 << CONTROL_1["groups"].width
#: Bytes from the first to the last that a row's offsets reach.
MAX_REACH = 1 << (DELTA["x"].width - 1)

#: Rows of a window, and columns of a channel-wise one.
MAX_WINDOW_HEIGHT = 1 << CONTROL_1["kernel_rows"].width
MAX_WINDOW_WIDTH = 1 << CONTROL_0["last_slot"].width
#: Groups of lanes.
MAX_RESULTS = 1 << CONTROL_0["last_results"].width


def max_row_bytes(configuration: EngineConfiguration) -> int:
    """Most bytes of a row, limited by its field and by the offset within it."""
    most = (1 << CONTROL_0["row_words"].width) * configuration.word_bytes - 1
    return min(MAX_REACH, most)


@dataclass(frozen=True)
class Loop:
    """A level of the nest.

    Attributes
    ----------
    count : int
        Number of iterations.
    rows, x : int
        Picture rows, and bytes within a row, by which an iteration moves the window.
    write : int
        Bytes by which it moves the result, or, in a pooled layer, the pair of lines.
    """

    count: int
    rows: int = 0
    x: int = 0
    write: int = 0


@dataclass(frozen=True)
class Loops:
    """The engine's loop nest for one layer: for tile, line, group, kernel row.

    In a channel-wise layer, lines lie across the mapping's axis, and groups along it.

    Attributes
    ----------
    tile, line, group, kernel_row : Loop
    start_row, start_x : int
        Position of the first window: picture row, and byte within it.
    height, row_bytes, row_pitch : int
        Size of the source as the fetcher sees it; everything beyond is padding. In a channel-wise
        layer along the rows, the fetcher sees columns as rows.
    run_bytes : int
        Bytes of a kernel row that each stream receives.
    run_steps : int
        Number of these bytes that are steps of the multipliers.
    slot_step : int
        Bytes from one slot's run to the next one's; in a channel-wise layer from word to word.
    slots, lanes : int
        Slots drained from a window, and lanes of each.
    last_slots, last_lanes, last_results : int
        Those of them that hold a result where the picture ends, and groups of lanes.
    slot_write, group_write, lane_write : int
        Bytes from the result of one slot, group of lanes, or lane of a group to the next one's.
    """

    tile: Loop
    line: Loop
    group: Loop
    kernel_row: Loop
    start_row: int
    start_x: int
    height: int
    row_bytes: int
    row_pitch: int
    run_bytes: int
    run_steps: int
    slot_step: int
    slots: int
    lanes: int
    last_slots: int
    last_lanes: int
    last_results: int
    slot_write: int
    group_write: int
    lane_write: int

    @property
    def tiles(self) -> int:
        return self.tile.count

    @property
    def taps(self) -> int:
        """Steps of a window, and ring entries of a tile's weights."""
        return self.kernel_row.count * self.run_steps

    @property
    def pops(self) -> int:
        """Bytes of a window that each stream gives, including those that are not steps."""
        return self.kernel_row.count * self.run_bytes

    @property
    def windows(self) -> int:
        """Windows of a tile."""
        return self.group.count * self.line.count

    @property
    def nest(self) -> tuple[Loop, Loop, Loop, Loop]:
        """The fetcher's loops, outermost first."""
        return self.tile, self.line, self.group, self.kernel_row

    @classmethod
    def of(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        """The loops of ``layer``, in its mapping.

        Raises
        ------
        CompileError
            If its window does not fit the weight ring, or a number its field on the tape.
        """
        if layer.mode is Mode.CONVOLUTION:
            loops = cls._convolution(layer, configuration)
        else:
            loops = cls._channel_wise(layer, configuration)
        reused = layer.weights is not None and loops.windows > 1
        if reused and loops.taps > configuration.window_taps:
            raise CompileError(
                f"layer {layer.name}: its window has {loops.taps} taps, the weight ring's "
                f"limit is {configuration.window_taps}"
            )
        _check_limits(layer, loops, configuration)
        return loops

    @classmethod
    def _convolution(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        source, target = layer.source, layer.target
        lanes, pixels = configuration.lanes, configuration.pixels
        rows, columns = layer.direction(Axis.ROWS), layer.direction(Axis.COLUMNS)
        flat = layer.arrangement.axis is Axis.ROWS
        # A flat picture is a single row, in which the next row is so many bytes away.
        across, along = (columns, rows) if flat else (rows, columns)
        row_x = rows.pitch if flat else 0
        # Pooled pixels come in pairs.
        pool = 2 if layer.pooled else 1
        pixels -= pixels % pool
        groups = ceil_divide(along.outputs, pixels)
        tiles = ceil_divide(target.channels, lanes)
        step = along.stride * along.pitch
        run_bytes = columns.kernel * source.pixel_pitch
        return cls(
            tile=Loop(tiles, write=lanes),
            line=Loop(
                across.outputs,
                rows=0 if flat else across.stride,
                x=across.stride * across.pitch if flat else 0,
                write=across.write,
            ),
            group=Loop(groups, x=pixels * step, write=pixels // pool * along.write),
            kernel_row=Loop(
                rows.kernel, rows=0 if flat else rows.dilation, x=rows.dilation * row_x
            ),
            start_row=0 if flat else -rows.before,
            start_x=-columns.before * columns.pitch - rows.before * row_x,
            height=1 if flat else rows.inputs,
            row_bytes=(rows.inputs - 1) * row_x + source.row_bytes,
            row_pitch=rows.pitch,
            run_bytes=run_bytes,
            run_steps=run_bytes,
            slot_step=step,
            slots=min(pixels, along.outputs) // pool,
            lanes=min(lanes, round_up(target.channels, configuration.requantizers)),
            last_slots=(along.outputs - (groups - 1) * pixels) // pool,
            last_lanes=target.channels - (tiles - 1) * lanes,
            last_results=MAX_RESULTS,
            slot_write=along.write,
            group_write=configuration.channel_group,
            lane_write=1,
        )

    @classmethod
    def _channel_wise(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        source, arrangement = layer.source, layer.arrangement
        group, word = configuration.channel_group, configuration.word_bytes
        pixels, results = arrangement.pixels, arrangement.results
        along = layer.direction(arrangement.axis)
        across = layer.direction(arrangement.axis.other)
        if across.pitch % word and across.inputs > 1:
            raise CompileError(
                f"layer {layer.name}: its pixels have {across.pitch} bytes, which are no whole "
                f"words of {word}"
            )
        channels = Loop(
            ceil_divide(source.channels, group), x=group, write=group * layer.output_step
        )
        lines = ceil_divide(across.outputs, results)
        groups = ceil_divide(along.outputs, pixels)
        others = Loop(groups, x=pixels * along.stride * along.pitch, write=pixels * along.write)
        # Several results at once need every row, and every word of it, that they span.
        if results > 1:
            kernel_rows, row_step = across.span + (results - 1) * across.stride, 1
        else:
            kernel_rows, row_step = across.kernel, across.dilation
        if pixels > 1:
            if along.stride > configuration.kept_stride:
                raise CompileError(
                    f"layer {layer.name}: its stride is {along.stride}, with which the engine "
                    f"computes one pixel at a time"
                )
            words, steps = (pixels - 1) * along.stride + along.span, along.span
            word_step = along.pitch
        else:
            words = steps = along.kernel
            word_step = along.dilation * along.pitch
        if layer.other is not None:
            # A kernel row for each tensor, in which the same word comes as often as it is needed.
            kernel_rows, row_step, word_step = len(layer.sources), 0, 0
            words = steps = 1 if layer.weights is None else layer.weights.shape[-1]
        inside = arrangement.channels_inside
        return cls(
            tile=others if inside else channels,
            line=Loop(lines, rows=results * across.stride, write=results * across.write),
            group=channels if inside else others,
            kernel_row=Loop(kernel_rows, rows=row_step),
            start_row=-across.before,
            start_x=-along.before * along.pitch,
            height=across.inputs,
            row_bytes=(along.inputs - 1) * along.pitch + source.pixel_pitch,
            row_pitch=across.pitch,
            run_bytes=words,
            run_steps=steps,
            slot_step=word_step if words > 1 else 0,
            slots=pixels,
            lanes=(results - 1) * group
            + min(group, round_up(source.channels, configuration.requantizers)),
            last_slots=along.outputs - (groups - 1) * pixels,
            last_lanes=group if inside else source.channels - (channels.count - 1) * group,
            last_results=across.outputs - (lines - 1) * results,
            slot_write=along.write,
            group_write=across.write,
            lane_write=layer.output_step,
        )


def _check_limits(layer: Layer, loops: Loops, configuration: EngineConfiguration) -> None:
    """Raise CompileError if a loop or a size does not fit its field."""

    def most(field: Field) -> int:
        """The greatest number that, less one, fits ``field``."""
        return 1 << field.width

    channel_wise = layer.mode.channel_wise
    slots = 1 if channel_wise else configuration.pixels
    last_x = loops.start_x + sum((loop.count - 1) * loop.x for loop in loops.nest)
    run = (loops.run_bytes - 1) * (loops.slot_step if channel_wise else 1)
    counts = [loop.count for loop in loops.nest]
    rows = zip(deltas([loop.rows for loop in loops.nest], counts), counts)
    # What has an axis behind it is less in parts that are cut along it; None: in fewer channels.
    for what, amount, limit, *cut in (
        ("window, in taps,", loops.taps, most(CONTROL_1["taps"])),
        ("input row, in bytes,", loops.row_bytes, max_row_bytes(configuration)),
        ("input height", loops.height, most(CONTROL_0["height"]) - 1, Axis.ROWS),
        (
            "step between windows, in rows,",
            max(abs(step) if count > 1 else 0 for step, count in rows),
            most(DELTA["y"]) // 2 - 1,
            Axis.ROWS,
        ),
        ("window height", loops.kernel_row.count, MAX_WINDOW_HEIGHT),
        ("window width", loops.run_bytes if channel_wise else 0, MAX_WINDOW_WIDTH),
        (
            "step to the next column's pixels, in bytes,",
            loops.slot_step,
            most(CONTROL_0["slot_step"]) - 1,
        ),
        # From window to window: so no step is too long either.
        ("input row with its padding, in bytes,", last_x + max(0, -loops.start_x), MAX_REACH - 1),
        # Beyond the reach offsets become negative, and so padding, but not for ever.
        ("reach, in bytes,", last_x + (slots - 1) * loops.slot_step + run, 2 * MAX_REACH - 1),
        ("output width, in groups of pixels,", loops.group.count, MAX_GROUPS),
        (
            "output height, in lines of windows,",
            loops.line.count,
            most(CONTROL_1["lines"]),
            Axis.ROWS,
        ),
        ("number of channels, in tiles,", loops.tile.count, most(CONTROL_1["tiles"]), None),
        ("output, in windows,", loops.windows, most(CONTROL_1["windows"]), Axis.ROWS),
    ):
        if amount > limit:
            text = f"layer {layer.name}: its {what} is {amount}, the engine's limit is {limit}"
            raise TooLargeError(text, *cut) if cut else CompileError(text)
