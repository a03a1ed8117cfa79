"""Where a board's clock comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal, Value
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from model.errors import EyespotError

__all__ = ["Clock", "ClockError", "Ecp5Pll", "Ice40Pll"]

# Lattice iCE40 LP/HX/UP family data sheets, PLL timing.
_VCO_MIN_HZ, _VCO_MAX_HZ = 533_000_000, 1_066_000_000
_COMPARATOR_MIN_HZ, _COMPARATOR_MAX_HZ = 10_000_000, 133_000_000


class ClockError(EyespotError):
    """The clock asked for cannot be made."""


@dataclass(frozen=True)
class PllSettings:
    """Dividers of an SB_PLL40 in simple feedback."""

    input_hz: int
    divr: int
    divf: int
    divq: int

    @property
    def output_hz(self) -> float:
        return self.input_hz * (self.divf + 1) / ((1 << self.divq) * (self.divr + 1))


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

    def settings(self, wanted_hz: float) -> PllSettings:
        """The dividers that come nearest to ``wanted_hz``.

        Raises
        ------
        ClockError
            If none come within 2 %.
        """
        candidates = [
            PllSettings(self.input_hz, divr, divf, divq)
            for divr in range(16)
            if _COMPARATOR_MIN_HZ <= self.input_hz / (divr + 1) <= _COMPARATOR_MAX_HZ
            for divf in range(128)
            if _VCO_MIN_HZ <= self.input_hz * (divf + 1) / (divr + 1) <= _VCO_MAX_HZ
            for divq in range(1, 7)
        ]
        return _nearest(candidates, self.input_hz, wanted_hz)

    def frequency(self, wanted_hz: float) -> float:
        return self.settings(wanted_hz).output_hz

    def add(self, m: Module, platform: Any, wanted_hz: float) -> None:
        settings = self.settings(wanted_hz)
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


# Lattice "ECP5 and ECP5-5G Family Data Sheet" (FPGA-DS-02012), sysCLOCK PLL timing.
_ECP5_VCO_MIN_HZ, _ECP5_VCO_MAX_HZ = 400_000_000, 800_000_000
_ECP5_COMPARATOR_MIN_HZ = 3_125_000
_ECP5_DIVIDERS = range(1, 129)


@dataclass(frozen=True)
class EhxpllSettings:
    """Dividers of an EHXPLLL whose output CLKOP feeds back."""

    input_hz: int
    clki_div: int
    clkfb_div: int
    clkop_div: int

    @property
    def output_hz(self) -> float:
        return self.input_hz * self.clkfb_div / self.clki_div


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

    def settings(self, wanted_hz: float) -> EhxpllSettings:
        """The dividers that come nearest to ``wanted_hz``, the smallest of them.

        Raises
        ------
        ClockError
            If none come within 2 %.
        """
        candidates = []
        for clki_div in _ECP5_DIVIDERS:
            if self.input_hz / clki_div < _ECP5_COMPARATOR_MIN_HZ:
                break
            for clkfb_div in _ECP5_DIVIDERS:
                output_hz = self.input_hz * clkfb_div / clki_div
                for clkop_div in _ECP5_DIVIDERS:
                    if _ECP5_VCO_MIN_HZ <= output_hz * clkop_div <= _ECP5_VCO_MAX_HZ:
                        candidates.append(
                            EhxpllSettings(self.input_hz, clki_div, clkfb_div, clkop_div)
                        )
                        break
        return _nearest(candidates, self.input_hz, wanted_hz)

    def frequency(self, wanted_hz: float) -> float:
        return self.settings(wanted_hz).output_hz

    def add(self, m: Module, platform: Any, wanted_hz: float) -> None:
        settings = self.settings(wanted_hz)
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


_Settings = TypeVar("_Settings", PllSettings, EhxpllSettings)


def _nearest(candidates: list[_Settings], input_hz: int, wanted_hz: float) -> _Settings:
    """The first of those nearest to ``wanted_hz``; raise ClockError if it is not within 2 %."""
    best = min(candidates, key=lambda settings: abs(settings.output_hz - wanted_hz))
    if abs(best.output_hz - wanted_hz) > 0.02 * wanted_hz:
        raise ClockError(
            f"{wanted_hz / 1e6:g} MHz cannot be made of {input_hz / 1e6:g} MHz; "
            f"the nearest is {best.output_hz / 1e6:g} MHz"
        )
    return best
