"""The writer's loop nest against five loops: every address in order, and the greatest result."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from streams import pulse, simulate

from gateware.engine.writer import Writer
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import LEVELS, WRAP, Level

Layer = dict[str, int]


def expected_results(
    configuration: EngineConfiguration, layer: Layer, deltas: list[int]
) -> Iterator[int | None]:
    """Address of every result, in the drain's order; None where it belongs to no output."""
    lanes = configuration.lanes
    address = deltas[Level.START]
    for tile in range(layer["tiles"] + 1):
        last_tile = tile == layer["tiles"]
        for line in range(layer["lines"] + 1):
            last_line = line == layer["lines"]
            for group in range(layer["groups"] + 1):
                last_group = group == layer["groups"]
                for slot in range(layer["drain_slots"] + 1):
                    for step in range(layer["drain_lanes"] + 1):
                        lane = (configuration.first_lane(slot) + step) % lanes
                        if step > 0:
                            address += deltas[WRAP if lane == 0 else Level.LANE]
                        elif slot > 0:
                            address += deltas[Level.FIRST_SLOT if slot == 1 else Level.SLOT]
                        if layer["lanes_end_on_line"]:
                            output = not last_line or step <= layer["last_lanes"]
                        else:
                            output = not last_tile or lane <= layer["last_lanes"]
                        if last_tile if layer["channel_wise"] else last_group:
                            output = output and slot <= layer["last_slots"]
                        yield address % configuration.memory_bytes if output else None
                if not last_group:
                    address += deltas[Level.GROUP]
                elif not last_line:
                    address += deltas[Level.LINE]
                elif not last_tile:
                    address += deltas[Level.TILE]


def random_layer(configuration: EngineConfiguration, rng: random.Random) -> Layer:
    lanes, pixels = configuration.lanes, configuration.pixels
    return {
        "tiles": rng.randrange(3),
        "lines": rng.randrange(4),
        "groups": rng.randrange(4),
        "drain_lanes": rng.randrange(lanes),
        "drain_slots": rng.randrange(pixels),
        "last_lanes": rng.randrange(lanes),
        "last_slots": rng.randrange(pixels),
        "lanes_end_on_line": rng.randrange(2),
        "channel_wise": rng.randrange(2),
        "last": 1,
    }


class WriterBench:
    def __init__(self, lanes: int, pixels: int, seed: int, stall: float) -> None:
        self.configuration = EngineConfiguration(lanes=lanes, pixels=pixels)
        self.rng = random.Random(seed)
        self.stall = stall
        self.dut = Writer(self.configuration)

    async def layer(self, ctx, layer: Layer) -> None:
        dut, rng = self.dut, self.rng
        deltas = [rng.randrange(self.configuration.memory_bytes) for _ in range(LEVELS)]
        ctx.set(dut.layer, layer)
        for index, delta in enumerate(deltas):
            ctx.set(dut.deltas.payload, {"index": index, "delta": {"write": delta}})
            await pulse(ctx, dut.deltas.valid)
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(3)
        written: list[int] = []
        expected = list(expected_results(self.configuration, layer, deltas))
        for number, address in enumerate(expected):
            assert not ctx.get(dut.finished)
            value = rng.choice([-128, 127, rng.randint(-128, 127)])
            ctx.set(dut.results.payload, value % 256)
            ctx.set(dut.results.valid, 1)
            *_, valid, write = await ctx.tick().sample(dut.writes.valid, dut.writes.payload)
            assert valid == (address is not None), f"result {number}"
            if address is not None:
                assert (write.address, write.data) == (address, value % 256), f"result {number}"
                written.append(value)
            ctx.set(dut.results.valid, 0)
            for _ in range(1 + (rng.randrange(6) if rng.random() < self.stall else 0)):
                *_, valid = await ctx.tick().sample(dut.writes.valid)
                assert not valid
        assert ctx.get(dut.finished)
        if written and layer["last"]:
            assert ctx.get(dut.best) == written.index(max(written))


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize(("lanes", "pixels"), [(8, 2), (1, 1), (3, 3), (2, 5), (16, 8)])
def test_random_loop_nests(lanes: int, pixels: int, stall: float) -> None:
    bench = WriterBench(lanes, pixels, seed=lanes, stall=stall)
    limit = 400

    async def main(ctx) -> None:
        written = 0
        while written < 10:
            layer = random_layer(bench.configuration, bench.rng)
            loops = ("tiles", "lines", "groups", "drain_lanes", "drain_slots")
            size = 1
            for loop in loops:
                size *= layer[loop] + 1
            if size <= limit:
                await bench.layer(ctx, layer)
                written += 1

    simulate(bench.dut, main)


def test_best_is_of_the_last_layer() -> None:
    """A layer that is not the last leaves it alone; the first of equals counts."""
    bench = WriterBench(4, 1, seed=0, stall=0)

    async def main(ctx) -> None:
        layer = random_layer(bench.configuration, bench.rng)
        layer |= {"drain_lanes": 3, "last_lanes": 3, "tiles": 2}
        await bench.layer(ctx, layer)
        best = ctx.get(bench.dut.best)
        for _ in range(3):
            await bench.layer(ctx, layer | {"last": 0})
            assert ctx.get(bench.dut.best) == best

    simulate(bench.dut, main)
