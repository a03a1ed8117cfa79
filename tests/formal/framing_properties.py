"""COBS: what the decoder makes of what any encoder may send."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Module, Mux, Signal

from gateware.link.framing import COBSDecoder
from tests.formal.prover import Property, assert_stream_rule, open_up


class DecoderInvertsEncoder(Property):
    """Frames of any length and number, with pauses on both sides.

    A frame is runs of bytes that are not zero, with a zero between any two. Each run is sent as its
    length plus one, and then its bytes; a delimiter ends the frame. Which runs, how many of them,
    and what is in them is anything, so this is every frame that has an encoding without the code
    255. A delimiter may also come where no code is due: that has to be told, and the next frame is
    decoded as if nothing had been.
    """

    def __init__(self, decoder: type = COBSDecoder) -> None:
        self.decoder = decoder

    def build(self, m: Module) -> None:
        dut = self.decoder()
        m.submodules.dut, inner = open_up(dut)

        # The encoder: bytes of the run that are still to come.
        remaining = Signal(8)
        first = Signal(init=1)
        byte, valid = AnySeq(8), AnySeq(1)
        was_stalled, last = Signal(), Signal(8)
        m.d.comb += [dut.i.valid.eq(valid), dut.i.payload.eq(byte), dut.o.ready.eq(AnySeq(1))]
        m.d.sync += [was_stalled.eq(valid & ~dut.i.ready), last.eq(byte)]
        m.d.comb += Assume(~was_stalled | (valid & (byte == last)))

        # What the decoder owes: at most one item, in the cycle after it was sent.
        owes, item, end, error = Signal(), Signal(8), Signal(), Signal()
        accepted, taken = Signal(), Signal()
        m.d.comb += [
            accepted.eq(dut.i.valid & dut.i.ready),
            taken.eq(dut.o.valid & dut.o.ready),
        ]
        with m.If(taken):
            m.d.sync += owes.eq(0)
        with m.If(accepted):
            with m.If(byte == 0):
                m.d.sync += [first.eq(1), remaining.eq(0)]
                m.d.sync += [owes.eq(1), end.eq(1), error.eq(first | (remaining != 0))]
            with m.Elif(remaining == 0):
                m.d.sync += [first.eq(0), remaining.eq(byte - 1)]
                m.d.sync += [owes.eq(~first), item.eq(0), end.eq(0)]
            with m.Else():
                m.d.sync += remaining.eq(remaining - 1)
                m.d.sync += [owes.eq(1), item.eq(byte), end.eq(0)]

        assert_stream_rule(m, dut.o)
        m.d.comb += [
            Assert(dut.o.valid == owes),
            Assert(~owes | (dut.o.p.end == end)),
            Assert(~owes | end | (dut.o.p.data == item)),
            Assert(~owes | ~end | (dut.o.p.error == error)),
            # The decoder and the encoder are in step; ``left`` counts the next code too.
            Assert(inner["first"] == first),
            Assert(Mux(remaining == 0, inner["left"] <= 1, inner["left"] == remaining + 1)),
            Assert(~first | (remaining == 0)),
        ]


class DecodedIsWhatWasEncoded(Property):
    """The same with the frame given first: up to ``LONGEST`` bytes, again and again.

    This encoder looks ahead for the next zero, as the host's does.
    """

    LONGEST = 8

    def __init__(self, decoder: type = COBSDecoder) -> None:
        self.decoder = decoder

    def build(self, m: Module) -> None:
        dut = self.decoder()
        m.submodules.dut, inner = open_up(dut)
        frame = AnyConst(8 * self.LONGEST)
        length = Signal(range(self.LONGEST + 1))
        m.d.comb += [length.eq(AnyConst(len(length))), Assume(length <= self.LONGEST)]

        # Bytes of the frame that were sent, zeros when the code behind them was.
        place = Signal(range(self.LONGEST + 2))
        run = Signal(range(self.LONGEST + 1))
        first, coding = Signal(init=1), Signal(init=1)
        begin, distance = Signal.like(place), Signal.like(run)
        m.d.comb += begin.eq(Mux(first, place, place + 1))
        for at in reversed(range(self.LONGEST + 1)):
            ends = length == at
            if at < self.LONGEST:
                ends |= frame.word_select(at, 8) == 0
            with m.If(ends & (begin <= at)):
                m.d.comb += distance.eq(at - begin)
        done = coding & ~first & (place == length)
        m.d.comb += [
            dut.i.valid.eq(AnySeq(1)),
            dut.o.ready.eq(AnySeq(1)),
            dut.i.payload.eq(Mux(coding, distance + 1, frame.word_select(place, 8))),
        ]
        with m.If(done):
            m.d.comb += dut.i.payload.eq(0)
        with m.If(dut.i.valid & dut.i.ready):
            with m.If(done):
                m.d.sync += [place.eq(0), first.eq(1)]
            with m.Elif(coding):
                m.d.sync += [place.eq(begin), run.eq(distance), first.eq(0)]
                m.d.sync += coding.eq(distance == 0)
            with m.Else():
                m.d.sync += [place.eq(place + 1), run.eq(run - 1), coding.eq(run == 1)]

        # The frame as it comes out.
        received = Signal(range(self.LONGEST + 1))
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += received.eq(Mux(dut.o.p.end, 0, received + 1))
        with m.If(dut.o.valid):
            with m.If(dut.o.p.end):
                m.d.comb += [Assert(received == length), Assert(~dut.o.p.error)]
            with m.Else():
                m.d.comb += Assert(received < length)
                m.d.comb += Assert(dut.o.p.data == frame.word_select(received, 8))

        # What makes it inductive: how far both are, and that runs end at zeros or at the end.
        sent = Signal.like(place)
        m.d.comb += sent.eq(received + (dut.o.valid & ~dut.o.p.end))
        rests = Signal()
        for at in range(self.LONGEST):
            with m.If(place + run == at):
                m.d.comb += rests.eq(frame.word_select(at, 8) == 0)
        m.d.comb += [
            Assert(Mux(dut.o.valid & dut.o.p.end, place == 0, place == sent)),
            Assert(~(dut.o.valid & dut.o.p.end) | first),
            Assert(~first | (coding & (place == 0))),
            Assert(coding == (first | (run == 0))),
            Assert(first | (place + run == length) | ((place + run < length) & rests)),
            Assert(inner["first"] == first),
            Assert(Mux(coding, inner["left"] <= 1, inner["left"] == run + 1)),
        ]
        for at in range(self.LONGEST):
            inside = ~first & (at >= place) & (at < place + run)
            m.d.comb += Assert(~inside | (frame.word_select(at, 8) != 0))
