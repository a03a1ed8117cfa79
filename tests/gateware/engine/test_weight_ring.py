"""Tape reader and ring together, between a memory that stalls and a sequencer that does."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import pytest
from amaranth.hdl import Module, ResetInserter, Signal

from gateware.engine.weight_ring import TapeReader, WeightRing
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import TAPE_ADDRESS
from gateware.interface.tape import SEGMENT
from tests.gateware.streams import pause, simulate


@dataclass(frozen=True)
class Step:
    """What the sequencer does with one entry."""

    index: int
    rewind: bool = False
    mark: bool = False
    fresh: bool = True
    freed: bool = True


def words(first: int, count: int) -> list[Step]:
    """Words: each entry is read once, and the one after the last is marked."""
    return [Step(first + n, mark=n == count - 1) for n in range(count)]


def tile(first: int, taps: int, windows: int) -> list[Step]:
    """A tile's entries, read once for each window."""
    return [
        Step(
            first + tap,
            rewind=tap == taps - 1 and window < windows - 1,
            fresh=window == 0,
            freed=window == windows - 1,
        )
        for window in range(windows)
        for tap in range(taps)
    ]


def program(rng: random.Random, depth: int, entries: int) -> list[Step]:
    """Words and tiles in turn, until so many entries are used."""
    steps: list[Step] = []
    first = 0
    # The largest window that may be used again, and one that is used once and is larger.
    shapes = [(depth - 1, 3), (2 * depth + 3, 1), (1, 5)]
    while first < entries or shapes:
        count = rng.randrange(1, 2 * depth)
        steps += words(first, count)
        first += count
        taps, windows = shapes.pop() if shapes else (rng.randrange(1, depth), rng.randrange(1, 5))
        steps += tile(first, taps, windows)
        first += taps
    return steps


class Tape:
    """Memory that holds a tape, and answers when it likes."""

    def __init__(self, configuration: EngineConfiguration, rng: random.Random, stall: float):
        self.configuration = configuration
        self.rng = rng
        self.stall = stall
        self.words_read = 0

    def word(self, index: int) -> int:
        """Word ``index`` of the tape."""
        width = 8 * self.configuration.word_bytes
        return random.Random(index * 0x9E3779B1).getrandbits(width)

    def entry(self, index: int) -> int:
        configuration = self.configuration
        count, width = configuration.entry_words, 8 * configuration.word_bytes
        joined = sum(self.word(index * count + n) << (n * width) for n in range(count))
        return joined & ((1 << 8 * configuration.lanes) - 1)

    def serve(self, port):
        first = TAPE_ADDRESS // self.configuration.word_bytes

        async def testbench(ctx) -> None:
            pending: deque[int] = deque()
            while True:
                ctx.set(port.request.ready, self.rng.random() >= self.stall)
                if pending and self.rng.random() >= self.stall:
                    ctx.set(port.response.p.data, self.word(pending.popleft()))
                    ctx.set(port.response.valid, 1)
                else:
                    ctx.set(port.response.p.data, self.rng.getrandbits(16))
                    ctx.set(port.response.valid, 0)
                *_, valid, ready, request = await ctx.tick().sample(
                    port.request.valid, port.request.ready, port.request.p
                )
                if valid and ready:
                    assert request.enable
                    assert request.address == first + self.words_read, "The reader jumped"
                    pending.append(self.words_read)
                    self.words_read += 1

        return testbench


SIZES = [(8, 2), (1, 1), (3, 3), (4, 5), (4, 2), (16, 8)]


