"""The reply sender: a buffer's bytes, each once and in order, up to the delimiter."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Module, Signal

from gateware.link.reply_sender import ReplySender
from tests.formal.prover import Property, assert_stream_rule, open_up


class SenderSendsItsBuffer(Property):
    """A buffer of any contents, read at any turns, to a partner that stalls at will."""

    def __init__(self, sender: type = ReplySender) -> None:
        self.sender = sender

    def build(self, m: Module) -> None:
        dut = self.sender()
        m.submodules.dut, inner = open_up(dut)
        # Any contents that do not change: what one place holds, whichever it is.
        here, byte = AnyConst(8), AnyConst(8)
        start, turn, elsewhere = AnySeq(1), AnySeq(1), AnySeq(8)
        started, asked = Signal(), Signal(8)
        m.d.sync += [started.eq(start), asked.eq(dut.address)]
        m.d.comb += [
            dut.start.eq(start),
            dut.turn.eq(turn),
            dut.data.eq(elsewhere),
            dut.o.ready.eq(AnySeq(1)),
            Assume(~start | ~dut.busy),
            # What is read in the cycle of ``start`` was read before.
            Assume(~turn | ~started),
            Assume((asked != here) | (elsewhere == byte)),
        ]
        # Bytes taken since the start, without the last reply's delimiter, which may still wait.
        taken, old = Signal(8), Signal()
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += [taken.eq(taken + ~old), old.eq(0)]
        with m.If(start):
            m.d.sync += [taken.eq(0), old.eq(dut.o.valid & ~dut.o.ready)]
        new = dut.o.valid & ~old
        assert_stream_rule(m, dut.o)
        m.d.comb += [
            Assert(~new | (taken != here) | (dut.o.payload == byte)),
            # It ends with the delimiter, and not before.
            Assert(~new | ((dut.o.payload == 0) == ~dut.busy)),
            # What makes it inductive.
            Assert(inner["place"] == (taken + new)[:8]),
            Assert(~old | dut.o.valid),
        ]
