"""The port between link, memory and a run, at the strict simulated flash."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect

from gateware.flash.pins import FlashPads
from gateware.flash.port import FlashPort
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.flash import (
    PAGE_BYTES,
    SECTOR_BYTES,
    SECTOR_PAGES,
    SLOT_PAGES,
    STREAM_PAGE,
    W25Q128JV,
    WINDOW_BYTES,
    FlashOperation,
    FlashPart,
    FlashStatus,
    pack_request,
)
from host.simulation.backends.toolchain import find_compiler
from host.simulation.flash.flash import Flash, FlashFault
from tests.gateware.flash.flash_bench import SCALE
from tests.gateware.streams import pause, receive, simulate, unused_components

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

AREA = W25Q128JV.area_address
MEMORY = 32 * 1024
LAST_PAGE = MEMORY - PAGE_BYTES


class Bench:
    """A port with a flash at one side and a memory, which stalls, at the other."""

    def __init__(self, pixels: int = 2, stall: float = 0.3, faults=0) -> None:
        self.configuration = EngineConfiguration(
            lanes=8, pixels=pixels, memory_bytes=MEMORY, banks=1, flash=True
        )
        self.port = FlashPort(self.configuration, W25Q128JV)
        self.pads = FlashPads()
        self.flash = Flash(W25Q128JV, scale=SCALE, faults=faults)
        self.rng = random.Random(pixels)
        self.flash.memory[AREA : AREA + 2 * SECTOR_BYTES] = self.rng.randbytes(2 * SECTOR_BYTES)
        self.memory = bytearray(self.rng.randbytes(MEMORY))
        self.stall = stall
        self.invalidations = 0
        self.tag = 0
        self.module = Module()
        self.module.submodules += [self.port, self.pads]
        connect(self.module, self.port.pins, self.pads.controller)

    def run(self, testbench, cycles: int = 200_000) -> None:
        background = [self._flash, self._memory, self._watch]
        simulate(self.module, testbench, background=background, cycles=cycles)

    async def _flash(self, ctx) -> None:
        pads = self.pads.pads
        while True:
            levels = [ctx.get(pin) for pin in (pads.select, pads.clock, pads.o, pads.oe)]
            ctx.set(pads.i, self.flash.cycle(*levels))
            await ctx.tick()

    async def _watch(self, ctx) -> None:
        while True:
            *_, invalidate = await ctx.tick().sample(self.port.invalidate)
            self.invalidations += invalidate

    async def _memory(self, ctx) -> None:
        request, response = self.port.memory.request, self.port.memory.response
        rng = random.Random(7)
        while True:
            ctx.set(request.ready, rng.random() >= self.stall)
            ctx.set(response.valid, 0)
            ctx.set(response.payload, rng.randrange(256))
            *_, valid, ready, asked = await ctx.tick().sample(
                request.valid, request.ready, request.p
            )
            if not (valid and ready):
                continue
            ctx.set(request.ready, 0)
            assert asked.address < MEMORY
            if asked.write:
                self.memory[asked.address] = asked.data
                continue
            await pause(ctx, rng, self.stall)
            ctx.set(response.payload, self.memory[asked.address])
            ctx.set(response.valid, 1)
            await ctx.tick()

    async def _ask(self, ctx, **request) -> None:
        ctx.set(self.port.bus.request.p, {"data": 0, **request})
        ctx.set(self.port.bus.request.valid, 1)
        ready = False
        while not ready:
            *_, ready = await ctx.tick().sample(self.port.bus.request.ready)
        ctx.set(self.port.bus.request.valid, 0)

    async def write(self, ctx, address: int, data: bytes) -> None:
        for at, byte in enumerate(data):
            await pause(ctx, self.rng, self.stall)
            await self._ask(ctx, address=address + at, write=1, data=byte)

    async def read(self, ctx, address: int) -> int:
        await self._ask(ctx, address=address, write=0)
        valid = False
        while not valid:
            *_, valid, byte = await ctx.tick().sample(
                self.port.bus.response.valid, self.port.bus.response.payload
            )
        return byte

    async def status(self, ctx) -> FlashStatus:
        return FlashStatus(await self.read(ctx, MEMORY + self.rng.randrange(WINDOW_BYTES)))

    async def load(self, ctx, page: int, address: int) -> None:
        await self.carry_out(ctx, FlashOperation.SEEK, page)
        await self.carry_out(ctx, FlashOperation.READ, address)

    async def finish(self, ctx) -> FlashStatus:
        while FlashStatus.BUSY in (status := await self.status(ctx)):
            pass
        return status

    async def request(self, ctx, operation: FlashOperation, argument=0) -> bool:
        """Give a request; True if it was accepted."""
        request = pack_request(operation, self.tag ^ 1, argument)
        await self.write(ctx, MEMORY, request)
        accepted = (FlashStatus.TAG in await self.status(ctx)) == bool(self.tag ^ 1)
        if accepted:
            self.tag ^= 1
        return accepted

    async def carry_out(self, ctx, operation: FlashOperation, argument=0) -> None:
        assert await self.request(ctx, operation, argument)
        assert FlashStatus.FAILED not in await self.finish(ctx)


@pytest.mark.parametrize("pixels", [2, 8])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_moves_bytes_between_flash_and_memory(pixels, stall):
    bench = Bench(pixels, stall)

    async def test(ctx) -> None:
        status = await bench.finish(ctx)
        assert status == FlashStatus.PRESENT
        # Into the last page: no image is touched.
        await bench.load(ctx, 3, LAST_PAGE)
        first = AREA + 3 * PAGE_BYTES
        expected = bytes(bench.flash.memory[first : first + PAGE_BYTES])
        before = bytes(bench.memory[:LAST_PAGE])
        assert bench.memory[LAST_PAGE:] == expected
        assert not bench.invalidations
        # From any address on, up to the end of its sector; the flash's last page of a sector.
        begin = 5 * SECTOR_BYTES - 200
        page = SECTOR_PAGES - 1
        await bench.load(ctx, page, begin)
        first = AREA + page * PAGE_BYTES
        assert bench.memory[begin : begin + 200] == bytes(bench.flash.memory[first : first + 200])
        assert bench.memory[:begin] == before[:begin]
        assert bench.memory[begin + 200 : LAST_PAGE] == before[begin + 200 :]
        assert bench.invalidations == 1
        # What follows in the flash needs no seek; and may cross sectors of the flash.
        begin = SECTOR_BYTES - 304
        for number in range(2):
            await bench.carry_out(ctx, FlashOperation.READ, number * SECTOR_BYTES + begin)
            first += 304 if number else 200
            expected = bytes(bench.flash.memory[first : first + 304])
            at = number * SECTOR_BYTES + begin
            assert bench.memory[at : at + 304] == expected
        assert bench.invalidations == 3
        # And the way back.
        page = SLOT_PAGES + 5 * SECTOR_PAGES
        await bench.carry_out(ctx, FlashOperation.ERASE, page + 7)
        for number in range(2):
            await bench.carry_out(ctx, FlashOperation.PROGRAM, number * PAGE_BYTES)
        # Where the flash stands now is no place to read on from.
        assert await bench.request(ctx, FlashOperation.READ, 0)
        assert FlashStatus.FAILED in await bench.finish(ctx)
        bench.invalidations = 1
        first = AREA + page * PAGE_BYTES
        written = bytes(bench.flash.memory[first : first + SECTOR_BYTES])
        assert written == bytes(bench.memory[: 2 * PAGE_BYTES]).ljust(SECTOR_BYTES, b"\xff")
        # A read takes the page to program away.
        await bench.load(ctx, 0, LAST_PAGE)
        assert await bench.request(ctx, FlashOperation.PROGRAM, 0)
        assert FlashStatus.FAILED in await bench.finish(ctx)
        # The bus is free again.
        await bench.write(ctx, 100, b"again")
        assert bench.memory[100:105] == b"again"
        assert await bench.read(ctx, 101) == ord("g")

    bench.run(test, 400_000)


def test_a_run_waits_for_a_read_that_is_under_way():
    bench = Bench(stall=0)

    async def test(ctx) -> None:
        await bench.finish(ctx)
        await bench.carry_out(ctx, FlashOperation.SEEK, 0)
        begin = SECTOR_BYTES - 304
        request = pack_request(FlashOperation.READ, bench.tag ^ 1, begin)
        await bench.write(ctx, MEMORY, request)
        ctx.set(bench.port.running, 1)
        ctx.set(bench.port.wants_stream, 1)
        first = AREA + STREAM_PAGE * PAGE_BYTES
        word = int.from_bytes(bytes(bench.flash.memory[first : first + 2]), "little")
        assert await receive(ctx, bench.port.stream, 1, bench.rng) == [word]
        assert bench.memory[begin:SECTOR_BYTES] == bytes(bench.flash.memory[AREA : AREA + 304])

    bench.run(test)


def test_a_request_that_comes_again_changes_nothing():
    bench = Bench(stall=0)

    async def test(ctx) -> None:
        await bench.finish(ctx)
        await bench.carry_out(ctx, FlashOperation.ERASE, 0)
        for _ in range(3):
            again = pack_request(FlashOperation.PROGRAM, 0, 0)
            await bench.write(ctx, MEMORY, again)
            await bench.finish(ctx)
        written = bytes(bench.flash.memory[AREA : AREA + 2 * PAGE_BYTES])
        assert written == bytes(bench.memory[:PAGE_BYTES]).ljust(2 * PAGE_BYTES, b"\xff")

    bench.run(test)


def test_what_a_run_streams_cannot_change_beneath_a_valid_image():
    bench = Bench(stall=0)

    async def test(ctx) -> None:
        await bench.finish(ctx)
        await bench.carry_out(ctx, FlashOperation.ERASE, SLOT_PAGES)
        assert bench.invalidations == 0
        await bench.carry_out(ctx, FlashOperation.SELECT, SLOT_PAGES)
        assert bench.invalidations == 1
        assert FlashStatus.SLOT in await bench.status(ctx)
        await bench.carry_out(ctx, FlashOperation.ERASE, 0)
        assert bench.invalidations == 1
        await bench.carry_out(ctx, FlashOperation.ERASE, SLOT_PAGES + SECTOR_PAGES)
        assert bench.invalidations == 2

    bench.run(test)


@pytest.mark.parametrize("pixels", [2, 8])
@pytest.mark.parametrize("slot", [0, 1])
def test_streams_to_each_run_from_its_beginning(pixels, slot):
    bench = Bench(pixels)
    word_bytes = bench.configuration.word_bytes
    first = AREA + (slot * SLOT_PAGES + STREAM_PAGE) * PAGE_BYTES
    bench.flash.memory[first : first + SECTOR_BYTES] = random.Random(slot).randbytes(SECTOR_BYTES)

    async def test(ctx) -> None:
        await bench.finish(ctx)
        await bench.carry_out(ctx, FlashOperation.SELECT, slot * SLOT_PAGES)
        for count in (30, 3, 100):
            ctx.set(bench.port.running, 1)
            await ctx.tick().repeat(9)
            # It is wanted for a while, then not, then again: the stream goes on.
            words = []
            for part in (count // 3, count - count // 3):
                ctx.set(bench.port.wants_stream, 1)
                words += await receive(ctx, bench.port.stream, part, bench.rng, 0.3)
                ctx.set(bench.port.wants_stream, 0)
                await ctx.tick().repeat(20)
            data = b"".join(word.to_bytes(word_bytes, "little") for word in words)
            assert data == bytes(bench.flash.memory[first : first + len(data)])
            # Whatever is asked for has to wait.
            invalidations = bench.invalidations
            assert not await bench.request(ctx, FlashOperation.ERASE, slot * SLOT_PAGES)
            assert bench.invalidations == invalidations
            ctx.set(bench.port.running, 0)
            await ctx.tick()
            assert not ctx.get(bench.port.stream.valid)
        await bench.load(ctx, 0, LAST_PAGE)
        assert bench.memory[LAST_PAGE:] == bytes(bench.flash.memory[AREA : AREA + PAGE_BYTES])

    bench.run(test)


@pytest.mark.parametrize("fault", [FlashFault.ABSENT, FlashFault.UNKNOWN_ID])
def test_without_the_flash_requests_fail_and_the_bus_lives(fault):
    bench = Bench(faults=fault, stall=0)

    async def test(ctx) -> None:
        before = bytes(bench.memory)
        assert FlashStatus.PRESENT not in await bench.finish(ctx)
        for operation in FlashOperation:
            if operation is FlashOperation.SELECT:
                continue
            assert await bench.request(ctx, operation, LAST_PAGE)
            assert FlashStatus.FAILED in await bench.finish(ctx)
        assert bytes(bench.memory) == before
        assert await bench.read(ctx, 77) == before[77]

    bench.run(test)


def test_flash_of_another_size_is_refused():
    part = FlashPart("half", (1, 2, 3), 1 << 23, True)
    with unused_components(), pytest.raises(ValueError, match="16777216 bytes"):
        FlashPort(EngineConfiguration(flash=True), part)