@pytest.mark.parametrize(("memory_stall", "step_stall"), [(0, 0), (0.6, 0), (0, 0.6), (0.4, 0.4)])
@pytest.mark.parametrize("size", SIZES)
def test_every_step_sees_its_entry(
    size: tuple[int, int], memory_stall: float, step_stall: float
) -> None:
    configuration = EngineConfiguration(lanes=size[0], pixels=size[1], ring_entries=16)
    depth = configuration.ring_entries
    rng = random.Random(sum(size))
    steps = program(rng, depth, 12 * depth)
    reader, ring = TapeReader(configuration), WeightRing(configuration)
    tape = Tape(configuration, rng, memory_stall)
    m = Module()
    m.submodules += [reader, ring]
    m.d.comb += [
        ring.words.valid.eq(reader.words.valid),
        ring.words.payload.eq(reader.words.payload),
    ]

    async def sequencer(ctx) -> None:
        expected = None
        for step in steps:
            while True:
                await pause(ctx, rng, step_stall)
                if not step.fresh or ctx.get(ring.available):
                    break
                await ctx.tick()
            for name in ("rewind", "mark", "fresh"):
                ctx.set(getattr(ring, name), getattr(step, name))
            ctx.set(ring.step, 1)
            ctx.set(reader.freed, step.freed)
            await ctx.tick()
            expected = tape.entry(step.index)
            assert ctx.get(ring.data) == expected, f"entry {step.index}"
            ctx.set(ring.step, 0)
            ctx.set(reader.freed, 0)
            # Without a step, these mean nothing.
            for name in ("rewind", "mark", "fresh"):
                ctx.set(getattr(ring, name), rng.randrange(2))

    simulate(m, sequencer, background=[tape.serve(reader.port)])
    # It filled the ring behind the last step, and no more.
    used = steps[-1].index + 1
    assert tape.words_read <= (used + depth) * configuration.entry_words


@pytest.mark.parametrize("stall", [0, 0.6])
@pytest.mark.parametrize("size", SIZES)
def test_reader_fills_the_ring_and_rests(size: tuple[int, int], stall: float) -> None:
    """With nothing freed, at least the largest window's entries come, and never more than fit."""
    configuration = EngineConfiguration(lanes=size[0], pixels=size[1], ring_entries=16)
    reader = TapeReader(configuration)
    tape = Tape(configuration, random.Random(0), stall)

    async def wait(ctx) -> None:
        await ctx.tick().repeat(500)

    simulate(reader, wait, background=[tape.serve(reader.port)])
    entries = tape.words_read / configuration.entry_words
    assert configuration.window_taps <= entries <= configuration.ring_entries


def test_a_word_a_cycle() -> None:
    """Where memory and steps do not stall, entries follow each other as fast as words do."""
    configuration = EngineConfiguration(lanes=2, pixels=2, ring_entries=16)
    reader, ring = TapeReader(configuration), WeightRing(configuration)
    tape = Tape(configuration, random.Random(0), stall=0)
    m = Module()
    m.submodules += [reader, ring]
    m.d.comb += [
        ring.words.valid.eq(reader.words.valid),
        ring.words.payload.eq(reader.words.payload),
        ring.fresh.eq(1),
        ring.step.eq(ring.available),
        reader.freed.eq(ring.step),
    ]

    async def wait(ctx) -> None:
        await ctx.tick().repeat(500)

    simulate(m, wait, background=[tape.serve(reader.port)])
    assert tape.words_read > 490


