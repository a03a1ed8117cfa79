"""A UART, 8N1: bytes to and from a serial line, at a variable rate."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["DIVISOR_BITS", "UARTReceiver", "UARTTransmitter"]

#: Width of a divisor: enough for 9600 baud at clocks up to 39 MHz.
DIVISOR_BITS = 12
#: Initial bit count: not 0, because `elapsed` is registered and acts a cycle late.
_FIRST_COUNT = 2


class UARTReceiver(wiring.Component):
    """Receive bytes from a serial line.

    The receiver samples a bit once, ``divisor // 2`` cycles after its first cycle at the
    synchroniser's output. It ignores a start bit that is high again in its middle, which is a
    glitch. After a low stop bit, it waits for the line to rise before it looks for the next start
    bit.

    Latency: a byte is valid three cycles after the middle of its stop bit. Throughput: the line's.
    Back-pressure: none. Tolerance: ±2 % of difference in rate, for divisors of at least
    :data:`.timing.MIN_BIT_CYCLES`.

    Members
    -------
    rx : :py:`In(1)`
        The line; asynchronous.
    divisor : :py:`In(DIVISOR_BITS)`
        Clock cycles a bit, at least ``MIN_BIT_CYCLES``. It may change at any time; a character that
        is being received is then lost.
    o : :py:`Out(stream.Signature(8, always_ready=True))`
        Received bytes. A byte is valid for one cycle.
    break_ : :py:`Out(1)`
        High for one cycle: a zero byte with a low stop bit. ``o.payload`` is then zero.
    error : :py:`Out(1)`
        High for one cycle: any other byte with a low stop bit. It does not appear at ``o``.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "rx": In(1, init=1),
                "divisor": In(DIVISOR_BITS),
                "o": Out(stream.Signature(8, always_ready=True)),
                "break_": Out(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)

        # A marker runs ahead of the data bits; when it arrives at the end, the stop bit is next.
        marker = 1 << 8
        shift = Signal(9, init=marker)
        m.d.comb += self.o.payload.eq(shift[1:])

        # In the start bit the count rises in steps of two, and so reaches the divisor, except for
        # its lowest bit, in half the time: one comparator serves both cases. Its result is used a
        # cycle later, so the count begins a cycle ahead.
        count = Signal(DIVISOR_BITS, init=_FIRST_COUNT, reset_less=True)
        halved = Signal()
        elapsed = Signal()
        m.d.sync += elapsed.eq(
            (count[1:] == self.divisor[1:]) & (halved | (count[0] == self.divisor[0]))
        )
        restart = Signal()
        m.d.sync += count.eq(count + Cat(~halved, halved))
        with m.If(restart):
            m.d.sync += count.eq(_FIRST_COUNT)

        m.d.sync += [self.o.valid.eq(0), self.break_.eq(0), self.error.eq(0)]
        with m.FSM():
            with m.State("Wait for a start bit"):
                m.d.comb += [halved.eq(1), restart.eq(line)]
                with m.If(~line):
                    m.next = "Check the start bit"
            with m.State("Check the start bit"):
                m.d.comb += [halved.eq(1), restart.eq(elapsed)]
                m.d.sync += shift.eq(marker)
                with m.If(elapsed):
                    m.next = "Receive"
                    with m.If(line):
                        m.next = "Wait for a start bit"
            with m.State("Receive"):
                m.d.comb += restart.eq(elapsed)
                with m.If(elapsed):
                    with m.If(~shift[0]):
                        m.d.sync += shift.eq(Cat(shift[1:], line))
                    with m.Elif(line):
                        m.d.sync += self.o.valid.eq(1)
                        m.next = "Wait for a start bit"
                    with m.Else():
                        zero = ~self.o.payload.any()
                        m.d.sync += [self.break_.eq(zero), self.error.eq(~zero)]
                        m.next = "Wait for the line to rise"
            with m.State("Wait for the line to rise"):
                m.d.comb += restart.eq(1)
                with m.If(line):
                    m.next = "Wait for a start bit"

        return m


class UARTTransmitter(wiring.Component):
    """Send bytes to a serial line.

    Latency: the start bit begins in the cycle after a byte is accepted. Throughput: a byte in
    ``10 * divisor`` cycles, without gaps while there are bytes. Back-pressure: ``ready`` is low
    from the acceptance of a byte to the last cycle of its stop bit.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
    divisor : :py:`In(DIVISOR_BITS)`
        Clock cycles a bit, at least 2. It may change while ``idle`` is high.
    tx : :py:`Out(1)`
        The line, directly from a register.
    idle : :py:`Out(1)`
        High while the line is idle: the last stop bit has ended.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "divisor": In(DIVISOR_BITS),
                "tx": Out(1, init=1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Start bit, data, stop bit; zeros follow, so the stop bit also marks the end.
        shift = Signal(10, init=1)
        m.d.comb += self.tx.eq(shift[0])

        busy = Signal()
        count = Signal(DIVISOR_BITS, init=_FIRST_COUNT, reset_less=True)
        elapsed = Signal()
        stopping = Signal()
        m.d.sync += elapsed.eq((count == self.divisor) & busy)
        m.d.comb += [
            stopping.eq(~shift[1:].any()),
            self.i.ready.eq(~busy | (elapsed & stopping)),
            self.idle.eq(~busy),
        ]

        m.d.sync += count.eq(count + 1)
        with m.If(elapsed | ~busy):
            m.d.sync += count.eq(_FIRST_COUNT)
            with m.If(stopping):
                m.d.sync += busy.eq(self.i.valid)
                with m.If(self.i.valid):
                    m.d.sync += shift.eq(Cat(0, self.i.payload, 1))
            with m.Else():
                m.d.sync += shift.eq(shift[1:])

        return m
