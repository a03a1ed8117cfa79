"""OrangeCrab r0.2: ECP5 of two sizes. Its USB is for programming only: docs/boards.md."""

from __future__ import annotations

import sys

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform, OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ecp5Pll
from .build.programmer import DFU_UTIL
from .catalog import board

BOARDS = {
    size: Board(
        description=board(f"orangecrab-{size}"),
        platform=platform,
        technology=Technology.ECP5,
        clock=Ecp5Pll(resource="clk", input_hz=48_000_000),
        programmer=DFU_UTIL,
        resources=(
            UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33")),
        ),
        leds=LedPins(
            valid=("rgb_led", 0, "g"), error=("rgb_led", 0, "r"), busy=("rgb_led", 0, "b")
        ),
    )
    for size, platform in (("25F", OrangeCrabR0_2_25FPlatform), ("85F", OrangeCrabR0_2_85FPlatform))
}

if __name__ == "__main__":
    sys.exit(main(BOARDS, name="orangecrab"))
