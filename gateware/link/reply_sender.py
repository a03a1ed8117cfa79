"""The sender: bytes of a reply from its buffer to the UART."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.protocol import DELIMITER

__all__ = ["ReplySender"]


class ReplySender(wiring.Component):
    """Read a buffer from its beginning to the delimiter.

    The buffer's memory has another reader. The sender has its turn in the cycles before those in
    which ``turn`` is high.

    Latency: a byte is valid in the cycle after its turn. Throughput: a byte a turn. Back-pressure:
    the sender skips its turns while ``o`` waits.

    Members
    -------
    start : :py:`In(1)`
        Begin. Not allowed while ``busy``.
    busy : :py:`Out(1)`
        High from the cycle after ``start`` until the delimiter has been read.
    address : :py:`Out(8)`
    turn : :py:`In(1)`
        ``data`` is the byte at ``address``.
    data : :py:`In(8)`
    o : :py:`Out(stream.Signature(8))`
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "busy": Out(1),
                "address": Out(8),
                "turn": In(1),
                "data": In(8),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = Signal(8)
        byte = Signal(8, reset_less=True)
        take = Signal()
        m.d.comb += [
            self.address.eq(place),
            self.o.payload.eq(byte),
            take.eq(self.turn & self.busy & ~self.o.valid),
        ]
        with m.If(take):
            m.d.sync += [place.eq(place + 1), byte.eq(self.data), self.o.valid.eq(1)]
            m.d.sync += self.busy.eq(self.data != DELIMITER)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.start):
            m.d.sync += [place.eq(0), self.busy.eq(1)]
        return m
