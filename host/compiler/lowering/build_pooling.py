"""Layers that treat each channel by itself: averages, greatest bytes, borders."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress
from math import prod

import numpy as np

from gateware.interface.tape import ADDITION_SHIFT
from model.int8 import reference
from model.int8.graph import Operator

from ..addition import Addition
from ..channels import average, fit_sums, signed_bits
from ..errors import CompileError
from ..layers import Epilogue, Layer, Mode
from .build_bytes import build_copy, greatest
from .plan import REDUCTIONS, Step, Table, clamp, reduced
from .reshape import narrowed, overlap
from .storage import Stored

#: Never greater than any byte of the picture.
PADDING_OF_MAXIMUM = -128


def _pad_value(step: Step, own: int) -> int:
    """What a pool reads outside the picture: a folded PAD's bytes, or what it does by itself."""
    return own if step.border is None else step.border.value


def build_average_pool(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    """A depthwise convolution with all weights alike, its scale one over their number.

    Where windows hang over the edge their number varies: a layer for each that occurs.
    """
    window = reference.window(stored.plan.graph, operator)
    minimum, maximum = clamp(stored.plan.graph, operator)
    row_counts = _taps_inside(
        window.output_h, window.stride_h, window.top, window.kernel_h, window.input_h
    )
    column_counts = _taps_inside(
        window.output_w, window.stride_w, window.left, window.kernel_w, window.input_w
    )
    layers = []
    for rows, height in row_counts:
        for columns, width in column_counts:
            weight, multiplier, shift = average(height * width)
            _check_sum(stored, operator, weight, height * width)
            layer = _sum(stored, step, weight)
            epilogue = _alike(
                layer.source.channels, 0, multiplier, shift, 0, minimum, maximum, step.table
            )
            layers.append(replace(layer, epilogue=epilogue).part(rows, columns))
    return layers


def _check_sum(stored: Stored, operator: Operator, weight: int, count: int) -> None:
    needed, limit = (
        signed_bits(-128 * weight * count),
        stored.plan.configuration.accumulator_bits - 1,
    )
    if needed > limit:
        raise CompileError(
            f"layer {operator.name}: the sum of its {count} taps needs {needed} bits, the "
            f"engine's limit is {limit}"
        )


def _sum(stored: Stored, step: Step, weight: int) -> Layer:
    """The sum of each channel's window, its bytes multiplied by ``weight``, not scaled yet."""
    assert step.operator is not None
    source, kernel = stored.source(step), stored.kernel(step, step.operator)
    if step.kind in REDUCTIONS and reduced(stored.plan.graph, step.operator)[2]:
        # One channel of all.
        weights = np.zeros((1, kernel.height, kernel.width, source.pixel_pitch), np.int64)
        weights[..., : source.channels] = weight
        return Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.CONVOLUTION,
            source=source,
            target=stored.target(step),
            kernel=kernel,
            weights=weights,
            pad_value=0,
            epilogue=Epilogue.half(1),
        )
    source, kernel = narrowed(source, kernel, stored.plan.configuration)
    weights = np.full((source.channels, kernel.height, kernel.width), weight)
    weights[:, 1:, : overlap(source)] = 0
    return Layer(
        name=step.name,
        kinds=step.kinds,
        mode=Mode.DEPTHWISE,
        source=source,
        target=stored.target(step),
        kernel=kernel,
        weights=weights,
        pad_value=_pad_value(step, 0),
        epilogue=Epilogue.half(source.channels),
    )


