"""Predicted cycles against the engine's own counter, layer by layer; and its answers too."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from host.compiler import CompileError, compile
from host.compiler.cycles import estimate
from host.compiler.two_tensors import maximum, multiply
from model import zoo
from model.int8 import reference, tflite
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
