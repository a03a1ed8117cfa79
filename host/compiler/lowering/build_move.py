"""Layers that put bytes elsewhere: crops, joins, slices, transpositions, enlargements.

Where everything lies is known here. So a move is, for each byte of the result, the address of a
byte. Those addresses are covered by pieces, in which they grow by a constant from row to row and
from column to column and are the same distances apart in every pixel. A piece is a layer: a pool of
single pixels where groups of channels can be read, else a convolution whose weights pick bytes out
of a run. Both give every byte exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gateware.interface.tape import ADDITION_SHIFT

from ..addition import Addition
from ..errors import CompileError
from ..layers import Epilogue, Kernel, Layer, Mode, View
from ..nest import round_up
from .build_bytes import greatest
from .pieces import (
    Ints,
    Piece,
    channel_groups,
    channel_offsets,
    channel_runs,
    cover,
    in_words,
)
from .plan import Step
from .storage import Stored

__all__ = ["build_move"]

#: Layers that one move may take.
_MOST_LAYERS = 512


def build_move(stored: Stored, step: Step) -> list[Layer]:
    """The layers of a move.

    Raises
    ------
    CompileError
        If it is too intricate.
    """
    assert step.move is not None
    target = stored.target(step)
    shape = (target.height, target.width, target.channels)
    which = step.move.which.reshape(shape)
    addresses = step.move.index.reshape(shape).copy()
    views = [stored.value_view(source) for source in step.move.sources]
    for place, view in enumerate(views):
        here = which == place
        index = addresses[here]
        y, rest = np.divmod(index, view.width * view.channels)
        x, channel = np.divmod(rest, view.channels)
        addresses[here] = view.offset + y * view.row_pitch + x * view.pixel_pitch + channel
    constant = _constant(stored, step, views, target, which, addresses)
    if constant is not None:
        return constant
    layers: list[Layer] = []
    for channels in channel_runs(which, addresses):
        first = channels.start
        offsets = channel_offsets(which, addresses, channels)
        for whole in cover(which[:, :, first], addresses[:, :, first], step.name):
            for piece in in_words(whole, channels, offsets, stored):
                # A border is the same in every channel, a constant may have its own for each.
                bordering = piece.source < 0 and bool((which[:, :, first] >= 0).any())
                distances = np.zeros_like(offsets) if bordering else offsets
                layers += _layers(stored, step, views, target, channels, distances, piece)
            if len(layers) > _MOST_LAYERS:
                raise CompileError(f"layer {step.name}: moves bytes too far and wide")
    return layers


def _constant(
    stored: Stored, step: Step, views: list[View], target: View, which: Ints, values: Ints
) -> list[Layer] | None:
    """A tensor of constants that differ from pixel to pixel: a row, or all, as one pixel whose
    channels have a bias each."""
    whole = target == stored.storage[target.tensor]
    gapless = target.pixel_pitch == target.channels
    if (which != -1).any() or (values == values[:1, :1]).all() or not (whole or gapless):
        return None
    at_once = stored.plan.configuration.requantizers
    pixels = np.zeros((target.height, target.width, target.pixel_pitch), np.int64)
    pixels[:, :, : target.channels] = values
    rows = pixels.reshape(target.height, -1)
    if (rows == rows[:1]).all():
        target, rows = replace(target, width=1, channels=rows.shape[1]), rows[:1]
    elif whole or target.height == 1 or target.row_pitch == target.row_bytes:
        gap = target.row_pitch - rows.shape[1] if target.height > 1 else 0
        rows = np.pad(rows, ((0, 0), (0, gap)))
        target = replace(target, height=1, width=1, channels=rows.size)
    else:
        return None
    channels = target.channels
    if target.offset % at_once or channels % at_once:
        return None
    target = replace(target, pixel_pitch=channels)
    piece = Piece(range(target.height), range(1), -1, 0)
    return list(_pick(stored, step, views, target, rows.ravel().tolist(), piece))


def _layers(
    stored: Stored,
    step: Step,
    views: list[View],
    target: View,
    channels: range,
    offsets: Ints,
    piece: Piece,
) -> list[Layer]:
    """The layers of a piece: of some channels each."""
    configuration = stored.plan.configuration
    result = replace(
        target,
        height=len(piece.rows),
        width=len(piece.columns),
        pixel_pitch=target.pixel_pitch * piece.columns.step,
        row_pitch=target.row_pitch * piece.rows.step,
        offset=target.offset
        + piece.rows.start * target.row_pitch
        + piece.columns.start * target.pixel_pitch,
    )
    at_once = configuration.requantizers
    pooled = _pool(stored, step, views, result, channels, offsets, piece)
    if pooled is not None:
        return [pooled]
    layers = []
    most = 2 * configuration.lanes if piece.source >= 0 else len(channels)
    for group in channel_groups(channels, at_once, most):
        begin, end, head = group.start, group.stop, -group.start % at_once
        lanes = range(begin - begin % at_once, min(round_up(end, at_once), target.channels))
        picks = [
            int(offsets[channel - channels.start]) if begin <= channel < end else None
            for channel in lanes
        ]
        part = replace(result, channels=len(lanes), offset=result.offset + lanes.start)
        for layer in _pick(stored, step, views, part, picks, piece):
            if head:
                # What was written before lies in the same group: this one has zeros there, and that
                # has zeros here.
                every = np.arange(-128, 128) << ADDITION_SHIFT
                tables = np.stack([every, every])
                layer = replace(layer, epilogue=layer.epilogue.adding(Addition(tables, -128, 127)))
            layers.append(layer)
    return layers


def _pool(
    stored: Stored,
    step: Step,
    views: list[View],
    result: View,
    channels: range,
    offsets: Ints,
    piece: Piece,
) -> Layer | None:
    """The piece as a pool of single pixels, if its channels lie so that groups can be read."""
    configuration = stored.plan.configuration
    group, word = configuration.channel_group, configuration.word_bytes
    count = len(channels)
    if piece.source < 0 or not (offsets == np.arange(count)).all():
        return None
    view = views[piece.source]
    aligned = piece.address % word == 0 and piece.column_step % group == 0
    # Of a single row or column there are as many copies as are asked for.
    rows = 1 if piece.row_step == 0 else piece.height
    columns = 1 if piece.column_step == 0 else piece.width
    spread = (rows, columns) != (piece.height, piece.width)
    bordered = (piece.height, piece.width) != (result.height, result.width)
    # A group beyond the channels is read, and written where the layer's last channels are few.
    whole = count % group == 0
    fits = channels.start % configuration.requantizers == 0 and piece.row_step % word == 0
    if not (aligned and whole and fits) or (spread and bordered):
        return None
    return Layer(
        name=step.name,
        kinds=step.kinds,
        mode=Mode.POOL,
        source=View(
            view.tensor,
            rows,
            columns,
            count,
            piece.column_step or round_up(count, group),
            piece.row_step or round_up(columns * max(piece.column_step, count), word),
            piece.address,
        ),
        target=replace(result, channels=count, offset=result.offset + channels.start),
        kernel=Kernel(
            top=piece.top,
            left=piece.left,
            stride_h=0 if rows < piece.height else 1,
            stride_w=0 if columns < piece.width else 1,
        ),
        weights=None,
        pad_value=piece.border,
        epilogue=greatest(count),
    )


def _pick(
    stored: Stored,
    step: Step,
    views: list[View],
    target: View,
    picks: list[int | None],
    piece: Piece,
) -> Iterator[Layer]:
    """Convolutions whose weights pick a byte for each channel; None gives zero."""
    configuration = stored.plan.configuration
    word = configuration.word_bytes
    known = [pick for pick in picks if pick is not None]
    low = min(known)
    run = max(known) - low + 1
    epilogue = Epilogue.half(len(picks))
    if piece.source < 0:
        bias = [0 if pick is None else 2 * (piece.address + pick) for pick in picks]
        weights = np.zeros((len(picks), 1, 1, 1), np.int64)
        epilogue = replace(epilogue, bias=np.array(bias, np.int64))
        # One byte, whatever it is: every weight is zero.
        source = View(views[0].tensor, target.height, 1, 1, 1, 0, views[0].offset // word * word)
        yield _layer(step, source, target, Kernel(stride_w=0), weights, 0, epilogue)
        return
    weights = np.zeros((len(picks), 1, run, 1), np.int64)
    for channel, pick in enumerate(picks):
        if pick is not None:
            weights[channel, 0, pick - low, 0] = 2
    view, address = views[piece.source], piece.address + low
    whole = (piece.height, piece.width) == (target.height, target.width)
    height, width = piece.height, piece.width
    # Beside a single column there may be a border, which is a step away.
    down, along = piece.row_step, piece.column_step if width > 1 else run
    if height > 1 and down % word and whole:
        if down == width * along and target.row_pitch == width * target.pixel_pitch:
            target = replace(target, height=1, width=height * width)
            height, width = 1, height * width
        elif width == 1:
            target = replace(
                target, height=1, width=height, pixel_pitch=target.row_pitch, row_pitch=0
            )
            height, width, along = 1, height, down
    if height > 1 and down % word:
        for row in range(height):
            source = _bytes(view, 1, (width - 1) * along + run, 0, address + row * down, word)
            line = replace(target, height=1, offset=target.offset + row * target.row_pitch)
            kernel = Kernel(width=run, stride_w=along)
            yield _layer(step, source, line, kernel, weights, 0, epilogue)
        return
    source = _bytes(view, height, (width - 1) * along + run, down, address, word)
    yield _layer(
        step,
        source,
        target,
        Kernel(width=run, stride_w=along, top=piece.top, left=piece.left * along),
        weights,
        piece.border,
        epilogue,
    )


def _bytes(view: View, height: int, width: int, row_step: int, address: int, word: int) -> View:
    """A picture of single bytes."""
    pitch = row_step if height > 1 else round_up(width, word)
    return View(view.tensor, height, width, 1, 1, pitch, address)


def _layer(
    step: Step,
    source: View,
    target: View,
    kernel: Kernel,
    weights: Ints,
    pad_value: int,
    epilogue: Epilogue,
) -> Layer:
    return Layer(
        name=step.name,
        kinds=step.kinds,
        mode=Mode.CONVOLUTION,
        source=source,
        target=target,
        kernel=kernel,
        weights=weights,
        pad_value=pad_value,
        epilogue=epilogue,
    )
