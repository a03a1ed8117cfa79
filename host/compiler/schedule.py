"""In which arrangement a layer takes the fewest cycles, and whether it is better done in parts.

Every arrangement gives the same bytes. The choice is made by what the cycle model says of the
multipliers, the port and the requantiser, and by the length of the tape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import CONTROLS, LEVELS, word_entries

from .cycles import Work
from .errors import CompileError
from .layers import Arrangement, Axis, Layer, Mode
from .loops import MAX_ROW_BYTES, Loops
from .nest import ceil_divide

#: Cycles of a layer's beginning and end, in which nothing else happens.
_LAYER_CYCLES = 60
#: Windows that do not fit the ring become layers of their own, up to so many.
_MAX_WINDOWS = 16

Parts = tuple[Layer, ...]


def schedule(layer: Layer, configuration: EngineConfiguration) -> Parts:
    """``layer`` as one layer or several, arranged for speed.

    Raises
    ------
    CompileError
        If the engine can run it in no arrangement.
    """
    best: tuple[float, Parts] | None = None
    refusal: CompileError | None = None
    for parts in _ways(layer, configuration):
        try:
            cost = cycles(parts, configuration)
        except CompileError as error:
            refusal = refusal or error
            continue
        if best is None or cost < best[0]:
            best = cost, parts
    if best is not None:
        return best[1]
    assert refusal is not None
    raise refusal


def cycles(layers: Sequence[Layer], configuration: EngineConfiguration) -> float:
    """About how many cycles layers that follow each other take, the tape being prefetched."""
    per_word = word_entries(configuration)
    busy = entries = 0.0
    for layer in layers:
        work = Work(layer, Loops.of(layer, configuration), configuration)
        tiles, windows = work.loops.tiles, work.loops.windows
        load = configuration.lanes * (per_word + 1)
        busy += tiles * (load + windows * work.period) + _LAYER_CYCLES
        entries += tiles * work.tile_entries + (LEVELS + len(CONTROLS)) * per_word
    return max(busy, entries * configuration.entry_words)


def _ways(layer: Layer, configuration: EngineConfiguration) -> Iterator[Parts]:
    """The arrangements to try, the plainest first."""
    if layer.mode is Mode.CONVOLUTION:
        yield (layer,)
        if _is_flat(layer, configuration):
            yield (replace(layer, arrangement=Arrangement(Axis.ROWS)),)
        yield from _single_windows(layer, configuration)
    elif layer.mode is Mode.ADDITION:
        yield (layer,)
    else:
        yield from _channel_wise(layer, configuration)


def _is_flat(layer: Layer, configuration: EngineConfiguration) -> bool:
    """Whether the windows may see the picture as one row: none begins or ends beside it."""
    source, target, kernel = layer.source, layer.target, layer.kernel
    right = (target.width - 1) * kernel.stride_w - kernel.left + layer.span_w
    if kernel.left > 0 or right > source.width:
        return False
    groups = ceil_divide(target.height, configuration.pixels)
    bottom = (groups - 1) * configuration.pixels * kernel.stride_h - kernel.top + layer.span_h
    return max(bottom, source.height) * source.row_pitch <= MAX_ROW_BYTES


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
    one_set = _is_uniform(layer) and layer.source.channels % configuration.channel_group == 0
    most = 1 if layer.mode is Mode.POOL else configuration.lanes_per_pixel
    height, width = layer.target.height, layer.target.width
    for inside in (False, True) if one_set else (False,):
        ways = [
            Arrangement(axis, results, inside)
            for axis, size in ((Axis.ROWS, height), (Axis.COLUMNS, width))
            for results in range(1, min(most, size) + 1)
        ]
        for arrangement in ways:
            yield (replace(layer, arrangement=arrangement),)
        for arrangement in ways:
            # The last line may be emptier than the others: what is left is arranged anew.
            along_rows = arrangement.axis is Axis.ROWS
            size = height if along_rows else width
            full = size // arrangement.results * arrangement.results
            if full == size:
                continue
            main, rest = (
                layer.part(part, range(width)) if along_rows else layer.part(range(height), part)
                for part in (range(full), range(full, size))
            )
            left = rest.target
            for other in ways:
                if other.results <= (left.height if other.axis is Axis.ROWS else left.width):
                    yield (
                        replace(main, arrangement=arrangement),
                        replace(rest, arrangement=other),
                    )


def _is_uniform(layer: Layer) -> bool:
    """Whether every channel has the same weights and the same requantisation."""
    epilogue = layer.epilogue
    arrays = (epilogue.bias, epilogue.multiplier, epilogue.shift, layer.weights)
    return all(array is None or bool((array == array[:1]).all()) for array in arrays)
