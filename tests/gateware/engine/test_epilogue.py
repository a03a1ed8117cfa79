"""The epilogue against tables in Python; then with the writer and the memory, on whole pictures."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect

from gateware.engine.epilogue import COMBINATION_LATENCY, EPILOGUE_LATENCY, Epilogue
from gateware.engine.writer import Writer
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import ADDITION_SHIFT, LEVELS, TABLE_BITS, Level
from gateware.memory.scratchpad import RESULT_READ_LATENCY, Scratchpad
from gateware.primitives import Technology
from tests.gateware.streams import pulse, simulate

Size = tuple[int, int, int]  # L, P, R
KINDS = ("add", "pool", "table", "plain")

SIZES = [(8, 2, 1), (1, 1, 1), (3, 3, 1), (4, 5, 1), (8, 8, 8), (16, 8, 8), (4, 4, 4)]


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


@dataclass
class Layer:
    """What a layer does with results; tables are indexed by value + 128."""

    table: bool
    add: bool
    pooled: bool
    first: list[int]
    second: list[int]
    minimum: int
    maximum: int

    def fields(self) -> dict[str, int]:
        return {
            "table": int(self.table),
            "add": int(self.add),
            "pooled": int(self.pooled),
            "minimum": self.minimum,
            "maximum": self.maximum,
        }

    @property
    def combines(self) -> bool:
        return self.add or self.pooled

    def byte(self, result: int, addend: int) -> int:
        """What becomes of a byte; ``addend``: the one in memory."""
        result, addend = signed(result), signed(addend)
        if self.pooled:
            return max(result, addend) % 256
        if self.add:
            total = self.first[result + 128] + self.second[addend + 128] >> ADDITION_SHIFT
            return min(max(total, self.minimum), self.maximum) % 256
        return (self.first[result + 128] if self.table else result) % 256

    def bytes(self, results: bytes, others: bytes) -> bytes:
        return bytes(self.byte(*pair) for pair in zip(results, others))


def random_layer(rng: random.Random, kind: str) -> Layer:
    """Sums within the clamp, beyond it, and as far as the entries' width lets them."""
    limit = 1 << TABLE_BITS - 1
    reach = rng.choice([128 << ADDITION_SHIFT - 1, 128 << ADDITION_SHIFT, limit // 2])
    first, second = ([rng.randrange(-reach, reach) for _ in range(256)] for _ in range(2))
    if rng.random() < 0.2:
        first, second = [limit - 1] * 256, [rng.randrange(-limit, 1) for _ in range(256)]
    elif rng.random() < 0.2:
        first, second = [rng.randrange(0, limit) for _ in range(256)], [-limit] * 256
    minimum, maximum = -128, 127
    if rng.random() < 0.5:
        minimum, maximum = sorted(rng.choices([-128, -127, -3, 0, 5, 126, 127], k=2))
    return Layer(kind == "table", kind == "add", kind == "pool", first, second, minimum, maximum)


async def load(ctx, dut: Epilogue, layer: Layer) -> None:
    """Fill the tables as the sequencer does: a layer that does not add has but the first one."""
    for index, (first, second) in enumerate(zip(layer.first, layer.second)):
        for half in range(1 + layer.add):
            word = {"first": first, "second": second}
            ctx.set(dut.table.payload, {"index": index, "half": half, "table": word})
            await pulse(ctx, dut.table.valid)


def gap(rng: random.Random, stall: float, combines: bool) -> int:
    """Cycles from a result to the next."""
    step = 2 if combines else 1
    return step + (step * rng.randrange(5) if rng.random() < stall else 0)


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("size", [(8, 2, 1), (8, 8, 8)])
def test_bytes_and_sums(size: Size, stall: float) -> None:
    lanes, pixels, step = size
    dut = Epilogue(EngineConfiguration(lanes=lanes, pixels=pixels, requantizers=step))
    rng = random.Random(step)
    cycle = 0
    # By the cycle in which they come; what a layer that adds gives as results, does not matter.
    results: dict[int, bytes | None] = {}
    others: dict[int, bytes] = {}
    sums: dict[int, bytes] = {}

    async def tick(ctx) -> None:
        nonlocal cycle
        other = others.pop(cycle, None) or rng.randbytes(step)
        ctx.set(dut.others, int.from_bytes(other, "little"))
        *_, valid, found, total = await ctx.tick().sample(
            dut.results.valid, dut.results.payload, dut.combined
        )
        assert valid == (cycle in results), f"cycle {cycle}"
        wanted = results.pop(cycle, None)
        assert wanted is None or found.to_bytes(step, "little") == wanted, f"cycle {cycle}"
        wanted = sums.pop(cycle, None)
        assert wanted is None or total.to_bytes(step, "little") == wanted, f"cycle {cycle}"
        cycle += 1

    async def main(ctx) -> None:
        nonlocal cycle
        for kind in [*KINDS, *rng.choices(KINDS, k=7)]:
            layer = random_layer(rng, kind)
            ctx.set(dut.layer, layer.fields())
            if kind in ("add", "table"):
                await load(ctx, dut, layer)
            for _ in range(300 // step):
                result, addend = rng.randbytes(step), rng.randbytes(step)
                asked = cycle + EPILOGUE_LATENCY
                # In a pooled layer's first lines the result itself is what counts.
                wanted = result if layer.pooled else layer.bytes(result, addend)
                results[asked] = None if layer.add else wanted
                others[asked + RESULT_READ_LATENCY] = addend
                if layer.combines:
                    sums[asked + COMBINATION_LATENCY] = layer.bytes(result, addend)
                ctx.set(dut.requantized.payload, int.from_bytes(result, "little"))
                ctx.set(dut.requantized.valid, 1)
                await tick(ctx)
                ctx.set(dut.requantized.valid, 0)
                ctx.set(dut.requantized.payload, rng.getrandbits(8 * step))
                for _ in range(gap(rng, stall, layer.combines) - 1):
                    await tick(ctx)
            while results or sums or others:
                await tick(ctx)
            # The next layer may begin in any cycle.
            for _ in range(rng.randrange(2)):
                await tick(ctx)

    simulate(dut, main)


class PictureBench:
    """Epilogue, writer and memory; pixels and tape are read at the same time."""

    def __init__(self, size: Size, banks: int, seed: int, stall: float) -> None:
        lanes, pixels, self.step = size
        word_bytes = EngineConfiguration(lanes=lanes, pixels=pixels).word_bytes
        bank_words = 1 << (256 // banks // word_bytes).bit_length() - 1
        self.configuration = EngineConfiguration(
            lanes=lanes,
            pixels=pixels,
            requantizers=self.step,
            banks=banks,
            memory_bytes=banks * bank_words * word_bytes,
        )
        self.rng = random.Random(seed)
        self.stall = stall
        self.epilogue = Epilogue(self.configuration)
        self.writer = Writer(self.configuration)
        self.memory = Scratchpad(self.configuration, 1, Technology.GENERIC)
        self.dut = m = Module()
        m.submodules += [self.epilogue, self.writer, self.memory]
        connect(m, self.epilogue.results, self.writer.results)
        connect(m, self.writer.memory, self.memory.results.request)
        m.d.comb += [
            self.epilogue.others.eq(self.memory.results.response),
            self.writer.notice.eq(self.epilogue.requantized.valid),
            self.writer.combined.eq(self.epilogue.combined),
        ]
        self.reading = False

    def other_reads(self, port):
        """Reads that want banks of their own, or the same."""

        async def testbench(ctx) -> None:
            ctx.set(port.request.p.enable, 1)
            while True:
                if ctx.get(port.request.ready):
                    ctx.set(port.request.valid, self.reading and self.rng.random() < 0.7)
                    address = self.rng.randrange(self.configuration.memory_words)
                    ctx.set(port.request.p.address, address)
                await ctx.tick()

        return testbench

    async def host(self, ctx, address: int, value: int | None) -> int:
        """Write a byte of the memory, or read it."""
        request, response = self.memory.host.request, self.memory.host.response
        write = value is not None
        ctx.set(request.payload, {"address": address, "write": write, "data": value or 0})
        ctx.set(request.valid, 1)
        *_, ready = await ctx.tick().sample(request.ready)
        while not ready:
            *_, ready = await ctx.tick().sample(request.ready)
        ctx.set(request.valid, 0)
        while not write:
            *_, answered, data = await ctx.tick().sample(response.valid, response.payload)
            if answered:
                return int(data)
        return 0

    async def layer(self, ctx, kind: str, picture: bytearray) -> None:
        """Results for consecutive bytes of the memory; ``picture`` becomes what that must."""
        rng, step = self.rng, self.step
        lanes, pixels = self.configuration.lanes, self.configuration.pixels
        layer = random_layer(rng, kind)
        window = lanes // step * pixels
        windows = len(picture) // step // window
        # A pooled layer comes twice to each place.
        lines = 2 if layer.pooled else 1
        start = step * rng.randrange(len(picture) // step - windows * window + 1)
        last_lane = rng.choice([lanes - 1, rng.randrange(lanes)])
        for index in range(LEVELS):
            delta = {"write": start if index == Level.START else step}
            if index == Level.LINE:
                delta = {"write": -(windows * window - 1) * step % (1 << 20)}
            ctx.set(self.writer.deltas.payload, {"index": index, "delta": delta})
            await pulse(ctx, self.writer.deltas.valid)
        fields = layer.fields() | {
            "groups": windows - 1,
            "lines": lines - 1,
            "drain_lanes": lanes // step - 1,
            "drain_slots": pixels - 1,
            "last_lanes": last_lane,
            "last_slots": pixels - 1,
            "last_results": 31,
            "last": 1,
        }
        for block in (self.epilogue, self.writer):
            ctx.set(block.layer, fields)
        if kind in ("add", "table"):
            await load(ctx, self.epilogue, layer)
        await pulse(ctx, self.writer.start)
        await ctx.tick().repeat(4 + rng.randrange(2))
        self.reading = True
        written = []
        requantized = self.epilogue.requantized
        for count in range(lines * windows * window):
            line, number = divmod(count, windows * window)
            results = rng.randbytes(step)
            ctx.set(requantized.payload, int.from_bytes(results, "little"))
            await pulse(ctx, requantized.valid)
            ctx.set(requantized.payload, rng.getrandbits(8 * step))
            for _ in range(gap(rng, self.stall, layer.combines) - 1):
                await ctx.tick()
            last = count == lines * windows * window - 1
            assert last or not ctx.get(self.writer.finished)
            for index, result in enumerate(results):
                if number % (lanes // step) * step + index <= last_lane:
                    address = start + number * step + index
                    first_line = layer.pooled and line == 0
                    picture[address] = (
                        result if first_line else layer.byte(result, picture[address])
                    )
                    written.append(signed(picture[address]))
        while not ctx.get(self.writer.finished):
            await ctx.tick()
        await ctx.tick().repeat(2)
        assert ctx.get(self.writer.best) == written.index(max(written))
        self.reading = False

    def run(self, kinds: list[str]) -> None:
        async def main(ctx) -> None:
            picture = bytearray(self.rng.randbytes(self.configuration.memory_bytes))
            for address, value in enumerate(picture):
                await self.host(ctx, address, value)
            for kind in kinds:
                await self.layer(ctx, kind, picture)
            for address, value in enumerate(picture):
                assert await self.host(ctx, address, None) == value, f"byte {address}"

        others = [self.other_reads(port) for port in (self.memory.pixels, self.memory.tape)]
        simulate(self.dut, main, background=others)


@pytest.mark.parametrize(("banks", "stall"), [(1, 0), (3, 0.4), (4, 0)])
@pytest.mark.parametrize("size", SIZES)
def test_additions_on_a_picture(size: Size, banks: int, stall: float) -> None:
    """Every byte becomes the sum of its entry and a result's."""
    bench = PictureBench(size, banks, seed=sum(size) + banks, stall=stall)
    bench.run(["add"])


@pytest.mark.parametrize(("banks", "stall"), [(1, 0), (3, 0.4), (4, 0)])
@pytest.mark.parametrize("size", SIZES)
def test_a_pooled_picture(size: Size, banks: int, stall: float) -> None:
    """Every byte becomes the greater of two results."""
    bench = PictureBench(size, banks, seed=sum(size) + banks, stall=stall)
    bench.run(["pool"])


@pytest.mark.parametrize("size", [(8, 2, 1), (16, 8, 8)])
def test_layers_of_all_kinds_follow_each_other(size: Size) -> None:
    bench = PictureBench(size, 2, seed=0, stall=0.2)
    bench.run(["add", "plain", "add", "pool", "add", "table", "pool", "plain", "pool", "table"])
