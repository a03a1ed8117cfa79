"""Where a board's clock comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal
from amaranth.lib.cdc import ResetSynchronizer

from model.errors import EyespotError

__all__ = ["Clock", "ClockError", "Ice40Pll", "PllSettings"]

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
    """

    resource: str
    input_hz: int

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
        best = min(candidates, key=lambda settings: abs(settings.output_hz - wanted_hz))
        if abs(best.output_hz - wanted_hz) > 0.02 * wanted_hz:
            raise ClockError(
                f"{wanted_hz / 1e6:g} MHz cannot be made of {self.input_hz / 1e6:g} MHz; "
                f"the nearest is {best.output_hz / 1e6:g} MHz"
            )
        return best

    def frequency(self, wanted_hz: float) -> float:
        return self.settings(wanted_hz).output_hz

    def add(self, m: Module, platform: Any, wanted_hz: float) -> None:
        settings = self.settings(wanted_hz)
        pin = platform.request(self.resource, dir="-")
        m.domains.sync = domain = ClockDomain("sync")
        locked = Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            # Only for those who read the netlist: what the dividers divide.
            a_INPUT_HZ=self.input_hz,
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(settings.divr, 4),
            p_DIVF=Const(settings.divf, 7),
            p_DIVQ=Const(settings.divq, 3),
            # Range 1: a comparator frequency of 10 to 17 MHz.
            p_FILTER_RANGE=Const(1, 3),
            i_PACKAGEPIN=pin.io,
            i_RESETB=Const(1, 1),
            i_BYPASS=Const(0, 1),
            o_LOCK=locked,
            o_PLLOUTGLOBAL=domain.clk,
        )
        # Block RAM reads as zero for some microseconds after configuration: the reset lasts until
        # long after, as the PLL takes longer to lock.
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
