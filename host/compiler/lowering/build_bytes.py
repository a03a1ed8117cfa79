"""Layers that give each byte by itself: copies and tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..layers import Epilogue, Kernel, Layer, Mode
from ..loops import MAX_GROUPS
from .plan import Step, Table
from .storage import Stored


def build_bytes(stored: Stored, step: Step) -> list[Layer]:
    """Each byte, through the table if there is one: the greatest of a window of one."""
    source, target = stored.source(step), stored.target(step)
    if source.pixel_pitch == source.channels and target.pixel_pitch == target.channels:
        # Neither has gaps within a row, so where pixels begin is ours to choose.
        width = _table_width(stored, step, target.row_pitch)
        group = target.row_pitch // width
        source, target = (
            replace(view, width=width, channels=group, pixel_pitch=group)
            for view in (source, target)
        )
    return [
        Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.POOL,
            source=source,
            target=target,
            kernel=Kernel(),
            weights=None,
            pad_value=-128,
            epilogue=greatest(source.channels, table=step.table),
        )
    ]


def _table_width(stored: Stored, step: Step, row_bytes: int) -> int:
    """Most windows into which a row can be cut: few tiles, since each has its parameters."""
    groups = row_bytes // stored.plan.configuration.channel_group
    for tiles in range(1, groups + 1):
        if groups % tiles == 0 and groups // tiles <= MAX_GROUPS:
            return groups // tiles
    raise AssertionError(f"layer {step.name}: a row of one window always fits")


def build_copy(stored: Stored, step: Step) -> list[Layer]:
    """Byte for byte, through the table if there is one, if groups of channels can be read.

    Else a 1x1 convolution multiplies by two, which the epilogue halves again.
    """
    source, target = stored.source(step), stored.target(step)
    group = stored.plan.configuration.channel_group
    dense = source.pixel_pitch == source.channels and target.pixel_pitch == target.channels
    if dense or source.pixel_pitch % group == 0:
        return build_bytes(stored, step)
    weights = 2 * np.eye(source.channels, dtype=np.int64)[:, np.newaxis, np.newaxis, :]
    return [
        Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.CONVOLUTION,
            source=source,
            target=target,
            kernel=Kernel(),
            weights=weights,
            pad_value=0,
            epilogue=Epilogue.half(source.channels, table=step.table),
        )
    ]


def greatest(
    channels: int, minimum: int = -128, maximum: int = 127, table: Table | None = None
) -> Epilogue:
    """Of the window's bytes, from the accumulator's ``2 * (greatest + 128)``."""
    return Epilogue.half(channels, -128, minimum, maximum, table)
