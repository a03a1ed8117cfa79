"""The flash's bytes on its lines: out bit by bit, and in."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .pins import LATENCY

__all__ = ["FlashShifter"]


class FlashShifter(wiring.Component):
    """Sends a byte on one line or on four, and keeps the bits that came last.

    Each clock pulse sends and receives, most significant first: a bit on IO0 and IO1 or, where
    ``quad`` is high, a nibble on IO0 to IO3.

    Latency: what the flash shows at a pulse is in ``received`` LATENCY + 1 cycles later.
    Throughput: a pulse a cycle. Back-pressure: the flash's clock rests while neither ``shift`` nor
    ``clock`` is high.

    Parameters
    ----------
    received_bits : int

    Members
    -------
    quad : :py:`In(1)`
        Four lines instead of one.
    silent : :py:`In(1)`
        No line is driven.
    load : :py:`In(1)`
        Take ``byte``, to be sent.
    byte : :py:`In(8)`
    shift : :py:`In(1)`
        A pulse that sends the next bit or nibble.
    clock : :py:`In(1)`
        A pulse that only receives.
    last : :py:`Out(1)`
        ``shift`` sends the byte's last bit or nibble.
    received : :py:`Out(received_bits)`
        The last nibble or bit lowest. Bits that come one by one reach the lowest byte only.
    pulse : :py:`Out(1)`
    o, oe : :py:`Out(4)`
    i : :py:`In(4)`
        As in :class:`.FlashPinsSignature`, whose clock is the pulse.
    """

    def __init__(self, received_bits: int) -> None:
        super().__init__(
            {
                "quad": In(1),
                "silent": In(1),
                "load": In(1),
                "byte": In(8),
                "shift": In(1),
                "clock": In(1),
                "last": Out(1),
                "received": Out(received_bits),
                "pulse": Out(1),
                "o": Out(4),
                "oe": Out(4),
                "i": In(4),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        quad = self.quad
        bits = Signal(8)
        left = Signal(3)
        with m.If(self.load):
            m.d.sync += [bits.eq(self.byte), left.eq(Mux(quad, 1, 7))]
        with m.Elif(self.shift):
            m.d.sync += [bits.eq(Mux(quad, bits << 4, bits << 1)), left.eq(left - 1)]
        m.d.comb += [
            self.last.eq(left == 0),
            self.pulse.eq(self.shift | self.clock),
            self.o.eq(Cat(Mux(quad, bits[4], bits[7]), bits[5], bits[6] | ~quad, bits[7] | ~quad)),
            self.oe.eq(Mux(self.silent, 0, Cat(1, quad, 1, 1))),
        ]
        taking = Signal(LATENCY)
        m.d.sync += taking.eq(Cat(self.pulse, taking))
        with m.If(taking[-1]):
            with m.If(quad):
                m.d.sync += self.received.eq(Cat(self.i, self.received))
            with m.Else():
                m.d.sync += self.received[:8].eq(Cat(self.i[1], self.received))
        return m