class SegmentedTape:
    """The same words, some from the memory, behind headers, and some from the flash."""

    def __init__(self, configuration: EngineConfiguration, rng: random.Random, entries: int):
        self.configuration = configuration
        self.memory: list[int] = []
        self.flash: deque[int] = deque()
        self.words: list[int] = []
        width = 8 * configuration.word_bytes
        while len(self.words) < entries * configuration.entry_words:
            count, flash = rng.choice([1, 2, rng.randrange(1, 40)]), rng.random() < 0.5
            # What is beside the header in its word means nothing.
            rest = rng.getrandbits(width - 16) << 16 if width > 16 else 0
            self.memory.append(SEGMENT.pack(entries=count - 1, flash=flash) | rest)
            words = [rng.getrandbits(width) for _ in range(count * configuration.entry_words)]
            self.words += words
            (self.flash if flash else self.memory).extend(words)

    def serve_memory(self, port, rng: random.Random, stall: float):
        async def testbench(ctx) -> None:
            first = TAPE_ADDRESS // self.configuration.word_bytes
            expected = first
            under_way: deque[int | None] = deque([None] * 3)
            while True:
                # As the scratchpad: an answer comes three cycles after the grant.
                ctx.set(port.request.ready, rng.random() >= stall)
                word = under_way.popleft()
                ctx.set(port.response.valid, word is not None)
                ctx.set(port.response.p.data, rng.getrandbits(16) if word is None else word)
                *_, valid, ready, request = await ctx.tick().sample(
                    port.request.valid, port.request.ready, port.request.p
                )
                under_way.append(None)
                if valid and ready:
                    assert request.address == expected
                    index = expected - first
                    under_way[-1] = self.memory[index] if index < len(self.memory) else 0
                    expected += 1

        return testbench

    def serve_flash(self, reader, rng: random.Random, stall: float):
        async def testbench(ctx) -> None:
            while True:
                await pause(ctx, rng, stall)
                if not self.flash:
                    return
                ctx.set(reader.flash.payload, self.flash[0])
                ctx.set(reader.flash.valid, 1)
                ready = False
                while not ready:
                    *_, ready, wanted = await ctx.tick().sample(
                        reader.flash.ready, reader.wants_flash
                    )
                    assert wanted or not ready
                ctx.set(reader.flash.valid, 0)
                self.flash.popleft()

        return testbench


@pytest.mark.parametrize(
    ("memory_stall", "flash_stall", "step_stall"),
    [(0, 0, 0), (0.6, 0, 0), (0, 0.6, 0.3), (0, 0, 0.8)],
)
@pytest.mark.parametrize("size", SIZES)
def test_segments_come_from_where_their_headers_say(
    size: tuple[int, int], memory_stall: float, flash_stall: float, step_stall: float
) -> None:
    configuration = EngineConfiguration(lanes=size[0], pixels=size[1], ring_entries=16, flash=True)
    rng = random.Random(sum(size))
    reader, ring = TapeReader(configuration), WeightRing(configuration)
    # More than the ring can hold behind the last step.
    tape = SegmentedTape(configuration, rng, 340)
    m = Module()
    m.submodules += [reader, ring]
    m.d.comb += [
        ring.words.valid.eq(reader.words.valid),
        ring.words.payload.eq(reader.words.payload),
        ring.fresh.eq(1),
        reader.freed.eq(ring.step),
    ]
    came: list[int] = []

    async def collect(ctx) -> None:
        while True:
            *_, valid, word = await ctx.tick().sample(reader.words.valid, reader.words.payload)
            if valid:
                came.append(word)

    async def step(ctx) -> None:
        for _ in range(300):
            await pause(ctx, rng, step_stall)
            while not ctx.get(ring.available):
                await ctx.tick()
            ctx.set(ring.step, 1)
            await ctx.tick()
            ctx.set(ring.step, 0)

    background = [
        tape.serve_memory(reader.port, random.Random(1), memory_stall),
        tape.serve_flash(reader, random.Random(2), flash_stall),
        collect,
    ]
    simulate(m, step, background=background)
    assert len(came) >= 300 * configuration.entry_words
    assert came == tape.words[: len(came)]
    # The ring has no place for more.
    assert len(came) <= (300 + configuration.ring_entries) * configuration.entry_words


def test_a_reader_in_reset_leaves_the_memory_alone() -> None:
    """Between runs the host reads where the tape reader rests."""
    for flash in (False, True):
        reader = TapeReader(EngineConfiguration(flash=flash))
        held = Signal(init=1)

        async def wait(ctx, reader=reader) -> None:
            for _ in range(20):
                assert not ctx.get(reader.port.request.valid)
                await ctx.tick()

        simulate(ResetInserter(held)(reader), wait)
