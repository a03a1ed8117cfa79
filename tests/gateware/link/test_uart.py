"""UART at its slowest and fastest, with clocks that differ, glitches and breaks."""

import random

import pytest
from amaranth.hdl import Module

from gateware.link.uart import UARTReceiver, UARTTransmitter
from tests.gateware.link.serial_bench import send, simulate, wait_for

BYTES = bytes([0x55, 0xAA, 0x00, 0xFF, 0x80, 0x01, *random.Random(7).randbytes(20)])


async def drive(ctx, dut, levels: list[tuple[int, float]], phase: float) -> None:
    """Drive the line with (level, cycles) pairs; edges fall anywhere between clock edges."""
    time = phase
    cycle = 0
    for level, length in levels:
        time += length
        ctx.set(dut.rx, level)
        while cycle < time:
            await ctx.tick()
            cycle += 1
    ctx.set(dut.rx, 1)


def character(byte: int, bit: float, stop: int = 1) -> list[tuple[int, float]]:
    return [(0, bit), *((byte >> at & 1, bit) for at in range(8)), (stop, bit)]


def listener(dut: UARTReceiver, log: list):
    """A testbench that notes what the receiver says."""

    async def listen(ctx) -> None:
        while True:
            *_, valid, byte, break_, error = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.break_, dut.error
            )
            assert valid + break_ + error <= 1
            if valid:
                log.append(byte)
            if break_:
                assert byte == 0
                log.append("break")
            if error:
                log.append("error")

    return listen


def hear(divisor: int, levels: list[tuple[int, float]], phase: float = 0) -> list:
    """What the receiver makes of a line."""
    dut = UARTReceiver()
    log: list = []

    async def host(ctx) -> None:
        ctx.set(dut.divisor, divisor)
        await drive(ctx, dut, levels, phase)
        await ctx.tick().repeat(2 * divisor + 8)

    simulate(dut, host, background=listener(dut, log))
    return log


@pytest.mark.parametrize("mismatch", [-0.02, 0, 0.02])
@pytest.mark.parametrize("divisor", [4, 5, 7, 8, 13, 39])
def test_receiver_tolerates_clock_mismatch(divisor: int, mismatch: float) -> None:
    bit = divisor * (1 + mismatch)
    data = BYTES if divisor < 20 else BYTES[:8]
    for phase in (0, 0.25, 0.5, 0.75, 0.99):
        levels = [level for byte in data for level in character(byte, bit)]
        assert hear(divisor, [(1, 3), *levels], phase) == list(data)


@pytest.mark.parametrize("divisor", [4, 7, 16])
def test_receiver_ignores_glitches(divisor: int) -> None:
    glitch = [(0, divisor // 2 - 1), (1, 2 * divisor)]
    levels = [(1, 5), *glitch, *character(0x3C, divisor), *glitch, *character(0xC3, divisor)]
    assert hear(divisor, levels) == [0x3C, 0xC3]


@pytest.mark.parametrize("divisor", [4, 16])
def test_receiver_reports_framing_errors(divisor: int) -> None:
    levels = [
        *character(0x21, divisor),
        *character(0x42, divisor, stop=0),
        (1, divisor),
        *character(0x63, divisor),
    ]
    assert hear(divisor, levels) == [0x21, "error", 0x63]


@pytest.mark.parametrize("bits", [10, 11, 35])
def test_receiver_reports_a_break_once(bits: int) -> None:
    levels = [(1, 4), (0, 8 * bits), (1, 8), *character(0x77, 8)]
    assert hear(8, levels) == ["break", 0x77]


def test_receiver_recovers_from_any_divisor_change() -> None:
    dut = UARTReceiver()
    log: list = []
    rng = random.Random(8)

    async def host(ctx) -> None:
        ctx.set(dut.divisor, 300)
        await drive(ctx, dut, [(1, 4), (0, 100)], 0)
        ctx.set(dut.divisor, 4)
        # At worst the counter runs past the new divisor, and around once.
        await ctx.tick().repeat(4096 + 80)
        log.clear()
        data = rng.randbytes(5)
        await drive(ctx, dut, [level for byte in data for level in character(byte, 4)], 0)
        await ctx.tick().repeat(10)
        assert log == list(data)

    simulate(dut, host, background=listener(dut, log))


@pytest.mark.parametrize("divisor", [2, 4, 11])
@pytest.mark.parametrize("stall", [0, 0.9])
def test_transmitter(divisor: int, stall: float) -> None:
    dut = UARTTransmitter()
    rng = random.Random(divisor)
    line: list[int] = []
    data = BYTES[:12]

    async def feed(ctx) -> None:
        ctx.set(dut.divisor, divisor)
        assert ctx.get(dut.idle) and ctx.get(dut.tx)
        await send(ctx, dut.i, data, rng, stall)
        await wait_for(ctx, dut.idle)

    async def watch(ctx) -> None:
        for _ in range(10 * divisor * len(data) + (200 if stall else 2)):
            line.append(ctx.get(dut.tx))
            await ctx.tick()

    simulate(dut, feed, watch)
    found = bytearray()
    at = 0
    while 0 in line[at:]:
        gap = line[at:].index(0)
        # Without stalls the line never rests; one cycle passes before the first byte.
        assert stall or gap == (0 if found else 1)
        at += gap
        bits = line[at : at + 10 * divisor]
        assert len(bits) == 10 * divisor
        values = bits[::divisor]
        assert bits == [value for value in values for _ in range(divisor)]
        assert values[9] == 1
        found.append(sum(value << place for place, value in enumerate(values[1:9])))
        at += 10 * divisor
    assert bytes(found) == data


def test_what_is_sent_is_received() -> None:
    m = Module()
    m.submodules.transmitter = transmitter = UARTTransmitter()
    m.submodules.receiver = receiver = UARTReceiver()
    m.d.comb += [
        receiver.rx.eq(transmitter.tx),
        receiver.divisor.eq(4),
        transmitter.divisor.eq(4),
    ]
    rng = random.Random(9)
    data = rng.randbytes(40)

    async def feed(ctx) -> None:
        await send(ctx, transmitter.i, data, rng, 0.3)

    async def collect(ctx) -> None:
        for byte in data:
            (found,) = await wait_for(ctx, receiver.o.valid, receiver.o.payload)
            assert found == byte

    simulate(m, feed, collect)
