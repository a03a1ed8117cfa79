"""The tape: what the compiler writes and the engine reads front to back.

A tape is a sequence of **entries** of ``L`` bytes (each padded to whole memory words), which the
tape reader copies into the weight ring. Two things are made of entries:

* **Weight entries**: the weights of the ``L`` lanes for one tap of the window, lane 0 first.
* **Tape words** of 64 bits: descriptors, parameters, tables. A word takes ``ceil(8 / L)`` entries,
  its bytes in order, the rest of the last entry unused.

For each layer, in this order:

1. ``Level`` words: eight of them, in the order of :class:`Level` (:data:`DELTA`).
2. Control words: :data:`CONTROL_0`, :data:`CONTROL_1`, :data:`CONTROL_2`.
3. If the flag ``table`` or ``add`` is set, 256 table words (:data:`TABLE`), for index value + 128.
4. For each tile: ``L`` parameter words (:data:`PARAMETER`), lane 0 first,
   :func:`entry_parameters` of them in an entry; then, unless the flag ``pool`` is set, ``taps``
   weight entries in the order in which the window's bytes arrive.

**Segments.** With :attr:`.EngineConfiguration.flash` the tape is cut into segments of entries. Each
begins with a header, a memory word of its own (:data:`SEGMENT`), which the tape reader keeps
for itself: how many entries follow, and whether they follow in memory or come from the flash, which
goes on where it was left. A run begins with the flash at its slot's :data:`.flash.STREAM_PAGE`.
Headers are always in memory.

**Steps.** A step multiplies a byte for each pixel and lane by the entry's weight of that lane, and
adds it to the accumulator of that pixel and lane. In an ordinary layer, stream ``p`` brings pixel
``p``'s bytes, and each goes to all lanes. In a **channel-wise** layer each stream brings a channel
of the ``G`` that a word holds (:attr:`.EngineConfiguration.channel_group`); lane ``l`` works on
channel ``l % G``. Pixel ``P - 1`` sees the word that just came, pixel ``p`` the one that came
``(P - 1 - p) * d`` words before, with ``d = 2`` if the flag ``every_second`` is set, else 1. So a
run's first ``drain_slots * d`` words are no steps yet: they only fill. With ``pool`` the greatest
byte of each stream is kept instead: as pixel ``P - 1``'s lanes 0 to ``G - 1``, doubled.

With ``product``, in a channel-wise layer, an entry whose first lane's weight is less than
:data:`LEAST_WEIGHT` is a mark. Its step multiplies the word that just came by the one before it, as
lanes 0 to ``G - 1`` of pixel ``P - 1``; these alone are drained. The word is not kept then: what
came before the next step's word is what came before this one's.

**Results** leave by slots: pixels 0, 1, ... or, in a channel-wise layer, the last
``drain_slots + 1`` pixels in ascending order. Of each, lanes leave from lane 0 on, ``R``
(:attr:`.EngineConfiguration.requantizers`) at a time, ``drain_lanes + 1`` times. They are written
to consecutive bytes at an address that is a multiple of ``R``. What belongs to no channel, row or
column is passed over: in the last tile lanes beyond ``last_lanes`` (of each ``G``, if
channel-wise), in the last line groups of ``G`` lanes beyond ``last_results``, in the last group (or
tile, with ``channels_inside``) slots beyond ``last_slots``.

With ``add`` a result ``r`` becomes ``clamp((first[r] + second[a]) >> ADDITION_SHIFT)`` where ``a``
is the byte that lay where the result is written, and the clamp before the tables is to int8 only.

With ``pooled`` slots are pairs: of the sums of pixels ``2 k`` and ``2 k + 1``, which are less than
half the accumulator's range apart, the greater leaves as slot ``k``. Lines are pairs too: a result
of a tile's second, fourth, ... line becomes the greater of itself and the byte that lies where it
is written. Neither tables nor ``add``, nor a channel-wise layer, go with it.

**Address generation.** The pixel fetcher and the writer are loop nests with one address each.
At every step the outermost loop level that advances selects a delta word, whose fields are added
to the fetcher's ``row`` (word address of the window's row), ``x`` (byte offset within the row of
pixel 0's first byte) and ``y`` (picture row, to find padding), and to the writer's byte address.
All are zero before the layer's START delta is added. So a delta is relative to where the inner
levels ended, not to where they began.

The fetcher's nest: for each tile, line, group of pixels, kernel row. The writer's: for each tile,
line, group, slot, group of ``G`` lanes, ``R`` lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from .configuration import EngineConfiguration

WORD_BYTES = 8
TABLE_WORDS = 256
#: In the last control word, so that the engine can tell a descriptor from anything else.
DESCRIPTOR_MAGIC = 0xE7
#: Bits of an entry of an addition's tables, signed; the sum of two must fit them too.
TABLE_BITS = 20
#: Right shift of the sum. No larger one makes more additions exact: see host/compiler/addition.py.
ADDITION_SHIFT = 8


#: Weights of a layer with ``product``: what is less is a mark.
LEAST_WEIGHT = -64
PRODUCT_MARK = -128


class Level(IntEnum):
    """Index of a delta word: which loop level advances."""

    #: Once, before the first window (fetcher) or result (writer).
    START = 0
    #: Fetcher: to the next row of the window. Writer: to the next pair of lines, if ``pooled``.
    KERNEL_ROW = 1
    #: Fetcher and writer: to the next group of pixels in the line.
    GROUP = 2
    #: Fetcher and writer: to the next line of windows; if ``pooled``, writer: to a pair's second.
    LINE = 3
    #: Fetcher and writer: to the next tile.
    TILE = 4
    #: Writer: to the next pixel of the group.
    SLOT = 5
    #: Writer: to the next R lanes of G.
    LANE = 6
    #: Writer: to the next G lanes.
    LANES = 7


LEVELS = len(Level)


@dataclass(frozen=True)
class Field:
    """A bit field: ``width`` bits, two's complement if ``signed``."""

    name: str
    width: int
    signed: bool = False

    def encode(self, value: int) -> int:
        low, high = (
            (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1)
            if self.signed
            else (0, (1 << self.width) - 1)
        )
        if not low <= value <= high:
            raise ValueError(f"{self.name} must be between {low} and {high}, not {value!r}")
        return value & ((1 << self.width) - 1)

    def decode(self, bits: int) -> int:
        bits &= (1 << self.width) - 1
        return bits - (1 << self.width) if self.signed and bits >> (self.width - 1) else bits


