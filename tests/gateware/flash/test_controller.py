"""The controller at the strict simulated flash: every misuse would end these tests."""

from __future__ import annotations

import random

import pytest

from gateware.flash.controller import FlashController
from gateware.interface.flash import (
    IS25LP128F,
    PAGE_BYTES,
    SECTOR_BYTES,
    SECTOR_PAGES,
    W25Q128JV,
    FlashCommand,
)
from host.simulation.backends.toolchain import find_compiler
from host.simulation.flash.flash import FlashFault
from tests.gateware.flash.flash_bench import Bench
from tests.gateware.streams import receive, simulate, unused_components

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

AREA = W25Q128JV.area_address


def words_of(data: bytes, word_bytes: int) -> list[int]:
    return [
        int.from_bytes(data[at : at + word_bytes], "little")
        for at in range(0, len(data), word_bytes)
    ]


def run(bench: Bench, testbench, cycles: int = 200_000) -> int:
    return simulate(bench.module, testbench, background=[bench.attach], cycles=cycles)


@pytest.mark.parametrize("part", [W25Q128JV, IS25LP128F])
@pytest.mark.parametrize("continuous", [False, True])
def test_erases_programs_and_reads(part, continuous):
    bench = Bench(part, continuous=continuous)
    generator = random.Random(1)
    sector = 5
    pages = [generator.randbytes(PAGE_BYTES) for _ in range(3)]
    where = AREA + sector * SECTOR_BYTES
    bench.flash.memory[where - 1 : where + SECTOR_BYTES + 1] = bytes(SECTOR_BYTES + 2)

    async def test(ctx) -> None:
        assert await bench.finish(ctx)
        assert ctx.get(bench.controller.present)
        for _ in range(2):
            # Any page names its sector.
            page = sector * SECTOR_PAGES + generator.randrange(SECTOR_PAGES)
            assert await bench.command(ctx, FlashCommand.ERASE, page)
            for page in pages:
                assert await bench.program(ctx, page)
            for first in (0, 1, 0):
                page = sector * SECTOR_PAGES + first
                assert await bench.command(ctx, FlashCommand.READ, page)
                wanted = words_of(b"".join(pages[first:]), 2)[:200]
                got = await receive(ctx, bench.controller.words, 200, generator)
                assert got == wanted

    run(bench, test)
    held = bytes(bench.flash.memory[where - 1 : where + SECTOR_BYTES + 1])
    rest = SECTOR_BYTES - 3 * PAGE_BYTES
    assert held == bytes(1) + b"".join(pages) + b"\xff" * rest + bytes(1)


@pytest.mark.parametrize("word_bytes", [2, 4, 8])
@pytest.mark.parametrize("stall", [0, 0.3, 0.8, 0.95])
def test_no_nibble_is_lost_when_words_wait(word_bytes, stall):
    bench = Bench(word_bytes=word_bytes)
    generator = random.Random(word_bytes)
    data = generator.randbytes(512)
    bench.flash.memory[AREA : AREA + 512] = data

    async def test(ctx) -> None:
        await bench.finish(ctx)
        await bench.command(ctx, FlashCommand.READ)
        count = 512 // word_bytes
        got = await receive(ctx, bench.controller.words, count, generator, stall)
        assert got == words_of(data, word_bytes)

    run(bench, test)


@pytest.mark.parametrize("word_bytes", [2, 8])
def test_a_nibble_a_cycle(word_bytes):
    bench = Bench(word_bytes=word_bytes)

    async def test(ctx) -> None:
        await bench.finish(ctx)
        await bench.command(ctx, FlashCommand.READ)
        await receive(ctx, bench.controller.words, 8, random.Random(1))
        bench.clocks.clear()
        await receive(ctx, bench.controller.words, 400, random.Random(1))

    run(bench, test)
    assert all(bench.clocks)
    assert len(bench.clocks) <= 400 * 2 * word_bytes + 2 * word_bytes


