"""The flash controller's pins: whatever is commanded, whatever the flash answers, and however data
come and words are taken."""

from __future__ import annotations

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal

from gateware.flash.controller import FlashController
from gateware.flash.script import Kind, flash_script
from gateware.interface.flash import SECTOR_PAGES, FlashPart
from tests.formal.prover import Property, open_up

#: Commands that change nothing which outlives power.
_HARMLESS = (0xFF, 0xAB, 0x05, 0x9F, 0x06, 0x50, 0x35, 0x31, 0xEB)
_ERASE, _PROGRAM = 0x20, 0x02
#: Bits of a program command with a page of one byte.
_PROGRAM_BITS = 40
#: Of the controller's state machine.
_STATES = 11
_SECTOR_BITS = SECTOR_PAGES.bit_length() - 1


class FlashIsWrittenWithinBounds(Property):
    """An onlooker who sees nothing but select, clock and IO0, and reads them as the flash does.

    It asserts: every selection is a harmless command, or

    - an erasure (20h) of exactly 32 bits, or a program command (02h) of exactly a page, whose
      address has the top bit set and begins a page;
    - a page that is programmed lies in the sector that was erased last, and was not programmed
      since.

    The proof's pages have one byte: how long a page is decides how often DATA repeats, and
    nothing else. The rest of what is asserted makes it inductive: it ties what the onlooker saw
    to the controller's script.
    """

    def __init__(self, part: FlashPart, controller: type = FlashController) -> None:
        self.part = part
        self.controller = controller

    def build(self, m: Module) -> None:
        dut = self.controller(self.part, page_bytes=1)
        m.submodules.dut, inner = open_up(dut)
        m.d.comb += [
            dut.pins.i.eq(AnySeq(4)),
            dut.command.valid.eq(AnySeq(1)),
            dut.command.payload.eq(AnySeq(len(dut.command.payload.as_value()))),
            dut.data.valid.eq(AnySeq(1)),
            dut.data.payload.eq(AnySeq(8)),
            dut.words.ready.eq(AnySeq(1)),
        ]
        self._watch(m, dut)
        self._tie(m, dut, inner)

    def _watch(self, m: Module, dut) -> None:
        # The selection so far: its first 32 bits, and how many, up to 41.
        self.bits, self.count = Signal(32), Signal(6)
        selected, clock = dut.pins.select, dut.pins.clock
        with m.If(~selected):
            m.d.sync += [self.bits.eq(0), self.count.eq(0)]
        with m.Elif(clock):
            with m.If(self.count < 32):
                m.d.sync += self.bits.eq(Cat(dut.pins.o[0], self.bits))
            with m.If(self.count <= _PROGRAM_BITS):
                m.d.sync += self.count.eq(self.count + 1)
        opcode = Signal(8)
        ended = Signal()
        was_selected = Signal()
        m.d.sync += was_selected.eq(selected)
        m.d.comb += [
            ended.eq(was_selected & ~selected),
            opcode.eq(Mux(self.count < 32, self.bits >> (self.count - 8)[:6], self.bits[24:])),
        ]
        m.d.comb += Assert(selected | ~clock)

        address = self.bits[:24]
        page, sector = address[8:24], address[8 + _SECTOR_BITS : 24]
        top = (self.part.area_address >> 8).bit_length() - 1
        # What was erased last, and what of it was programmed since.
        self.known, self.sector = Signal(), Signal(len(sector))
        self.programmed = Signal(SECTOR_PAGES)
        erasing, programming = Signal(), Signal()
        at_bit = (1 << page[:_SECTOR_BITS])[:SECTOR_PAGES]
        m.d.comb += [
            erasing.eq(ended & (opcode == _ERASE)),
            programming.eq(ended & (opcode == _PROGRAM)),
        ]
        with m.If(ended):
            harmless = Cat(opcode == code for code in _HARMLESS).any()
            m.d.comb += [
                Assert(self.count >= 8),
                Assert(harmless | erasing | programming),
                # The one register that is written: its volatile quad bit.
                Assert((opcode != 0x31) | ((self.count == 16) & (self.bits[:8] == 2))),
            ]
        with m.If(erasing | programming):
            m.d.comb += [
                Assert(page[top]),
                Assert((page >> (top + 1)) == 0),
                Assert(address[:8] == 0),
                Assert(self.count == Mux(erasing, 32, _PROGRAM_BITS)),
            ]
        with m.If(erasing):
            m.d.sync += [self.known.eq(1), self.sector.eq(sector), self.programmed.eq(0)]
        with m.If(programming):
            m.d.comb += [
                Assert(self.known & (sector == self.sector)),
                Assert((self.programmed & at_bit) == 0),
            ]
            m.d.sync += self.programmed.eq(self.programmed | at_bit)

    def _tie(self, m: Module, dut, inner) -> None:
        script = flash_script(self.part, continuous=False)
        steps = script.steps
        data_at = next(at for at, step in enumerate(steps) if step.kind is Kind.DATA)
        at, left, page = inner["at"], inner["shifter.left"], inner["pages.page"]
        writes, erased, wait = inner["pages.programming"], inner["pages.erased"], inner["wait"]
        bits, count, selected = self.bits, self.count, dut.pins.select
        in_sector = page[:_SECTOR_BITS]
        state = inner["fsm_state"]
        codes = {state.decoder(code).split("/")[0]: code for code in range(_STATES)}

        def within(*names: str):
            return Cat(state == codes[name] for name in names).any()

        # What each step says, the four steps with which its selection begins, and the bits before.
        address = Cat(page, Const(1, 1))
        sent = {
            Kind.ADDRESS_HIGH: address[8:],
            Kind.ADDRESS_LOW: address[:8],
            Kind.OPCODE: Mux(writes, _PROGRAM, _ERASE),
        }
        says = [Cat(sent.get(step.kind, Const(step.byte, 8)))[:8] for step in steps]
        selections: list[list[int]] = [[]]
        for index, step in enumerate(steps):
            selections[-1].append(index)
            if step.end or step.kind is Kind.WAIT:
                selections.append([])
        plans, before = [], []
        for selection in filter(None, selections):
            first = [says[index] for index in selection[:4]]
            first += [Const(0, 8)] * (4 - len(first))
            for place in range(len(selection)):
                plans.append(Cat(reversed(first)))
                before.append(Const(8 * place, 6))

        def of_step(values, width: int) -> Signal:
            chosen = Signal(width)
            with m.Switch(at):
                for index, value in enumerate(values):
                    with m.Case(index):
                        m.d.comb += chosen.eq(value)
            return chosen

        plan, base, said = of_step(plans, 32), of_step(before, 6), of_step(says, 8)
        kind = of_step([step.kind for step in steps], 4)
        reads, polls, waits = at >= script.read, kind == Kind.POLL, kind == Kind.WAIT
        skips = (kind == Kind.DATA) & ~writes

        # The states, and when the flash is selected in them.
        m.d.comb += [
            Assert(at < len(steps)),
            Assert(within(*codes)),
            Assert(~within("Idle", "Leave", "Gap", "Wait") | ~selected),
            Assert(~within("Shift", "Settle", "Stream") | (selected & ~waits)),
            Assert(~within("Next") | (selected ^ waits)),
            Assert(~within("Fetch", "Step") | (selected == (base != 0))),
            Assert(Mux(within("Wait"), waits, inner["count"] == 0)),
            Assert(~within("Stream") | (kind == Kind.STREAM)),
            Assert(~within("Shift", "Settle") | (kind != Kind.STREAM)),
            Assert(~within("Next") | (kind != Kind.STREAM)),
            Assert(~within("Shift", "Settle") | ~skips),
            Assert(~within("Gap") | (base == 0)),
            Assert(~within("Shift") | (left <= Mux(inner["steps.quad"], 1, 7))),
        ]
        # The step is the table's, once it had the time.
        m.d.comb += Assert(
            within("Idle", "Fail", "Leave", "Fetch")
            | (within("Gap") & (wait == 0))
            | (
                (inner["steps.kind"] == kind)
                & (inner["steps.byte"] == of_step([step.byte for step in steps], 8))
                & (inner["steps.quad"] == of_step([step.quad for step in steps], 1))
                & (inner["steps.end"] == of_step([step.end for step in steps], 1))
                & (inner["steps.last"] == of_step([step.last for step in steps], 1))
            )
        )
        # Bits seen are the plan's, as many as the state says. Of a read, the opcode.
        settling = within("Gap", "Leave") & (wait == 0)
        due = Signal(7)
        m.d.comb += due.eq(base)
        with m.If(within("Shift")):
            m.d.comb += due.eq(base + 7 - left)
        with m.Elif(within("Settle", "Next", "Fail") & ~waits & ~skips):
            m.d.comb += due.eq(base + 8)
        seen = Mux(count < 32, plan >> (32 - count)[:6], plan)
        opened = reads & (at != script.read) & ~within("Idle", "Leave")
        first = Mux(count < 32, bits >> (count - 8)[:6], bits[24:])[:8]
        m.d.comb += [
            Assert(count <= _PROGRAM_BITS + 1),
            Assert(selected | settling | (count == 0)),
            Assert((count != 0) | (bits == 0)),
            Assert(~selected | opened | polls | (count == due)),
            Assert(~selected | ~polls | (count >= base)),
            Assert(~selected | opened | (bits == seen)),
            Assert(~opened | ((count >= 8) & (first == 0xEB))),
            Assert(
                ~within("Shift")
                | opened
                | (kind == Kind.DATA)
                | (inner["shifter.bits"] == (said << (7 - left)[:3])[:8])
            ),
        ]
        # What the controller knows of the sector is what the onlooker saw.
        running = ~within("Idle", "Fail", "Leave")
        writing = running & (at >= script.write) & ~reads
        past = writing & (at > data_at) & ~(within("Gap") & (wait == 0) & (at == data_at + 1))
        there = self.known & (self.sector == address[_SECTOR_BITS:])
        mask = (1 << (in_sector + (past & writes)))[:SECTOR_PAGES] - 1
        m.d.comb += [
            Assert(~running | (at >= script.write) | (~erased & ~dut.present & ~writes)),
            Assert(~running | (at < script.write) | dut.present),
            Assert(~running | ~reads | ~erased),
            Assert(~writing | (writes == erased)),
            Assert(~writing | writes | (in_sector == 0)),
            Assert(within("Fail") | ~erased | (there & (self.programmed == mask[:SECTOR_PAGES]))),
            Assert(~past | writes | (there & (self.programmed == 0))),
        ]