@dataclass(frozen=True)
class Word:
    """Layout of a tape word: fields from bit 0 upward."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        if sum(field.width for field in self.fields) > 8 * WORD_BYTES:
            raise ValueError("A tape word has 64 bits")

    def __getitem__(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def pack(self, **values: int) -> int:
        """Encode ``values``; fields not named are zero.

        Raises
        ------
        ValueError
            If a value does not fit its field; the text names both.
        """
        word = offset = 0
        for field in self.fields:
            word |= field.encode(int(values.pop(field.name, 0))) << offset
            offset += field.width
        if values:
            raise TypeError(f"No such fields: {', '.join(values)}")
        return word

    def unpack(self, word: int) -> dict[str, int]:
        values = {}
        for field in self.fields:
            values[field.name] = field.decode(word)
            word >>= field.width
        return values


#: What a loop level adds when it advances. ``row`` and ``write`` wrap as numbers of their width.
DELTA = Word(
    (
        Field("row", 18),  # words
        Field("x", 15, signed=True),  # bytes
        Field("y", 9, signed=True),  # picture rows
        Field("write", 20),  # bytes
    )
)

#: Control: how runs of pixels are fetched.
CONTROL_0 = Word(
    (
        # Bytes between one slot's run and the next's: stride * channels between pixels; in a
        # channel-wise layer from word to word.
        Field("slot_step", 13),
        # Words of a slot's run less one, in full words: (run bytes - 1) // W; and the remainder.
        # Zero in a channel-wise layer: a word a slot.
        Field("run_words", 12),
        Field("run_rest", 4),
        # Slots of a beat less one: W - 1, or a run's words less one in a channel-wise layer.
        Field("last_slot", 5),
        # Picture row length in bytes, as full words and remainder; bytes beyond are padding.
        Field("row_words", 12),
        Field("row_rest", 4),
        Field("height", 9),  # picture rows; y outside [0, height) is padding
        # In the last line only so many groups of G lanes hold a result, less one.
        Field("last_results", 5),
    )
)

#: Control: how often each loop runs, less one.
CONTROL_1 = Word(
    (
        Field("kernel_rows", 6),
        Field("groups", 9),
        Field("lines", 9),
        Field("tiles", 8),
        Field("taps", 13),  # steps of a window: ring entries of a tile
        Field("windows", 16),  # groups * lines
        Field("every_second", 1),
        Field("pooled", 1),  # pairs of pixels and of lines become their greatest
        Field("product", 1),  # marked steps multiply two words of the streams
    )
)

#: Control: what is done with a result.
CONTROL_2 = Word(
    (
        Field("pad_value", 8),  # input zero point as a byte, or -128 for max pooling
        Field("zero_point", 8, signed=True),  # of the output
        Field("minimum", 8, signed=True),
        Field("maximum", 8, signed=True),
        # Drained from a window, less one: R lanes of each slot, so many times; and slots.
        Field("drain_lanes", 5),
        Field("drain_slots", 4),
        # Less one: see above.
        Field("last_lanes", 5),
        Field("last_slots", 4),
        Field("channel_wise", 1),
        Field("channels_inside", 1),  # the tiles of a channel-wise layer are no channels
        # 2 * (greatest byte of the window + 128) instead of a sum of products
        Field("pool", 1),
        Field("table", 1),  # a result goes through the table
        Field("add", 1),
        Field("last", 1),  # last layer of the tape
        Field("magic", 8),
    )
)

CONTROLS = (CONTROL_0, CONTROL_1, CONTROL_2)
DESCRIPTOR_WORDS = LEVELS + len(CONTROLS)

#: Requantisation of one lane: ``clamp(round(round((acc + bias) * m / 2^31) / 2^shift) + zero)``
#: with ``m = 2^30 + multiplier`` (a Q31 multiplier's top bit is always one).
PARAMETER = Word(
    (
        Field("bias", 24, signed=True),
        Field("shift", 5),  # right shift, 0 to 31
        Field("spare", 3),
        Field("multiplier", 30),
    )
)


#: A table's entries for one value. Without ``add`` the low byte of the first is the result.
TABLE = Word(
    (
        Field("first", TABLE_BITS, signed=True),
        Field("second", TABLE_BITS, signed=True),
        Field("spare", 24),
    )
)

#: The first 16 bits of a segment's header: its entries - 1, and whether they come from flash.
SEGMENT = Word((Field("entries", 15), Field("flash", 1)))


def word_entries(configuration: EngineConfiguration) -> int:
    """Ring entries that a tape word takes."""
    return -(-WORD_BYTES // configuration.lanes)


def entry_parameters(configuration: EngineConfiguration) -> int:
    """Parameter words that an entry holds: as many as fit, up to one for each requantiser."""
    most = max(1, min(configuration.lanes // WORD_BYTES, configuration.requantizers))
    return 1 << (most.bit_length() - 1)


def parameter_entries(configuration: EngineConfiguration) -> int:
    """Ring entries that a tile's parameters take."""
    words = configuration.lanes // entry_parameters(configuration)
    return words * word_entries(configuration)


