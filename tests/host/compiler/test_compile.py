"""Compiled networks, run by the interpreter, against the reference: every tensor, every byte."""

from __future__ import annotations

import numpy as np
import pytest

from host.compiler import compile
from model.int8 import reference
from tests.host.compiler.networks import CHANNEL_WISE, SIZES, configuration, random_network, run


def check(graph, engine, rng):
    """Compile, run, and compare each layer's tensor right after the layer."""
    compiled = compile(graph, engine)
    picture = rng.integers(-128, 128, graph.input.shape[1:]).astype(np.int8)
    expected = reference.run(graph, picture[np.newaxis], keep="all")
    for count, layer in enumerate(compiled.layers, start=1):
        if layer.tensor is None:
            continue
        memory, _ = run(compiled, picture, count)
        layout = layer.output
        actual = layer.unpack(memory[layout.address :][: layout.size].tobytes())
        wanted = expected[layer.tensor].reshape(actual.shape)
        assert np.array_equal(actual, wanted), f"{layer.name} ({layer.op})"
    memory, execution = run(compiled, picture)
    output = compiled.card.output
    answer = output.unpack(memory[compiled.output.address :][: compiled.output.size].tobytes())
    if not compiled.card.output.steps:
        assert np.array_equal(answer, expected[graph.outputs[0]][0])
    if compiled.card.finds_best:
        assert execution.best == int(answer.argmax())
    return compiled


@pytest.mark.parametrize("size", SIZES)
def test_random_networks_agree_with_the_reference(size):
    for seed in range(12):
        rng = np.random.default_rng([seed, *size])
        check(random_network(rng), configuration(size), rng)


@pytest.mark.parametrize("size", SIZES)
def test_random_depthwise_networks_agree_with_the_reference(size):
    for seed in range(12):
        rng = np.random.default_rng([seed, *size, 2])
        check(random_network(rng, CHANNEL_WISE), configuration(size), rng)
