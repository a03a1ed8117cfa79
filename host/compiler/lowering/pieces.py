"""Pieces of a move: where bytes of a result lie at constant distances in its sources.

Everything here is in addresses: for each byte of a result, of which source, and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import CompileError
from .storage import Stored

__all__ = [
    "Ints",
    "Piece",
    "channel_groups",
    "channel_offsets",
    "channel_runs",
    "cover",
    "in_words",
]

Ints = npt.NDArray[np.int64]

#: Phases in which rows or columns may repeat: an enlargement by so much.
_MOST_PHASES = 8
_NOTHING = -2


@dataclass(frozen=True)
class Piece:
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


def channel_runs(which: Ints, addresses: Ints) -> Iterator[range]:
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


def channel_offsets(which: Ints, addresses: Ints, channels: range) -> Ints:
    """Bytes of each channel from the first one's."""
    moved = np.argwhere(which[:, :, channels.start] >= 0)
    if len(moved) == 0:
        moved = np.argwhere(which[:, :, channels.start] == -1)
    if len(moved) == 0:
        return np.zeros(len(channels), np.int64)
    y, x = moved[0]
    result: Ints = addresses[y, x, channels.start : channels.stop] - addresses[y, x, channels.start]
    return result


def cover(which: Ints, addresses: Ints, name: str) -> list[Piece]:
    """Pieces that make up a channel."""
    height, width = which.shape
    return list(_parts(which, addresses, range(height), range(width), name))


def _parts(which: Ints, addresses: Ints, rows: range, columns: range, name: str) -> Iterator[Piece]:
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


def _as_one(here: Ints, there: Ints, rows: range, columns: range, kinds: set[int]) -> Piece | None:
    """All of a block as one piece, if it is one."""
    sources = [kind for kind in kinds if kind >= 0]
    complete = not (here == _NOTHING).any()
    if not sources:
        values = np.unique(there[here == -1])
        if complete and len(values) == 1:
            return Piece(rows, columns, -1, int(values[0]))
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
        return Piece(rows, columns, sources[0], int(box[0, 0]), *steps, 0, 0, *size)
    values = np.unique(there[here == -1])
    if -1 not in kinds:
        # What is around it is written elsewhere.
        part = (rows[top:bottom], columns[left:right])
        return Piece(*part, sources[0], int(box[0, 0]), *steps, 0, 0, *size)
    if not complete or len(values) > 1:
        return None
    place = (int(top), int(left))
    return Piece(rows, columns, sources[0], int(box[0, 0]), *steps, *place, *size, int(values[0]))


def channel_groups(channels: range, at_once: int, most: int) -> Iterator[range]:
    """Channels of a layer each: the first up to where whole groups of results begin."""
    begin = channels.start
    while begin < channels.stop:
        end = min(channels.stop, begin + (-begin % at_once or most))
        yield range(begin, end)
        begin = end


def in_words(piece: Piece, channels: range, offsets: Ints, stored: Stored) -> Iterator[Piece]:
    """A piece without its border, and the border's four sides, where it cannot be padding.

    What lies before a row's first byte is padding only where a word begins. And a pixel beside the
    picture is all padding only if its bytes are no further apart than two pixels.
    """
    configuration = stored.plan.configuration
    word = configuration.word_bytes
    low = int(offsets.min())
    bordered = (piece.height, piece.width) != (len(piece.rows), len(piece.columns))
    groups = channel_groups(channels, configuration.requantizers, 2 * configuration.lanes)
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
            yield Piece(*side, -1, piece.border)


def _affine(box: Ints) -> bool:
    """Whether numbers grow by the same from row to row, and from column to column."""
    down, along = np.diff(box, axis=0), np.diff(box, axis=1)
    return bool((down == down[:1, :1]).all() and (along == along[:1, :1]).all())
