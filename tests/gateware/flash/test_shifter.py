"""The shifter at lines that answer as a flash behind its pads would."""

from __future__ import annotations

import random

from amaranth.hdl import Module, Signal

from gateware.flash.pins import LATENCY
from gateware.flash.shifter import FlashShifter
from tests.gateware.streams import pause, simulate


def test_bytes_go_out_and_bits_come_in():
    """Random bytes on one line and on four, with pulses that only receive between them."""
    dut = FlashShifter(16)
    m = Module()
    m.submodules.dut = dut
    # What was on the lines at a pulse comes back LATENCY cycles later.
    lines, back = Signal(4), Signal(4 * LATENCY)
    m.d.sync += back.eq((back << 4) | lines)
    m.d.comb += dut.i.eq(back[-4:])
    rng = random.Random(1)

    async def testbench(ctx):
        async def tick(expected: list[int]) -> None:
            answer = rng.randrange(16)
            ctx.set(lines, answer)
            assert ctx.get(dut.pulse) == (ctx.get(dut.shift) | ctx.get(dut.clock))
            if ctx.get(dut.pulse):
                expected.append(answer)
            await ctx.tick()

        received = 0
        for _ in range(60):
            quad, silent, byte = rng.randrange(2), rng.randrange(4) == 0, rng.randrange(256)
            ctx.set(dut.quad, quad)
            ctx.set(dut.silent, silent)
            ctx.set(dut.byte, byte)
            ctx.set(dut.load, 1)
            answers: list[int] = []
            await tick(answers)
            ctx.set(dut.load, 0)
            sent, count = 0, 2 if quad else 8
            for number in range(count):
                ctx.set(dut.shift, 1)
                assert ctx.get(dut.oe) == (0 if silent else 0b1111 if quad else 0b1101)
                assert ctx.get(dut.last) == (number == count - 1)
                o = ctx.get(dut.o)
                assert quad or o >> 2 == 0b11, "/WP and /HOLD"
                sent = sent << 4 | o if quad else sent << 1 | (o & 1)
                await tick(answers)
                ctx.set(dut.shift, 0)
                if rng.random() < 0.3:
                    await tick(answers)
            assert sent == byte
            ctx.set(dut.clock, 1)
            for _ in range(rng.randrange(4)):
                await tick(answers)
            ctx.set(dut.clock, 0)
            for _ in range(LATENCY):
                await tick(answers)
            await pause(ctx, rng, 0.3)
            for answer in answers:
                if quad:
                    received = (received << 4 | answer) & 0xFFFF
                else:
                    received = received & 0xFF00 | (received << 1 | answer >> 1 & 1) & 0xFF
            assert ctx.get(dut.received) == received

    simulate(m, testbench, cycles=4000)
