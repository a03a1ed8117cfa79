"""The flash controller: erases, programs and streams the model area."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..interface.flash import PAGE_BYTES, FlashCommand, FlashPart
from .pages import PagePointer
from .pins import LATENCY, FlashPinsSignature
from .script import ERASE_SECTOR, PROGRAM_PAGE, Kind, Script, flash_script
from .shifter import FlashShifter
from .steps import StepTable
from .words import WordAssembler

__all__ = ["FlashController"]

#: Cycles between two selections: 50 ns and more, to 80 MHz.
_GAP_CYCLES = 4


class FlashController(wiring.Component):
    """Carries out commands on the model area, the upper half of the flash.

    After reset it wakes the flash and compares its ID. If anything is not as expected, ``present``
    stays low and every command fails at once.

    What it cannot do, whatever commands come, is built in rather than checked: the page that is
    erased or programmed is a :class:`.PagePointer`'s, whose addresses lie in the model area and
    which knows whether the page is erased. A program command has no address.

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
        m.submodules.steps = step = StepTable(script)
        m.submodules.pages = pages = PagePointer(self.part)
        m.submodules.shifter = shifter = FlashShifter(8 * self.word_bytes)
        m.submodules.assembler = assembler = WordAssembler(self.word_bytes)
        connect(m, assembler.words, flipped(self.words))
        m.d.comb += [
            pages.kind.eq(self.command.p.kind),
            pages.page.eq(self.command.p.page),
            pages.present.eq(self.present),
            shifter.quad.eq(step.quad),
            shifter.silent.eq(step.silent),
            shifter.byte.eq(self._byte(m, step, pages)),
            shifter.i.eq(self.pins.i),
            shifter.clock.eq(assembler.more),
            assembler.received.eq(shifter.received),
            self.pins.clock.eq(shifter.pulse),
            self.pins.o.eq(shifter.o),
            self.pins.oe.eq(shifter.oe),
        ]
        self._add_states(m, script, step, pages, shifter, assembler)
        return m

    def _add_states(
        self,
        m: Module,
        script: Script,
        step: StepTable,
        pages: PagePointer,
        shifter: FlashShifter,
        assembler: WordAssembler,
    ) -> None:
        """The state machine. It is long because its eleven states share ``wait`` and ``at``; read
        from top to bottom, it is what happens to a command and its steps."""
        at = Signal.like(step.at)
        m.d.comb += step.at.eq(at)
        accepted = self.command.p.kind
        received = shifter.received[:8]
        reading_again = Signal()
        count = Signal(9)  # bytes of a page; cycles of a wait
        wait = Signal(range(_GAP_CYCLES))
        judged = Signal()
        nothing = Signal()
        m.d.sync += [
            judged.eq(Cat((r ^ b) & (b | step.exact) for r, b in zip(received, step.byte)) == 0),
            nothing.eq(received.all()),
        ]

        with m.FSM(init="Fetch"):
            with m.State("Idle"):
                m.d.comb += self.command.ready.eq(1)
                with m.If(self.command.valid):
                    m.d.comb += pages.accept.eq(1)
                    m.d.sync += [self.busy.eq(1), self.failed.eq(0)]
                    m.next = "Fetch"
                    with m.If(accepted == FlashCommand.READ):
                        m.d.sync += at.eq(Mux(reading_again, script.read_again, script.read))
                        m.d.sync += reading_again.eq(int(self.continuous))
                    with m.Else():
                        m.d.sync += [at.eq(script.write), reading_again.eq(0)]
                    programs = accepted == FlashCommand.PROGRAM
                    with m.If(~self.present | (programs & ~pages.erased)):
                        m.next = "Fail"
            with m.State("Fetch"):
                m.next = "Step"
            with m.State("Step"):
                m.d.comb += shifter.load.eq(1)
                m.d.comb += self.data.ready.eq((step.kind == Kind.DATA) & pages.programming)
                m.d.sync += self.pins.select.eq(step.kind != Kind.WAIT)
                with m.If(step.kind == Kind.STREAM):
                    m.next = "Stream"
                with m.Elif(step.kind == Kind.WAIT):
                    m.next = "Wait"
                with m.Elif((step.kind == Kind.DATA) & ~pages.programming):
                    m.next = "Next"
                with m.Elif((step.kind != Kind.DATA) | self.data.valid):
                    m.next = "Shift"
            with m.State("Shift"):
                m.d.comb += shifter.shift.eq(1)
                m.d.sync += wait.eq(0)
                with m.If(shifter.last):
                    m.next = "Settle"
            with m.State("Settle"):
                # What was clocked in last is there after the pads' latency, and then judged.
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == LATENCY + 1):
                    m.next = "Next"
                    with m.Switch(step.kind):
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
                with m.If(step.end):
                    m.d.sync += self.pins.select.eq(0)
                    m.next = "Gap"
                with m.If(step.last):
                    # The wake-up ends here as well.
                    m.d.comb += pages.done.eq(1)
                    m.d.sync += [self.present.eq(1), self.busy.eq(0)]
                    m.next = "Leave"
            with m.State("Gap"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == _GAP_CYCLES - 1):
                    m.next = "Step"
            with m.State("Stream"):
                m.d.comb += [assembler.streaming.eq(~self.command.valid), self.streaming.eq(1)]
                m.d.sync += self.busy.eq(0)
                with m.If(self.command.valid):
                    m.d.sync += [self.pins.select.eq(0), wait.eq(0)]
                    m.next = "Leave"
            with m.State("Fail"):
                m.d.comb += pages.fail.eq(1)
                m.d.sync += [self.failed.eq(1), self.busy.eq(0)]
                m.d.sync += [self.pins.select.eq(0), wait.eq(0)]
                m.next = "Leave"
            with m.State("Leave"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == _GAP_CYCLES - 1):
                    m.next = "Idle"

    def _byte(self, m: Module, step: StepTable, pages: PagePointer) -> Signal:
        """What the step sends."""
        byte = Signal(8)
        with m.Switch(step.kind):
            with m.Case(Kind.ADDRESS_HIGH):
                m.d.comb += byte.eq(pages.address[8:])
            with m.Case(Kind.ADDRESS_LOW):
                m.d.comb += byte.eq(pages.address[:8])
            with m.Case(Kind.DATA):
                m.d.comb += byte.eq(self.data.payload)
            with m.Case(Kind.OPCODE):
                m.d.comb += byte.eq(Mux(pages.programming, PROGRAM_PAGE, ERASE_SECTOR))
            with m.Default():
                m.d.comb += byte.eq(step.byte)
        return byte
