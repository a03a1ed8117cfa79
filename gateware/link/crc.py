"""CRC-32, a bit a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.protocol import CRC_RESIDUE

__all__ = ["CRC32"]

#: The polynomial of IEEE 802.3, bit-reversed: the least significant bit goes first.
POLYNOMIAL = 0xEDB88320


class CRC32(wiring.Component):
    """CRC-32 as :func:`zlib.crc32` computes it; that is the inverse of ``value``.

    Latency and throughput: nine cycles a byte. Back-pressure: ``ready`` is low for the eight cycles
    after a byte is accepted; ``value`` is stable while it is high.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
    clear : :py:`In(1)`
        Start a new CRC. This also ends the byte in progress; a byte in the same cycle is lost.
    flush : :py:`In(1)`
        High while a byte is in progress: shift ``value`` right by eight bits, whatever the byte is.
        Its bytes thus appear one by one at ``value[:8]``, least significant first, and then 0xFF.
    value : :py:`Out(32)`
    match : :py:`Out(1)`
        ``value`` is the residue of data that is followed by its own CRC, least significant byte
        first.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "clear": In(1),
                "flush": In(1),
                "value": Out(32),
                "match": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        busy = Signal()
        count = Signal(3)
        shift = Signal(8, reset_less=True)
        feedback = Signal()
        # The inverse begins at zero, as flip-flops of iCE40 do; an initial one costs an inverter.
        inverse = Signal(32, reset_less=True)
        m.d.comb += [
            self.value.eq(~inverse),
            self.i.ready.eq(~busy),
            self.match.eq(inverse == CRC_RESIDUE ^ 0xFFFFFFFF),
            feedback.eq((inverse[0] ^ ~shift[0]) & ~self.flush),
        ]

        with m.If(busy):
            m.d.sync += [
                shift.eq(shift >> 1),
                count.eq(count + 1),
                inverse.eq(Cat(inverse[1:], ~self.flush) ^ Mux(feedback, POLYNOMIAL, 0)),
                busy.eq(count != 7),
            ]
        with m.Else():
            m.d.sync += [shift.eq(self.i.payload), busy.eq(self.i.valid)]
        with m.If(self.clear):
            m.d.sync += [inverse.eq(0), busy.eq(0), count.eq(0)]

        return m
