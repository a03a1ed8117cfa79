"""A design that evaluates only what can have changed does what it does otherwise, each cycle."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from host.simulation.backends import cxxrtl_activity, cxxrtl_build
from host.simulation.backends.cxxrtl_activity import evaluate_changes
from host.simulation.backends.cxxrtl_build import build_library
from host.simulation.backends.toolchain import find_compiler
from host.simulation.cache import hash_files

DRIVER = """
#include <cstdint>
#include "design.h"
template <size_t W> uint64_t get(const cxxrtl::value<W> &x) {
  return x.data[0] | (W > 32 ? uint64_t(x.data[x.chunks - 1]) << 32 : 0);
}
template <size_t W> uint64_t get(const cxxrtl::wire<W> &x) { return get(x.curr); }
extern "C" void drive(uint64_t cycles, const uint8_t *a, const uint8_t *b, uint64_t *seen) {
  cxxrtl_design::p_top design;
  design.p_rst.set<uint32_t>(0);
  for (uint64_t cycle = 0; cycle < cycles; cycle++) {
    design.p_a.set<uint32_t>(a[cycle]);
    design.p_b.set<uint32_t>(b[cycle]);
    if (cycle % 3) {  // falling edges may be left out, and inputs change between
      design.p_clk.set<bool>(false);
      design.step();
      design.p_a.set<uint32_t>(a[cycle] ^ b[cycle]);
      design.step();
    }
    *seen++ = get(design.p_settled);
    design.p_clk.set<bool>(true);
    design.prev_p_clk.set<bool>(false);
    design.step();
    *seen++ = get(design.p_registered);
    *seen++ = get(design.p_settled);
  }
}
"""


class _Part(wiring.Component):
    """Works only while it is told to: a counter, memories and a wide sum."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        super().__init__(
            {"enable": In(1), "data": In(8), "total": Out(40), "found": Out(8), "sum": Out(9)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(5, init=self.offset)
        m.submodules.memory = memory = Memory(shape=8, depth=32, init=[3, 1, 4, 1, 5])
        write, read, last = memory.write_port(), memory.read_port(), memory.read_port()
        settled = memory.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(count),
            write.data.eq(self.data),
            write.en.eq(self.data[0]),
            last.addr.eq(count),
            last.en.eq(1),
            settled.addr.eq(count + 3),
            read.addr.eq(self.data),
            read.en.eq(self.data[1]),
            self.sum.eq(settled.data + self.data),
        ]
        with m.If(self.enable):
            m.d.sync += [count.eq(count + 1), self.total.eq((self.total << 3) + self.sum)]
        m.d.sync += self.found.eq(read.data ^ last.data ^ Cat(count, self.enable))
        return m


