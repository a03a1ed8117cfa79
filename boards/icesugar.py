"""MuseLab iCESugar: iCE40UP5K, iCELink."""

from __future__ import annotations

import sys

from amaranth_boards.icesugar import ICESugarPlatform

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ice40Pll
from .build.programmer import Programmer
from .catalog import board

BOARD = Board(
    description=board("icesugar"),
    platform=ICESugarPlatform,
    technology=Technology.ICE40,
    clock=Ice40Pll(resource="clk12", input_hz=12_000_000),
    programmer=Programmer(
        "icesprog",
        (),
        "build it from github.com/wuxx/icesugar, or copy the bitstream to the drive iCELink",
    ),
    leds=LedPins(valid=("led_g", 0), error=("led_r", 0), busy=("led_b", 0)),
)

if __name__ == "__main__":
    sys.exit(main(BOARD))
