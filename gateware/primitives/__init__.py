"""Cells that synthesis would not choose by itself, each with a portable twin.

The portable form is what is simulated; the form of cells is what is placed. Tests hold one to the
other with the vendor's cell models that come with yosys.
"""

from __future__ import annotations

from enum import Enum


class Technology(Enum):
    """Which cells a component is built of."""

    GENERIC = "generic"
    ICE40 = "ice40"
    ECP5 = "ecp5"
