"""The request buffer: decodes requests, checks them, and keeps them until they are executed."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface.protocol import CRC_BYTES, MAX_PAYLOAD, REQUEST_HEADER_BYTES
from .crc import CRC32
from .framing import COBSDecoder

__all__ = ["MAX_REQUEST_BYTES", "MIN_REQUEST_BYTES", "RequestBuffer"]

MIN_REQUEST_BYTES = REQUEST_HEADER_BYTES + CRC_BYTES
MAX_REQUEST_BYTES = MIN_REQUEST_BYTES + MAX_PAYLOAD


class RequestBuffer(wiring.Component):
    """Decode bytes to whole requests with a right CRC; the buffer holds two of them.

    One half of the buffer holds the request that is being executed, the other half the next one,
    from its first byte until it is taken. The buffer drops a request if any byte of it arrives
    while both halves are in use, or if it is damaged, shorter than ``MIN_REQUEST_BYTES`` or longer
    than ``MAX_REQUEST_BYTES``.

    Latency: a request is valid three cycles after its delimiter. Throughput: a byte in ten cycles;
    no UART is faster. Back-pressure: none at ``i``, as said above.

    Members
    -------
    i : :py:`In(stream.Signature(8, always_ready=True))`
        Encoded bytes, at most one in ten cycles.
    error : :py:`In(1)`
        High for one cycle: a byte was lost, and the frame must be dropped.
    request : :py:`Out(stream.Signature(8))`
        The length of a request. Taking it releases the request before it.
    address : :py:`In(8)`
        Address of a byte of the request that was taken last.
    data : :py:`Out(8)`
        That byte, one cycle later.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "error": In(1),
                "request": Out(stream.Signature(8)),
                "address": In(8),
                "data": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = COBSDecoder()
        m.submodules.crc = crc = CRC32()
        m.submodules.memory = memory = Memory(shape=8, depth=512, init=[])
        write, read = memory.write_port(), memory.read_port()

        half = Signal()
        length = Signal(8)
        damaged = Signal()
        put = Signal()
        end = Signal()
        m.d.comb += [
            decoder.i.valid.eq(self.i.valid),
            decoder.i.payload.eq(self.i.payload),
            decoder.o.ready.eq(1),
            put.eq(decoder.o.valid & ~decoder.o.p.end),
            end.eq(decoder.o.valid & decoder.o.p.end),
            crc.i.valid.eq(put),
            crc.i.payload.eq(decoder.o.p.data),
            crc.clear.eq(end),
            write.addr.eq(Cat(length, half)),
            write.data.eq(decoder.o.p.data),
            write.en.eq(put & ~self.request.valid),
            read.addr.eq(Cat(self.address, ~half)),
            self.data.eq(read.data),
            self.request.payload.eq(length),
        ]

        # Between two bytes there is time for a register after each comparison.
        matches, long_enough, longest = Signal(), Signal(), Signal()
        m.d.sync += [
            matches.eq(crc.match),
            long_enough.eq(length >= MIN_REQUEST_BYTES),
            longest.eq(length == MAX_REQUEST_BYTES),
        ]
        good = Signal()
        m.d.comb += good.eq(matches & ~damaged & ~decoder.o.p.error & long_enough)
        with m.If(self.request.valid):
            with m.If(self.request.ready):
                m.d.sync += [self.request.valid.eq(0), half.eq(~half), length.eq(0)]
        with m.Elif(end):
            m.d.sync += self.request.valid.eq(good)
            with m.If(~good):
                m.d.sync += length.eq(0)
        with m.Elif(put):
            m.d.sync += length.eq(length + 1)

        with m.If(end):
            m.d.sync += damaged.eq(0)
        with m.Elif(put & (self.request.valid | longest)):
            m.d.sync += damaged.eq(1)
        with m.If(self.error):
            m.d.sync += damaged.eq(1)

        return m
