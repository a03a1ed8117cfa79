"""The dual multiplier against integer products, two cycles later."""

import itertools
import random

from gateware.primitives import Technology
from gateware.primitives.multiplier import MULTIPLIER_LATENCY, DualMultiplier
from tests.gateware.streams import simulate


def test_products() -> None:
    dut = DualMultiplier(Technology.GENERIC)
    rng = random.Random(0)
    corners = (-128, -127, -1, 0, 1, 127)
    factors = list(itertools.product(corners, repeat=4))
    factors += [tuple(rng.randint(-128, 127) for _ in range(4)) for _ in range(500)]

    async def testbench(ctx) -> None:
        under_way: list[tuple[int, int]] = []
        for a_low, a_high, b_low, b_high in factors:
            ctx.set(dut.a_low, a_low)
            ctx.set(dut.a_high, a_high)
            ctx.set(dut.b_low, b_low)
            ctx.set(dut.b_high, b_high)
            under_way.append((a_low * b_low, a_high * b_high))
            await ctx.tick()
            if len(under_way) == MULTIPLIER_LATENCY:
                assert (ctx.get(dut.low), ctx.get(dut.high)) == under_way.pop(0)

    simulate(dut, testbench)
