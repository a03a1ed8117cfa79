"""The whole board in Amaranth's simulator, over its two pins."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateware.interface.image import TAPE_ADDRESS, ImageHeader, build_image
from gateware.interface.protocol import (
    EngineError,
    Info,
    Opcode,
    Result,
    StallCause,
    State,
    Status,
)
from gateware.interface.sources import source_hash
from gateware.soc import Soc
from host.compiler import CompiledModel, compile
from model.int8 import reference
from model.int8.graph import Graph
from tests.gateware.link.serial_bench import Reply, parse_reply, request, with_crc
from tests.gateware.streams import simulate, unused_components
from tests.host.compiler.networks import RandomNetwork, configuration

CLOCK_HZ = 12_000_000
#: Cycles a bit: the fewest.
BIT = 4


class Line:
    """The other end of a board's serial line."""

    def __init__(self, board: Soc) -> None:
        self.board = board
        self.replies: list[Reply] = []
        self.sequence = 0

    async def listen(self, ctx) -> None:
        encoded = bytearray()
        while True:
            while ctx.get(self.board.tx):
                await ctx.tick()
            await ctx.tick().repeat(BIT + BIT // 2)
            byte = 0
            for bit in range(8):
                byte |= ctx.get(self.board.tx) << bit
                await ctx.tick().repeat(BIT)
            assert ctx.get(self.board.tx), "No stop bit"
            if byte:
                encoded.append(byte)
            else:
                self.replies.append(parse_reply(bytes(encoded)))
                encoded.clear()

    async def send(self, ctx, data: bytes) -> None:
        for byte in data:
            for bit in range(10):
                ctx.set(self.board.rx, (byte << 1 | 0x200) >> bit & 1)
                await ctx.tick().repeat(BIT)

    async def ask(self, ctx, opcode: Opcode, address: int = 0, payload: bytes = b"") -> bytes:
        """A request that must succeed; the reply's payload."""
        self.sequence += 1
        await self.send(ctx, request(self.sequence, opcode, address, payload))
        while not self.replies:
            await ctx.tick()
        reply = self.replies.pop(0)
        assert (reply.sequence, reply.opcode) == (self.sequence, opcode)
        assert reply.status == Status.OK
        return reply.payload

    async def write(self, ctx, address: int, data: bytes) -> None:
        for start in range(0, len(data), 240):
            await self.ask(ctx, Opcode.WRITE, address + start, data[start : start + 240])


def small_model(rng: np.random.Generator) -> tuple[Graph, CompiledModel]:
    network = RandomNetwork(rng, (3, 3, 1))
    network.conv()
    network.dense()
    graph = network.builder.build()
    return graph, compile(graph, configuration((4, 2), memory_bytes=1 << 13, ring_entries=64))


def test_upload_run_and_result_over_the_line() -> None:
    rng = np.random.default_rng(0)
    graph, compiled = small_model(rng)
    # Without the metadata, which only the host reads.
    tape_bytes = ImageHeader.unpack(compiled.image).tape_bytes
    tape = compiled.image[TAPE_ADDRESS : TAPE_ADDRESS + tape_bytes]
    image = build_image(compiled.configuration, tape, {}, layers=1)
    board = Soc(
        compiled.configuration,
        board="simulated",
        clock_hz=CLOCK_HZ,
        reset_baud=CLOCK_HZ // BIT,
    )
    line = Line(board)

    async def host(ctx) -> None:
        info = Info.unpack(await line.ask(ctx, Opcode.INFO))
        engine = compiled.configuration
        assert (info.board, info.clock_hz, info.state) == ("simulated", CLOCK_HZ, State(0))
        assert (info.lanes, info.pixels, info.ring_entries) == (4, 2, 64)
        assert (info.memory_bytes, info.banks) == (engine.memory_bytes, engine.banks)
        assert info.source_hash == source_hash()
        assert not ctx.get(board.valid)

        await line.write(ctx, 0, image)
        await line.ask(ctx, Opcode.CHECK, len(image))
        assert ctx.get(board.valid)
        for _ in range(2):
            picture = rng.integers(-128, 128, graph.input.shape[1:]).astype(np.int8)
            await line.write(ctx, compiled.input.address, compiled.card.input.pack(picture))
            await line.ask(ctx, Opcode.RUN, 0, bytes([0, StallCause.PIXELS]))
            size = compiled.output.size
            answer = await line.ask(ctx, Opcode.RESULT, compiled.output.address, bytes([size]))
            result, output = Result.unpack(answer[: Result.BYTES]), answer[Result.BYTES :]
            assert result.error == EngineError.NONE
            assert 0 < result.stalls < result.cycles < 5000
            assert not ctx.get(board.busy) and not ctx.get(board.error)
            assert ctx.get(board.best) == result.best
            expected = reference.predict(graph, picture[np.newaxis])[0]
            assert np.array_equal(compiled.card.output.unpack(output), expected)
            assert result.best == int(expected.argmax())

    simulate(board, host, background=[line.listen])


def test_a_tape_that_is_none_lights_the_error() -> None:
    """A valid image whose tape is garbage."""
    engine = configuration((2, 2), memory_bytes=1 << 12, ring_entries=64)
    board = Soc(engine, board="simulated", clock_hz=CLOCK_HZ, reset_baud=CLOCK_HZ // BIT)
    line = Line(board)

    async def host(ctx) -> None:
        image = with_crc(random.Random(0).randbytes(252 + 256))
        await line.write(ctx, 0, image)
        await line.ask(ctx, Opcode.CHECK, len(image))
        await line.ask(ctx, Opcode.RUN, 0, bytes([0, StallCause.PIXELS]))
        answer = await line.ask(ctx, Opcode.RESULT, 0, b"\1")
        result = Result.unpack(answer[: Result.BYTES])
        assert result.error == EngineError.BAD_DESCRIPTOR
        assert ctx.get(board.error)

    simulate(board, host, background=[line.listen])


def test_a_clock_too_slow_for_its_line_is_refused() -> None:
    with unused_components(), pytest.raises(ValueError, match="at least 4000000 Hz"):
        Soc(configuration((1, 1)), board="slow", clock_hz=3_000_000, reset_baud=1_000_000)
