"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): frames that hold no zero byte.

A frame is a chain of blocks: a code, then ``code - 1`` bytes that are not zero, then, except after
the last block, a zero that is not sent. Frames here are shorter than 254 bytes, so that the code
255, a block without a zero after it, never occurs. Requests are decoded here; replies are encoded
by the program (:mod:`.program`).
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.protocol import DELIMITER
from ..primitives.counter import load_or_count_down

__all__ = ["COBSDecoder", "DecodedByte"]


class DecodedByte(data.Struct):
    """A byte of a frame or, with ``end``, no byte but its end. ``error``: the frame is cut off."""

    data: 8
    end: 1
    error: 1


class COBSDecoder(wiring.Component):
    """Encoded bytes to frames.

    Any delimiter ends a frame, so that the decoder is in step again after it, whatever came
    before. Delimiters that follow each other give empty frames, with ``error``. A block that
    begins with the code 255 is decoded as if a zero followed it: the frame is then longer than
    any that may be sent, and who receives it must refuse it for that.

    Latency: one cycle. Throughput: a byte a cycle. Back-pressure: ``i`` waits for ``o``.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
    o : :py:`Out(stream.Signature(DecodedByte))`
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(DecodedByte))})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Bytes to come before the next code, that code included; zero is as good as one.
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
