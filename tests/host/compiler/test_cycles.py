"""Predicted cycles against the engine's own counter, layer by layer; and its answers too."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from gateware.interface.tape import ADDITION_SHIFT
from host.compiler import CompileError, compile
from host.compiler.addition import Addition
from host.compiler.cycles import estimate
from host.compiler.layers import Epilogue, Kernel, Layer, Mode
from host.compiler.two_tensors import maximum, multiply
from model import zoo
from model.int8 import reference, tflite
from model.int8.builder import GraphBuilder
from model.int8.graph import Padding
from tests.host.compiler.hand_made import HandMade
from tests.host.compiler.networks import RandomNetwork, configuration
from tests.host.compiler.pairs import random_rule, view_of

ICE40 = configuration((8, 2))
KINDS = ("conv", "conv", "pointwise", "pool", "table", "depthwise", "average")
#: Layers of fewer cycles are held to a number of cycles instead of 2 %.
SHORT, FEW = 2000, 40


@pytest.fixture(scope="module")
def engine():
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler to simulate the engine with")
    from tests.gateware.engine.bench import EngineBench

    bench = EngineBench(ICE40)
    yield bench
    bench.close()


def check(engine, graph, rng):
    compiled = compile(graph, ICE40)
    picture = rng.integers(-128, 128, graph.input.shape[1:]).astype(np.int8)
    engine.write(0, compiled.image)
    before = 0
    for count, layer in enumerate(compiled.layers, start=1):
        engine.write(compiled.input.address, compiled.card.input.pack(picture))
        cycles = engine.run(count).cycles
        counted, before = cycles - before, cycles
        tolerance = max(FEW, 0.02 * counted) if counted < SHORT else 0.02 * counted
        assert abs(layer.cycles - counted) <= tolerance, f"{layer.name} ({layer.op}): {counted}"
    output = compiled.card.output
    answer = output.unpack(engine.read(compiled.output.address, compiled.output.size))
    if not compiled.card.output.steps:
        assert np.array_equal(answer, reference.predict(graph, picture[np.newaxis])[0])


@pytest.mark.parametrize("name", ["patterns", "digits", "mnist"])
def test_zoo(engine, name):
    check(engine, tflite.load(zoo.path(name)), np.random.default_rng(0))


def test_random_layers(engine):
    tried = 0
    for seed in range(24):
        rng = np.random.default_rng([seed, 79])
        sizes = (rng.integers(4, 40), rng.integers(4, 40), rng.integers(1, 33))
        network = RandomNetwork(rng, tuple(map(int, sizes)))
        for _ in range(2):
            getattr(network, str(rng.choice(KINDS)))()
        graph = network.builder.build()
        try:
            compile(graph, ICE40)
        except CompileError:
            continue
        check(engine, graph, rng)
        tried += 1
    assert tried > 12


@pytest.mark.parametrize("other_bank", [False, True])
def test_two_tensors(engine, other_bank):
    """Products and maxima, with all three tensors in one bank, and in a bank each."""
    rng = np.random.default_rng(int(other_bank))
    for number, shape in enumerate(((12, 12, 10), (1, 30, 32), (6, 7, 25), (16, 16, 6))):
        made = HandMade(rng, ICE40)
        tensors = [
            made.place(view_of(shape, ICE40), bank=1 + index * other_bank) for index in range(3)
        ]
        if number % 2:
            layer = maximum("layer", ("MAXIMUM",), (tensors[0], tensors[1]), tensors[2], ICE40)
        else:
            rule = random_rule(rng)
            layer = multiply("layer", ("MUL",), (tensors[0], tensors[1]), tensors[2], rule, ICE40)
        works = [made.work(part) for part in made.load([layer])]
        engine.write(0, made.memory.tobytes())
        counted = engine.run().cycles
        predicted = sum(each.cycles for each in estimate(works, ICE40))
        assert abs(predicted - counted) <= max(FEW, 0.02 * counted), shape


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("mode", [Mode.CONVOLUTION, Mode.POOL])
def test_results_go_to_the_bank_that_is_read(engine, mode, adds):
    """Each costs a cycle where the port has no pause."""
    rng = np.random.default_rng(3)
    for channels in (3, 8, 16):
        made = HandMade(rng, ICE40)
        window = 3 if mode is Mode.CONVOLUTION else 1
        source = made.place(view_of((24, 24, channels), ICE40), bank=2)
        target = made.place(view_of((24, 24, 16 if window == 3 else channels), ICE40), bank=2)
        epilogue = Epilogue.half(target.channels)
        if adds:
            every = np.arange(-128, 128) << ADDITION_SHIFT
            epilogue = epilogue.adding(Addition(np.stack([every, every]), -128, 127))
        layer = Layer(
            name="layer",
            kinds=(mode.value,),
            mode=mode,
            source=source,
            target=target,
            kernel=Kernel(window, window, top=window // 2, left=window // 2),
            weights=rng.integers(-5, 6, (16, 3, 3, source.pixel_pitch)) if window == 3 else None,
            pad_value=0,
            epilogue=epilogue,
        )
        works = [made.work(part) for part in made.load([layer])]
        engine.write(0, made.memory.tobytes())
        counted = engine.run().cycles
        predicted = sum(each.cycles for each in estimate(works, ICE40))
        assert abs(predicted - counted) <= max(FEW, 0.02 * counted), (channels, predicted, counted)


def test_the_tape_waits_for_what_results_meet(engine):
    """While the first layers run, in whose place the last one's entries are read."""
    rng = np.random.default_rng(4)

    def weights(*shape):
        return rng.integers(-5, 6, shape).astype(np.int8)

    net = GraphBuilder("cnn", (10, 10, 3), 0.25, -3)
    before = 3
    for channels in (10, 20, 25):
        layer = weights(channels, 3, 3, before)
        net.conv_2d(layer, 2**-6, None, scale=0.25, zero_point=1, padding=Padding.SAME)
        net.max_pool_2d((2, 2))
        before = channels
    net.fully_connected(weights(300, 25), 2**-6, None, scale=0.25, zero_point=1)
    check(engine, net.build(), rng)
