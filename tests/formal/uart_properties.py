"""The UART receiver: what any sender within the tolerance sends is what is received."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from prover import Property

from gateware.link.uart import UARTReceiver

_FRACTION = 50


class ReceiverSamplesRight(Property):
    """Any characters, one after the other, from a clock that is off by ``mismatch``.

    Time is in 1/50 cycles. The first edge comes at any time of a cycle, the others when its clock says. Each byte comes once, in order, and no break or error.
    """

    def __init__(
        self, divisor: int, receiver: type = UARTReceiver, mismatch: float = 0.0
    ) -> None:
        self.divisor = divisor
        self.receiver = receiver
        self.mismatch = mismatch

    @property
    def character_cycles(self) -> int:
        return round(10 * self.divisor * (1 + self.mismatch)) + 1

    def build(self, m: Module) -> None:
        dut = self.receiver()
        m.submodules.dut = dut
        bit = round(self.divisor * _FRACTION * (1 + self.mismatch))
        phase = Signal(range(_FRACTION))
        m.d.comb += [phase.eq(AnyConst(len(phase))), Assume(phase < _FRACTION)]

        # The line rests for a while, as the receiver's synchroniser has to see.
        begun = Signal(3)
        first_cycles = begun != 4
        m.d.sync += begun.eq(begun + first_cycles)
        # The line. ``left``: of the bit that is on it, from the next clock edge on.
        shift, bits = Signal(10, init=1), Signal(range(11))
        left = Signal(range(bit + _FRACTION + 1))
        start, ends = Signal(), Signal()
        byte = AnySeq(8)
        m.d.comb += [
            dut.rx.eq(shift[0]),
            dut.divisor.eq(self.divisor),
            ends.eq(left < _FRACTION),
        ]
        with m.If((bits == 0) | ((bits == 1) & ends)):
            m.d.comb += start.eq(~first_cycles)
        with m.If(bits != 0):
            m.d.sync += left.eq(Mux(ends, left + bit - _FRACTION, left - _FRACTION))
            with m.If(ends):
                m.d.sync += [bits.eq(bits - 1), shift.eq(Cat(shift[1:], 1))]
        with m.If(start):
            m.d.sync += [bits.eq(10), shift.eq(Cat(Const(0, 1), byte, Const(1, 1)))]
            # After a pause the edge was anywhere in the cycle; otherwise the sender's clock goes on.
            with m.If(bits == 0):
                m.d.sync += left.eq(bit - 1 - phase)

        # What was sent and did not come yet: it may come in the next start bit.
        sent, before = Signal(8), Signal(8)
        owed, owed_before = Signal(), Signal()
        with m.If(dut.o.valid):
            with m.If(owed_before):
                m.d.sync += owed_before.eq(0)
            with m.Else():
                m.d.sync += owed.eq(0)
        with m.If(start):
            m.d.sync += [sent.eq(byte), owed.eq(1), before.eq(sent)]
            m.d.sync += owed_before.eq(owed & ~dut.o.valid)
        m.d.comb += [
            Assert(~dut.break_ & ~dut.error),
            Assert(~dut.o.valid | owed_before | owed),
            Assert(~dut.o.valid | (dut.o.payload == Mux(owed_before, before, sent))),
            # No byte before its stop bit, and none after the next start bit but one bit.
            Assert(~(dut.o.valid & ~owed_before) | (bits <= 1)),
            Assert(~owed_before | (bits >= 8)),
        ]
        idle = Signal(range(8))
        m.d.sync += idle.eq(Mux((bits == 0) & ~start, idle + (idle != 7), 0))
        m.d.comb += Assert(~owed | (idle != 7))