def entry(configuration: EngineConfiguration, data: bytes) -> bytes:
    """One entry's bytes on the tape: ``data`` (at most ``L`` bytes), padded to whole words."""
    if len(data) > configuration.lanes:
        raise ValueError(f"An entry has {configuration.lanes} bytes, not {len(data)}")
    return data.ljust(configuration.entry_bytes, b"\0")


def encode_words(
    configuration: EngineConfiguration, words: Iterable[int], together: int = 1
) -> bytes:
    """Tape words as bytes on the tape, so many ``together`` in an entry."""
    lanes = configuration.lanes
    data = b"".join(word.to_bytes(WORD_BYTES, "little") for word in words)
    step = WORD_BYTES * together
    parts = []
    for start in range(0, len(data), step):
        group = data[start : start + step]
        parts += [entry(configuration, group[i : i + lanes]) for i in range(0, step, lanes)]
    return b"".join(parts)


def encode_parameters(configuration: EngineConfiguration, words: Iterable[int]) -> bytes:
    """A tile's parameter words as bytes on the tape."""
    return encode_words(configuration, words, entry_parameters(configuration))


def decode_words(
    configuration: EngineConfiguration, tape: bytes, count: int, together: int = 1
) -> Iterator[int]:
    """The first ``count`` tape words of ``tape``, of which so many lie ``together`` in an entry."""
    step = configuration.entry_bytes
    entries = word_entries(configuration)
    for index in range(0, count, together):
        start = index // together * entries * step
        data = b"".join(
            tape[start + i * step : start + i * step + configuration.lanes] for i in range(entries)
        )
        for word in range(min(together, count - index)):
            yield int.from_bytes(data[word * WORD_BYTES :][:WORD_BYTES], "little")
