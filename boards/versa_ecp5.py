"""Lattice ECP5 Versa: ECP5UM-45F, FT2232H."""

from __future__ import annotations

import sys

from amaranth_boards.versa_ecp5 import VersaECP5Platform

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ecp5Pll
from .build.programmer import open_fpga_loader
from .catalog import board

BOARD = Board(
    description=board("versa_ecp5"),
    platform=VersaECP5Platform,
    technology=Technology.ECP5,
    clock=Ecp5Pll(resource="clk100", input_hz=100_000_000),
    programmer=open_fpga_loader("--cable", "ft2232"),
    leds=LedPins(
        valid=("led", 7),
        error=("led", 6),
        busy=("led", 5),
        best=(("led", 0), ("led", 1), ("led", 2), ("led", 3), ("led", 4)),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BOARD))