class _Design(wiring.Component):
    """Parts that feed each other, in both directions; a rare one; outputs of both kinds."""

    def __init__(self) -> None:
        super().__init__(
            {"a": In(8), "b": In(8), "registered": Out(40), "settled": Out(40)},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = first = _Part(7)
        m.submodules.second = second = _Part(30)
        m.submodules.third = third = _Part(1)
        m.d.comb += [
            first.enable.eq(self.a[0]),
            first.data.eq(self.b + second.found),
            second.enable.eq(first.sum[8]),
            second.data.eq(first.sum[:8] ^ self.a),
            third.enable.eq(self.a == 3),
            third.data.eq(second.sum[:8]),
            self.settled.eq(first.total ^ third.total ^ second.sum),
        ]
        m.d.sync += self.registered.eq(second.total + third.found)
        return m


def _evaluated_by_changes(source):
    made = evaluate_changes(source)
    assert made is not None
    return made


def _seen(driver: Path, cycles: int) -> list[int]:
    sources = (Path(__file__), Path(cxxrtl_activity.__file__))
    how = cxxrtl_build.evaluate_changes.__name__, cxxrtl_activity._BUSY
    key = f"{hash_files(sources)} {how}"
    library = ctypes.CDLL(str(build_library(_Design, key, driver)))
    rng = random.Random(5)
    a, b = bytearray(), bytearray()
    while len(a) < cycles:
        # Nothing changes for a while; then everything does.
        quiet = rng.random() < 0.5
        for _ in range(rng.randrange(1, 300)):
            a.append(a[-1] & ~1 if quiet and a else rng.randrange(256))
            b.append(b[-1] if quiet and b else rng.randrange(256))
    seen = (ctypes.c_uint64 * (3 * cycles))()
    library.drive(ctypes.c_uint64(cycles), bytes(a), bytes(b), seen)
    return list(seen)


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_nothing_that_is_seen_differs(tmp_path, monkeypatch):
    driver = tmp_path / "drive.cc"
    driver.write_text(DRIVER)

    with monkeypatch.context() as patch:
        patch.setattr(cxxrtl_build, "evaluate_changes", lambda source: None)
        expected = _seen(driver, 20_000)
    assert len(set(expected)) > 10_000
    # As it is chosen; and never as a whole.
    monkeypatch.setattr(cxxrtl_build, "evaluate_changes", _evaluated_by_changes)
    for busy in (cxxrtl_activity._BUSY, 2.0):
        monkeypatch.setattr(cxxrtl_activity, "_BUSY", busy)
        assert _seen(driver, 20_000) == expected


HEAD = (
    "namespace cxxrtl_design {\n\nstruct p_top : public module {\n\twire<8> p_x;\n"
    "\t/*input*/ value<8> p_a;\n\t/*output*/ value<8> p_y;\n\tvalue<1> prev_p_clk;\n"
    "\tmemory<8> memory_p_m { 4u };\n"
    "\tbool commit(ObserverT &observer) {\n\t\tbool changed = false;\n"
    "\t\tif (p_x.commit(observer)) changed = true;\n\t\tprev_p_clk = p_clk;\n"
    "\t\treturn changed;\n\t}\n}; // struct p_top\n\n"
    "void p_top::reset() {\n\tstatic const value<8> mem_init_1[4] {\n"
    "\t\tvalue<8>{0x00u}, value<8>{0x00u},\n\t\tvalue<8>{0x00u}, value<8>{0x00u},\n\t};\n}\n\n"
    "bool p_top::eval(performer *performer) {\n\tbool converged = true;\n"
    "\tbool posedge_p_clk = this->posedge_p_clk();\n\tvalue<8> p_sum;\n"
)
TAIL = (
    "\treturn converged;\n}\n\nCXXRTL_EXTREMELY_COLD\n"
    "void p_top::debug_info(debug_items *items) {\n}\n\n} // namespace cxxrtl_design\n"
)
SUM = "\tp_sum = add_uu<8>(p_a, p_x.curr);\n"
CLOCKED = "\tif (posedge_p_clk) {\n\t\tp_x.next = p_sum;\n\t}\n"


def test_what_reads_a_value_is_due_where_it_changes():
    made = evaluate_changes(HEAD + SUM + CLOCKED + "\tp_y = p_sum;\n" + TAIL)
    assert made is not None
    header, files = made
    names = [file.name for file in files]
    assert names == ["reset.cc", "debug_info.cc", "eval_0.cc"]
    assert [file.runs_once for file in files] == [True, True, False]
    assert "mem_init_1[4] {};" in files[0].text
    # The register and the input: the sum's group; the sum: the register's, by its bit.
    assert "due0 |= 0x1u & changed;" in files[2].text
    assert "due0 |= 0x2u & changed;" in files[2].text
    assert "(p_a.data[0] ^ last_p_a.data[0])" in header
    assert "prev_p_clk = p_clk;" in header


@pytest.mark.parametrize(
    "statements",
    [
        f"{SUM}{CLOCKED}\tconverged = false;\n",  # a loop
        f"{SUM}\tif (posedge_p_other) {{\n\t\tp_x.next = p_sum;\n\t}}\n",  # another clock
        f"{SUM}\tif (p_a) {{\n\t\tp_x.next = p_sum;\n\t}}\n",  # an asynchronous reset
        f"{SUM}{CLOCKED}\tcell_p_part.p_in = p_sum;\n",  # a cell
        f"{SUM}{CLOCKED}\tp_sum.slice<3,0>() = p_a;\n",  # a part of a value
        f"{SUM}{CLOCKED}\tp_x.next = p_sum;\n",  # a wire that is no register
        f"{SUM}{CLOCKED}\tvalue<8> fresh = p_a;\n",  # a variable with a value
    ],
)
def test_designs_with_more_than_it_knows_are_left(statements):
    assert evaluate_changes(HEAD + statements + TAIL) is None
