"""The page pointer, against what was erased and programmed page by page."""

from __future__ import annotations

import random

import pytest

from gateware.flash.pages import PagePointer
from gateware.interface.flash import (
    IS25LP128F,
    PAGE_BYTES,
    SECTOR_PAGES,
    W25Q128JV,
    FlashCommand,
)
from tests.gateware.streams import simulate


@pytest.mark.parametrize("part", [W25Q128JV, IS25LP128F], ids=lambda part: part.name)
def test_only_what_is_erased_is_programmed(part):
    dut = PagePointer(part)
    rng = random.Random(1)
    first = part.area_address // PAGE_BYTES

    async def testbench(ctx):
        ready: list[int] = []  # erased and not yet programmed, in order
        ctx.set(dut.done, 1)  # the wake-up
        await ctx.tick()
        ctx.set(dut.done, 0)
        assert not ctx.get(dut.erased)
        ctx.set(dut.present, 1)
        programmed = 0
        for _ in range(1500):
            kind = rng.choices(list(FlashCommand), (1, 2, 40))[0]
            page = rng.randrange(1 << part.page_bits)
            ctx.set(dut.accept, 1)
            ctx.set(dut.kind, kind)
            ctx.set(dut.page, page)
            await ctx.tick()
            ctx.set(dut.accept, 0)
            goes_to = first + page
            if kind is FlashCommand.PROGRAM:
                assert ctx.get(dut.erased) == bool(ready)
                if not ready:
                    continue  # refused
                goes_to = ready[0]
            elif kind is FlashCommand.ERASE:
                goes_to -= page % SECTOR_PAGES
            assert ctx.get(dut.programming) == (kind is FlashCommand.PROGRAM)
            assert ctx.get(dut.address) == goes_to
            assert goes_to >= first
            if kind is FlashCommand.READ:
                ready = []
                continue
            fails = rng.randrange(50) == 0
            ctx.set(dut.fail if fails else dut.done, 1)
            await ctx.tick()
            ctx.set(dut.fail, 0)
            ctx.set(dut.done, 0)
            if fails:
                ready = []
            elif kind is FlashCommand.ERASE:
                ready = list(range(goes_to, goes_to + SECTOR_PAGES))
            else:
                ready.pop(0)
                programmed += 1
        assert programmed > 300

    simulate(dut, testbench, cycles=4000)
