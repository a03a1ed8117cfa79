"""Where a board's clock comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal, Value
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from ..pll import EhxpllSettings, PllSettings

__all__ = ["Clock", "Ecp5Pll", "Ice40Pll"]


class Clock:
    """Makes the domain ``sync`` at a wanted frequency."""

    def frequency(self, wanted_hz: float) -> float:
        """The frequency that it really makes; raise ClockError if none is within 2 %."""
        raise NotImplementedError

    def add(self, m: Module, platform: Any, wanted_hz: float) -> None:
        """Add the domain to ``m``, held in reset until the clock is stable."""
        raise NotImplementedError


@dataclass(frozen=True)
class Ice40Pll(Clock):
    """The PLL beside the clock's pin.

    Attributes
    ----------
    resource : str
        The platform's name of the clock input.
    input_hz : int
    pad : bool
        It is the PLL's own pin.
    """

    resource: str
    input_hz: int
    pad: bool = True

    def frequency(self, wanted_hz: float) -> float:
        return PllSettings.nearest(self.input_hz, wanted_hz).output_hz

    def add(self, m: Module, platform: Any, wanted_hz: float) -> None:
        settings = PllSettings.nearest(self.input_hz, wanted_hz)
        if self.pad:
            cell = "SB_PLL40_PAD"
            source = {"i_PACKAGEPIN": platform.request(self.resource, dir="-").io}
        else:
            cell = "SB_PLL40_CORE"
            source = {"i_REFERENCECLK": _input(m, platform, self.resource)}
        m.domains.sync = domain = ClockDomain("sync")
        locked = Signal()
        m.submodules.pll = Instance(
            cell,
            # Only for those who read the netlist: what the dividers divide.
            a_INPUT_HZ=self.input_hz,
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(settings.divr, 4),
            p_DIVF=Const(settings.divf, 7),
            p_DIVQ=Const(settings.divq, 3),
            # Range 1: a comparator frequency of 10 to 17 MHz.
            p_FILTER_RANGE=Const(1, 3),
            **source,
            i_RESETB=Const(1, 1),
            i_BYPASS=Const(0, 1),
            o_LOCK=locked,
            o_PLLOUTGLOBAL=domain.clk,
        )
        # Block RAM reads as zero for some microseconds after configuration: the reset lasts until
        # long after, as the PLL takes longer to lock.
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")


def _input(m: Module, platform: Any, resource: str) -> Value:
    m.submodules.clock_pin = buffer = io.Buffer("i", platform.request(resource, dir="-"))
    return buffer.i


@dataclass(frozen=True)
class Ecp5Pll(Clock):
    """An EHXPLLL, and a gate that opens when it has locked.

    The domain has no reset: until the gate opens, registers keep what the configuration gave them,
    which is what a reset would give. A reset would be a term in the engine's own reset, which
    reaches across the device: it was the critical path.

    Attributes
    ----------
    resource : str
        The platform's name of the clock input.
    input_hz : int
    """

    resource: str
    input_hz: int

    def frequency(self, wanted_hz: float) -> float:
        return EhxpllSettings.nearest(self.input_hz, wanted_hz).output_hz

    def add(self, m: Module, platform: Any, wanted_hz: float) -> None:
        settings = EhxpllSettings.nearest(self.input_hz, wanted_hz)
        clock = _input(m, platform, self.resource)
        m.domains.pll = ungated = ClockDomain("pll", local=True)
        m.domains.sync = domain = ClockDomain("sync", reset_less=True)
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=settings.clki_div,
            p_CLKFB_DIV=settings.clkfb_div,
            p_CLKOP_DIV=settings.clkop_div,
            p_CLKOP_CPHASE=settings.clkop_div - 1,
            p_CLKOP_ENABLE="ENABLED",
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=clock,
            i_CLKFB=ungated.clk,
            i_RST=Const(0, 1),
            i_STDBY=Const(0, 1),
            o_CLKOP=ungated.clk,
            o_LOCK=locked,
        )
        m.submodules.reset = ResetSynchronizer(~locked, domain="pll")
        m.submodules.gate = Instance(
            "DCCA", i_CLKI=ungated.clk, i_CE=~ungated.rst, o_CLKO=domain.clk
        )
