"""The drain between windows that come as early as it allows and a requantiser."""

from __future__ import annotations

import random

import pytest

from gateware.engine.drain import PARAMETER_BANKS, Drain
from gateware.interface.configuration import EngineConfiguration
from tests.gateware.streams import pause, simulate

Layer = dict[str, int]
Size = tuple[int, int, int]  # L, P, R
Sums = tuple[list[int], int, int]  # R values, lanes, bank


def latency_of(configuration: EngineConfiguration, pool: int) -> int:
    """Cycles from a window's last step to the load of its sums, or maxima."""
    return configuration.pool_latency if pool else configuration.mac_latency


class DrainBench:
    """Issues windows by the contract of ``blocked``; takes R sums as the requantiser does."""

    def __init__(self, size: Size, seed: int) -> None:
        lanes, pixels, requantizers = size
        self.configuration = EngineConfiguration(
            lanes=lanes, pixels=pixels, requantizers=requantizers
        )
        self.rng = random.Random(seed)
        self.dut = Drain(self.configuration)
        self.expected: list[Sums] = []
        self.found: list[Sums] = []
        self.combines = self.pooled = 0
        #: What each lane's sums have in common.
        self.offsets: list[int] = []

    def random_layer(self, pool: bool = False) -> Layer:
        configuration, rng = self.configuration, self.rng
        lanes, slots = configuration.lanes, configuration.pixels
        channel_wise = pool or rng.random() < 0.5
        if pool:
            # Only the last slot has maxima, and a lane for each channel.
            lanes, slots = configuration.channel_group, 1
        pooled = slots > 1 and not channel_wise and rng.random() < 0.5
        return {
            "drain_lanes": rng.randrange(lanes // configuration.requantizers),
            "drain_slots": rng.randrange(slots // 2 if pooled else slots),
            "channel_wise": int(channel_wise),
            "pool": int(pool),
            "add": int(not pooled and rng.random() < 0.3),
            "pooled": int(pooled),
        }

    def sums_of(self, layer: Layer, sums: list[list[int]], bank: int) -> list[Sums]:
        """What leaves, in its order."""
        configuration, step = self.configuration, self.configuration.requantizers
        slots = layer["drain_slots"] + 1
        first = configuration.pixels - slots if layer["channel_wise"] else 0
        if layer.get("pooled"):
            sums = [list(map(max, *sums[2 * slot : 2 * slot + 2])) for slot in range(slots)]
        bits = configuration.accumulator_bits
        sums = [
            [(value + offset) % (1 << bits) for value, offset in zip(slot, self.offsets)]
            for slot in sums
        ]
        return [
            (sums[slot][step * lanes : step * (lanes + 1)], lanes, bank)
            for slot in range(first, first + slots)
            for lanes in range(layer["drain_lanes"] + 1)
        ]

    async def window(self, ctx, layer: Layer, stall: float) -> None:
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
        latency = latency_of(self.configuration, layer["pool"])
        await ctx.tick().repeat(latency - 1)
        # With their bias sums are in half the range, so without it they may wrap.
        limit = 1 << bits - 2
        sums = [[rng.randrange(-limit, limit) for _ in range(lanes)] for _ in range(pixels)]
        if rng.random() < 0.3:
            sums[1:] = [[rng.choice([value, value - 1, value + 1]) for value in sums[0]]] * (
                pixels - 1
            )
        self.offsets = [0 if layer["pool"] else rng.getrandbits(bits) for _ in range(lanes)]
        maxima = [rng.randrange(256) for _ in range(pixels)]
        bank = rng.randrange(PARAMETER_BANKS)
        ctx.set(
            dut.sums,
            [
                [(value + offset) % (1 << bits) for value, offset in zip(slot, self.offsets)]
                for slot in sums
            ],
        )
        ctx.set(dut.maxima, maxima)
        ctx.set(dut.bank, bank)
        load = dut.load_maxima if layer["pool"] else dut.load
        ctx.set(load, 1)
        if layer["pool"]:
            group = self.configuration.channel_group
            sums[-1][:group] = [2 * maximum for maximum in maxima[:group]]
        self.expected += self.sums_of(layer, sums, bank)
        await ctx.tick()
        ctx.set(load, 0)
        # From now on anything may stand there.
        ctx.set(dut.sums, [[rng.getrandbits(bits) for _ in range(lanes)] for _ in range(pixels)])
        ctx.set(dut.maxima, [rng.randrange(256) for _ in range(pixels)])
        ctx.set(dut.bank, rng.randrange(PARAMETER_BANKS))

    async def take(self, ctx) -> None:
        """One, or in a pooled layer: after a cycle in which a sum stood there, every other one.
        Several: in each cycle, or every other one where the layer combines."""
        results = self.dut.results
        folded = self.configuration.result_cycles == 2
        phase, ready = 0, False
        while True:
            ctx.set(results.ready, ready)
            *_, valid, payload = await ctx.tick().sample(results.valid, results.p)
            if valid and ready:
                values = [int(value) for value in payload.values]
                self.found.append((values, int(payload.lanes), int(payload.bank)))
            phase ^= 1
            if folded or self.pooled:
                ready = valid and phase == 1
            else:
                ready = not (self.combines and phase)

    def run(self, layers: list[Layer], windows: int, stall: float) -> int:
        async def main(ctx) -> None:
            for layer in layers:
                ctx.set(self.dut.layer, layer)
                self.pooled = layer.get("pooled", 0)
                self.combines = layer["add"] or self.pooled
                for _ in range(windows):
                    await self.window(ctx, layer, stall)
                # A layer begins when all results of the one before are out.
                while len(self.found) < len(self.expected):
                    await ctx.tick()
                await ctx.tick().repeat(8)

        cycles = simulate(self.dut, main, background=[self.take])
        assert self.found == self.expected
        return cycles


SIZES = [(8, 2, 1), (1, 1, 1), (3, 3, 1), (4, 5, 1), (16, 8, 8), (16, 8, 1), (4, 4, 4)]


@pytest.mark.parametrize("stall", [0, 0.8])
@pytest.mark.parametrize("size", SIZES)
def test_sums_leave_in_order(size: Size, stall: float) -> None:
    bench = DrainBench(size, seed=sum(size))
    bench.run([bench.random_layer() for _ in range(12)], 6, stall)


@pytest.mark.parametrize("stall", [0, 0.8])
@pytest.mark.parametrize("size", SIZES)
def test_maxima_leave_doubled(size: Size, stall: float) -> None:
    bench = DrainBench(size, seed=sum(size))
    bench.run([bench.random_layer(pool=True) for _ in range(8)], 8, stall)


@pytest.mark.parametrize("stall", [0, 0.3, 0.8])
@pytest.mark.parametrize("size", [*SIZES, (24, 8, 8)])
def test_every_short_drain(size: Size, stall: float) -> None:
    """A few times R sums, in all ways to divide them among slots: the next window comes early."""
    bench = DrainBench(size, seed=sum(size))
    lanes, pixels, requantizers = size
    layers = [
        {
            "drain_lanes": count - 1,
            "drain_slots": slots - 1,
            "channel_wise": pool,
            "pool": pool,
            "add": add,
        }
        for count in range(1, lanes // requantizers + 1)
        for slots in range(1, pixels + 1)
        if count * slots <= 9
        for pool in range(2)
        for add in range(2)
        if not pool or (slots == 1 and count * requantizers <= bench.configuration.channel_group)
    ]
    bench.run(layers, 8, stall)


@pytest.mark.parametrize("size", [(8, 2, 1), (4, 4, 4), (16, 8, 8)])
def test_layers_of_all_kinds_follow_each_other(size: Size) -> None:
    bench = DrainBench(size, seed=0)
    bench.run([bench.random_layer(bench.rng.random() < 0.4) for _ in range(30)], 3, 0.3)


@pytest.mark.parametrize("channel_wise", [0, 1])
@pytest.mark.parametrize("size", [(8, 2, 1), (4, 4, 1), (4, 4, 4), (16, 8, 8)])
@pytest.mark.parametrize("add", [0, 1])
def test_draining_leaves_no_gap_between_windows(size: Size, channel_wise: int, add: int) -> None:
    """Two cycles for a sum, or one for several that are not added to others."""
    bench = DrainBench(size, seed=0)
    lanes, pixels, requantizers = size
    layer = {
        "drain_lanes": lanes // requantizers - 1,
        "drain_slots": pixels - 1,
        "channel_wise": channel_wise,
        "pool": 0,
        "add": add,
    }
    drained = lanes * pixels // requantizers
    between = max(
        bench.configuration.mac_latency + 3, (2 if add or requantizers == 1 else 1) * drained
    )
    assert bench.run([layer], 20, 0) <= 20 * between + 40


@pytest.mark.parametrize("requantizers", [1, 4])
@pytest.mark.parametrize(
    ("drained", "pool"), [(n, 0) for n in (1, 2, 3, 4, 5)] + [(n, 1) for n in (1, 2, 3, 4)]
)
def test_short_windows_follow_each_other(drained: int, pool: int, requantizers: int) -> None:
    """A window comes as soon as the one before has loaded, or its sums have left."""
    if pool and requantizers > 1 < drained:
        pytest.skip("all maxima of a window leave at once")
    pixels = 4 if pool or requantizers > 1 else 1
    bench = DrainBench((32 if requantizers > 1 else 8, pixels, requantizers), seed=0)
    layer = {
        "drain_lanes": drained - 1,
        "drain_slots": 0,
        "channel_wise": pool,
        "pool": pool,
        "add": 0,
    }
    latency = latency_of(bench.configuration, pool)
    # Two more until it is not blocked, and one where more than one sum must be seen to leave.
    between = max(latency + 2 + (drained > 1), (2 if requantizers == 1 else 1) * drained)
    if latency == 3 and drained > 2:
        between += 2  # the drain waits as if they loaded a cycle sooner
    assert bench.run([layer], 30, 0) <= 30 * between + 20
