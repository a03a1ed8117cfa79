"""Cells that synthesis would not choose by itself, each with a portable twin.

Simulations use the portable form, and builds use the cells. Tests compare the two, with yosys's
models of the vendors' cells.
"""

from __future__ import annotations

from enum import Enum


class Technology(Enum):
    """The cells that a component consists of."""

    GENERIC = "generic"
    ICE40 = "ice40"
    ECP5 = "ecp5"
