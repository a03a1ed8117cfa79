"""Residency: which layers' parts of the tape lie in memory, and which stream from flash.

Everything lies in memory if it fits. Otherwise, the layers that lose the fewest cycles for each
byte that they free stream first. The flash gives a nibble a cycle; a layer that computes for longer
than its part of the tape takes to arrive loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import SEGMENT

from .cycles import Work, estimate

#: Most entries that a header can cover.
_MOST_ENTRIES = 1 << SEGMENT["entries"].width


@dataclass(frozen=True)
class Segment:
    """Consecutive layers whose parts of the tape lie in the same place.

    Attributes
    ----------
    layers : range
    streams : bool
        Whether they come from flash; otherwise they lie in memory.
    """

    layers: range
    streams: bool


def segments(streamed: Sequence[bool]) -> Iterator[Segment]:
    """Yield as few segments as possible."""
    first = 0
    for streams, group in groupby(streamed):
        count = len(list(group))
        yield Segment(range(first, first + count), streams)
        first += count


def header_count(size: int, configuration: EngineConfiguration) -> int:
    """Number of headers that a segment of ``size`` bytes needs, as a header covers a limited number
    of entries."""
    return -(-size // (_MOST_ENTRIES * configuration.entry_bytes))


def resident_sizes(
    sizes: Sequence[int], streamed: Sequence[bool], configuration: EngineConfiguration
) -> list[int]:
    """Bytes in memory of each layer's part of the tape, with the headers before it."""
    if not configuration.flash:
        return list(sizes)
    result = [0 if streams else size for size, streams in zip(sizes, streamed)]
    for segment in segments(streamed):
        size = sum(sizes[layer] for layer in segment.layers)
        result[segment.layers[0]] += header_count(size, configuration) * configuration.word_bytes
    return result


def cut(
    parts: Sequence[bytes], streamed: Sequence[bool], configuration: EngineConfiguration
) -> tuple[bytes, bytes]:
    """Cut the tape into the part in memory, with its headers, and the part that streams.

    Parameters
    ----------
    parts : sequence of bytes
        Of each layer.
    streamed : sequence of bool
    configuration : EngineConfiguration
    """
    if not configuration.flash:
        return b"".join(parts), b""
    memory, flash = bytearray(), bytearray()
    step = _MOST_ENTRIES * configuration.entry_bytes
    for segment in segments(streamed):
        data = b"".join(parts[layer] for layer in segment.layers)
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            entries = len(piece) // configuration.entry_bytes
            header = SEGMENT.pack(entries=entries - 1, flash=segment.streams)
            memory += header.to_bytes(configuration.word_bytes, "little")
            (flash if segment.streams else memory).extend(piece)
    return bytes(memory), bytes(flash)


def in_order_of_cost(
    works: Sequence[Work], sizes: Sequence[int], configuration: EngineConfiguration
) -> list[int]:
    """Layers in order of the cycles that they lose for each byte if they stream, fewest first."""
    times = [each.cycles for each in estimate(works, configuration)]

    def cost(layer: int) -> tuple[float, int]:
        nibbles = 2 * sizes[layer]
        return max(0, nibbles - times[layer]) / sizes[layer], -sizes[layer]

    return sorted(range(len(works)), key=cost)
