"""Icepi Zero 1.3: ECP5-25F, FT231X."""

from __future__ import annotations

import sys

from amaranth_boards.icepi_zero import IcepiZero1_3Platform

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ecp5Pll
from .build.programmer import open_fpga_loader
from .catalog import board

BOARD = Board(
    description=board("icepi_zero"),
    platform=IcepiZero1_3Platform,
    technology=Technology.ECP5,
    clock=Ecp5Pll(resource="clk50", input_hz=50_000_000),
    programmer=open_fpga_loader("--board", "icepi-zero"),
    leds=LedPins(
        valid=("led", 4),
        error=("led", 3),
        busy=("led", 2),
        best=(("led", 0), ("led", 1)),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BOARD))
