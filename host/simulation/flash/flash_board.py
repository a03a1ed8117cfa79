"""A board and the pads of its flash, with pins that any simulator can drive."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from gateware.flash.pins import FlashPads
from gateware.soc import Soc

__all__ = ["FlashBoard"]


class FlashBoard(wiring.Component):
    """What :mod:`.flash` is called with in every cycle, as single pins.

    Parameters
    ----------
    soc : Soc
        With a flash.

    Members
    -------
    rx, tx : :py:`In(1)`, :py:`Out(1)`
    flash_select, flash_clock : :py:`Out(1)`
    flash_o, flash_oe : :py:`Out(4)`
    flash_i : :py:`In(4)`
    """

    def __init__(self, soc: Soc) -> None:
        self._soc = soc
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "flash_select": Out(1),
                "flash_clock": Out(1),
                "flash_o": Out(4),
                "flash_oe": Out(4),
                "flash_i": In(4, init=15),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.soc = soc = self._soc
        m.submodules.pads = pads = FlashPads()
        connect(m, soc.flash, pads.controller)
        m.d.comb += [
            soc.rx.eq(self.rx),
            self.tx.eq(soc.tx),
            self.flash_select.eq(pads.pads.select),
            self.flash_clock.eq(pads.pads.clock),
            self.flash_o.eq(pads.pads.o),
            self.flash_oe.eq(pads.pads.oe),
            pads.pads.i.eq(self.flash_i),
        ]
        return m
