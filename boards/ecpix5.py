"""LambdaConcept ECPIX-5: ECP5-5G of two sizes, FT2232H."""

from __future__ import annotations

import sys

from amaranth_boards.ecpix5 import ECPIX545Platform, ECPIX585Platform

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ecp5Pll
from .build.programmer import open_fpga_loader
from .catalog import board

BOARDS = {
    size: Board(
        description=board(f"ecpix5-{size}"),
        platform=platform,
        technology=Technology.ECP5,
        clock=Ecp5Pll(resource="clk100", input_hz=100_000_000),
        programmer=open_fpga_loader("--board", "ecpix5"),
        # The first LED: green while there is a model, red for an error, blue for the run. The
        # green ones of the others show the class in binary.
        leds=LedPins(
            valid=("rgb_led", 0, "g"),
            error=("rgb_led", 0, "r"),
            busy=("rgb_led", 0, "b"),
            best=(("rgb_led", 1, "g"), ("rgb_led", 2, "g"), ("rgb_led", 3, "g")),
        ),
    )
    for size, platform in (("45F", ECPIX545Platform), ("85F", ECPIX585Platform))
}

if __name__ == "__main__":
    sys.exit(main(BOARDS, name="ecpix5"))