def test_stops_the_clock_rather_than_the_command_while_words_wait():
    bench = Bench()

    async def test(ctx) -> None:
        await bench.finish(ctx)
        await bench.command(ctx, FlashCommand.READ)
        await ctx.tick().repeat(100)
        bench.clocks.clear()
        for _ in range(1000):
            assert ctx.get(bench.pads.pads.select)
            await ctx.tick()
        assert not any(bench.clocks)

    run(bench, test)


def test_a_page_is_programmed_once_and_only_in_the_sector_just_erased():
    bench = Bench()

    async def test(ctx) -> None:
        program = bench.program
        assert await bench.finish(ctx)
        assert not await program(ctx, bytes(PAGE_BYTES)), "nothing was erased"
        assert await bench.command(ctx, FlashCommand.ERASE, 3 * SECTOR_PAGES)
        for _ in range(SECTOR_PAGES):
            assert await program(ctx, bytes(PAGE_BYTES))
        assert not await program(ctx, bytes(PAGE_BYTES)), "the sector is full"
        assert await bench.command(ctx, FlashCommand.ERASE, 3 * SECTOR_PAGES)
        assert await bench.command(ctx, FlashCommand.READ, 0)
        assert not await program(ctx, bytes(PAGE_BYTES)), "a read came between"

    run(bench, test)


@pytest.mark.parametrize(
    "part, fault",
    [
        (W25Q128JV, FlashFault.ABSENT),
        (W25Q128JV, FlashFault.UNKNOWN_ID),
        (IS25LP128F, FlashFault.ABSENT),
        (IS25LP128F, FlashFault.UNKNOWN_ID),
        (IS25LP128F, FlashFault.QUAD_OFF),
    ],
)
def test_a_flash_that_is_not_the_part_is_left_alone(part, fault):
    bench = Bench(part, faults=fault)

    async def test(ctx) -> None:
        assert not await bench.finish(ctx)
        assert not ctx.get(bench.controller.present)
        for kind in FlashCommand:
            assert not await bench.command(ctx, kind, 16) or kind is FlashCommand.PROGRAM
            assert not await bench.finish(ctx)
        await ctx.tick().repeat(2)
        bench.clocks.clear()
        await ctx.tick().repeat(100)
        assert not any(bench.clocks)

    run(bench, test)
    assert bytes(bench.flash.memory[:4096]) == b"\xff" * 4096


def test_wakes_a_flash_that_a_reset_left_busy_or_in_continuous_mode():
    generator = random.Random(4)
    first = Bench(continuous=True)

    async def read(ctx) -> None:
        await first.finish(ctx)
        await first.command(ctx, FlashCommand.READ)
        await receive(ctx, first.controller.words, 5, generator)

    async def erase(ctx) -> None:
        assert await bench.finish(ctx)
        command = bench.controller.command
        ctx.set(command.payload, {"kind": FlashCommand.ERASE, "page": 0})
        ctx.set(command.valid, 1)
        await ctx.tick().until(command.ready)
        ctx.set(command.valid, 0)
        while not bench.flash.busy:
            await ctx.tick()

    async def wake(ctx) -> None:
        assert await bench.finish(ctx)
        assert not bench.flash.busy

    run(first, read)
    for _ in range(30):
        first.flash.cycle(0, 0, 0, 0)
    # The simulator's reset is a new controller at the same flash.
    bench = Bench(continuous=True, flash=first.flash)
    run(bench, erase)
    for _ in range(30):
        bench.flash.cycle(0, 0, 0, 0)
    bench = Bench(flash=bench.flash)
    run(bench, wake)


def test_waits_for_a_flash_at_its_true_pace():
    bench = Bench(scale=1.0)
    bench.flash.memory[AREA : AREA + 4] = bytes(4)

    async def test(ctx) -> None:
        assert await bench.finish(ctx)
        await bench.command(ctx, FlashCommand.READ)
        assert await receive(ctx, bench.controller.words, 2, random.Random(1)) == [0, 0]

    run(bench, test)


def test_words_are_of_two_bytes_or_more():
    with unused_components(), pytest.raises(ValueError, match="two bytes or more"):
        FlashController(W25Q128JV, word_bytes=1)
