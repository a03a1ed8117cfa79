"""Dividers of the FPGAs' PLLs, as plain numbers: nothing here imports Amaranth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from model.errors import EyespotError

__all__ = ["ClockError", "EhxpllSettings", "PllSettings"]

# Lattice iCE40 LP/HX/UP family data sheets, PLL timing.
_VCO_MIN_HZ, _VCO_MAX_HZ = 533_000_000, 1_066_000_000
_COMPARATOR_MIN_HZ, _COMPARATOR_MAX_HZ = 10_000_000, 133_000_000

# Lattice "ECP5 and ECP5-5G Family Data Sheet" (FPGA-DS-02012), sysCLOCK PLL timing.
_ECP5_VCO_MIN_HZ, _ECP5_VCO_MAX_HZ = 400_000_000, 800_000_000
_ECP5_COMPARATOR_MIN_HZ = 3_125_000
_ECP5_DIVIDERS = range(1, 129)


class ClockError(EyespotError):
    """The clock asked for cannot be made."""


@dataclass(frozen=True)
class PllSettings:
    """Dividers of an SB_PLL40 in simple feedback (iCE40)."""

    input_hz: int
    divr: int
    divf: int
    divq: int

    @property
    def output_hz(self) -> float:
        return self.input_hz * (self.divf + 1) / ((1 << self.divq) * (self.divr + 1))

    @classmethod
    def nearest(cls, input_hz: int, wanted_hz: float) -> PllSettings:
        """The dividers that come nearest to ``wanted_hz``; raise ClockError if none come within
        2 %."""
        return _nearest(
            (
                cls(input_hz, divr, divf, divq)
                for divr in range(16)
                if _COMPARATOR_MIN_HZ <= input_hz / (divr + 1) <= _COMPARATOR_MAX_HZ
                for divf in range(128)
                if _VCO_MIN_HZ <= input_hz * (divf + 1) / (divr + 1) <= _VCO_MAX_HZ
                for divq in range(1, 7)
            ),
            input_hz,
            wanted_hz,
        )


@dataclass(frozen=True)
class EhxpllSettings:
    """Dividers of an EHXPLLL whose output CLKOP feeds back (ECP5)."""

    input_hz: int
    clki_div: int
    clkfb_div: int
    clkop_div: int

    @property
    def output_hz(self) -> float:
        return self.input_hz * self.clkfb_div / self.clki_div

    @classmethod
    def nearest(cls, input_hz: int, wanted_hz: float) -> EhxpllSettings:
        """The dividers that come nearest to ``wanted_hz``, the smallest of them; raise ClockError
        if none come within 2 %."""
        candidates = []
        for clki_div in _ECP5_DIVIDERS:
            if input_hz / clki_div < _ECP5_COMPARATOR_MIN_HZ:
                break
            for clkfb_div in _ECP5_DIVIDERS:
                output_hz = input_hz * clkfb_div / clki_div
                for clkop_div in _ECP5_DIVIDERS:
                    if _ECP5_VCO_MIN_HZ <= output_hz * clkop_div <= _ECP5_VCO_MAX_HZ:
                        candidates.append(cls(input_hz, clki_div, clkfb_div, clkop_div))
                        break
        return _nearest(candidates, input_hz, wanted_hz)


_Settings = TypeVar("_Settings", PllSettings, EhxpllSettings)


def _nearest(candidates: Iterable[_Settings], input_hz: int, wanted_hz: float) -> _Settings:
    """The first of those nearest to ``wanted_hz``; raise ClockError if it is not within 2 %."""
    best = min(candidates, key=lambda settings: abs(settings.output_hz - wanted_hz))
    if abs(best.output_hz - wanted_hz) > 0.02 * wanted_hz:
        raise ClockError(
            f"{wanted_hz / 1e6:g} MHz cannot be made of {input_hz / 1e6:g} MHz; "
            f"the nearest is {best.output_hz / 1e6:g} MHz"
        )
    return best
