"""Words from the nibbles of a read."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .pins import LATENCY

__all__ = ["WordAssembler"]


class WordAssembler(wiring.Component):
    """Asks for nibbles while there is room for the word that they make, and offers the words.

    A word is begun only if the one before the last is taken: so one may be offered and one
    complete behind it, and none is ever overwritten.

    Latency: a word is offered LATENCY + 2 cycles after its last nibble was asked for. Throughput: a
    nibble a cycle. Back-pressure: while two words wait, no nibble is asked for.

    Parameters
    ----------
    word_bytes : int
        2 or more: two words must outlast the pads' latency.

    Members
    -------
    streaming : :py:`In(1)`
        The flash reads. While low, what was read is dropped.
    received : :py:`In(8 * word_bytes)`
        The last nibbles, the last one lowest, LATENCY + 1 cycles after they were asked for.
    more : :py:`Out(1)`
        Ask for a nibble in this cycle.
    words : :py:`Out(stream.Signature(8 * word_bytes))`
        First byte lowest.
    """

    def __init__(self, word_bytes: int) -> None:
        self.word_bytes = word_bytes
        super().__init__(
            {
                "streaming": In(1),
                "received": In(8 * word_bytes),
                "more": Out(1),
                "words": Out(stream.Signature(8 * word_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        nibbles = 2 * self.word_bytes
        nibble = Signal(range(nibbles))
        waiting = Signal(range(3))
        begun = Signal()
        taken = Signal()
        finished = Signal(LATENCY)
        full = Signal()
        m.d.comb += [
            begun.eq((nibble == 0) & (waiting != 2)),
            self.more.eq(self.streaming & (begun | (nibble != 0))),
            taken.eq(self.words.valid & self.words.ready),
        ]
        with m.If(self.more):
            m.d.sync += nibble.eq(Mux(nibble == nibbles - 1, 0, nibble + 1))
        with m.If(begun & ~taken):
            m.d.sync += waiting.eq(waiting + 1)
        with m.Elif(taken & ~begun):
            m.d.sync += waiting.eq(waiting - 1)
        m.d.sync += finished.eq(Cat(self.more & (nibble == nibbles - 1), finished))
        with m.If(finished[-1]):
            m.d.sync += full.eq(1)
        with m.If(self.words.ready):
            m.d.sync += self.words.valid.eq(0)
        with m.If(full & (~self.words.valid | self.words.ready)):
            m.d.sync += [self.words.valid.eq(1), full.eq(finished[-1])]
            # The first byte came first and is now the highest.
            m.d.sync += self.words.payload.eq(
                Cat(self.received.word_select(at, 8) for at in reversed(range(self.word_bytes)))
            )
        with m.If(~self.streaming):
            m.d.sync += [nibble.eq(0), waiting.eq(0), finished.eq(0), full.eq(0)]
            m.d.sync += self.words.valid.eq(0)
        return m
