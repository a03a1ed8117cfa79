"""The flash controller: erases, programs and streams the model area."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.flash import PAGE_BYTES, SECTOR_PAGES, FlashCommand, FlashPart
from .pins import LATENCY, FlashPinsSignature
from .script import ERASE_SECTOR, PROGRAM_PAGE, Kind, flash_script

__all__ = ["FlashController"]

#: Cycles between two selections: 50 ns and more, to 80 MHz.
_GAP_CYCLES = 4


class FlashController(wiring.Component):
    """Carries out commands on the model area, the upper half of the flash.

    After reset it wakes the flash and compares its ID. If anything is not as expected, ``present``
    stays low and every command fails at once.

    What it cannot do, whatever commands come, is built in rather than checked. The top bit of
    each address is a constant. There is no address to a program command: an erasure leaves
    ``page`` at the sector's first page, each program command goes to ``page`` and moves it on, and
    from the sector's last page, from a read, a failure or a reset on there is no page to program
    until the next erasure. So what is programmed was erased, and is programmed once.

    Latency of a read: 23 clocks until the first nibble, 15 in continuous mode, and some cycles
    between the bytes. Throughput: then a nibble a cycle, without a break while words are taken
    within a cycle of being offered. Back-pressure: the flash's clock stops while two words wait;
    no nibble is lost and no command begun anew.

    Parameters
    ----------
    part : FlashPart
    word_bytes : int
        Bytes of a word that is read; 2 or more.
    continuous : bool
        Leave out a read's command byte where the one before was a read as well. The flash then
        waits for an address when the FPGA is configured anew without a loss of power, and some
        FPGAs' loaders do not get it out of that.
    page_bytes : int
        Bytes that a program command takes; for proofs only, which are shorter with shorter pages.

    Members
    -------
    pins : :py:`Out(FlashPinsSignature())`
    command : :py:`In(stream.Signature(StructLayout))`
        ``kind``, a :class:`.FlashCommand`, and ``page``: of the model area, for READ; for
        ERASE a page of the sector. A command ends a read; its words that were not taken are lost.
    data : :py:`In(stream.Signature(8))`
        What PROGRAM programs, 256 bytes. They may come slowly.
    words : :py:`Out(stream.Signature(8 * word_bytes))`
        What READ reads, first byte lowest.
    present : :py:`Out(1)`
        There is a flash, and it is the part.
    busy : :py:`Out(1)`
        A command, or the wake-up, is not finished. A read counts as finished once it streams.
    streaming : :py:`Out(1)`
        READ was the last command, and words come.
    failed : :py:`Out(1)`
        The last command was not carried out: no flash, nothing erased, or write-enable refused.

    Raises
    ------
    ValueError
        If a word has fewer than two bytes.
    """

    def __init__(
        self,
        part: FlashPart,
        *,
        word_bytes: int = 2,
        continuous: bool = False,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        if word_bytes < 2:
            raise ValueError(
                f"A word has two bytes or more, because two words must outlast the pads' latency, "
                f"not {word_bytes!r}"
            )
        self.part = part
        self.word_bytes = word_bytes
        self.continuous = continuous
        self.page_bytes = page_bytes
        command = data.StructLayout({"kind": FlashCommand, "page": part.page_bits})
        super().__init__(
            {
                "pins": Out(FlashPinsSignature()),
                "command": In(stream.Signature(command)),
                "data": In(stream.Signature(8)),
                "words": Out(stream.Signature(8 * word_bytes)),
                "present": Out(1),
                "busy": Out(1, init=1),
                "streaming": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        script = flash_script(self.part, continuous=self.continuous)

        # The step, from a table, a cycle after its number.
        at = Signal(range(len(script.steps)))
        kind = Signal(Kind)
        byte = Signal(8)
        exact = Signal()
        quad = Signal()
        silent = Signal()
        end = Signal()
        last = Signal()
        with m.Switch(at):
            for index, step in enumerate(script.steps):
                with m.Case(index):
                    m.d.sync += [
                        kind.eq(step.kind),
                        byte.eq(step.byte),
                        exact.eq(step.exact),
                        quad.eq(step.quad),
                        silent.eq(step.silent),
                        end.eq(step.end),
                        last.eq(step.last),
                    ]

        # The address, of which the lowest eight bits are zero and the top one is one.
        page = Signal(self.part.page_bits)
        address = Signal(16)
        m.d.comb += address.eq(Cat(page, Const(1, 1)))
        in_sector = page[: SECTOR_PAGES.bit_length() - 1]
        programming = Signal()
        erased = Signal()
        streaming = Signal()
        reading_again = Signal()

        # Bits out and in.
        shift = Signal(8)
        left = Signal(3)
        pulse = Signal()
        taking = Signal(LATENCY)
        received = Signal(8 * self.word_bytes)
        count = Signal(9)  # bytes of a page; cycles of a wait
        wait = Signal(range(_GAP_CYCLES))
        m.d.comb += [
            self.pins.clock.eq(pulse),
            self.pins.o.eq(
                Cat(Mux(quad, shift[4], shift[7]), shift[5], shift[6] | ~quad, shift[7] | ~quad)
            ),
            self.pins.oe.eq(Mux(silent, 0, Cat(1, quad, 1, 1))),
        ]
        m.d.sync += taking.eq(Cat(pulse, taking))
        with m.If(taking[-1]):
            with m.If(quad):
                m.d.sync += received.eq(Cat(self.pins.i, received))
            with m.Else():
                m.d.sync += received[:8].eq(Cat(self.pins.i[1], received))

        more = self._add_words(m, streaming, received)

        accepted = self.command.p.kind
        judged = Signal()
        nothing = Signal()
        m.d.sync += [
            judged.eq(Cat((r ^ b) & (b | exact) for r, b in zip(received[:8], byte)) == 0),
            nothing.eq(received[:8].all()),
        ]

        with m.FSM(init="Fetch"):
            with m.State("Idle"):
                m.d.comb += self.command.ready.eq(1)
                with m.If(self.command.valid):
                    m.d.sync += [self.busy.eq(1), self.failed.eq(0)]
                    m.d.sync += programming.eq(accepted == FlashCommand.PROGRAM)
                    with m.If(accepted != FlashCommand.PROGRAM):
                        m.d.sync += [page.eq(self.command.p.page), erased.eq(0)]
                    m.next = "Fetch"
                    with m.If(accepted == FlashCommand.READ):
                        m.d.sync += at.eq(Mux(reading_again, script.read_again, script.read))
                        m.d.sync += reading_again.eq(int(self.continuous))
                    with m.Else():
                        m.d.sync += [at.eq(script.write), reading_again.eq(0)]
                        with m.If(accepted != FlashCommand.PROGRAM):
                            m.d.sync += in_sector.eq(0)
                    with m.If(~self.present | ((accepted == FlashCommand.PROGRAM) & ~erased)):
                        m.next = "Fail"
            with m.State("Fetch"):
                m.next = "Step"
            with m.State("Step"):
                m.d.sync += left.eq(Mux(quad, 1, 7))
                m.d.sync += self.pins.select.eq(kind != Kind.WAIT)
                with m.Switch(kind):
                    with m.Case(Kind.ADDRESS_HIGH):
                        m.d.sync += shift.eq(address[8:])
                    with m.Case(Kind.ADDRESS_LOW):
                        m.d.sync += shift.eq(address[:8])
                    with m.Case(Kind.DATA):
                        m.d.comb += self.data.ready.eq(programming)
                        m.d.sync += shift.eq(self.data.payload)
                    with m.Case(Kind.OPCODE):
                        m.d.sync += shift.eq(Mux(programming, PROGRAM_PAGE, ERASE_SECTOR))
                    with m.Default():
                        m.d.sync += shift.eq(byte)
                with m.If(kind == Kind.STREAM):
                    m.next = "Stream"
                with m.Elif(kind == Kind.WAIT):
                    m.next = "Wait"
                with m.Elif((kind == Kind.DATA) & ~programming):
                    m.next = "Next"
                with m.Elif((kind != Kind.DATA) | self.data.valid):
                    m.next = "Shift"
            with m.State("Shift"):
                m.d.comb += pulse.eq(1)
                m.d.sync += [left.eq(left - 1), wait.eq(0)]
                m.d.sync += shift.eq(Mux(quad, shift << 4, shift << 1))
                with m.If(left == 0):
                    m.next = "Settle"
            with m.State("Settle"):
                # What was clocked in last is there after the pads' latency, and then judged.
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == LATENCY + 1):
                    m.next = "Next"
                    with m.Switch(kind):
                        with m.Case(Kind.EXPECT):
                            with m.If(~judged):
                                m.next = "Fail"
                        with m.Case(Kind.POLL):
                            with m.If(nothing):
                                m.next = "Fail"
                            with m.Elif(received[0]):
                                m.next = "Step"
                        with m.Case(Kind.DATA):
                            m.d.sync += count.eq(count + 1)
                            with m.If(count == self.page_bytes - 1):
                                m.d.sync += count.eq(0)
                            with m.Else():
                                m.next = "Step"
            with m.State("Wait"):
                m.d.sync += count.eq(count + 1)
                with m.If(count.all()):
                    m.next = "Next"
            with m.State("Next"):
                m.d.sync += [at.eq(at + 1), wait.eq(0)]
                m.next = "Fetch"
                with m.If(end):
                    m.d.sync += self.pins.select.eq(0)
                    m.next = "Gap"
                with m.If(last):
                    m.d.sync += [self.present.eq(1), self.busy.eq(0)]
                    m.next = "Leave"
                    # The wake-up ends here as well, and has erased nothing.
                    m.d.sync += erased.eq(self.present & ~(programming & in_sector.all()))
                    with m.If(programming):
                        m.d.sync += in_sector.eq(in_sector + 1)
            with m.State("Gap"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == _GAP_CYCLES - 1):
                    m.next = "Step"
            with m.State("Stream"):
                m.d.comb += [streaming.eq(~self.command.valid), pulse.eq(more)]
                m.d.comb += self.streaming.eq(1)
                m.d.sync += self.busy.eq(0)
                with m.If(self.command.valid):
                    m.d.sync += [self.pins.select.eq(0), wait.eq(0)]
                    m.next = "Leave"
            with m.State("Fail"):
                m.d.sync += [self.failed.eq(1), erased.eq(0), self.busy.eq(0)]
                m.d.sync += [self.pins.select.eq(0), wait.eq(0)]
                m.next = "Leave"
            with m.State("Leave"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == _GAP_CYCLES - 1):
                    m.next = "Idle"
        return m

    def _add_words(self, m: Module, streaming: Signal, received: Signal) -> Signal:
        """Words from what is received; returns whether to clock in a nibble in this cycle.

        A word is begun only if the one before the last is taken: so one may be offered and one
        complete behind it, and none is ever overwritten.
        """
        nibbles = 2 * self.word_bytes
        nibble = Signal(range(nibbles))
        waiting = Signal(range(3))
        more = Signal()
        begun = Signal()
        taken = Signal()
        finished = Signal(LATENCY)
        full = Signal()
        m.d.comb += [
            begun.eq((nibble == 0) & (waiting != 2)),
            more.eq(streaming & (begun | (nibble != 0))),
            taken.eq(self.words.valid & self.words.ready),
        ]
        with m.If(more):
            m.d.sync += nibble.eq(Mux(nibble == nibbles - 1, 0, nibble + 1))
        with m.If(begun & ~taken):
            m.d.sync += waiting.eq(waiting + 1)
        with m.Elif(taken & ~begun):
            m.d.sync += waiting.eq(waiting - 1)
        m.d.sync += finished.eq(Cat(more & (nibble == nibbles - 1), finished))
        with m.If(finished[-1]):
            m.d.sync += full.eq(1)
        with m.If(self.words.ready):
            m.d.sync += self.words.valid.eq(0)
        with m.If(full & (~self.words.valid | self.words.ready)):
            m.d.sync += [self.words.valid.eq(1), full.eq(finished[-1])]
            # The first byte came first and is now the highest.
            m.d.sync += self.words.payload.eq(
                Cat(received.word_select(at, 8) for at in reversed(range(self.word_bytes)))
            )
        with m.If(~streaming):
            m.d.sync += [nibble.eq(0), waiting.eq(0), finished.eq(0), full.eq(0)]
            m.d.sync += self.words.valid.eq(0)
        return more
