"""In which arrangement a layer takes the fewest cycles, and whether it is better done in parts.

Every arrangement gives the same bytes. The choice is made by what the cycle model says of the
multipliers, the port and the requantiser, and by the length of the tape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import lcm

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import CONTROLS, LEVELS, word_entries

from .cycles import Work, load_cycles
from .errors import CompileError, TooLargeError
from .layers import Arrangement, Axis, Layer, Mode
from .loops import Loops, max_row_bytes
from .nest import ceil_divide

#: Cycles of a layer's beginning and end, in which nothing else happens.
_LAYER_CYCLES = 60
#: Windows that do not fit the ring become layers of their own, up to so many.
_MAX_WINDOWS = 256

Parts = tuple[Layer, ...]


def schedule(layer: Layer, configuration: EngineConfiguration) -> Parts:
    """``layer`` as one layer or several, arranged for speed.

    Raises
    ------
    CompileError
        If the engine can run it in no arrangement.
    """
    return min(ways(layer, configuration), key=lambda way: way[0])[1]


def ways(layer: Layer, configuration: EngineConfiguration) -> list[tuple[float, Parts]]:
    """In which ways the engine can run ``layer``, and in about how many cycles.

    Raises
    ------
    CompileError
        If there is none.
    """
    try:
        return _whole(layer, configuration)
    except TooLargeError as refusal:
        halves = _halves(layer, refusal.axis, configuration)
        if halves is None:
            raise
    found = [min(ways(half, configuration), key=lambda way: way[0]) for half in halves]
    return [(sum(cost for cost, _ in found), tuple(part for _, parts in found for part in parts))]


def _whole(layer: Layer, configuration: EngineConfiguration) -> list[tuple[float, Parts]]:
    """The ways that do not cut a layer into halves."""
    if layer.mode is Mode.CONVOLUTION:
        found = _possible(_convolutions(layer, configuration), configuration)
    else:
        whole = _possible(_channel_wise(layer, configuration), configuration)
        found = [*whole, *_divided([parts[0] for _, parts in whole], configuration)]
    return found


def _halves(
    layer: Layer, axis: Axis | None, configuration: EngineConfiguration
) -> tuple[Layer, Layer] | None:
    """A layer's upper and lower rows, or its first and last channels (where ``axis`` is None).

    Channels are cut where a tile, and in a channel-wise layer a memory word, begins. None: there is
    no place to cut.
    """
    target = layer.target
    if axis is Axis.ROWS:
        middle = target.height // 2
        if not middle:
            return None
        upper, lower = (
            layer.part(rows, range(target.width)).without_unread_rows()
            for rows in (range(middle), range(middle, target.height))
        )
        return upper, lower
    step = lcm(configuration.lanes, configuration.word_bytes)
    channels = len(layer.epilogue.bias)
    middle = channels // 2 // step * step
    if not middle:
        return None
    first, last = (layer.channels(part) for part in (range(middle), range(middle, channels)))
    return first, last


def _possible(
    parts: Iterable[Parts], configuration: EngineConfiguration
) -> list[tuple[float, Parts]]:
    """Those that the engine can run, with their cycles; CompileError if there are none."""
    found = []
    refusal: CompileError | None = None
    for each in parts:
        try:
            found.append((cycles(each, configuration), each))
        except CompileError as error:
            refusal = refusal or error
    if not found and refusal is not None:
        raise refusal
    return found


def cycles(layers: Sequence[Layer], configuration: EngineConfiguration) -> float:
    """About how many cycles layers that follow each other take, the tape being prefetched."""
    per_word = word_entries(configuration)
    busy = entries = 0.0
    for layer in layers:
        work = Work(layer, Loops.of(layer, configuration), configuration)
        tiles, windows = work.loops.tiles, work.loops.windows
        load = load_cycles(configuration)
        busy += tiles * (load + windows * work.period) + _LAYER_CYCLES
        entries += tiles * work.tile_entries + (LEVELS + len(CONTROLS)) * per_word
    return max(busy, entries * configuration.entry_words)


def _convolutions(layer: Layer, configuration: EngineConfiguration) -> Iterator[Parts]:
    """Ways for a convolution, the plainest first."""
    if layer.pooled:
        yield (layer,)
        return
    for each in (layer, *_neighbours_in_lanes(layer, configuration)):
        yield (each,)
        if _is_flat(each, configuration):
            yield (replace(each, arrangement=Arrangement(Axis.ROWS)),)
    yield from _single_windows(layer, configuration)


def _neighbours_in_lanes(layer: Layer, configuration: EngineConfiguration) -> Iterator[Layer]:
    """Neighbouring columns as further channels, where these leave lanes idle.

    Each has its copy of the kernel, which is shifted by a stride and has zeros elsewhere.
    """
    source, target, kernel = layer.source, layer.target, layer.kernel
    channels, stride = target.channels, kernel.stride_w
    assert layer.weights is not None
    for columns in range(2, configuration.lanes // channels + 1):
        if target.width % columns or target.pixel_pitch != channels:
            continue
        width = kernel.width + (columns - 1) * stride
        weights = np.zeros((columns, channels, kernel.height, width, source.pixel_pitch), np.int64)
        for column in range(columns):
            left = column * stride
            weights[column, :, :, left : left + kernel.width] = layer.weights
        epilogue = layer.epilogue
        yield replace(
            layer,
            target=replace(
                target,
                width=target.width // columns,
                channels=columns * channels,
                pixel_pitch=columns * channels,
            ),
            kernel=replace(kernel, width=width, stride_w=columns * stride),
            weights=weights.reshape(-1, *weights.shape[2:]),
            epilogue=replace(
                epilogue,
                bias=np.tile(epilogue.bias, columns),
                multiplier=np.tile(epilogue.multiplier, columns),
                shift=np.tile(epilogue.shift, columns),
            ),
        )


def _is_flat(layer: Layer, configuration: EngineConfiguration) -> bool:
    """Whether the windows may see the picture as one row: none begins or ends beside it."""
    source, target, kernel = layer.source, layer.target, layer.kernel
    span_h, span_w = (layer.direction(axis).span for axis in (Axis.ROWS, Axis.COLUMNS))
    right = (target.width - 1) * kernel.stride_w - kernel.left + span_w
    if kernel.left > 0 or right > source.width:
        return False
    groups = ceil_divide(target.height, configuration.pixels)
    bottom = (groups - 1) * configuration.pixels * kernel.stride_h - kernel.top + span_h
    return max(bottom, source.height) * source.row_pitch <= max_row_bytes(configuration)


def _single_windows(layer: Layer, configuration: EngineConfiguration) -> Iterator[Parts]:
    """A layer for each window: its weights are used once, so they need not fit the ring."""
    target = layer.target
    fits = layer.kernel.height * layer.kernel.width * layer.source.pixel_pitch
    columns = range(0, target.width, configuration.pixels)
    if fits > configuration.window_taps and target.height * len(columns) <= _MAX_WINDOWS:
        yield tuple(
            layer.part(range(row, row + 1), range(x, min(x + configuration.pixels, target.width)))
            for row in range(target.height)
            for x in columns
        )


def _channel_wise(layer: Layer, configuration: EngineConfiguration) -> Iterator[Parts]:
    """Arrangements of a channel-wise layer."""
    one_set = _is_uniform(layer) and layer.source.channels % configuration.channel_group == 0
    alone = layer.mode is not Mode.DEPTHWISE
    # A window that has a pixel more than once computes one pixel at a time.
    again = layer.kernel.dilation_w == 0
    for inside in (False, True) if one_set else (False,):
        for axis in (Axis.COLUMNS,) if again else (Axis.COLUMNS, Axis.ROWS):
            length = layer.direction(axis).outputs
            most = 1 if alone or again else min(configuration.pixels, length)
            # As many as there are, or so many that the last window is as full as the others.
            for pixels in sorted({1, most, ceil_divide(length, ceil_divide(length, most))}):
                across = layer.direction(axis.other).outputs
                most_results = 1 if alone else min(configuration.most_results, across)
                for results in range(1, most_results + 1):
                    yield (replace(layer, arrangement=Arrangement(axis, pixels, results, inside)),)


def _divided(
    layers: Sequence[Layer], configuration: EngineConfiguration
) -> Iterator[tuple[float, Parts]]:
    """Layers of which the last line is emptier than the others: what is left is arranged anew."""
    remainders: dict[tuple[Axis, int], tuple[float, Parts]] = {}
    for layer in layers:
        axis, target = layer.arrangement.axis.other, layer.target
        length = layer.direction(axis).outputs
        full = length // layer.arrangement.results * layer.arrangement.results
        if full == length:
            continue
        main, rest = (
            layer.part(part, range(target.width))
            if axis is Axis.ROWS
            else layer.part(range(target.height), part)
            for part in (range(full), range(full, length))
        )
        if (axis, full) not in remainders:
            found = _possible(_channel_wise(rest, configuration), configuration)
            remainders[axis, full] = min(found, key=lambda way: way[0])
        cost, parts = remainders[axis, full]
        yield cost + cycles((main,), configuration), (main, *parts)


def _is_uniform(layer: Layer) -> bool:
    """Whether every channel has the same weights and the same requantisation."""
    epilogue = layer.epilogue
    arrays = (epilogue.bias, epilogue.multiplier, epilogue.shift, layer.weights)
    return all(array is None or bool((array == array[:1]).all()) for array in arrays)
