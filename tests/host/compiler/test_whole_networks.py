"""Networks that chain every operator of the reference, and small ones that people bring.

By the interpreter of tapes, layer by layer. What the engine does not run is refused in one line.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from host.compiler import CompileError, compile
from model.int8 import reference
from model.int8.graph import Graph
from tests.benchmarks.networks_of_others import differing_bytes, random_memory
from tests.host.compiler.networks import configuration, run
from tests.model.int8 import familiar, random_whole
from tests.tape_interpreter import execute

SIZES = ((8, 2), (16, 8, 8), (6, 3), (4, 2), (8, 4, 4))
#: Seeds that once gave a wrong byte, or a traceback.
FOUND = (73, 200, 333, 454, 824)
COUNT = 300 if os.environ.get("EYESPOT_LONG") else 12


def _check(graph: Graph, size: tuple[int, ...], rng: np.random.Generator) -> bool:
    """Compare every layer; False where the compiler refuses the network."""
    try:
        compiled = compile(graph, configuration(size))
    except CompileError as error:
        assert "\n" not in str(error)
        return False
    picture = rng.integers(-128, 128, graph.input.example_shape).astype(np.int8)
    expected = reference.run(graph, picture[np.newaxis], keep="all")
    for count, layer in enumerate(compiled.layers, start=1):
        if layer.tensor is None:
            continue
        memory, _ = run(compiled, picture, count)
        actual = layer.unpack(memory[layer.output.address :][: layer.output.size].tobytes())
        wanted = expected[layer.tensor].reshape(actual.shape)
        assert np.array_equal(actual, wanted), f"{layer.name} ({layer.op})"
    return True


@pytest.mark.parametrize("part", range(3))
def test_random_networks(part):
    ran = tried = 0
    for seed in (*FOUND[part::3], *range(1000 + part, 1000 + COUNT, 3)):
        rng = np.random.default_rng([seed, 22])
        graph = random_whole.network(rng)
        if graph.input.dtype == "int8":
            tried += 1
            ran += _check(graph, SIZES[seed % len(SIZES)], rng)
    assert ran >= tried // 4


@pytest.mark.parametrize("make", familiar.NETWORKS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("size", [(8, 2), (16, 8, 8)], ids=str)
def test_what_people_bring(make, size):
    graph = make()
    if graph.input.dtype == "int8":
        assert _check(graph, size, np.random.default_rng(1))
    # With what the host computes before and behind, in whatever types.
    compiled = compile(graph, configuration(size))
    memory, inputs = random_memory(graph, compiled, seed=1)
    execute(compiled.configuration, memory)
    assert differing_bytes(graph, compiled, memory, inputs) == 0
