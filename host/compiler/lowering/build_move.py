"""Layers that put bytes elsewhere: crops, joins, slices, transpositions, enlargements.

Where everything lies is known here. So a move is, for each byte of the result, the address of a
byte. Those addresses are covered by pieces, in which they grow by a constant from row to row and
from column to column and are the same distances apart in every pixel. A piece is a layer: a pool of
single pixels where groups of channels can be read, else a convolution whose weights pick bytes out
of a run. Both give every byte exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gateware.interface.tape import ADDITION_SHIFT

from ..addition import Addition
from ..errors import CompileError
from ..layers import Epilogue, Kernel, Layer, Mode, View
from ..nest import round_up
from .build_bytes import greatest
from .plan import Step
from .storage import Stored

__all__ = ["build_move"]

Ints = npt.NDArray[np.int64]

#: Phases in which rows or columns may repeat: an enlargement by so much.
_MOST_PHASES = 8
#: Layers that one move may take.
_MOST_LAYERS = 512
_NOTHING = -2


@dataclass(frozen=True)
class _Piece:
    """A part of the result along rows and columns.

    Attributes
    ----------
    rows, columns : range
        Of the result.
    source : int
        -1 for constants.
    address : int
        Of the first pixel's byte; or the constant.
    row_step, column_step : int
        Bytes from row to row and from column to column.
    top, left, height, width : int
        Where in the piece the source's pixels lie; `border` is around them.
    border : int
    """

    rows: range
    columns: range
    source: int
    address: int
    row_step: int = 0
    column_step: int = 0
    top: int = 0
    left: int = 0
    height: int = 0
    width: int = 0
    border: int = 0


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
    layers: list[Layer] = []
    for channels in _channel_runs(which, addresses):
        first = channels.start
        offsets = _offsets(which, addresses, channels)
        for whole in _cover(which[:, :, first], addresses[:, :, first], step.name):
            for piece in _in_words(whole, channels, offsets, stored):
                # A border is the same in every channel, a constant may have its own for each.
                bordering = piece.source < 0 and bool((which[:, :, first] >= 0).any())
                distances = np.zeros_like(offsets) if bordering else offsets
                layers += _layers(stored, step, views, target, channels, distances, piece)
            if len(layers) > _MOST_LAYERS:
                raise CompileError(f"layer {step.name}: moves bytes too far and wide")
    return layers


def _channel_runs(which: Ints, addresses: Ints) -> Iterator[range]:
    """Channels whose bytes lie at the same distances in every pixel."""
    channels = which.shape[2]
    begin = 0
    for channel in range(1, channels + 1):
        if channel < channels and _alike(which, addresses, begin, channel):
            continue
        yield range(begin, channel)
        begin = channel


def _alike(which: Ints, addresses: Ints, one: int, other: int) -> bool:
    if not (which[:, :, one] == which[:, :, other]).all():
        return False
    difference = addresses[:, :, other] - addresses[:, :, one]
    moved = which[:, :, one] >= 0
    constant = which[:, :, one] == -1
    if not moved.any():
        # A constant for each channel.
        return bool((difference[constant] == difference[constant][:1]).all())
    if constant.any() and difference[constant].any():
        return False
    # Sources have places of their own, so each may have its own distance; one is enough here.
    return bool((difference[moved] == difference[moved][0]).all())


def _offsets(which: Ints, addresses: Ints, channels: range) -> Ints:
    """Bytes of each channel from the first one's."""
    moved = np.argwhere(which[:, :, channels.start] >= 0)
    if len(moved) == 0:
        moved = np.argwhere(which[:, :, channels.start] == -1)
    if len(moved) == 0:
        return np.zeros(len(channels), np.int64)
    y, x = moved[0]
    result: Ints = addresses[y, x, channels.start : channels.stop] - addresses[y, x, channels.start]
    return result


def _cover(which: Ints, addresses: Ints, name: str) -> list[_Piece]:
    """Pieces that make up a channel."""
    height, width = which.shape
    return list(_parts(which, addresses, range(height), range(width), name))


