"""Colorlight 5A-75B, revision 7.0: ECP5-25F. Serial adapter and JTAG cable are yours."""

from __future__ import annotations

import sys

from amaranth_boards.colorlight_5a75b_r7_0 import Colorlight_5A75B_R70Platform

from gateware.primitives import Technology

from .build.board import Board
from .build.cli import main
from .build.clocks import Ecp5Pll
from .build.programmer import open_fpga_loader
from .catalog import board

# No LEDs: the only one shares its pin with the serial line.
BOARD = Board(
    description=board("colorlight_5a75b"),
    platform=Colorlight_5A75B_R70Platform,
    technology=Technology.ECP5,
    clock=Ecp5Pll(resource="clk25", input_hz=25_000_000),
    programmer=open_fpga_loader("--cable", "ft232"),
)

if __name__ == "__main__":
    sys.exit(main(BOARD))
