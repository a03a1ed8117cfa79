"""How many cycles a layer will take.

A function a resource. Each counts the cycles for which a layer keeps that resource busy; what works
at the same time is combined by the greatest, what cannot is added. The constants are the hardware's
fixed costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import LEVELS, TABLE_WORDS, word_entries

from .layers import Layer
from .loops import Loops

#: Cycles that the address generator takes for a run, however short.
RUN_CYCLES = 4
#: From the last byte of a window to its first result's way through the requantiser.
DRAIN_LATENCY = 12
#: From a tile's last window to the next tile's first product, its parameters being in the ring.
TILE_CYCLES = 8
#: From a layer's last result to the next layer's first product, its descriptor being in the ring.
LAYER_CYCLES = 24
CONTROL_WORDS = 3


@dataclass(frozen=True)
class CycleEstimate:
    """Predicted cycles of a layer.

    Attributes
    ----------
    cycles : int
        All of them.
    multipliers, port, requantiser, tape : int
        For which each resource is busy.
    """

    cycles: int
    multipliers: int
    port: int
    requantiser: int
    tape: int

    @property
    def bound(self) -> str:
        """The resource that the layer waits for most."""
        busy = {
            "multipliers": self.multipliers,
            "port": self.port,
            "requantiser": self.requantiser,
            "tape": self.tape,
        }
        return max(busy, key=lambda name: busy[name])


def estimate(layer: Layer, loops: Loops, configuration: EngineConfiguration) -> CycleEstimate:
    """Predict ``layer``'s cycles."""
    compute = window_cycles(loops)
    port = port_cycles(layer, loops, configuration)
    drain = drain_cycles(loops, configuration)
    tape = tile_tape_cycles(layer, loops, configuration)
    windows = loops.windows * max(compute, port / loops.windows, drain)
    tile = windows + exposed_tape_cycles(layer, loops, tape, configuration) + TILE_CYCLES
    head = descriptor_cycles(layer, configuration)
    cycles = loops.tiles * tile + head + drain + DRAIN_LATENCY + LAYER_CYCLES
    return CycleEstimate(
        cycles=round(cycles),
        multipliers=loops.tiles * loops.windows * compute,
        port=loops.tiles * round(port),
        requantiser=loops.tiles * loops.windows * drain,
        tape=loops.tiles * tape + head,
    )


def window_cycles(loops: Loops) -> int:
    """Multiplier steps of a window: a tap a cycle."""
    return loops.taps


def drain_cycles(loops: Loops, configuration: EngineConfiguration) -> int:
    """Requantiser cycles of a window's results."""
    return loops.results * configuration.requantizer_passes


def port_cycles(layer: Layer, loops: Loops, configuration: EngineConfiguration) -> float:
    """Cycles for which the fetcher of a tile holds its memory port.

    A beat serves each slot one word, a cycle a slot. Where any slot's run begins within a word, the
    run may touch one word more.
    """
    if layer.mode.channel_wise:
        beat = layer.kernel.width
        return loops.windows * loops.kernel_rows * max(beat, RUN_CYCLES)
    word = configuration.word_bytes
    step = layer.kernel.stride_w * layer.source.pixel_pitch
    pixels = np.arange(loops.groups * configuration.pixels).reshape(loops.groups, -1)
    begin = (pixels * step - layer.kernel.left * layer.source.pixel_pitch) % word
    words = ((begin.max(axis=1) + loops.run_bytes - 1) // word + 1).astype(np.int64)
    runs = np.maximum(words * word, RUN_CYCLES).sum()
    return float(runs) * loops.lines * loops.kernel_rows


def tile_tape_cycles(layer: Layer, loops: Loops, configuration: EngineConfiguration) -> int:
    """Cycles that the tape reader takes for a tile's parameters and weights."""
    entries = configuration.lanes * word_entries(configuration)
    if layer.weights is not None:
        entries += loops.taps
    return entries * configuration.entry_words


def exposed_tape_cycles(
    layer: Layer, loops: Loops, tape: int, configuration: EngineConfiguration
) -> float:
    """Cycles of a tile for which the multipliers wait for its weights.

    The ring's room beyond this tile is filled while it is in use, the rest as its last window frees
    entry by entry.
    """
    if layer.weights is None:
        return 0
    room = max(0, configuration.ring_entries - loops.taps) * configuration.entry_words
    hidden = loops.taps
    if loops.windows > 1:
        hidden += min(room, (loops.windows - 1) * loops.taps)
    return max(0, tape - hidden)


def descriptor_cycles(layer: Layer, configuration: EngineConfiguration) -> int:
    """Cycles for the layer's descriptor and table."""
    words = LEVELS + CONTROL_WORDS
    if layer.epilogue.table is not None:
        words += TABLE_WORDS
    return words * word_entries(configuration) * configuration.entry_words
