"""The drain between windows that come as early as it allows and a requantiser."""

from __future__ import annotations

import random

import pytest
from streams import pause, simulate

from gateware.engine.drain import PARAMETER_BANKS, Drain
from gateware.engine.mac_array import MAC_LATENCY
from gateware.engine.max_pool import POOL_LATENCY
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import COMBINE_SHIFT
from gateware.primitives import Technology

Sum = tuple[int, int, int]  # value, lane, bank


class DrainBench:
    """Issues windows by the contract of ``blocked``; takes a sum every other cycle."""

    def __init__(self, lanes: int, pixels: int, seed: int) -> None:
        self.configuration = EngineConfiguration(lanes=lanes, pixels=pixels)
        self.rng = random.Random(seed)
        self.dut = Drain(self.configuration, Technology.GENERIC)
        self.expected: list[Sum] = []
        self.found: list[Sum] = []

    def random_layer(self, pool: bool = False, combine: bool = False) -> dict[str, int]:
        lanes, pixels = self.configuration.lanes, self.configuration.pixels
        count = 1 if pool else self.rng.randrange(1, lanes // (1 + combine) + 1)
        slots = self.rng.randrange(1, pixels + 1)
        return {
            "drain_lanes": count - 1,
            "drain_slots": slots - 1,
            "pool": int(pool),
            "combine": int(combine),
        }

    def sums_of(self, layer: dict[str, int], sums: list[list[int]], bank: int) -> list[Sum]:
        """What leaves, in its order."""
        lanes, bits = self.configuration.lanes, self.configuration.accumulator_bits
        results = []
        for slot in range(layer["drain_slots"] + 1):
            first = self.configuration.first_lane(slot)
            for step in range(layer["drain_lanes"] + 1):
                lane = (first + (1 + layer["combine"]) * step) % lanes
                value = sums[slot][lane]
                if layer["combine"]:
                    value += sums[slot][(lane + 1) % lanes] << COMBINE_SHIFT
                results.append((value % (1 << bits), lane, bank))
        return results

    async def window(self, ctx, layer: dict[str, int], stall: float) -> None:
        """A window: its last step where nothing is blocked, its sums some cycles later."""
        dut, rng = self.dut, self.rng
        lanes, pixels = self.configuration.lanes, self.configuration.pixels
        bits = self.configuration.accumulator_bits
        await pause(ctx, rng, stall)
        while ctx.get(dut.blocked):
            await ctx.tick()
        ctx.set(dut.issued, 1)
        await ctx.tick()
        ctx.set(dut.issued, 0)
        await ctx.tick().repeat((POOL_LATENCY if layer["pool"] else MAC_LATENCY) - 1)
        sums = [[rng.getrandbits(bits) for _ in range(lanes)] for _ in range(pixels)]
        maxima = [rng.randrange(256) for _ in range(pixels)]
        bank = rng.randrange(PARAMETER_BANKS)
        ctx.set(dut.sums, sums)
        ctx.set(dut.maxima, maxima)
        ctx.set(dut.bank, bank)
        load = dut.load_maxima if layer["pool"] else dut.load
        ctx.set(load, 1)
        if layer["pool"]:
            first = self.configuration.first_lane
            for pixel in range(pixels):
                sums[pixel][first(pixel)] = 2 * maxima[pixel]
        self.expected += self.sums_of(layer, sums, bank)
        await ctx.tick()
        ctx.set(load, 0)
        # From now on anything may stand there.
        ctx.set(dut.sums, [[rng.getrandbits(bits) for _ in range(lanes)] for _ in range(pixels)])

    async def take(self, ctx) -> None:
        """As the requantiser: after a cycle in which a sum stood there, every other one."""
        results = self.dut.results
        phase, primed = 0, False
        while True:
            ctx.set(results.ready, primed)
            *_, valid, payload = await ctx.tick().sample(results.valid, results.p)
            if valid and primed:
                self.found.append((int(payload.value), int(payload.lane), int(payload.bank)))
            primed = valid and phase == 0
            phase ^= 1

    def run(self, layers: list[dict[str, int]], windows: int, stall: float) -> int:
        async def main(ctx) -> None:
            for layer in layers:
                ctx.set(self.dut.layer, layer)
                for _ in range(windows):
                    await self.window(ctx, layer, stall)
                # A layer begins when all results of the one before are out.
                while len(self.found) < len(self.expected):
                    await ctx.tick()
                await ctx.tick().repeat(8)

        cycles = simulate(self.dut, main, background=[self.take])
        assert self.found == self.expected
        return cycles


SIZES = [(8, 2), (1, 1), (3, 3), (2, 5), (16, 8)]


@pytest.mark.parametrize("stall", [0, 0.8])
@pytest.mark.parametrize(("lanes", "pixels"), SIZES)
def test_sums_leave_in_order(lanes: int, pixels: int, stall: float) -> None:
    bench = DrainBench(lanes, pixels, seed=lanes + pixels)
    bench.run([bench.random_layer() for _ in range(12)], 6, stall)


@pytest.mark.parametrize("stall", [0, 0.8])
@pytest.mark.parametrize(("lanes", "pixels"), SIZES)
def test_maxima_leave_doubled(lanes: int, pixels: int, stall: float) -> None:
    bench = DrainBench(lanes, pixels, seed=lanes + pixels)
    bench.run([bench.random_layer(pool=True) for _ in range(8)], 8, stall)


@pytest.mark.parametrize("stall", [0, 0.8])
@pytest.mark.parametrize(("lanes", "pixels"), [(8, 2), (16, 4), (2, 1)])
def test_pairs_of_lanes_leave_as_one_sum(lanes: int, pixels: int, stall: float) -> None:
    bench = DrainBench(lanes, pixels, seed=lanes + pixels)
    bench.run([bench.random_layer(combine=True) for _ in range(10)], 6, stall)


def test_layers_of_all_kinds_follow_each_other() -> None:
    bench = DrainBench(8, 2, seed=0)
    kinds = [(False, False), (True, False), (False, True)]
    bench.run([bench.random_layer(*bench.rng.choice(kinds)) for _ in range(30)], 3, 0.3)


@pytest.mark.parametrize(("lanes", "pixels"), [(8, 2), (4, 4)])
def test_draining_leaves_no_gap_between_windows(lanes: int, pixels: int) -> None:
    """Two cycles a sum, and at most two more a window."""
    bench = DrainBench(lanes, pixels, seed=0)
    layer = {"drain_lanes": lanes - 1, "drain_slots": pixels - 1, "pool": 0, "combine": 0}
    assert bench.run([layer], 20, 0) <= 20 * (2 * lanes * pixels + 2) + 40
