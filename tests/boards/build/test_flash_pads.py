"""The flash's pads on both families: which cells, in which mode."""

from __future__ import annotations

import gc
import re
import warnings

import pytest
from amaranth.build import Attrs
from amaranth.hdl import Elaboratable, Module, UnusedElaboratable
from amaranth.lib.wiring import connect
from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from boards.build.flash_pads import BoardFlashPads, quad_flash
from gateware.flash.controller import FlashController
from gateware.interface.flash import IS25LP128F, W25Q128JV
from gateware.primitives import Technology

ICEBREAKER = quad_flash(
    select="16", clock="15", data="14 17 12 13", attributes=Attrs(IO_STANDARD="SB_LVCMOS")
)
ULX3S = quad_flash(select="R2", data="W2 V2 Y2 W1", attributes=Attrs(IO_TYPE="LVCMOS33"))


class Top(Elaboratable):
    def __init__(self, part, technology, resource) -> None:
        self.part, self.technology, self.resource = part, technology, resource

    def elaborate(self, platform) -> Module:
        m = Module()
        platform.add_resources([self.resource])
        m.submodules.controller = controller = FlashController(self.part)
        m.submodules.pads = pads = BoardFlashPads(self.technology)
        connect(m, controller.pins, pads.controller)
        return m


def netlist(platform, top) -> str:
    plan = platform.prepare(top, "top")
    return next(text for name, text in plan.files.items() if name.endswith(".il"))


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    """``prepare`` looks for them, and calls none."""
    for tool in ("YOSYS", "NEXTPNR_ICE40", "ICEPACK", "NEXTPNR_ECP5", "ECPPACK", "OPENFPGALOADER"):
        monkeypatch.setenv(tool, "true")


def test_ice40():
    text = netlist(ICEBreakerPlatform(), Top(W25Q128JV, Technology.ICE40, ICEBREAKER))
    cells = re.findall(r"cell \\SB_IO .*?\n  end\n", text, re.DOTALL)
    registered = [cell for cell in cells if "PIN_TYPE 6'110100" in cell]
    assert len(registered) == 4
    # The clock is low in the first half of a cycle: it rises when the data stand.
    (clock,) = (cell for cell in cells if "quad_flash_0__clock__io" in cell)
    assert "PIN_TYPE 6'1100" in clock
    assert "D_OUT_0 1'0" in clock and "D_OUT_1 1'0" not in clock
    (select,) = (cell for cell in cells if "quad_flash_0__select__io" in cell)
    assert "PIN_TYPE 6'1101" in select


def test_ecp5():
    text = netlist(ULX3S_85F_Platform(), Top(IS25LP128F, Technology.ECP5, ULX3S))
    assert len(re.findall(r"cell \\USRMCLK ", text)) == 1
    assert len(re.findall(r"cell \\IFS1P3DX ", text)) == 4
    # Select and four lines, and an enable of each.
    assert len(re.findall(r"cell \\OFS1P3DX ", text)) == 10


def test_generic_has_none():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ValueError, match="Pads are those of an FPGA"):
            BoardFlashPads(Technology.GENERIC)
        gc.collect()
