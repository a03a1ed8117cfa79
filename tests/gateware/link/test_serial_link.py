"""The whole link on its line: bits in, bits out."""

import dataclasses
import math
import random

import pytest
from amaranth.sim import Simulator

from gateware.interface.protocol import Info, Opcode, Status
from gateware.link.link import Link
from tests.gateware.link.serial_bench import INFO, parse_reply, request, wait, with_crc


@pytest.mark.parametrize("bit", [4 * 0.98, 4, 4 * 1.02, 7])
def test_upload_over_the_line(bit: float) -> None:
    image = with_crc(random.Random(14).randbytes(60))
    bench = LineBench(int(bit + 0.5))

    async def host(ctx) -> None:
        assert (await bench.ask(ctx, bit, Opcode.WRITE, 0, image)).status == Status.OK
        assert (await bench.ask(ctx, bit, Opcode.CHECK, len(image))).status == Status.OK
        assert ctx.get(bench.dut.valid)
        reply = await bench.ask(ctx, bit, Opcode.INFO)
        assert Info.unpack(reply.payload).image_bytes == len(image)
        assert dataclasses.replace(Info.unpack(reply.payload), image_bytes=0, state=0) == INFO
        reply = await bench.ask(ctx, bit, Opcode.READ, 0, bytes([len(image)]))
        assert reply.payload == image

    bench.run(host)


def test_rate_changes_and_break_brings_it_back() -> None:
    bench = LineBench(8)

    async def host(ctx) -> None:
        assert (await bench.ask(ctx, 8, Opcode.BAUD, 4)).status == Status.OK
        bench.divisor = 4
        await ctx.tick().repeat(20)
        assert (await bench.ask(ctx, 4, Opcode.READ, 3, b"\4")).status == Status.OK
        ctx.set(bench.dut.rx, 0)
        await ctx.tick().repeat(90)
        ctx.set(bench.dut.rx, 1)
        bench.divisor = 8
        await ctx.tick().repeat(90)
        assert (await bench.ask(ctx, 8, Opcode.READ, 3, b"\4")).status == Status.OK

    bench.run(host)


def test_wrong_rate_and_noise_do_no_harm() -> None:
    bench = LineBench(5)
    rng = random.Random(15)

    async def host(ctx) -> None:
        for _ in range(6):
            await bench.send(ctx, rng.choice([2, 3, 9]), request(9, Opcode.WRITE, 0, b"no"))
            for _ in range(40):
                ctx.set(bench.dut.rx, rng.randrange(2))
                await ctx.tick().repeat(rng.randrange(1, 30))
            ctx.set(bench.dut.rx, 1)
            await ctx.tick().repeat(80)
            await bench.send(ctx, 5, b"\0")
            bench.encoded.clear()
            bench.replies.clear()
            assert (await bench.ask(ctx, 5, Opcode.INFO)).status == Status.OK

    bench.run(host)


def test_nothing_is_lost_at_the_full_rate() -> None:
    """Requests without a pause between them at four cycles a bit."""
    bench = LineBench(4)

    async def host(ctx) -> None:
        data = [random.Random(seed).randbytes(240) for seed in range(3)]
        line = b"".join(
            request(number, Opcode.WRITE, 240 * number, block) for number, block in enumerate(data)
        )
        await bench.send(ctx, 4, line)
        await ctx.tick().repeat(7000)
        assert [reply.sequence for reply in bench.replies] == [0, 1, 2]
        assert bench.memory[:720] == b"".join(data)

    bench.run(host)


class LineBench:
    """A link with a memory that answers at once, and a host at the other end of the line."""

    def __init__(self, divisor: int) -> None:
        self.dut = Link(INFO, 1000, divisor)
        self.divisor = divisor
        self.memory = bytearray(1000)
        self.encoded = bytearray()
        self.replies: list = []

    async def send(self, ctx, bit: float, encoded: bytes) -> None:
        time = 0.0
        cycle = 0
        for byte in encoded:
            for level in (0, *(byte >> at & 1 for at in range(8)), 1):
                ctx.set(self.dut.rx, level)
                time += bit
                cycles = max(0, math.ceil(time) - cycle)
                await wait(ctx, cycles)
                cycle += cycles

    async def ask(self, ctx, bit: float, opcode: int, address: int = 0, payload: bytes = b""):
        assert not self.replies
        await self.send(ctx, bit, request(77, opcode, address, payload))
        for _ in range(2_000):
            if self.replies:
                break
            await ctx.tick().repeat(16)
        reply = self.replies.pop(0)
        assert (reply.sequence, reply.opcode) == (77, opcode)
        # Its last stop bit.
        await wait(ctx, self.divisor)
        return reply

    async def _listen(self, ctx) -> None:
        while True:
            await ctx.negedge(self.dut.tx)
            await ctx.tick()
            byte = 0
            for at in range(8):
                await wait(ctx, self.divisor)
                byte |= ctx.get(self.dut.tx) << at
            await wait(ctx, self.divisor)
            if not ctx.get(self.dut.tx):
                self.encoded.clear()
            elif byte:
                self.encoded.append(byte)
            else:
                if self.encoded:
                    self.replies.append(parse_reply(bytes(self.encoded)))
                self.encoded.clear()

    async def _serve_memory(self, ctx) -> None:
        bus = self.dut.bus
        ctx.set(bus.request.ready, 1)
        while True:
            await ctx.posedge(bus.request.valid)
            asked = ctx.get(bus.request.payload)
            await ctx.tick()
            if asked.write:
                self.memory[asked.address] = asked.data
            else:
                ctx.set(bus.response.payload, self.memory[asked.address])
                ctx.set(bus.response.valid, 1)
                await ctx.tick()
                ctx.set(bus.response.valid, 0)

    def run(self, host) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self._serve_memory, background=True)
        simulator.add_testbench(self._listen, background=True)
        simulator.add_testbench(host)
        simulator.run()
