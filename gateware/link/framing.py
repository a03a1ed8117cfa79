"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): frames without zero bytes.

A frame is a chain of blocks. A block is a code, ``code - 1`` bytes that are not zero and, except
after the last block, a zero that is not sent. Frames are shorter than 254 bytes, so the code 255, a
block without a zero after it, never occurs. This module decodes requests; the program
(:mod:`.program`) encodes replies.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.protocol import DELIMITER
from ..primitives.counter import load_or_count_down

__all__ = ["COBSDecoder", "DecodedByte"]


class DecodedByte(data.Struct):
    """A byte of a frame or, if ``end`` is high, a frame's end; ``error`` means that the frame is
    cut off."""

    data: 8
    end: 1
    error: 1


class COBSDecoder(wiring.Component):
    """Decode bytes to frames.

    Any delimiter ends a frame, so the decoder is synchronised after it, whatever came before.
    Consecutive delimiters give empty frames, with ``error``. A block that begins with the code 255
    is decoded as if a zero followed it: the frame is then longer than any that may be sent, and the
    receiver must refuse it for its length.

    Latency: one cycle. Throughput: a byte a cycle. Back-pressure: ``i`` is ready when ``o`` is
    empty or taken.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
    o : :py:`Out(stream.Signature(DecodedByte))`
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(DecodedByte))})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Bytes up to the next code, including that code; zero means the same as one.
        left = Signal(8)
        first = Signal(init=1)
        at_code, delimiter, load = Signal(), Signal(), Signal()
        m.d.comb += [
            at_code.eq(left[1:] == 0),
            delimiter.eq(self.i.payload == DELIMITER),
            load.eq(at_code | delimiter),
            self.i.ready.eq(~self.o.valid | self.o.ready),
        ]

        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid & (delimiter | ~at_code | ~first)),
                self.o.p.data.eq(Mux(at_code, 0, self.i.payload)),
                self.o.p.end.eq(delimiter),
                self.o.p.error.eq(first | ~at_code),
            ]
            with m.If(self.i.valid):
                m.d.sync += [
                    first.eq(delimiter),
                    left.eq(load_or_count_down(load, self.i.payload, left)),
                ]

        return m
