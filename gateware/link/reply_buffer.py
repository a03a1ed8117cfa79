"""Replies: encoded as they are made, sent while the next is made."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface.protocol import DELIMITER
from .framing import COBSEncoder, FrameByte

__all__ = ["ReplyBuffer"]


class ReplyBuffer(wiring.Component):
    """Frames to encoded bytes, two frames of which fit.

    Latency: the first byte comes two cycles after the frame's end is accepted. Throughput: a byte
    a cycle in, a byte in two cycles out. Back-pressure: the end of a frame is not accepted before
    the frame before it was sent.

    Members
    -------
    i : :py:`In(stream.Signature(FrameByte))`
        At most 253 bytes, then an end.
    o : :py:`Out(stream.Signature(8))`
        The encoded frame and its delimiter.
    idle : :py:`Out(1)`
        High while there is no frame to be sent.
    """

    i: In(stream.Signature(FrameByte))
    o: Out(stream.Signature(8))
    idle: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.encoder = encoder = COBSEncoder()
        m.submodules.memory = memory = Memory(shape=8, depth=512, init=[])
        write, read = memory.write_port(), memory.read_port()

        half = Signal()
        allowed = Signal()
        send = Signal()
        m.d.comb += [
            allowed.eq(~self.i.p.end | self.idle),
            encoder.i.valid.eq(self.i.valid & allowed),
            encoder.i.payload.eq(self.i.payload),
            self.i.ready.eq(encoder.i.ready & allowed),
            encoder.o.ready.eq(1),
            write.addr.eq(Cat(encoder.o.p.address, half)),
            write.data.eq(encoder.o.p.data),
            write.en.eq(encoder.o.valid),
            send.eq(self.i.valid & self.i.ready & self.i.p.end),
        ]
        with m.If(send):
            m.d.sync += half.eq(~half)

        place = Signal(8)
        fetch = Signal()
        m.d.comb += [
            read.en.eq(fetch),
            read.addr.eq(Cat(place, ~half)),
            self.o.payload.eq(read.data),
        ]
        with m.FSM():
            with m.State("Wait for a frame"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += place.eq(0)
                with m.If(send):
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += fetch.eq(1)
                m.d.sync += place.eq(place + 1)
                m.next = "Send"
            with m.State("Send"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Fetch"
                    with m.If(self.o.payload == DELIMITER):
                        m.next = "Wait for a frame"

        return m
