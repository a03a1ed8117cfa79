"""The UART: where the receiver samples, and that this is right over its tolerance.

Two steps, because no search is long enough for a character at 9600 baud. A proof says in which
cycles the receiver samples, for any divisor and line; arithmetic says that these are in the middle
of the bits (:func:`is_sampled_right`).
"""

from __future__ import annotations

from fractions import Fraction

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal

from gateware.interface.timing import MIN_BIT_CYCLES
from gateware.link.uart import DIVISOR_BITS, UARTReceiver, UARTTransmitter
from tests.formal.prover import Property, open_up

_STOP_BIT = 9
#: In the order of the receiver's states.
_WAITING, _STARTING, _RECEIVING, _RISING = range(4)


class ReceiverSamplesInTheMiddle(Property):
    """``divisor // 2`` cycles after the first low one, and then every ``divisor`` cycles.

    For any line, also one with glitches and breaks, and any divisor that does not change. Each
    byte with a high stop bit comes once, in the cycle after it; with a low one it is a break or an
    error, and the line has to rise before a start bit is looked for.
    """

    def __init__(self, receiver: type = UARTReceiver) -> None:
        self.receiver = receiver

    def build(self, m: Module) -> None:
        dut = self.receiver()
        m.submodules.dut, inner = open_up(dut)
        divisor = AnyConst(DIVISOR_BITS)
        line = inner["synchronizer.line"]
        m.d.comb += [
            dut.rx.eq(AnySeq(1)),
            dut.divisor.eq(divisor),
            Assume(divisor >= MIN_BIT_CYCLES),
        ]
        rx, delayed = Signal(init=1), Signal(init=1)
        m.d.sync += [rx.eq(dut.rx), delayed.eq(rx)]

        state = Signal(2)
        left = Signal(DIVISOR_BITS)
        bit = Signal(range(_STOP_BIT + 1))
        byte = Signal(8)
        given, broken, damaged = Signal(), Signal(), Signal()
        m.d.sync += [given.eq(0), broken.eq(0), damaged.eq(0)]
        with m.Switch(state):
            with m.Case(_WAITING):
                with m.If(~line):
                    m.d.sync += [state.eq(_STARTING), left.eq((divisor >> 1) - 1)]
            with m.Case(_STARTING):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.sync += state.eq(Mux(line, _WAITING, _RECEIVING))
                    m.d.sync += [left.eq(divisor - 1), bit.eq(1)]
            with m.Case(_RECEIVING):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.sync += [left.eq(divisor - 1), bit.eq(bit + 1)]
                    with m.If(bit < _STOP_BIT):
                        m.d.sync += byte.bit_select((bit - 1)[:3], 1).eq(line)
                    with m.Elif(line):
                        m.d.sync += [state.eq(_WAITING), given.eq(1)]
                    with m.Else():
                        m.d.sync += [state.eq(_RISING), broken.eq(byte == 0), damaged.eq(byte != 0)]
            with m.Case(_RISING):
                with m.If(line):
                    m.d.sync += state.eq(_WAITING)

        m.d.comb += [
            Assert(dut.o.valid == given),
            Assert(dut.break_ == broken),
            Assert(dut.error == damaged),
            Assert(~(given | broken) | (dut.o.payload == byte)),
            # What makes it inductive.
            Assert(line == delayed),
            Assert(inner["synchronizer.stage0"] == rx),
            Assert(inner["synchronizer.stage1"] == delayed),
            Assert(inner["fsm_state"] == state),
        ]
        count, elapsed, shift = inner["count"], inner["elapsed"], inner["shift"]
        at_work = Signal()
        m.d.comb += at_work.eq((state == _STARTING) | (state == _RECEIVING))
        m.d.comb += Assert(elapsed == (at_work & (left == 0)))
        with m.Switch(state):
            with m.Case(_STARTING):
                m.d.comb += Assert(left < divisor >> 1)
                m.d.comb += Assert(count == (2 + 2 * ((divisor >> 1) - left))[:DIVISOR_BITS])
            with m.Case(_RECEIVING):
                m.d.comb += Assert(left < divisor)
                m.d.comb += Assert(count == (divisor + 1 - left)[:DIVISOR_BITS])
                m.d.comb += Assert((bit > 0) & (bit <= _STOP_BIT))
            with m.Default():
                m.d.comb += Assert(count == 2)
        # The marker is before the bits that came, and nothing before the marker.
        came = Signal(range(_STOP_BIT))
        m.d.comb += came.eq(bit - 1)
        for number in range(_STOP_BIT):
            with m.If((state == _RECEIVING) & (came == number)):
                wanted = Cat(Const(1 << (8 - number), 9 - number), byte[:number])
                m.d.comb += Assert(shift == wanted)
        with m.If(given | broken | damaged):
            m.d.comb += Assert(shift == Cat(1, byte))


