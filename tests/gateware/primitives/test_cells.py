"""Cells against their portable twins, by yosys's own models of the cells, side by side."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import gateware
from gateware.memory.bank import SPRAM_WORDS, Bank
from gateware.primitives import Technology
from gateware.primitives.adder import AdderMode, SelectAdder
from gateware.primitives.multiplier import DualMultiplier
from host.simulation.backends.cxxrtl_build import build_library
from host.simulation.backends.toolchain import find_compiler
from host.simulation.cache import hash_files
from host.simulation.routed.cells import ice40_cells
from tests.gateware.ecp5_cells import ecp5_cells

NAMES = (
    *("adder that loads", "conditional adder", "counter", "multiplier", "bank", "wide bank"),
    *("ECP5 adder that loads", "ECP5 conditional adder", "ECP5 multiplier"),
)


class Twins(wiring.Component):
    """Pairs of components with the same random inputs.

    Members
    -------
    stimulus : :py:`In(96)`
        Random, new in each cycle.
    compared, differs : :py:`Out(9)`
        For each pair, whether its outputs are defined, and whether they differ then.
    """

    def __init__(self) -> None:
        pairs = len(NAMES)
        super().__init__({"stimulus": In(96), "compared": Out(pairs), "differs": Out(pairs)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pairs = [
            self._adders(m, AdderMode.LOAD),
            self._adders(m, AdderMode.CONDITIONAL),
            self._adders(m, AdderMode.COUNT),
            self._multipliers(m),
            self._banks(m, 2),
            self._banks(m, 4),
            self._adders(m, AdderMode.LOAD, Technology.ECP5),
            self._adders(m, AdderMode.CONDITIONAL, Technology.ECP5),
            self._multipliers(m, Technology.ECP5),
        ]
        for index, (defined, first, second) in enumerate(pairs):
            m.d.comb += [
                self.compared[index].eq(defined),
                self.differs[index].eq(defined & (first != second)),
            ]
        return m

    def _adders(self, m: Module, mode: AdderMode, cells=Technology.ICE40):
        outputs = []
        for technology in (Technology.GENERIC, cells):
            adder = SelectAdder(25, mode, technology)
            m.submodules[f"{mode.value}_{cells.value}_{technology.value}"] = adder
            m.d.comb += Cat(adder.a, adder.b, adder.select).eq(self.stimulus)
            outputs.append(adder.output)
        return 1, *outputs

    def _multipliers(self, m: Module, cells=Technology.ICE40):
        started = Signal(2)
        m.d.sync += started.eq(Cat(1, started))
        outputs = []
        for technology in (Technology.GENERIC, cells):
            multiplier = DualMultiplier(technology)
            m.submodules[f"multiplier_{cells.value}_{technology.value}"] = multiplier
            factors = Cat(multiplier.a_low, multiplier.a_high, multiplier.b_low, multiplier.b_high)
            m.d.comb += factors.eq(self.stimulus)
            outputs.append(Cat(multiplier.low, multiplier.high))
        return started.all(), *outputs

    def _banks(self, m: Module, word_bytes: int):
        stimulus = iter(self.stimulus)

        def bits(count: int):
            return Cat(next(stimulus) for _ in range(count))

        data, mask, near, far = bits(8 * word_bytes), bits(word_bytes), bits(3), bits(3)
        enable, write = bits(1), bits(1)
        outputs = []
        for technology in (Technology.GENERIC, Technology.ICE40):
            bank = Bank(SPRAM_WORDS, word_bytes, technology)
            m.submodules[f"bank{word_bytes}_{technology.value}"] = bank
            m.d.comb += [
                # Few addresses, at both ends of the bank.
                bank.address.eq(Cat(near, near[0].replicate(8), far)),
                bank.enable.eq(enable),
                bank.write.eq(write),
                bank.write_data.eq(data),
                bank.mask.eq(mask),
            ]
            outputs.append(bank.read_data)
        # After a write the output is undefined, and without either it stays.
        defined = Signal()
        with m.If(enable):
            m.d.sync += defined.eq(~write)
        return defined, *outputs


def test_cells_do_what_their_twins_do() -> None:
    if find_compiler() is None:
        pytest.skip("no C++ compiler to simulate the cells with")
    root = Path(gateware.__file__).parent
    sources = [*sorted((root / "primitives").glob("*.py")), root / "memory" / "bank.py"]
    models = [Path(function.__code__.co_filename) for function in (ice40_cells, ecp5_cells)]
    key = hash_files([*sources, *models, Path(__file__)])
    driver = Path(__file__).with_name("twins.cc")
    library = ctypes.CDLL(
        str(build_library(Twins, key, driver, f"{ice40_cells()}\n{ecp5_cells()}"))
    )
    compared, differed = ((ctypes.c_uint64 * len(NAMES))() for _ in range(2))
    cycles = 200_000
    library.twins_run(ctypes.c_uint64(cycles), ctypes.c_uint64(1), len(NAMES), compared, differed)
    assert dict(zip(NAMES, differed)) == dict.fromkeys(NAMES, 0)
    assert all(count > cycles // 3 for count in compared)
