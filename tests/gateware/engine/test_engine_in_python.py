"""The whole engine in Amaranth's own simulator, which needs no C++ compiler."""

from __future__ import annotations

import numpy as np
import pytest

from gateware.engine.engine import Engine
from gateware.interface.protocol import EngineError, StallCause
from gateware.primitives import Technology
from host.compiler import compile
from model import zoo
from model.int8 import reference, tflite
from model.int8.graph import Graph
from tests import tape_interpreter
from tests.gateware.streams import simulate
from tests.host.compiler.networks import RandomNetwork, configuration


def random_graph(rng: np.random.Generator) -> Graph:
    """A convolution with padding, a max pool and a dense layer."""
    network = RandomNetwork(rng, (5, 4, 2))
    network.conv()
    network.pool()
    network.dense()
    return network.builder.build()


class EngineInPython:
    """Memory and runs through the engine's ports, within a simulation."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def write(self, ctx, address: int, data: bytes) -> None:
        request = self.engine.host.request
        for offset, value in enumerate(data):
            ctx.set(request.payload, {"address": address + offset, "write": 1, "data": value})
            ctx.set(request.valid, 1)
            ready = False
            while not ready:
                *_, ready = await ctx.tick().sample(request.ready)
        ctx.set(request.valid, 0)

    async def read(self, ctx, address: int, size: int) -> bytes:
        request, response = self.engine.host.request, self.engine.host.response
        data = bytearray()
        for offset in range(size):
            ctx.set(request.payload, {"address": address + offset, "write": 0})
            ctx.set(request.valid, 1)
            ready = False
            while not ready:
                *_, ready = await ctx.tick().sample(request.ready)
            ctx.set(request.valid, 0)
            valid = False
            while not valid:
                *_, valid, value = await ctx.tick().sample(response.valid, response.payload)
            data.append(value)
        return bytes(data)

    async def run(self, ctx) -> None:
        """Until it is no longer busy; meanwhile, what follows the pulse means nothing."""
        control = self.engine.control
        ctx.set(control.layers, 0)
        ctx.set(control.stall_cause, StallCause.PIXELS)
        ctx.set(control.run, 1)
        assert not ctx.get(control.busy)
        await ctx.tick()
        ctx.set(control.run, 0)
        ctx.set(control.layers, 1)
        ctx.set(control.stall_cause, StallCause.OVERHEAD)
        assert ctx.get(control.busy), "It is busy from the next cycle on"
        while ctx.get(control.busy):
            await ctx.tick()


@pytest.mark.parametrize(
    ("size", "model"), [((8, 2), "patterns"), ((4, 2), "random"), ((2, 2), "random")]
)
def test_network(size: tuple[int, int], model: str) -> None:
    rng = np.random.default_rng(sum(size))
    graph = tflite.load(zoo.path("patterns")) if model == "patterns" else random_graph(rng)
    compiled = compile(graph, configuration(size, memory_bytes=1 << 14, ring_entries=256))
    pictures = rng.integers(-128, 128, (2, *graph.input.shape[1:])).astype(np.int8)
    engine = Engine(compiled.configuration, Technology.GENERIC)
    bench = EngineInPython(engine)

    async def testbench(ctx) -> None:
        await bench.write(ctx, 0, compiled.image)
        for picture in pictures:
            packed = compiled.card.input.pack(picture)
            await bench.write(ctx, compiled.input.address, packed)
            await bench.run(ctx)
            memory = np.zeros(compiled.configuration.memory_bytes, np.int8)
            memory[: len(compiled.image)] = np.frombuffer(compiled.image, np.int8)
            memory[compiled.input.address :][: len(packed)] = np.frombuffer(packed, np.int8)
            execution = tape_interpreter.execute(compiled.configuration, memory)
            assert ctx.get(engine.control.error) == EngineError.NONE
            assert ctx.get(engine.control.best) == execution.best
            output = await bench.read(ctx, compiled.output.address, compiled.output.size)
            assert output == memory[compiled.output.address :][: len(output)].tobytes()
            if not compiled.card.output.steps:
                answer = compiled.card.output.unpack(output)
                assert np.array_equal(answer, reference.predict(graph, picture[np.newaxis])[0])

    simulate(engine, testbench)
