"""Radiona ULX3S: ECP5 of four sizes, FT231X."""

from __future__ import annotations

import sys
from dataclasses import replace

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards import ulx3s

from gateware.primitives import Technology

from .build.board import Board, LedPins
from .build.cli import main
from .build.clocks import Ecp5Pll
from .build.flash_pads import quad_flash
from .build.programmer import open_fpga_loader
from .catalog import board

#: The parts differ, the pins do not.
SIZES = ("12F", "25F", "45F", "85F")
_FLASH = quad_flash(
    select="R2",
    data="W2 V2 Y2 W1",
    attributes=Attrs(PULLMODE="NONE", DRIVE="4", IO_TYPE="LVCMOS33"),
)

BOARDS = {
    size: Board(
        description=board(f"ulx3s-{size}"),
        platform=getattr(ulx3s, f"ULX3S_{size}_Platform"),
        technology=Technology.ECP5,
        clock=Ecp5Pll(resource="clk25", input_hz=25_000_000),
        programmer=open_fpga_loader("--board", "ulx3s"),
        # The ESP32 would otherwise start, and may load another bitstream.
        resources=(Resource("wifi_gpio0", 0, Pins("L2", dir="o"), Attrs(IO_TYPE="LVCMOS33")),),
        held=((("wifi_gpio0", 0), 1),),
        # D0 to D4 the class in binary; D5 the run, D6 an error, D7 that there is a model.
        leds=LedPins(
            valid=("led", 7),
            error=("led", 6),
            busy=("led", 5),
            best=(("led", 0), ("led", 1), ("led", 2), ("led", 3), ("led", 4)),
        ),
    )
    for size in SIZES
}
BOARDS |= {
    f"{size}-FLASH": replace(
        BOARDS[size],
        description=board(f"ulx3s-{size}-flash"),
        resources=(*BOARDS[size].resources, _FLASH),
    )
    for size in SIZES
}

if __name__ == "__main__":
    sys.exit(main(BOARDS, name="ulx3s"))
