"""The scratchpad against the history of every byte.

A read's answer must be what each of its bytes held at some time between the read's acceptance and
its answer: so writes accepted before are seen, and nothing that was never there.
"""

from __future__ import annotations

import bisect
import random
from collections import deque

import pytest

from gateware.interface.configuration import EngineConfiguration
from gateware.memory.scratchpad import RESULT_READ_LATENCY, ROW_BITS, Scratchpad
from gateware.primitives import Technology
from tests.gateware.streams import pause, simulate

TAG_BITS = 6
#: Cycles from a read's acceptance to its answer, where nobody is in the way.
LATENCY = 4

Size = tuple[int, int, int]  # P, banks, R


class ScratchpadBench:
    """A scratchpad under load on all its ports, and what its bytes have been."""

    def __init__(self, size: Size, seed: int) -> None:
        pixels, banks, self.result_bytes = size
        self.rng = random.Random(seed)
        # Small banks, so that requests meet in them and at the same addresses.
        word_bytes = EngineConfiguration(pixels=pixels).word_bytes
        bank_words = 1 << (16 // banks).bit_length() - 1
        self.configuration = EngineConfiguration(
            lanes=8,
            pixels=pixels,
            banks=banks,
            memory_bytes=banks * bank_words * word_bytes,
            requantizers=self.result_bytes,
        )
        self.word_bytes = word_bytes
        self.words = self.configuration.memory_words
        self.dut = Scratchpad(self.configuration, TAG_BITS, Technology.GENERIC)
        self.cycle = 0
        self.history: list[list[tuple[int, int]]] = [
            [] for _ in range(self.configuration.memory_bytes)
        ]
        #: Addresses, by the cycle of the answer.
        self.result_reads: dict[int, int] = {}

    def stored(self, cycle: int, address: int, value: int) -> None:
        """A write was accepted in ``cycle``: one at most is."""
        bisect.insort(self.history[address], (cycle, value))

    def check(self, accepted: int, address: int, value: int) -> None:
        """The byte at ``address`` held ``value`` at some time since the cycle ``accepted``."""
        history = self.history[address]
        first = max(i for i, (cycle, _) in enumerate(history) if cycle < accepted)
        assert value in [stored for _, stored in history[first:]], f"byte {address}"

    def check_word(self, accepted: int, word: int, data: int) -> None:
        for byte in range(self.word_bytes):
            self.check(accepted, word * self.word_bytes + byte, data >> 8 * byte & 0xFF)

    def address(self, limit: int) -> int:
        """Of a word or byte: often among the first, so that ports meet."""
        return self.rng.randrange(limit if self.rng.random() < 0.5 else max(1, limit // 8))

    async def count(self, ctx) -> None:
        while True:
            await ctx.tick()
            self.cycle += 1

    async def fill(self, ctx) -> None:
        """Every byte is written once, by the host."""
        request = self.dut.host.request
        for address in range(self.configuration.memory_bytes):
            await self.host_write(ctx, request, address)

    async def host_write(self, ctx, request, address: int) -> None:
        value = self.rng.randrange(256)
        ctx.set(request.payload, {"address": address, "write": 1, "data": value})
        ctx.set(request.valid, 1)
        ready = False
        while not ready:
            cycle = self.cycle
            *_, ready = await ctx.tick().sample(request.ready)
        self.stored(cycle, address, value)
        ctx.set(request.valid, 0)

    async def host_read(self, ctx, address: int) -> None:
        request, response = self.dut.host.request, self.dut.host.response
        ctx.set(request.payload, {"address": address, "write": 0})
        ctx.set(request.valid, 1)
        ready = False
        while not ready:
            cycle = self.cycle
            *_, ready, answered = await ctx.tick().sample(request.ready, response.valid)
            assert not answered
        ctx.set(request.valid, 0)
        answered = False
        while not answered:
            *_, answered, value = await ctx.tick().sample(response.valid, response.payload)
        self.check(cycle, address, int(value))

    async def result_write(self, ctx, first: int) -> None:
        """Write some of the R bytes at ``first``: never refused."""
        data, mask = self.rng.randbytes(self.result_bytes), self.rng.getrandbits(self.result_bytes)
        for byte, value in enumerate(data):
            if mask >> byte & 1:
                self.stored(self.cycle, first + byte, value)
        await self.ask(ctx, first, 1, int.from_bytes(data, "little"), mask)

    async def result_read(self, ctx, first: int) -> None:
        """Read the R bytes at ``first``: never refused, answered in time (see `result_answers`)."""
        self.result_reads[self.cycle + RESULT_READ_LATENCY] = first
        data, mask = (self.rng.getrandbits(n * self.result_bytes) for n in (8, 1))
        await self.ask(ctx, first, 0, data, mask)

    async def ask(self, ctx, address: int, write: int, data: int, mask: int) -> None:
        request = self.dut.results.request
        ctx.set(request.payload, {"address": address, "write": write, "data": data, "mask": mask})
        ctx.set(request.valid, 1)
        await ctx.tick()
        ctx.set(request.valid, 0)

    async def result_answers(self, ctx) -> None:
        """A result's read finds all that was written before it, and nothing written later."""
        while True:
            cycle = self.cycle
            *_, data = await ctx.tick().sample(self.dut.results.response)
            first = self.result_reads.pop(cycle, None)
            if first is None:
                continue
            for byte in range(self.result_bytes):
                history = self.history[first + byte]
                before = [value for at, value in history if at < cycle - RESULT_READ_LATENCY]
                assert data >> 8 * byte & 0xFF == before[-1], f"byte {first + byte}"

    def result_address(self) -> int:
        return (
            self.address(self.configuration.memory_bytes) // self.result_bytes * self.result_bytes
        )

    async def results(self, ctx, count: int, stall: float) -> None:
        for _ in range(count):
            await pause(ctx, self.rng, stall)
            act = self.result_read if self.rng.random() < 0.4 else self.result_write
            await act(ctx, self.result_address())
        while self.result_reads:
            await ctx.tick()

    async def host(self, ctx, count: int, stall: float) -> None:
        for _ in range(count):
            await pause(ctx, self.rng, stall)
            address = self.address(self.configuration.memory_bytes)
            if self.rng.random() < 0.5:
                await self.host_write(ctx, self.dut.host.request, address)
            else:
                await self.host_read(ctx, address)

    async def reads(self, ctx, port, words, stall: float) -> None:
        """Read each of ``words`` (None: a request that reads nothing) and check the answers."""
        tagged = port is self.dut.pixels
        under_way: deque[tuple[int, int | None, int]] = deque()
        waiting = deque(words)
        offered = False
        while waiting or under_way:
            if waiting and not offered and self.rng.random() >= stall:
                tag = self.rng.randrange(1 << TAG_BITS) if tagged else 0
                word = waiting[0]
                address = word if word is not None else self.rng.getrandbits(ROW_BITS)
                ctx.set(port.request.p.address, address)
                ctx.set(port.request.p.enable, word is not None)
                if tagged:
                    ctx.set(port.request.p.tag, tag)
                ctx.set(port.request.valid, 1)
                offered = True
            cycle = self.cycle
            *_, ready, valid, data = await ctx.tick().sample(
                port.request.ready, port.response.valid, port.response.p
            )
            if valid:
                accepted, word, wanted = under_way.popleft()
                assert cycle - accepted >= LATENCY
                if tagged:
                    assert data.tag == wanted, "Answers out of order"
                if word is not None:
                    self.check_word(accepted, word, int(data.data))
            if offered and ready:
                under_way.append((cycle, waiting.popleft(), tag))
                offered = False
                ctx.set(port.request.valid, 0)

    async def nothing_more(self, ctx) -> None:
        for _ in range(2 * LATENCY):
            *_, pixel, tape, host = await ctx.tick().sample(
                self.dut.pixels.response.valid,
                self.dut.tape.response.valid,
                self.dut.host.response.valid,
            )
            assert not (pixel or tape or host), "An answer to nothing"


SIZES = [
    (2, 4, 1),
    (1, 1, 1),
    (3, 2, 1),
    (8, 8, 1),
    (2, 3, 1),
    (5, 5, 1),
    (2, 3, 2),
    (4, 4, 4),
    (8, 8, 8),
    (8, 3, 8),
]


@pytest.mark.parametrize("stall", [0.8, 0.3])
@pytest.mark.parametrize("size", SIZES)
def test_all_ports_under_load(size: Size, stall: float) -> None:
    bench = ScratchpadBench(size, seed=sum(size))
    started = False
    running = 4

    def load(task):
        async def testbench(ctx) -> None:
            nonlocal running
            while not started:
                await ctx.tick()
            await task(ctx)
            running -= 1

        return testbench

    async def main(ctx) -> None:
        nonlocal started
        await bench.fill(ctx)
        # What is stored is read when it has arrived: a write takes a cycle.
        await ctx.tick().repeat(4)
        started = True
        while running:
            await ctx.tick()
        await bench.nothing_more(ctx)
        for address in range(bench.configuration.memory_bytes):
            await bench.host_read(ctx, address)

    def words(share_enabled: float) -> list[int | None]:
        return [
            bench.address(bench.words) if bench.rng.random() < share_enabled else None
            for _ in range(800)
        ]

    simulate(
        bench.dut,
        main,
        load(lambda ctx: bench.results(ctx, 600, max(stall, 0.5))),
        load(lambda ctx: bench.host(ctx, 200, stall)),
        load(lambda ctx: bench.reads(ctx, bench.dut.pixels, words(0.8), stall)),
        load(lambda ctx: bench.reads(ctx, bench.dut.tape, words(1), stall)),
        background=[bench.count, bench.result_answers],
    )


class Flow:
    """All ports at once, each at its own bank, from when every byte was written."""

    def __init__(self, bench: ScratchpadBench, count: int) -> None:
        self.bench = bench
        self.count = count
        self.elapsed: dict[str, int] = {}
        self.filled = False

    def reader(self, name: str, port, bank: int):
        bench = self.bench
        size = bench.words // bench.configuration.banks

        async def testbench(ctx) -> None:
            while not self.filled:
                await ctx.tick()
            start = bench.cycle
            words = [bank * size + bench.rng.randrange(size) for _ in range(self.count)]
            await bench.reads(ctx, port, words, stall=0)
            self.elapsed[name] = bench.cycle - start

        return testbench

    def run(self, act, pause: int) -> None:
        """``act`` on the results' port in the first bank, with pauses of so many cycles."""
        bench = self.bench
        step = bench.result_bytes

        async def results(ctx) -> None:
            await bench.fill(ctx)
            await ctx.tick().repeat(4)
            self.filled = True
            while len(self.elapsed) < 2:
                first = bench.rng.randrange(0, bench.configuration.bank_bytes, step)
                await act(ctx, first)
                if pause:
                    await ctx.tick().repeat(pause)
            while bench.result_reads:
                await ctx.tick()

        simulate(
            bench.dut,
            results,
            self.reader("pixels", bench.dut.pixels, 1),
            self.reader("tape", bench.dut.tape, 2),
            background=[bench.count, bench.result_answers],
        )


@pytest.mark.parametrize("size", [(2, 4, 1), (2, 3, 1), (8, 4, 8)])
def test_in_different_banks_nobody_waits(size: Size) -> None:
    """A pixel read, a tape read and a result a cycle, each in a bank of its own."""
    bench = ScratchpadBench(size, seed=1)
    flow = Flow(bench, 200)
    flow.run(bench.result_write, pause=0)
    assert flow.elapsed["pixels"] <= flow.count + LATENCY + 1
    assert flow.elapsed["tape"] <= flow.count + LATENCY + 1


@pytest.mark.parametrize("size", [(2, 4, 1), (2, 3, 1), (8, 4, 8)])
def test_the_tape_waits_for_reads_of_results(size: Size) -> None:
    """Wherever they are, but only for them; pixels in other banks do not."""
    bench = ScratchpadBench(size, seed=1)
    flow = Flow(bench, 200)
    flow.run(bench.result_read, pause=1)
    assert flow.elapsed["pixels"] <= flow.count + LATENCY + 1
    assert flow.elapsed["tape"] <= 2 * flow.count + LATENCY + 2


@pytest.mark.parametrize("size", [(2, 1, 1), (4, 1, 4)])
def test_reads_of_one_bank_take_turns_and_results_go_first(size: Size) -> None:
    """Where all want one bank, everything is still answered, and every result is stored."""
    bench = ScratchpadBench(size, seed=2)
    filled = False

    async def main(ctx) -> None:
        nonlocal filled
        await bench.fill(ctx)
        await ctx.tick().repeat(4)
        filled = True

    async def reads(ctx, port) -> None:
        while not filled:
            await ctx.tick()
        words = [bench.address(bench.words) for _ in range(300)]
        await bench.reads(ctx, port, words, stall=0)

    async def results(ctx) -> None:
        while not filled:
            await ctx.tick()
        await bench.results(ctx, 200, 0.5)
        await ctx.tick().repeat(4)
        for address in range(bench.configuration.memory_bytes):
            await bench.host_read(ctx, address)

    simulate(
        bench.dut,
        main,
        lambda ctx: reads(ctx, bench.dut.pixels),
        lambda ctx: reads(ctx, bench.dut.tape),
        results,
        background=[bench.count, bench.result_answers],
    )
