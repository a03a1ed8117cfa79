"""State: tapes over sequences give what the reference gives; variables move as little as can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from host.compiler import CompileError, compile
from host.model_card import ModelCard
from model.int8 import reference, tflite
from model.int8.builder import GraphBuilder
from model.int8.graph import Variable
from tests.host.compiler.networks import configuration
from tests.host.stream import interpreted
from tests.model.int8.stateful import NETWORKS, SCALE, ZERO_POINT, features, keyword, random_stream

WILD = Path(__file__).parents[4] / "shared" / "data" / "wild"
VARIABLE = {"shape": [2], "layout": [0, 1, 1, 2, 2], "initial": 0}
SIZES = ((8, 2), (16, 8, 8), (6, 3), (4, 4, 4))


def _agree(graph, engine, count=8):
    compiled = compile(graph, engine)
    x = features(np.random.default_rng(11), count, graph.input.example_shape)
    expected = reference.predict(graph, x)
    stream, session = interpreted(graph, compiled), reference.Session(graph)
    for index, (example, wanted) in enumerate(zip(x, expected)):
        assert np.array_equal(stream.step(example).ravel(), wanted.ravel()), index
        session.run(example[np.newaxis])
        for variable, holds in zip(graph.variables, stream.state()):
            left = session.state[variable.tensor]
            assert np.array_equal(holds.ravel(), left.ravel()), (index, variable.name)
    stream.reset_state()
    for example, wanted in zip(x[:2], expected):
        assert np.array_equal(stream.step(example).ravel(), wanted.ravel())
    return compiled


@pytest.mark.parametrize("name", NETWORKS)
def test_sequences(name):
    seed = list(NETWORKS).index(name)
    for size in (SIZES[0], SIZES[1 + seed % 3]):
        _agree(NETWORKS[name](), configuration(size), 5)


@pytest.mark.parametrize("seed", range(100, 108))
def test_random_streams(seed):
    _agree(random_stream(seed), configuration(SIZES[seed % len(SIZES)]), 4)


@pytest.mark.skipif(not WILD.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize("name", ["vad", "okay_computer"])
def test_wake_words(name):
    _agree(tflite.load(WILD / f"esphome-{name}.tflite"), configuration((8, 2)), 2)


def test_depthwise_layers_side_by_side():
    """Each writes its channels into what they are put together to."""
    rng = np.random.default_rng(3)
    builder = GraphBuilder("side by side", (5, 1, 8), SCALE, ZERO_POINT)
    parts = []
    for _ in range(2):
        builder.last = 0
        weights = rng.integers(-127, 128, (1, 5, 1, 8)).astype(np.int8)
        bias = rng.integers(-500, 500, 8)
        parts.append(
            builder.depthwise_conv_2d(weights, 0.01, bias, scale=SCALE, zero_point=ZERO_POINT)
        )
    builder.last = parts[0]
    builder.concatenation(parts[1:], axis=3)
    weights = rng.integers(-127, 128, (4, 1, 1, 16)).astype(np.int8)
    builder.conv_2d(weights, 0.01, None, scale=SCALE, zero_point=0)
    for size in SIZES:
        _agree(builder.build(), configuration(size), 2)


def test_a_ring_moves_once():
    """Nothing is copied into a ring or out of it; it moves within itself, once a run."""
    compiled = compile(keyword(), configuration((8, 2)))
    kinds = [layer.op for layer in compiled.layers]
    # The two rings that are cut, and the ticket; the third moves up before its new row is there.
    assert kinds.count("ASSIGN_VARIABLE") == 3
    # The input goes behind the first ring.
    assert kinds.count("CONCATENATION") == 2
    blocks = [each for each in compiled.memory if (each.first, each.last) == (-1, len(kinds))]
    # Image, three rings, the last run's number, and the inputs.
    assert len(blocks) == 7, blocks


def test_a_variable_lies_where_nothing_else_does():
    compiled = compile(keyword(), configuration((8, 2)))
    for each in compiled.card.variables:
        begin, end = each.layout.address, each.layout.address + each.layout.size
        over = [b for b in compiled.memory if b.address < end and begin < b.address + b.size]
        assert len(over) == 1 and over[0].first == -1 and over[0].last == len(compiled.layers)


def test_the_card_says_what_there_is_to_know():
    compiled = compile(keyword(), configuration((8, 2)))
    card = compiled.card
    assert [each.shape for each in card.variables] == [(2, 1, 10), (3, 1, 8), (5, 1, 6)]
    again = ModelCard.from_dict(card.to_dict(), 1 << 17)
    assert again.ticket == card.ticket
    for one, other in zip(card.variables, again.variables):
        assert one.layout == other.layout and np.array_equal(one.initial, other.initial)
    assert not card.input_layers and not card.finds_best
    plain = compile(GRAPH, configuration((8, 2))).card
    assert plain.ticket is None and "variables" not in plain.to_dict()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ticket": [0]}, "two addresses"),
        ({"ticket": [0, 1 << 17]}, "from 0 to"),
        ({"variables": []}, "need one another"),
        ({"variables": [3]}, "must be an object"),
        ({"variables": [{**VARIABLE, "initial": 400}]}, "to 127"),
        ({"variables": [{**VARIABLE, "initial": "?"}]}, "damaged"),
        (
            {"variables": [{**VARIABLE, "initial": "eJxjAAAAAQAB"}]},
            "has 1 bytes",
        ),
        ({"variables": [{**VARIABLE, "shape": [3]}]}, "does not fit"),
    ],
)
def test_a_damaged_card_is_refused(changes, text):
    value = compile(keyword(), configuration((8, 2))).card.to_dict() | changes
    with pytest.raises(ValueError, match=text):
        ModelCard.from_dict(value, 1 << 17)


def _plain():
    builder = GraphBuilder("plain", (1, 1, 4), SCALE, ZERO_POINT)
    builder.fully_connected(np.eye(4, dtype=np.int8), 0.01, None, scale=SCALE, zero_point=0)
    return builder.build()


GRAPH = _plain()


def test_what_the_engine_cannot_keep_is_refused():
    builder = GraphBuilder("constant", (1, 1, 4), SCALE, ZERO_POINT)
    state = builder.variable((1, 1, 4), SCALE, ZERO_POINT)
    builder.assign(state, builder.constant(np.zeros((1, 1, 1, 4), np.int8), SCALE, ZERO_POINT))
    builder.concatenation([0], axis=3)
    weights = np.ones((2, 1, 1, 8), np.int8)
    builder.conv_2d(weights, 0.01, None, scale=SCALE, zero_point=0)
    with pytest.raises(CompileError, match="variable state1: is assigned a constant"):
        compile(builder.build(), configuration((8, 2)))
    tensors = list(GRAPH.tensors)
    tensors.append(replace(tensors[0], name="v", dtype="float32"))
    first = np.zeros((1, 1, 1, 4), np.float32)
    real = replace(
        GRAPH,
        tensors=tuple(tensors),
        variables=(Variable("v", len(tensors) - 1, len(tensors) - 1, first),),
    )
    with pytest.raises(CompileError, match="variable v: is float32, and the engine keeps int8"):
        compile(real, configuration((8, 2)))
