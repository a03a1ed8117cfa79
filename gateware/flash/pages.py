"""Which page a command goes to, and whether it may be programmed."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..interface.flash import SECTOR_PAGES, FlashCommand, FlashPart

__all__ = ["PagePointer"]


class PagePointer(wiring.Component):
    """The page of the model area that comes next, and that it is erased.

    An erasure leaves the pointer at its sector's first page, and each page that is programmed moves
    it on. From the sector's last page, from a read or a failure on, no page is erased. So what is
    programmed was erased, and is programmed once.

    Latency: a cycle. No back-pressure.

    Parameters
    ----------
    part : FlashPart

    Members
    -------
    accept : :py:`In(1)`
        A command begins.
    kind : :py:`In(FlashCommand)`
    page : :py:`In(part.page_bits)`
        Of READ and ERASE.
    done : :py:`In(1)`
        The command was carried out, or the wake-up, which has erased nothing: ``present`` is then
        still low.
    fail : :py:`In(1)`
        It was not.
    present : :py:`In(1)`
    address : :py:`Out(16)`
        The page's address, without its lowest eight bits, which are zero. The top one is one: no
        command can name the flash's lower half.
    programming : :py:`Out(1)`
        The command is PROGRAM.
    erased : :py:`Out(1)`
    """

    def __init__(self, part: FlashPart) -> None:
        self.part = part
        super().__init__(
            {
                "accept": In(1),
                "kind": In(FlashCommand),
                "page": In(part.page_bits),
                "done": In(1),
                "fail": In(1),
                "present": In(1),
                "address": Out(16),
                "programming": Out(1),
                "erased": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        page = Signal(self.part.page_bits)
        in_sector = page[: SECTOR_PAGES.bit_length() - 1]
        m.d.comb += self.address.eq(Cat(page, Const(1, 1)))
        with m.If(self.accept):
            m.d.sync += self.programming.eq(self.kind == FlashCommand.PROGRAM)
            with m.If(self.kind != FlashCommand.PROGRAM):
                m.d.sync += [page.eq(self.page), self.erased.eq(0)]
                # A command that reads begins at its page, any other at its sector's.
                with m.If(self.kind != FlashCommand.READ):
                    m.d.sync += in_sector.eq(0)
        with m.If(self.done):
            m.d.sync += self.erased.eq(self.present & ~(self.programming & in_sector.all()))
            with m.If(self.programming):
                m.d.sync += in_sector.eq(in_sector + 1)
        with m.If(self.fail):
            m.d.sync += self.erased.eq(0)
        return m
