"""Slot generator and pixel buffers together: from runs to a byte a stream and step."""

from __future__ import annotations

import random
from collections import deque

import pytest
from amaranth.hdl import Module

from gateware.engine.pixel_buffers import PixelBuffers
from gateware.engine.slot_generator import SlotGenerator
from gateware.interface.configuration import EngineConfiguration
from gateware.memory.scratchpad import ROW_BITS
from tests.gateware.streams import pause, send, simulate

#: Reads that a memory may have accepted and not answered.
UNDER_WAY = 6
#: (word bytes, pixels)
SIZES = ((2, 2), (2, 1), (4, 3), (8, 8), (8, 5))

Run = dict[str, int]


class FetcherBench:
    """Both blocks between random runs, a small memory and a consumer."""

    def __init__(self, pixels: int, seed: int, memory_stall: float, step_stall: float) -> None:
        self.configuration = EngineConfiguration(lanes=8, pixels=pixels)
        self.word = self.configuration.word_bytes
        self.rng = random.Random(seed)
        self.memory_stall, self.step_stall = memory_stall, step_stall
        self.memory = self.rng.randbytes(self.word << ROW_BITS)
        self.slots = SlotGenerator(self.configuration)
        self.buffers = PixelBuffers(self.configuration)
        self.dut = Module()
        self.dut.submodules += [self.slots, self.buffers]
        self.dut.d.comb += self.slots.room.eq(self.buffers.room)
        self.rest_at: int | None = None

    # Reference

    def byte(self, layer: dict[str, int], run: Run, offset: int) -> int:
        """A byte of the picture row, or padding."""
        size = layer["row_words"] * self.word + layer["row_rest"]
        if run["outside"] or not 0 <= offset < size:
            return layer["pad_value"]
        return self.memory[(run["row"] * self.word + offset) % len(self.memory)]

    def streams(self, layer: dict[str, int], run: Run) -> list[list[int | None]]:
        """For each step what the streams hold; None: anything."""
        pixels, step = self.configuration.pixels, layer["slot_step"]
        if layer["channel_wise"]:
            group = self.configuration.channel_group
            return [
                [
                    self.byte(layer, run, run["x"] + tap * step + p) if p < group else None
                    for p in range(pixels)
                ]
                for tap in range(layer["last_slot"] + 1)
            ]
        size = layer["run_words"] * self.word + layer["run_rest"] + 1
        return [
            [self.byte(layer, run, run["x"] + p * step + i) for p in range(pixels)]
            for i in range(size)
        ]

    # Stimulus

    def random_layer(self, channel_wise: bool) -> dict[str, int]:
        rng, word = self.rng, self.word
        layer = {
            "pad_value": rng.randrange(256),
            # Up to rows of 8 KiB.
            "row_words": rng.randrange(12 if rng.random() < 0.7 else (1 << 13) // word),
            "row_rest": rng.randrange(word),
            "channel_wise": int(channel_wise),
        }
        if channel_wise:
            # A group of channels lies within a word, for every tap.
            group = self.configuration.channel_group
            layer |= {
                "slot_step": rng.randrange(6) * group,
                "last_slot": rng.randrange(32),
            }
        else:
            run_words = rng.randrange(5)
            layer |= {
                "slot_step": rng.choice([0, 1, word, 2 * word, rng.randrange(1, 40)]),
                "last_slot": word - 1,
                "run_words": run_words,
                "run_rest": rng.randrange(word),
            }
        return layer

    def random_run(self, layer: dict[str, int]) -> Run:
        rng = self.rng
        reach = (min(layer["row_words"], 12) + 3) * self.word
        x = rng.randrange(-reach, reach)
        if layer["row_words"] > 12 and rng.random() < 0.7:
            # Where a long row ends.
            x += layer["row_words"] * self.word
        if layer["channel_wise"]:
            x -= x % self.configuration.channel_group
        return {"row": rng.getrandbits(ROW_BITS), "x": x, "outside": int(rng.random() < 0.1)}

    # Testbenches

    async def serve(self, ctx) -> None:
        """Accept at random, answer in order and not at once, with at most UNDER_WAY to answer."""
        request, words = self.slots.request, self.buffers.words
        pending: deque[tuple[int, dict[str, int]]] = deque()
        while True:
            ready = len(pending) < UNDER_WAY and self.rng.random() >= self.memory_stall
            ctx.set(request.ready, ready)
            if pending and (self.rng.random() >= self.memory_stall or len(pending) == UNDER_WAY):
                data, tag = pending.popleft()
                ctx.set(words.payload, {"data": data, "tag": tag})
                ctx.set(words.valid, 1)
            else:
                ctx.set(words.valid, 0)
            *_, valid, asked = await ctx.tick().sample(request.valid, request.p)
            if valid and ready:
                start = int(asked.address) * self.word % len(self.memory)
                # What is not read is undefined.
                data = self.memory[start : start + self.word]
                if not asked.enable:
                    data = self.rng.randbytes(self.word)
                tag = {name: int(getattr(asked.tag, name)) for name in ("slot", "valid", "pad")}
                pending.append((int.from_bytes(data, "little"), tag))

    async def consume(self, ctx, expected: list[list[int | None]]) -> None:
        for number, wanted in enumerate(expected):
            if number == self.rest_at:
                # Long enough for the buffers to fill, and the generator to wait for room.
                await ctx.tick().repeat(1000)
                assert not ctx.get(self.buffers.room)
            while True:
                await pause(ctx, self.rng, self.step_stall)
                if ctx.get(self.buffers.available):
                    break
                await ctx.tick()
            ctx.set(self.buffers.step, 1)
            await ctx.tick()
            ctx.set(self.buffers.step, 0)
            for stream, value in enumerate(wanted):
                if value is not None:
                    found = ctx.get(self.buffers.pixels[stream])
                    assert found == value, f"step {number}, stream {stream}"

    def run(self, layers: list[dict[str, int]], runs_of_layer: int) -> int:
        async def main(ctx) -> None:
            for layer in layers:
                ctx.set(self.slots.layer, layer)
                ctx.set(self.buffers.pad_value, layer["pad_value"])
                ctx.set(self.buffers.channel_wise, layer["channel_wise"])
                self.pending = [self.random_run(layer) for _ in range(runs_of_layer)]
                self.go = True
                expected = [step for run in self.pending for step in self.streams(layer, run)]
                await self.consume(ctx, expected)
                # Nothing may be left: a layer begins when the one before is complete.
                await ctx.tick().repeat(20)
                assert not ctx.get(self.buffers.available)
                assert ctx.get(self.slots.runs.ready)
            self.finished = True

        async def runs(ctx) -> None:
            while not self.finished:
                if self.go:
                    self.go = False
                    await send(ctx, self.slots.runs, self.pending, self.rng, self.memory_stall)
                await ctx.tick()

        self.go = self.finished = False
        self.pending: list[Run] = []
        return simulate(self.dut, main, runs, background=[self.serve])


@pytest.mark.parametrize(("memory_stall", "step_stall"), [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
@pytest.mark.parametrize(("word_bytes", "pixels"), SIZES)
def test_streams(word_bytes: int, pixels: int, memory_stall: float, step_stall: float) -> None:
    bench = FetcherBench(pixels, word_bytes, memory_stall, step_stall)
    assert bench.word == word_bytes
    bench.run([bench.random_layer(channel_wise=False) for _ in range(6)], runs_of_layer=8)


@pytest.mark.parametrize(("memory_stall", "step_stall"), [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
@pytest.mark.parametrize(("word_bytes", "pixels"), SIZES)
def test_channel_wise_streams(
    word_bytes: int, pixels: int, memory_stall: float, step_stall: float
) -> None:
    bench = FetcherBench(pixels, word_bytes + 1, memory_stall, step_stall)
    # Between ordinary layers, as in a network.
    layers = [bench.random_layer(channel_wise=bool(n % 3)) for n in range(8)]
    bench.run(layers, runs_of_layer=8)


@pytest.mark.parametrize("pixels", [2, 3])
def test_waits_for_room(pixels: int) -> None:
    """One layer, much longer than the buffers are deep."""
    bench = FetcherBench(pixels, 3, memory_stall=0.1, step_stall=0)
    layer = bench.random_layer(channel_wise=False) | {"run_words": 4}
    bench.rest_at = 300
    bench.run([layer], runs_of_layer=1 + 1200 // (4 * bench.word))


def edge_layers(bench: FetcherBench) -> list[dict[str, int]]:
    """Every length of a run and of a row within a word, with aligned and other steps."""
    word = bench.word
    return [
        {
            "pad_value": 0x81,
            "row_words": 2,
            "row_rest": rest,
            "channel_wise": 0,
            "slot_step": step,
            "last_slot": word - 1,
            "run_words": run // word,
            "run_rest": run % word,
        }
        for rest in range(word)
        for run in range(word + 1)
        for step in {0: (1, word), 1: (2, word + 1)}[rest % 2]
    ]


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_every_alignment_at_both_ends_of_a_row(pixels: int) -> None:
    bench = FetcherBench(pixels, seed=pixels, memory_stall=0.1, step_stall=0)
    size = 3 * bench.word
    places = list(range(-2 * bench.word, 1)) + list(range(size - 2 * bench.word, size + 1))
    places = iter([x for _ in edge_layers(bench) for x in places])
    runs = 2 * bench.word + 1 + 2 * bench.word + 1
    bench.random_run = lambda layer: {"row": 5, "x": next(places), "outside": 0}  # type: ignore
    bench.run(edge_layers(bench), runs_of_layer=runs)


@pytest.mark.parametrize(("word_bytes", "pixels"), [(2, 2), (4, 4), (8, 8)])
def test_a_byte_a_stream_and_cycle(word_bytes: int, pixels: int) -> None:
    """Aligned runs of whole words, nobody stalling: as many cycles as bytes a stream."""
    bench = FetcherBench(pixels, 0, memory_stall=0, step_stall=0)
    layer = {
        "pad_value": 0,
        "row_words": 11,
        "row_rest": 0,
        "channel_wise": 0,
        "slot_step": word_bytes,
        "last_slot": word_bytes - 1,
        "run_words": 3,
        "run_rest": word_bytes - 1,
    }
    bench.random_run = lambda layer: {"row": 5, "x": 0, "outside": 0}  # type: ignore
    runs = 195 // (4 * word_bytes)
    steps = runs * 4 * word_bytes
    assert bench.run([layer], runs_of_layer=runs) <= steps + 80
