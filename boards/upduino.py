"""tinyVision UPduino v3: iCE40UP5K, FT232H. Its jumper OSC must be closed: docs/boards.md."""

from __future__ import annotations

import sys

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards.resources import UARTResource
from amaranth_boards.upduino_v3 import UpduinoV3Platform

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ice40Pll
from .build.programmer import ICEPROG
from .catalog import board

_ATTRIBUTES = Attrs(IO_STANDARD="SB_LVCMOS")

BOARD = Board(
    description=board("upduino"),
    platform=UpduinoV3Platform,
    technology=Technology.ICE40,
    clock=Ice40Pll(resource="clk12", input_hz=12_000_000, pad=False),
    programmer=ICEPROG,
    # The FT232H's serial line shares the flash's clock and data, so the flash must not listen.
    resources=(
        UARTResource(0, rx="15", tx="14", attrs=_ATTRIBUTES),
        Resource("flash_select", 0, Pins("16", dir="o"), _ATTRIBUTES),
    ),
    held=((("flash_select", 0), 1),),
    leds=LedPins(valid=("rgb_led", 0, "g"), error=("rgb_led", 0, "r"), busy=("rgb_led", 0, "b")),
)

if __name__ == "__main__":
    sys.exit(main(BOARD))
