"""Random networks of every operation, from the graph to the bytes in memory.

By the interpreter of tapes, on the compiled engine, and against TensorFlow Lite Micro
where it is installed. ``EYESPOT_RANDOM_NETWORKS=500`` makes it a long run; a network that fails is
named by its seed, and kept in ``FOUND``.
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from host.compiler import CompileError, compile
from host.simulation.backends.toolchain import find_compiler
from model.int8 import reference
from tests.host.compiler.networks import EVERY, EVERY_AND_POOLED, configuration, random_network, run

COUNT = int(os.environ.get("EYESPOT_RANDOM_NETWORKS", "12"))
#: (lanes, pixels) or (lanes, pixels, requantisers).
SIZES = ((8, 2), (16, 8, 8), (6, 3), (4, 2), (8, 4, 4))
#: Of which the compiled engine is tried: the boards', the larger with no more memory than it has in
#: other tests, so that it is compiled once.
ENGINES = (configuration((8, 2)), configuration((16, 8, 8), memory_bytes=3 << 14, banks=3))
#: Seeds that once gave a wrong byte.
FOUND: tuple[int, ...] = (2024, 2044, 2123, 2147, 2163)

SEEDS = [*FOUND, *range(1000, 1000 + COUNT)]


def network(seed):
    """Graph and picture; None where the engine has its reasons to refuse it."""
    rng = np.random.default_rng(seed)
    # Those that were found come from an earlier generator.
    graph = random_network(rng, EVERY if seed in FOUND else EVERY_AND_POOLED)
    return graph, rng.integers(-128, 128, graph.input.shape[1:]).astype(np.int8)


def compiled_or_refused(graph, made):
    try:
        return compile(graph, made)
    except CompileError as error:
        assert str(error).startswith(("layer ", "tensor ", "random: ", "the network "))
        return None


def check_layers(compiled, expected, memory_after):
    for count, layer in enumerate(compiled.layers, start=1):
        if layer.tensor is None:
            continue
        layout = layer.output
        actual = layer.unpack(memory_after(count, layout.address, layout.size))
        wanted = expected[layer.tensor].reshape(actual.shape)
        assert np.array_equal(actual, wanted), f"{layer.name} ({layer.op})"


@pytest.mark.parametrize("seed", SEEDS)
def test_interpreter(seed):
    graph, picture = network(seed)
    compiled = compiled_or_refused(graph, configuration(SIZES[seed % len(SIZES)]))
    if compiled is None:
        return
    expected = reference.run(graph, picture[np.newaxis], keep="all")

    def memory_after(count, address, size):
        memory, _ = run(compiled, picture, count)
        return memory[address:][:size].tobytes()

    check_layers(compiled, expected, memory_after)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda made: f"{made.lanes}x{made.pixels}")
def engine(request):
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler to simulate the engine with")
    from tests.gateware.engine.bench import EngineBench

    bench = EngineBench(request.param)
    yield bench
    bench.close()


def test_engine(engine):
    tried = 0
    for seed in SEEDS:
        graph, picture = network(seed)
        compiled = compiled_or_refused(graph, engine.configuration)
        if compiled is None:
            continue
        engine.write(0, compiled.image)
        expected = reference.run(graph, picture[np.newaxis], keep="all")

        def memory_after(count, address, size, compiled=compiled, picture=picture):
            engine.write(compiled.input.address, compiled.card.input.pack(picture))
            engine.run(count)
            return engine.read(address, size)

        check_layers(compiled, expected, memory_after)
        tried += 1
    assert tried > len(SEEDS) // 2


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_engine_with_a_flash():
    """With less and less memory more and more of a network streams."""
    from tests.gateware.engine.bench import EngineBench

    engine = EngineBench(configuration((8, 2), memory_bytes=64 * 1024, flash=True))
    streaming = 0
    for seed in SEEDS:
        graph, picture = network(seed)
        expected = reference.predict(graph, picture[np.newaxis])[0]
        for memory_bytes in (1 << bits for bits in range(16, 11, -1)):
            # An engine with more memory runs it as well.
            small = configuration((8, 2), memory_bytes=memory_bytes, banks=1, flash=True)
            try:
                compiled = compile(graph, small)
            except CompileError:
                break
            engine.write(0, compiled.image)
            engine.set_stream(compiled.stream)
            for _ in range(2):
                engine.write(compiled.input.address, compiled.card.input.pack(picture))
                engine.run()
                layout = compiled.output
                answer = compiled.card.output.unpack(engine.read(layout.address, layout.size))
                if not compiled.card.output.steps:
                    assert np.array_equal(answer.reshape(expected.shape), expected), seed
            streaming += bool(compiled.stream)
    engine.close()
    assert streaming > len(SEEDS) // 2


def test_tensorflow_lite_for_microcontrollers_agrees():
    runtime = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="the oracle's wheel is not here"
    )
    from model.int8 import tflite

    for seed in SEEDS:
        graph, picture = network(seed)
        interpreter = runtime.Interpreter.from_bytes(tflite.encode(graph), arena_size=4 << 20)
        interpreter.set_input(picture[np.newaxis], 0)
        interpreter.invoke()
        wanted = reference.predict(graph, picture[np.newaxis])
        assert np.array_equal(interpreter.get_output(0).reshape(wanted.shape), wanted), seed
