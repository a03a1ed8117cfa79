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

from boards.flash_pads import BoardFlashPads, quad_flash
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
    kinds = re.findall(r"parameter \\PIN_TYPE 6'(\d+)", text)
    # Data registered both ways, enables too; select registered; the clock at double rate.
    assert sorted(kinds)[-6:].count("110100") == 4
    assert "110000" in kinds or "110001" in kinds
    assert len(re.findall(r"cell \\SB_IO ", text)) >= 6


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