def _parts(
    which: Ints, addresses: Ints, rows: range, columns: range, name: str
) -> Iterator[_Piece]:
    block = np.ix_(rows, columns)
    here, there = which[block], addresses[block]
    kinds = set(np.unique(here).tolist()) - {_NOTHING}
    if not kinds:
        return
    whole = _as_one(here, there, rows, columns, kinds)
    if whole is not None:
        yield whole
        return
    for axis, lines in ((0, rows), (1, columns)):
        # Where what the lines consist of changes.
        same = np.moveaxis(here, axis, 0).reshape(len(lines), -1)
        cuts = np.flatnonzero((same[1:] != same[:-1]).any(axis=1)) + 1
        if len(cuts):
            edges = [0, *cuts.tolist(), len(lines)]
            for begin, end in zip(edges, edges[1:]):
                part = lines[begin:end]
                yield from _parts(
                    which,
                    addresses,
                    part if axis == 0 else rows,
                    part if axis == 1 else columns,
                    name,
                )
            return
    for down in range(1, min(_MOST_PHASES, len(rows)) + 1):
        for along in range(1, min(_MOST_PHASES, len(columns)) + 1):
            if down == along == 1:
                continue
            phases = [(rows[y::down], columns[x::along]) for y in range(down) for x in range(along)]
            if all(_affine(addresses[np.ix_(*phase)]) for phase in phases):
                for phase in phases:
                    yield from _parts(which, addresses, *phase, name)
                return
    if len(rows) > 1:
        for row in rows:
            yield from _parts(which, addresses, range(row, row + 1), columns, name)
        return
    if len(columns) > 1:
        for column in columns:
            yield from _parts(which, addresses, rows, range(column, column + 1), name)
        return
    raise CompileError(f"layer {name}: moves bytes too far and wide")


def _as_one(here: Ints, there: Ints, rows: range, columns: range, kinds: set[int]) -> _Piece | None:
    """All of a block as one piece, if it is one."""
    sources = [kind for kind in kinds if kind >= 0]
    complete = not (here == _NOTHING).any()
    if not sources:
        values = np.unique(there[here == -1])
        if complete and len(values) == 1:
            return _Piece(rows, columns, -1, int(values[0]))
        return None
    if len(sources) > 1:
        return None
    inside = here == sources[0]
    ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, left, bottom, right = ys[0], xs[0], ys[-1] + 1, xs[-1] + 1
    box = there[top:bottom, left:right]
    if not inside[top:bottom, left:right].all() or not _affine(box):
        return None
    steps = (
        int(box[1, 0] - box[0, 0]) if len(box) > 1 else 0,
        int(box[0, 1] - box[0, 0]) if box.shape[1] > 1 else 0,
    )
    if min(steps) < 0:
        return None
    size = (int(bottom - top), int(right - left))
    if inside.all():
        return _Piece(rows, columns, sources[0], int(box[0, 0]), *steps, 0, 0, *size)
    values = np.unique(there[here == -1])
    if -1 not in kinds:
        # What is around it is written elsewhere.
        part = (rows[top:bottom], columns[left:right])
        return _Piece(*part, sources[0], int(box[0, 0]), *steps, 0, 0, *size)
    if not complete or len(values) > 1:
        return None
    place = (int(top), int(left))
    return _Piece(rows, columns, sources[0], int(box[0, 0]), *steps, *place, *size, int(values[0]))


def _groups(channels: range, at_once: int, most: int) -> Iterator[range]:
    """Channels of a layer each: the first up to where whole groups of results begin."""
    begin = channels.start
    while begin < channels.stop:
        end = min(channels.stop, begin + (-begin % at_once or most))
        yield range(begin, end)
        begin = end


def _in_words(piece: _Piece, channels: range, offsets: Ints, stored: Stored) -> Iterator[_Piece]:
    """A piece without its border, and the border's four sides, where it cannot be padding.

    What lies before a row's first byte is padding only where a word begins. And a pixel beside the
    picture is all padding only if its bytes are no further apart than two pixels.
    """
    configuration = stored.plan.configuration
    word = configuration.word_bytes
    low = int(offsets.min())
    bordered = (piece.height, piece.width) != (len(piece.rows), len(piece.columns))
    groups = _groups(channels, configuration.requantizers, 2 * configuration.lanes)
    first = channels.start
    begins = [
        piece.address + int(offsets[group.start - first : group.stop - first].min())
        for group in groups
    ]
    begins += [piece.row_step] if piece.height > 1 else []
    beside = piece.width != len(piece.columns)
    far = beside and piece.width > 1 and int(offsets.max()) - low >= piece.column_step
    if piece.source < 0 or not bordered or not (far or any(begin % word for begin in begins)):
        yield piece
        return
    bottom, right = piece.top + piece.height, piece.left + piece.width
    rows, columns = piece.rows[piece.top : bottom], piece.columns[piece.left : right]
    yield replace(piece, rows=rows, columns=columns, top=0, left=0)
    for side in (
        (piece.rows[: piece.top], piece.columns),
        (piece.rows[bottom:], piece.columns),
        (rows, piece.columns[: piece.left]),
        (rows, piece.columns[right:]),
    ):
        if all(map(len, side)):
            yield _Piece(*side, -1, piece.border)


def _affine(box: Ints) -> bool:
    """Whether numbers grow by the same from row to row, and from column to column."""
    down, along = np.diff(box, axis=0), np.diff(box, axis=1)
    return bool((down == down[:1, :1]).all() and (along == along[:1, :1]).all())


def _layers(
    stored: Stored,
    step: Step,
    views: list[View],
    target: View,
    channels: range,
    offsets: Ints,
    piece: _Piece,
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
    for group in _groups(channels, at_once, most):
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
    piece: _Piece,
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
    piece: _Piece,
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
