"""What the link's tests share: frames made and read in plain Python, stream drivers, a board."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from amaranth.sim import Simulator

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import REPLY_FLAG, Info, Opcode, Status
from gateware.link.commands import CommandHandler

INFO = replace(
    Info.of(EngineConfiguration(), clock_hz=36_000_000, source_hash=0xDEADBEEF, board="icebreaker"),
    memory_bytes=1000,
)


def cobs_encode(frame: bytes) -> bytes:
    """Reference encoder, for frames of any length; without delimiter."""
    encoded = bytearray()
    block = bytearray()
    for byte in frame + b"\0":
        if byte:
            block.append(byte)
        if not byte or len(block) == 254:
            encoded += bytes([len(block) + 1]) + block
            block.clear()
    return bytes(encoded)


def cobs_decode(encoded: bytes) -> bytes | None:
    """Reference decoder of what came before a delimiter; None where it is cut off."""
    frame = bytearray()
    place = 0
    while place < len(encoded):
        code = encoded[place]
        block = encoded[place + 1 : place + code]
        if len(block) != code - 1:
            return None
        frame += block + b"\0"
        place += code
    return bytes(frame[:-1]) if encoded else None


def with_crc(frame: bytes) -> bytes:
    return frame + struct.pack("<I", zlib.crc32(frame))


def request(sequence: int, opcode: int, address: int = 0, payload: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    header = struct.pack("<BBI", sequence, opcode, address)[:5]
    return cobs_encode(with_crc(header + payload)) + b"\0"


@dataclass(frozen=True)
class Reply:
    sequence: int
    opcode: int
    status: Status
    payload: bytes


def parse_reply(encoded: bytes) -> Reply:
    frame = cobs_decode(encoded)
    assert frame is not None, f"Reply is no COBS frame: {encoded.hex()}"
    assert frame == with_crc(frame[:-4]), f"Reply has a wrong CRC: {frame.hex()}"
    assert frame[1] & REPLY_FLAG
    return Reply(frame[0], frame[1] & ~REPLY_FLAG, Status(frame[2]), frame[3:-4])


async def wait_for(ctx, condition, *values) -> list:
    """Tick until ``condition`` held in the cycle just past, as did the ``values`` given back.

    Amaranth's own ``until`` warns when a testbench in the background is abandoned in it.
    """
    held = False
    sampled: list = []
    while not held:
        _, _, held, *sampled = await ctx.tick().sample(condition, *values)
    return sampled


async def wait(ctx, cycles: int) -> None:
    """Tick so often; may be zero."""
    if cycles:
        await ctx.tick().repeat(cycles)


def stalls(rng: random.Random, stall: float) -> int:
    """How often a partner that stalls with this probability is not ready."""
    count = 0
    while rng.random() < stall:
        count += 1
    return count


async def send(ctx, stream, items: Iterable, rng: random.Random, stall: float) -> None:
    """Offer ``items``, each after a pause of random length."""
    for item in items:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        await wait_for(ctx, stream.ready)
        ctx.set(stream.valid, 0)


async def receive(ctx, stream, count: int, rng: random.Random, stall: float) -> list:
    """Take ``count`` items; a payload must stand until it is taken."""
    items = []
    while len(items) < count:
        ready = rng.random() >= stall
        ctx.set(stream.ready, ready)
        *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if valid and ready:
            items.append(payload)
        elif valid:
            held = payload
            ctx.set(stream.ready, 1)
            *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            assert valid and payload == held, "A stream took back what it offered"
            items.append(payload)
    ctx.set(stream.ready, 0)
    return items


class CommandBench:
    """A command handler with memory, engine and host around it, bytes instead of a line."""

    def __init__(self, seed: int = 0, memory_bytes: int = 1000, stall: float = 0.3) -> None:
        self.rng = random.Random(seed)
        self.stall = stall
        self.dut = CommandHandler(INFO, memory_bytes, 8)
        self.memory = bytearray(self.rng.randbytes(memory_bytes))
        self.writes = 0
        self.runs: list[tuple[int, int]] = []
        self.run_cycles = 50
        self.byte_cycles = 10
        self.replies: list[Reply] = []
        self._sequence = 0

    async def _serve_memory(self, ctx) -> None:
        bus = self.dut.bus
        while True:
            ready = self.rng.random() >= self.stall
            ctx.set(bus.request.ready, ready)
            await ctx.posedge(bus.request.valid)
            asked = ctx.get(bus.request.payload)
            if not ready:
                await wait(ctx, 1 + stalls(self.rng, self.stall))
                ctx.set(bus.request.ready, 1)
            stands = ctx.get(bus.request.payload)
            assert ctx.get(bus.request.valid)
            assert (stands.address, stands.write) == (asked.address, asked.write)
            assert not asked.write or stands.data == asked.data
            assert asked.address < len(self.memory), "The memory was addressed beyond its end"
            await ctx.tick()
            ctx.set(bus.request.ready, 0)
            assert not ctx.get(bus.request.valid)
            if asked.write:
                self.memory[asked.address] = asked.data
                self.writes += 1
                continue
            await wait(ctx, self.rng.randrange(4) + 1)
            ctx.set(bus.response.payload, self.memory[asked.address])
            ctx.set(bus.response.valid, 1)
            await ctx.tick()
            ctx.set(bus.response.valid, 0)
            ctx.set(bus.response.payload, self.rng.randrange(256))

    async def _serve_engine(self, ctx) -> None:
        engine = self.dut.engine
        while True:
            await ctx.posedge(engine.run)
            assert not ctx.get(engine.busy)
            self.runs.append((ctx.get(engine.layers), int(ctx.get(engine.stall_cause))))
            await ctx.tick()
            assert not ctx.get(engine.run)
            ctx.set(engine.busy, 1)
            await wait(ctx, self.run_cycles)
            ctx.set(engine.error, 2)
            ctx.set(engine.best, 0x1234)
            ctx.set(engine.cycles, 0x89ABCDEF)
            ctx.set(engine.stalls, 0x00FF1001)
            ctx.set(engine.busy, 0)

    async def _turn_counters(self, ctx) -> None:
        engine = self.dut.engine
        while True:
            await ctx.posedge(engine.shift)
            assert not ctx.get(engine.busy)
            await ctx.tick()
            assert not ctx.get(engine.shift)
            counters = ctx.get(engine.cycles) | ctx.get(engine.stalls) << 32
            counters = counters >> 8 | (counters & 0xFF) << 56
            ctx.set(engine.cycles, counters & 0xFFFFFFFF)
            ctx.set(engine.stalls, counters >> 32)

    async def _collect(self, ctx) -> None:
        output = self.dut.o
        encoded = bytearray()
        while True:
            ready = self.rng.random() >= self.stall
            ctx.set(output.ready, ready)
            await ctx.posedge(output.valid)
            byte = ctx.get(output.payload)
            if not ready:
                await wait(ctx, 1 + stalls(self.rng, self.stall))
                ctx.set(output.ready, 1)
            assert ctx.get(output.valid) and ctx.get(output.payload) == byte
            await ctx.tick()
            assert not ctx.get(output.valid)
            if byte:
                encoded.append(byte)
            else:
                self.replies.append(parse_reply(bytes(encoded)))
                encoded.clear()

    async def send(self, ctx, encoded: bytes) -> None:
        """Bytes from the line, as fast as it can be."""
        for byte in encoded:
            ctx.set(self.dut.i.payload, byte)
            ctx.set(self.dut.i.valid, 1)
            await ctx.tick()
            ctx.set(self.dut.i.valid, 0)
            await wait(ctx, self.byte_cycles - 1)

    async def reply(self, ctx, cycles: int = 20_000) -> Reply:
        for _ in range(cycles // 16):
            if self.replies:
                return self.replies.pop(0)
            await ctx.tick().repeat(16)
        raise AssertionError("No reply")

    async def ask(self, ctx, opcode: int, address: int = 0, payload: bytes = b"") -> Reply:
        """Send a request and wait for its reply, which must name it."""
        self._sequence = (self._sequence + 1) % 256
        await self.send(ctx, request(self._sequence, opcode, address, payload))
        reply = await self.reply(ctx)
        assert (reply.sequence, reply.opcode) == (self._sequence, opcode & ~REPLY_FLAG)
        return reply

    async def upload(self, ctx, image: bytes) -> None:
        """Write ``image`` and declare it."""
        for start in range(0, len(image), 240):
            reply = await self.ask(ctx, Opcode.WRITE, start, image[start : start + 240])
            assert reply.status == Status.OK
        assert (await self.ask(ctx, Opcode.CHECK, len(image))).status == Status.OK

    def run(self, host: Callable[..., Awaitable[None]]) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self._serve_memory, background=True)
        simulator.add_testbench(self._serve_engine, background=True)
        simulator.add_testbench(self._turn_counters, background=True)
        simulator.add_testbench(self._collect, background=True)

        async def testbench(ctx) -> None:
            ctx.set(self.dut.sent, 1)
            await host(ctx)
            assert not self.replies, f"Replies to nothing: {self.replies!r}"

        simulator.add_testbench(testbench)
        simulator.run()


def simulate(dut, *testbenches, background=None) -> None:
    """Run until every testbench, but for the one in the background, has ended."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    if background is not None:
        simulator.add_testbench(background, background=True)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run()
