"""The writer's loop nest against six loops: every address in order, and the greatest result."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from gateware.engine.epilogue import COMBINATION_LATENCY
from gateware.engine.writer import NOTICE_CYCLES, Writer
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import LEVELS, Level
from tests.gateware.streams import simulate

Layer = dict[str, int]
Size = tuple[int, int, int]  # L, P, R
#: What is asked of the memory: address, whether to write, and the bytes to write where any are.
Request = tuple[int, bool, list[int | None]]

SIZES = [(8, 2, 1), (1, 1, 1), (3, 3, 1), (4, 5, 1), (16, 8, 8), (16, 8, 1), (4, 4, 4)]


def is_output(
    configuration: EngineConfiguration,
    layer: Layer,
    place: tuple[int, int, int, int, int],
) -> bool:
    """Whether a lane's result belongs to a channel, a row and a column."""
    tile, line, group, slot, lane = place
    channels = configuration.channel_group
    last_tile, last_line, last_group = (
        number == layer[loop] for number, loop in zip(place, ("tiles", "lines", "groups"))
    )
    channel = lane % channels if layer["channel_wise"] else lane
    last = last_tile if layer["channels_inside"] else last_group
    return not (
        (last_tile and channel > layer["last_lanes"])
        or (last_line and lane // channels > layer["last_results"])
        or (last and slot > layer["last_slots"])
    )


def expected_results(
    configuration: EngineConfiguration, layer: Layer, deltas: list[int]
) -> Iterator[tuple[int, list[bool], bool]]:
    """Address of every R results, in the drain's order; which of them belong to the output; and
    whether they meet what lies there."""
    step, channels = configuration.requantizers, configuration.channel_group
    address = deltas[Level.START]
    for tile in range(layer["tiles"] + 1):
        for line in range(layer["lines"] + 1):
            for group in range(layer["groups"] + 1):
                for slot in range(layer["drain_slots"] + 1):
                    for lanes in range(layer["drain_lanes"] + 1):
                        first = lanes * step
                        if lanes > 0:
                            address += deltas[Level.LANE if first % channels else Level.LANES]
                        elif slot > 0:
                            address += deltas[Level.SLOT]
                        yield (
                            address % configuration.memory_bytes,
                            [
                                is_output(configuration, layer, (tile, line, group, slot, lane))
                                for lane in range(first, first + step)
                            ],
                            bool(layer["add"] or (layer["pooled"] and line % 2)),
                        )
                if group < layer["groups"]:
                    address += deltas[Level.GROUP]
                elif line < layer["lines"]:
                    pair = layer["pooled"] and line % 2
                    address += deltas[Level.KERNEL_ROW if pair else Level.LINE]
                elif tile < layer["tiles"]:
                    address += deltas[Level.TILE]


def random_layer(configuration: EngineConfiguration, rng: random.Random) -> Layer:
    lanes, pixels = configuration.lanes, configuration.pixels
    combination = rng.choice(["none", "add", "pooled"])
    return {
        "tiles": rng.randrange(3),
        "lines": rng.choice([1, 3]) if combination == "pooled" else rng.randrange(4),
        "groups": rng.randrange(4),
        "drain_lanes": rng.randrange(lanes // configuration.requantizers),
        "drain_slots": rng.randrange(pixels),
        "last_lanes": rng.randrange(lanes),
        "last_slots": rng.randrange(pixels),
        "last_results": rng.choice([31, rng.randrange(configuration.most_results)]),
        "channel_wise": rng.randrange(2),
        "channels_inside": rng.randrange(2),
        "add": int(combination == "add"),
        "pooled": int(combination == "pooled"),
        "last": 1,
    }


def results_of(layer: Layer) -> int:
    """How often R results come in a layer."""
    count = 1
    for loop in ("tiles", "lines", "groups", "drain_lanes", "drain_slots"):
        count *= layer[loop] + 1
    return count


class WriterBench:
    def __init__(self, size: Size, seed: int, stall: float, memory_bytes: int = 1 << 17) -> None:
        lanes, pixels, requantizers = size
        self.configuration = EngineConfiguration(
            lanes=lanes, pixels=pixels, requantizers=requantizers, memory_bytes=memory_bytes
        )
        self.rng = random.Random(seed)
        self.stall = stall
        self.dut = Writer(self.configuration)
        self.cycle = 0
        #: By the cycle in which they must come.
        self.requests: dict[int, Request] = {}
        self.results: dict[int, bytes] = {}
        self.sums: dict[int, bytes] = {}

    async def tick(self, ctx) -> bool:
        """A cycle, in which the memory is asked for what it must be, and for nothing else; whether
        the writer had finished in it."""
        dut, step = self.dut, self.configuration.requantizers
        sums = self.sums.pop(self.cycle, None) or self.rng.randbytes(step)
        ctx.set(dut.combined, int.from_bytes(sums, "little"))
        results = self.results.pop(self.cycle, None)
        ctx.set(dut.notice, self.cycle + NOTICE_CYCLES in self.results)
        ctx.set(dut.results.valid, results is not None)
        ctx.set(dut.results.payload, int.from_bytes(results or self.rng.randbytes(step), "little"))
        *_, valid, request, finished = await ctx.tick().sample(
            dut.memory.valid, dut.memory.p, dut.finished
        )
        wanted = self.requests.pop(self.cycle, None)
        assert valid == (wanted is not None), f"cycle {self.cycle}"
        if wanted is not None:
            address, write, data = wanted
            assert (request.address, request.write) == (address, write), f"cycle {self.cycle}"
            if write:
                stored = [
                    request.data >> 8 * i & 0xFF if request.mask >> i & 1 else None
                    for i in range(step)
                ]
                assert stored == data, f"cycle {self.cycle}"
        self.cycle += 1
        return bool(finished)

    async def pulse(self, ctx, signal) -> None:
        ctx.set(signal, 1)
        await self.tick(ctx)
        ctx.set(signal, 0)

    def random_bytes(self) -> bytes:
        rng = self.rng
        return bytes(
            rng.choice([0x80, 0x7F, rng.randrange(256)])
            for _ in range(self.configuration.requantizers)
        )

    async def layer(self, ctx, layer: Layer) -> None:
        dut, rng = self.dut, self.rng
        step = self.configuration.requantizers
        deltas = [rng.randrange(0, self.configuration.memory_bytes, step) for _ in range(LEVELS)]
        for index, delta in enumerate(deltas):
            for half in range(2):
                write = {"index": index, "half": half, "delta": {"write": delta}}
                ctx.set(dut.deltas.payload, write)
                await self.pulse(ctx, dut.deltas.valid)
        # As on the tape, behind the deltas.
        ctx.set(dut.layer, layer)
        await self.pulse(ctx, dut.start)
        written: list[int] = []
        cycle = self.cycle + rng.randrange(2) + 1 + NOTICE_CYCLES
        last = cycle
        combines = layer["add"] or layer["pooled"]
        apart = 2 if combines else self.configuration.result_cycles
        for address, outputs, meets in expected_results(self.configuration, layer, deltas):
            results, sums = self.random_bytes(), self.random_bytes()
            data = [
                value if output else None
                for value, output in zip(sums if meets else results, outputs)
            ]
            if any(outputs):
                if meets:
                    self.requests[cycle] = address, False, []
                    self.requests[cycle + COMBINATION_LATENCY] = address, True, data
                else:
                    self.requests[cycle] = address, True, data
            self.results[cycle] = results
            self.sums[cycle + COMBINATION_LATENCY] = sums
            written += [value for value in data if value is not None]
            last = cycle
            cycle += apart
            if rng.random() < self.stall:
                cycle += (2 if combines else 1) * rng.randrange(4)
        while self.cycle <= last or self.requests:
            assert not await self.tick(ctx)
        while combines and self.cycle <= last + COMBINATION_LATENCY:
            await self.tick(ctx)
        assert await self.tick(ctx)
        # Pairs of lines are written in another order than they come.
        if written and layer["last"] and not layer["pooled"]:
            values = [value ^ 0x80 for value in written]
            await ctx.tick().repeat(5)  # rounds of comparisons
            assert ctx.get(dut.best) == values.index(max(values))


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("size", SIZES)
def test_random_loop_nests(size: Size, stall: float) -> None:
    bench = WriterBench(size, seed=sum(size), stall=stall)
    # No more than the search for the greatest can count.
    limit = min(400, 1024 // size[2])

    async def main(ctx) -> None:
        written = 0
        while written < 16:
            layer = random_layer(bench.configuration, bench.rng)
            if results_of(layer) <= limit:
                await bench.layer(ctx, layer)
                written += 1

    simulate(bench.dut, main)


@pytest.mark.parametrize(
    ("size", "memory_bytes"),
    [((8, 2, 1), 1 << 14), ((8, 2, 1), 1 << 16), ((16, 8, 8), 1 << 20), ((16, 16, 16), 1 << 20)],
)
def test_other_memories(size: Size, memory_bytes: int) -> None:
    """Addresses of fewer and of as many bits as there can be."""
    bench = WriterBench(size, seed=size[0], stall=0.2, memory_bytes=memory_bytes)

    async def main(ctx) -> None:
        for _ in range(6):
            layer = random_layer(bench.configuration, bench.rng)
            while results_of(layer) > 60:
                layer = random_layer(bench.configuration, bench.rng)
            await bench.layer(ctx, layer)

    simulate(bench.dut, main)


@pytest.mark.parametrize("add", [0, 1])
@pytest.mark.parametrize("size", [(4, 1, 1), (8, 8, 8)])
def test_best_is_of_the_last_layer(size: Size, add: int) -> None:
    """A layer that is not the last leaves it alone; the first of equals counts."""
    bench = WriterBench(size, seed=0, stall=0)

    async def main(ctx) -> None:
        lanes, _, requantizers = size
        layer = random_layer(bench.configuration, bench.rng)
        layer |= {"drain_lanes": lanes // requantizers - 1, "last_lanes": lanes - 1, "tiles": 2}
        layer |= {"add": add, "pooled": 0}
        await bench.layer(ctx, layer)
        best = ctx.get(bench.dut.best)
        for _ in range(3):
            await bench.layer(ctx, layer | {"last": 0})
            assert ctx.get(bench.dut.best) == best

    simulate(bench.dut, main)