def build_mean(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    """A sum, of a MEAN or SUM, with TensorFlow Lite's own rounding.

    That rounds twice, away from zero, and so coarsely that one multiplier and bias often cannot do
    the same on both sides of the zero point, or over many pixels' sums. Then each side, or a part
    of it, has a layer, and their sum is taken.
    """
    source = stored.source(step)
    sizes = (source.height, source.width, source.channels)
    count = prod(compress(sizes, reduced(stored.plan.graph, operator)))
    target = stored.target(step)
    limit = stored.plan.configuration.accumulator_bits - 1
    # Before the table of all sums is made, which may be gigabytes.
    if count << 7 > 1 << limit:
        raise CompileError(
            f"layer {operator.name}: the sum of {count} bytes does not fit the engine's "
            f"accumulators; {1 << limit >> 7} are possible"
        )
    zero_point = stored.plan.zero_point(operator.outputs[0])
    wanted = reference.mean(stored.plan.graph, operator)
    if count == 1:
        table = wanted if step.table is None else step.table[wanted.astype(np.intp) + 128]
        return build_copy(stored, replace(step, table=table))

    def side(low: int, high: int) -> Layer | None:
        within = np.clip(wanted, low, high)
        found = fit_sums(within, count, zero_point, limit)
        if found is None:
            return None
        weight, bias, multiplier, shift = found
        low, high = int(within[0]), int(within[-1])
        epilogue = _alike(target.channels, bias, multiplier, shift, zero_point, low, high, None)
        return replace(_sum(stored, step, weight), epilogue=epilogue)

    def sides(low: int, high: int) -> list[tuple[int, Layer]]:
        """Layers for results from ``low`` to ``high``, each from where the one before ends on."""
        whole = side(low, high)
        if whole is not None:
            return [(low, whole)]
        if high - low < 2:
            raise CompileError(
                f"layer {operator.name}: the engine cannot round the mean of {count} bytes as it "
                f"must be; an AVERAGE_POOL_2D in its place can be run"
            )
        middle = zero_point if low < zero_point < high else (low + high) // 2
        return sides(low, middle) + sides(middle, high)

    return _add_sides(sides(-128, 127), step.table)


def build_reduce_max(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    """The greatest byte of each channel along rows or columns."""
    if reduced(stored.plan.graph, operator)[2]:
        # A REDUCE_MIN is the greatest of complements by now.
        raise CompileError(
            f"layer {operator.name}: reduces channels; only MEAN and SUM can, a maximum or minimum "
            "is over rows and columns"
        )
    source, kernel = stored.source(step), stored.kernel(step, operator)
    source, kernel = narrowed(source, kernel, stored.plan.configuration)
    return [
        Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.POOL,
            source=source,
            target=stored.target(step),
            kernel=kernel,
            weights=None,
            pad_value=PADDING_OF_MAXIMUM,
            epilogue=greatest(source.channels, table=step.table),
        )
    ]


def build_max_pool(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    target = stored.target(step)
    source, kernel = stored.source(step), stored.kernel(step, operator)
    if target.height == target.width == 1:
        source, kernel = narrowed(source, kernel, stored.plan.configuration)
    minimum, maximum = clamp(stored.plan.graph, operator)
    return [
        Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.POOL,
            source=source,
            target=target,
            kernel=kernel,
            weights=None,
            # Folded padding takes part; a pool that has any of its own folds none.
            pad_value=_pad_value(step, PADDING_OF_MAXIMUM),
            epilogue=greatest(target.channels, minimum, maximum, step.table),
        )
    ]


def _taps_inside(
    outputs: int, stride: int, before: int, kernel: int, inputs: int
) -> list[tuple[range, int]]:
    """Ranges of outputs of which the windows have equally many taps inside, and how many."""
    begins = np.arange(outputs) * stride - before
    counts = np.minimum(begins + kernel, inputs) - np.maximum(begins, 0)
    edges = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), outputs]
    return [(range(a, b), int(counts[a])) for a, b in zip(edges, edges[1:])]


def _alike(
    channels: int,
    bias: int,
    multiplier: int,
    shift: int,
    zero_point: int,
    minimum: int,
    maximum: int,
    table: Table | None,
) -> Epilogue:
    """The same for every channel."""
    return Epilogue(
        bias=np.full(channels, bias, np.int64),
        multiplier=np.full(channels, multiplier, np.int64),
        shift=np.full(channels, shift, np.int64),
        zero_point=zero_point,
        minimum=minimum,
        maximum=maximum,
        table=table,
    )


def _add_sides(sides: list[tuple[int, Layer]], table: Table | None) -> list[Layer]:
    """Each side added to those before it, in their place, and the whole through ``table``.

    Where a side begins, those before it end: so it, or their sum, is always that value.
    """
    (_, first), *others = sides
    if not others:
        return [replace(first, epilogue=replace(first.epilogue, table=table))]
    layers = [first]
    for begin, side in others:
        # As either is that value, the table's entries may be added as well as the bytes.
        last = side is sides[-1][1]
        values = table.astype(np.int64) if last and table is not None else np.arange(-128, 128)
        tables = np.stack([values, values - values[begin + 128]]) << ADDITION_SHIFT
        addition = Addition(tables, -128, 127)
        layers.append(replace(side, epilogue=side.epilogue.adding(addition)))
    return layers
