"""CRC-32 against zlib."""

import random
import struct
import zlib

import pytest

from gateware.interface.protocol import CRC_RESIDUE
from gateware.link.crc import CRC32
from tests.gateware.link.serial_bench import send, simulate, wait_for

MESSAGES = [
    b"",
    b"\0",
    b"\xff",
    b"123456789",
    bytes(64),
    b"\xff" * 40,
    random.Random(1).randbytes(200),
]


@pytest.mark.parametrize("message", MESSAGES, ids=len)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_same_as_zlib(message: bytes, stall: float) -> None:
    dut = CRC32()
    rng = random.Random(len(message))

    async def testbench(ctx) -> None:
        for _ in range(2):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            await send(ctx, dut.i, message, rng, stall)
            await wait_for(ctx, dut.i.ready)
            assert ctx.get(dut.value) ^ 0xFFFFFFFF == zlib.crc32(message)
            assert not ctx.get(dut.match)
            await send(ctx, dut.i, struct.pack("<I", zlib.crc32(message)), rng, stall)
            await wait_for(ctx, dut.i.ready)
            assert ctx.get(dut.value) == CRC_RESIDUE
            assert ctx.get(dut.match)

    simulate(dut, testbench)


def test_throughput_is_a_byte_in_nine_cycles() -> None:
    dut = CRC32()

    async def testbench(ctx) -> None:
        ctx.set(dut.i.valid, 1)
        ready = []
        for _ in range(27):
            ready.append(ctx.get(dut.i.ready))
            await ctx.tick()
        assert ready == [1, 0, 0, 0, 0, 0, 0, 0, 0] * 3

    simulate(dut, testbench)


def test_clear_ends_the_byte_in_progress() -> None:
    dut = CRC32()

    async def testbench(ctx) -> None:
        for cycles in range(1, 11):
            await send(ctx, dut.i, b"\xa5", random.Random(), 0)
            await ctx.tick().repeat(cycles)
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            assert ctx.get(dut.i.ready)
            await send(ctx, dut.i, b"123456789", random.Random(), 0)
            await wait_for(ctx, dut.i.ready)
            assert ctx.get(dut.value) ^ 0xFFFFFFFF == 0xCBF43926
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)

    simulate(dut, testbench)


def test_flush_gives_its_bytes() -> None:
    dut = CRC32()

    async def testbench(ctx) -> None:
        await send(ctx, dut.i, b"123456789", random.Random(), 0)
        await wait_for(ctx, dut.i.ready)
        ctx.set(dut.flush, 1)
        found = []
        for other in b"\x00\xff\x5a\x81\x00":
            found.append(ctx.get(dut.value) & 0xFF ^ 0xFF)
            await send(ctx, dut.i, [other], random.Random(), 0)
            await wait_for(ctx, dut.i.ready)
        # And then a zero, which ends a reply's last block.
        assert bytes(found) == struct.pack("<IB", zlib.crc32(b"123456789"), 0)

    simulate(dut, testbench)
