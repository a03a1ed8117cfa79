"""1BitSquared iCEBreaker: iCE40UP5K, 5,280 logic cells, 128 KiB of SPRAM, FT2232H."""

from __future__ import annotations

import sys
from dataclasses import replace

from amaranth.build import Attrs
from amaranth_boards.icebreaker import ICEBreakerPlatform

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ice40Pll
from .build.flash_pads import quad_flash
from .build.programmer import ICEPROG
from .catalog import board

BOARD = Board(
    description=board("icebreaker"),
    platform=ICEBreakerPlatform,
    technology=Technology.ICE40,
    clock=Ice40Pll(resource="clk12", input_hz=12_000_000),
    programmer=ICEPROG,
    # The board's own LEDs: green while there is a model, red for an error. The five on the
    # break-off section, on PMOD 2, show the class in binary; the red one of them the run.
    resources=tuple(ICEBreakerPlatform.break_off_pmod),
    leds=LedPins(
        valid=("led_g", 0),
        error=("led_r", 0),
        busy=("led_r", 1),
        best=(("led_g", 1), ("led_g", 2), ("led_g", 3), ("led_g", 4)),
    ),
)
BOARDS = {
    "": BOARD,
    "FLASH": replace(
        BOARD,
        description=board("icebreaker-flash"),
        resources=(
            *BOARD.resources,
            quad_flash(
                select="16",
                clock="15",
                data="14 17 12 13",
                attributes=Attrs(IO_STANDARD="SB_LVCMOS"),
            ),
        ),
    ),
}

if __name__ == "__main__":
    sys.exit(main(BOARDS, name="icebreaker"))
