"""Tensors that others are put together to: parts that can be are written where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .network import Move
from .plan import SUMS, Plan, Region, Step, picture_shape
from .state import may_lie_in_join, with_shift

__all__ = ["place_parts"]


def place_parts(plan: Plan, step: Step) -> Plan:
    """``plan`` with a move, as far as the steps that make its sources cannot do it themselves.

    A step writes into the move's result if nothing else reads what it makes, all of it lies there
    in one piece, and the engine can write it so.
    """
    assert step.move is not None
    regions = dict(plan.regions)
    left = step.move.which >= 0
    for place, source in enumerate(step.move.sources):
        region = _region(plan, step.move, place, step.target)
        value = plan.value(source)
        made = plan.maker(value)
        if (
            region is None
            or not (
                _can_write_there(plan, made)
                if made is not None
                else may_lie_in_join(replace(plan, regions=regions), value, step.target)
            )
            or value in plan.places
            or value in regions
            or not plan.only_use(source)
            or (value != source and not plan.only_use(value))
            or picture_shape(plan.graph, value) != picture_shape(plan.graph, source)
        ):
            continue
        regions[value] = region
        left &= step.move.which != place
    constants = bool((step.move.which < 0).any())
    if not left.any() and not constants:
        return replace(plan, regions=regions)
    used = np.unique(step.move.which[left])
    if len(used) == 0:
        return plan.with_step(step)
    places = np.full(len(step.move.sources) + 1, -2, np.int64)
    places[used] = np.arange(len(used))
    places[-1] = -1
    which = np.where(step.move.which < 0, -1, places[step.move.which])
    sources, sizes = (
        tuple(each[place] for place in used) for each in (step.move.sources, step.move.sizes)
    )
    rest = Move(sources, sizes, which, step.move.index)
    return with_shift(
        replace(plan, regions=regions), replace(step, move=rest, source=rest.sources[0])
    )


def _can_write_there(plan: Plan, made: int) -> bool:
    """Whether a step can write its result as a part of another tensor."""
    return plan.steps[made].move is None and plan.steps[made].kind not in SUMS


def _region(plan: Plan, move: Move, place: int, target: int) -> Region | None:
    """Where a source lies in the result; None if it does not lie there in one piece."""
    rows, columns, channels = picture_shape(plan.graph, move.sources[place])
    shape = picture_shape(plan.graph, target)
    which, index = move.which.reshape(shape), move.index.reshape(shape)
    found = np.argwhere(which == place)
    if len(found) != rows * columns * channels:
        return None
    row, column, channel = (int(n) for n in found[0])
    block = np.s_[row : row + rows, column : column + columns, channel : channel + channels]
    expected = np.arange(rows * columns * channels).reshape(rows, columns, channels)
    if which[block].shape != expected.shape or not (which[block] == place).all():
        return None
    if not (index[block] == expected).all():
        return None
    at_once = plan.configuration.requantizers
    ends = (channel + channels) % at_once == 0 or channel + channels == shape[2]
    if channel % at_once or not ends:
        return None
    return Region(target, row, column, channel)
