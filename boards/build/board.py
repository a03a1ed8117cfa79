"""What a board's file declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateware.primitives import Technology

from ..catalog import BoardDescription
from .clocks import Clock
from .programmer import Programmer

__all__ = ["Board", "LedPins", "Pin"]

#: An output of the platform: resource, number, and the name of a signal inside, if it has several.
Pin = tuple[str, int] | tuple[str, int, str]


@dataclass(frozen=True)
class LedPins:
    """Which LEDs show what, as far as there are any.

    ``best``: the class of the last answer in binary, least significant bit first.
    """

    valid: Pin | None = None
    error: Pin | None = None
    busy: Pin | None = None
    best: tuple[Pin, ...] = ()


@dataclass(frozen=True)
class Board:
    """What a board's file declares.

    Attributes
    ----------
    description : BoardDescription
        Name, engine and clock; of the boards here it stands in :mod:`.catalog`.
    platform : callable
        The class from amaranth-boards.
    technology : Technology
    clock : Clock
    programmer : Programmer
    leds : LedPins
    resources : tuple
        To add to the platform.
    held : tuple of (Pin, level)
        Outputs that never change.
    """

    description: BoardDescription
    platform: Callable[[], Any]
    technology: Technology
    clock: Clock
    programmer: Programmer
    leds: LedPins = field(default_factory=LedPins)
    resources: tuple[Any, ...] = ()
    held: tuple[tuple[Pin, int], ...] = ()

    @property
    def name(self) -> str:
        return self.description.name
