"""The adder with a select input against integer arithmetic."""

import random

import pytest
from amaranth.sim import Simulator

from gateware.primitives import Technology
from gateware.primitives.adder import AdderMode, SelectAdder
from tests.gateware.streams import unused_components


def expected(mode: AdderMode, width: int, a: int, b: int, select: int) -> int:
    if mode is AdderMode.LOAD:
        return b if select else (a + b) % (1 << width)
    if mode is AdderMode.COUNT:
        return b if select else (a + 1) % (1 << width)
    return (a + b) % (1 << width) if select else a


@pytest.mark.parametrize("mode", AdderMode)
@pytest.mark.parametrize("width", [1, 2, 8, 25])
def test_adds_or_selects(mode: AdderMode, width: int) -> None:
    dut = SelectAdder(width, mode, Technology.GENERIC)
    rng = random.Random(width)
    top = (1 << width) - 1
    corners = {0, 1, top, top >> 1, top ^ (top >> 1)}
    pairs = [(a, b) for a in corners for b in corners]
    pairs += [(rng.randint(0, top), rng.randint(0, top)) for _ in range(200)]

    async def testbench(ctx) -> None:
        for a, b in pairs:
            for select in range(2):
                ctx.set(dut.a, a)
                ctx.set(dut.b, b)
                ctx.set(dut.select, select)
                assert ctx.get(dut.output) == expected(mode, width, a, b, select)

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("mode", AdderMode)
def test_the_cell_holds_the_same_function(mode: AdderMode) -> None:
    """Bit by bit, with the carry at I3: what is selected and what is added."""
    with unused_components():
        init = SelectAdder(4, mode, Technology.ICE40).lut_init
    for index in range(16):
        inputs = [index >> bit & 1 for bit in range(4)]
        a, carry = inputs[1], inputs[3]
        # What is added goes where the carry looks; a counter adds nothing but its carry in.
        b, select = inputs[::2] if mode is AdderMode.COUNT else inputs[2::-2]
        if mode is AdderMode.LOAD:
            wanted = b if select else a ^ b ^ carry
        elif mode is AdderMode.COUNT:
            wanted = b if select else a ^ carry
        else:
            wanted = a ^ b ^ carry if select else a
        assert init >> index & 1 == wanted