def is_sampled_right(divisor: int, mismatch: Fraction) -> bool:
    """Whether a sender that is off by ``mismatch`` is understood, wherever a cycle its edge falls.

    Of the samples that :class:`ReceiverSamplesInTheMiddle` says. What has to hold is linear in the
    sender's bit time and in the edge's place, so that the greatest and the least of both tell all
    between them. An edge at a clock edge may be seen in this cycle or in the next. As the stop bit
    is sampled before it ends, the receiver is back in time for the next start bit.
    """
    bit_cycles = divisor * (1 + mismatch)
    for late in (0, 1):
        for bit in range(_STOP_BIT + 1):
            sample = late + divisor // 2 + bit * divisor
            if not bit * bit_cycles < sample < (bit + 1) * bit_cycles:
                return False
    return True


class ReceiverUnderstands(Property):
    """Any characters, one after the other, from a clock that is off by ``mismatch``.

    From the line's edges on, without :func:`is_sampled_right`; time is in 1/50 cycles. The first
    edge comes at any time of a cycle, the others when the sender's clock says. Each byte comes
    once, in order, and no break or error.
    """

    FRACTION = 50

    def __init__(self, divisor: int, mismatch: float, receiver: type = UARTReceiver) -> None:
        self.divisor = divisor
        self.mismatch = mismatch
        self.receiver = receiver

    def build(self, m: Module) -> None:
        dut = self.receiver()
        m.submodules.dut = dut
        bit = round(self.divisor * self.FRACTION * (1 + self.mismatch))
        phase = AnyConst(range(self.FRACTION))

        # The line rests for a while, as the receiver's synchroniser has to see.
        begun = Signal(3)
        first_cycles = begun != 4
        m.d.sync += begun.eq(begun + first_cycles)
        # The line. ``left``: of the bit that is on it, from the next clock edge on.
        shift, bits = Signal(10, init=1), Signal(range(11))
        left = Signal(range(bit + self.FRACTION + 1))
        start, ends = Signal(), Signal()
        byte = AnySeq(8)
        m.d.comb += [
            Assume(phase < self.FRACTION),
            dut.rx.eq(shift[0]),
            dut.divisor.eq(self.divisor),
            ends.eq(left < self.FRACTION),
        ]
        with m.If((bits == 0) | ((bits == 1) & ends)):
            m.d.comb += start.eq(~first_cycles)
        with m.If(bits != 0):
            m.d.sync += left.eq(Mux(ends, left + bit - self.FRACTION, left - self.FRACTION))
            with m.If(ends):
                m.d.sync += [bits.eq(bits - 1), shift.eq(Cat(shift[1:], 1))]
        with m.If(start):
            m.d.sync += [bits.eq(10), shift.eq(Cat(Const(0, 1), byte, Const(1, 1)))]
            # After a pause the edge was anywhere in the cycle; later the sender's clock goes on.
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
            # No byte before its stop bit, and none later than two bits into the next character.
            Assert(~(dut.o.valid & ~owed_before) | (bits <= 1)),
            Assert(~owed_before | (bits >= 8)),
        ]


class TransmitterSendsCharacters(Property):
    """Each byte that is accepted: a start bit, its bits, a stop bit, each for ``divisor`` cycles.

    From the next cycle on, and in between the line is high. For any divisor from 2 on that does
    not change. A byte is accepted while the line rests, and in the last cycle of a stop bit.
    """

    def __init__(self, transmitter: type = UARTTransmitter) -> None:
        self.transmitter = transmitter

    def build(self, m: Module) -> None:
        dut = self.transmitter()
        m.submodules.dut, inner = open_up(dut)
        divisor = AnyConst(DIVISOR_BITS)
        m.d.comb += [
            dut.i.valid.eq(AnySeq(1)),
            dut.i.payload.eq(AnySeq(8)),
            dut.divisor.eq(divisor),
            Assume(divisor >= 2),
        ]
        sending, last = Signal(), Signal()
        bit = Signal(range(_STOP_BIT + 1))
        left = Signal(DIVISOR_BITS)
        character = Signal(10)
        m.d.comb += last.eq((bit == _STOP_BIT) & (left == 0))
        with m.If(sending):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.d.sync += [left.eq(divisor - 1), bit.eq(bit + 1)]
            with m.If(last):
                m.d.sync += [sending.eq(0), bit.eq(0)]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [sending.eq(1), left.eq(divisor - 1), bit.eq(0)]
            m.d.sync += character.eq(Cat(Const(0, 1), dut.i.payload, Const(1, 1)))
        m.d.comb += [
            Assert(dut.tx == (~sending | character.bit_select(bit, 1))),
            Assert(dut.i.ready == (~sending | last)),
            Assert(dut.idle == ~sending),
            # What makes it inductive.
            Assert(inner["busy"] == sending),
            Assert(inner["elapsed"] == (sending & (left == 0))),
            Assert(Mux(sending, inner["count"] == (divisor + 1 - left)[:DIVISOR_BITS], bit == 0)),
            Assert(sending | (inner["count"] == 2)),
            Assert(sending | (inner["shift"] == 1)),
            Assert(~sending | ((bit <= _STOP_BIT) & (left < divisor))),
            Assert(~sending | (character[0] == 0)),
            Assert(~sending | character[_STOP_BIT]),
        ]
        for number in range(_STOP_BIT + 1):
            with m.If(sending & (bit == number)):
                m.d.comb += Assert(inner["shift"] == character[number:])
