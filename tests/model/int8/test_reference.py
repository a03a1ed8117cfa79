"""The reference against TensorFlow Lite for Microcontrollers: zero differences."""

from __future__ import annotations

import os

import numpy as np
import pytest

from model import zoo
from model.datasets import datasets
from model.errors import ModelError
from model.int8 import fixed_point, reference, tflite
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation
from model.int8.validation import validate
from tests.model.int8 import familiar, oracle, random_extremes, random_graphs, random_whole

LONG = bool(os.environ.get("EYESPOT_LONG"))


@pytest.mark.parametrize("layer", random_graphs.LAYERS)
def test_random_layers_agree_with_tflm(layer):
    """Seeds are kept: the fast run takes the first of them."""
    for seed in range(60 if LONG else 12):
        rng = np.random.default_rng([seed, 20])
        graph = random_graphs.LAYERS[layer](rng)
        x = random_graphs.examples(rng, graph, 6)
        expected = oracle.outputs(graph, x)
        for name, actual in reference.outputs(graph, x).items():
            assert actual.dtype == expected[name].dtype
            assert np.array_equal(actual, expected[name]), (
                f"{layer}, seed {seed}, {name}: {np.sum(actual != expected[name])} of "
                f"{actual.size} differ"
            )


@pytest.mark.parametrize("make", familiar.NETWORKS, ids=lambda make: make.__name__)
def test_what_people_bring_agrees_with_tflm(make):
    graph = make()
    read = tflite.decode(tflite.encode(graph), graph.name)
    x = random_graphs.examples(np.random.default_rng(0), read, 12)
    expected = oracle.outputs(graph, x)
    for name, actual in reference.outputs(read, x).items():
        assert np.array_equal(actual, expected[name]), name
        assert len(np.unique(actual)) > 3, f"{name} says nothing"


@pytest.mark.parametrize("layer", random_extremes.LAYERS)
def test_scales_far_apart_are_exact_or_refused(layer):
    compared = 0
    for seed in range(200 if LONG else 25):
        rng = np.random.default_rng([seed, 23])
        graph = random_extremes.LAYERS[layer](rng)
        try:
            validate(graph)
        except ModelError:
            continue
        x = random_graphs.examples(rng, graph, 4)
        try:
            expected = oracle.outputs(graph, x)
        except RuntimeError:
            continue  # refused by TFLM alone
        for name, actual in reference.outputs(graph, x).items():
            assert np.array_equal(actual, expected[name]), f"{layer}, seed {seed}"
        compared += 1
    assert compared > 8


@pytest.mark.parametrize("part", range(4))
def test_random_networks_agree_with_tflm(part):
    """Written, read again, folded, and run."""
    for seed in range(part, 400 if LONG else 60, 4):
        rng = np.random.default_rng([seed, 22])
        graph = random_whole.network(rng)
        x = random_graphs.examples(rng, graph, 4)
        expected = oracle.outputs(graph, x)
        read = tflite.decode(tflite.encode(graph), "read")
        for name, actual in reference.outputs(read, x).items():
            assert np.array_equal(actual, expected[name]), (
                f"seed {seed}, {name}: {np.sum(actual != expected[name])} of {actual.size} differ: "
                f"{' '.join(operator.name for operator in graph.operators)}"
            )


def test_rsqrt_of_what_may_be_negative_is_refused():
    """TFLM fails at the first such byte; and it shifts by more bits than there are."""
    for zero_point, scale, reason in (
        (-127, 1.0, "may take the square root of a negative number"),
        (-128, 5000.0, "a factor of 0.0002"),
        (-128, 9e-7, r"a factor of 1\.1\d+e\+06"),
    ):
        builder = GraphBuilder("rsqrt", (4,), 1.0, zero_point)
        builder.rsqrt(scale, 0)
        with pytest.raises(ModelError, match=f"layer rsqrt1: {reason}"):
            validate(builder.build())


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ((1, 3), r"reverses dimensions \[1, 3\], which are not neighbours"),
        ((2, 2), r"reverses dimensions \[2, 2\], which are not neighbours"),
        ((4,), r"reverses dimensions \[4\] of 1x2x3x4"),
    ],
)
def test_reverse_of_other_dimensions_is_refused(axes, reason):
    """TFLM refuses them, too."""
    builder = GraphBuilder("reverse", (2, 3, 4))
    builder.reverse(axes)
    with pytest.raises(ModelError, match=f"layer reverse_v21: {reason}"):
        validate(builder.build())


def _near_ties(count: int) -> list[tuple[float, float]]:
    """Scales whose quotient, rounded to float32, would round some byte to the other side."""
    rng = np.random.default_rng(0)
    bytes_ = np.arange(-127, 128)
    found: list[tuple[float, float]] = []
    while len(found) < count:
        scale_out = np.float32(rng.uniform(0.5, 1))
        tie = (rng.integers(0, 100) + 0.5) / rng.integers(3, 127)
        scale_in = np.float32(float(scale_out) * tie)
        wide = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
        narrow = fixed_point.quantize_multiplier(scale_in / scale_out)
        rescaled = [
            np.clip(fixed_point.multiply_by_quantized_multiplier(bytes_, *factor), -128, 127)
            for factor in (wide, narrow)
        ]
        if not np.array_equal(*rescaled):
            found.append((float(scale_in), float(scale_out)))
    return found


@pytest.mark.parametrize(
    "append",
    [
        pytest.param(lambda builder, scale: builder.relu(scale, 0), id="RELU"),
        pytest.param(lambda builder, scale: builder.quantize(scale, 0), id="QUANTIZE"),
        pytest.param(lambda builder, scale: builder.leaky_relu(1.0, scale, 0), id="LEAKY_RELU"),
        pytest.param(lambda builder, scale: builder.mean(scale, 0), id="MEAN"),
        pytest.param(lambda builder, scale: builder.sum(scale, 0), id="SUM"),
        pytest.param(lambda builder, scale: builder.abs(scale, 0), id="ABS"),
        pytest.param(
            lambda builder, scale: builder.prelu(
                np.full((1, 1, 256), 64), 1 / 64, scale=scale, zero_point=0
            ),
            id="PRELU",
        ),
        pytest.param(
            lambda builder, scale: builder.mul(
                builder.constant(np.array([1], np.int8), 1.0), scale=scale, zero_point=0
            ),
            id="MUL",
        ),
        pytest.param(
            lambda builder, scale: builder.depthwise_conv_2d(
                np.ones((1, 1, 1, 256)), 1.0, None, scale=scale, zero_point=0
            ),
            id="DEPTHWISE_CONV_2D",
        ),
    ],
)
def test_factors_are_as_precise_as_tflms(append):
    for scale_in, scale_out in _near_ties(5):
        builder = GraphBuilder("tie", (1, 1, 256), scale_in, 0)
        append(builder, scale_out)
        graph = builder.build()
        x = random_graphs.pictures(np.random.default_rng(0), graph, 1)
        assert np.array_equal(reference.predict(graph, x), oracle.predict(graph, x))


_PAIRS = {
    "ADD": lambda builder, other, **quantization: builder.add(other, **quantization),
    "SUB": lambda builder, other, **quantization: builder.sub(other, **quantization),
    "MUL": lambda builder, other, **quantization: builder.mul(other, **quantization),
    "MAXIMUM": lambda builder, other, **quantization: builder.maximum(other),
    "MINIMUM": lambda builder, other, **quantization: builder.minimum(other),
}


@pytest.mark.parametrize("kind", _PAIRS)
def test_every_pair_of_bytes(kind):
    """65,536 pairs, at scales where a factor in the wrong precision would show."""
    for seed in range(60 if LONG else 6):
        rng = np.random.default_rng([seed, 21])
        builder = GraphBuilder("pairs", (256, 1), float(np.float32(rng.uniform(0.01, 0.5))), -3)
        other = float(np.float32(rng.uniform(0.01, 0.5)))
        second = builder.input((1, 256), other, int(rng.integers(-128, 128)))
        builder.last = 0
        output = float(np.float32(rng.uniform(0.01, 0.5)))
        _PAIRS[kind](builder, second, scale=output, zero_point=int(rng.integers(-128, 128)))
        graph = builder.build()
        every = np.arange(-128, 128).astype(np.int8)
        x = {"input": every.reshape(1, 256, 1), "input2": every.reshape(1, 1, 256)}
        assert np.array_equal(
            *(each.outputs(graph, x)[f"{kind.lower()}1"] for each in (reference, oracle))
        )


def _products_near_ties(count: int) -> list[tuple[float, float, float]]:
    """s_in, s_w, s_out where rounding s_in * s_w to float32 would change an answer."""
    rng = np.random.default_rng(0)
    bytes_ = np.arange(-127, 128)
    found: list[tuple[float, float, float]] = []
    while len(found) < count:
        scale_in, scale_w = (np.float32(rng.uniform(0.5, 1)) for _ in range(2))
        tie = (rng.integers(0, 100) + 0.5) / rng.integers(3, 127)
        scale_out = float(np.float32(float(scale_in) * float(scale_w) / tie))
        wide = fixed_point.quantize_multiplier(float(scale_in) * float(scale_w) / scale_out)
        narrow = fixed_point.quantize_multiplier(float(scale_in * scale_w) / scale_out)
        rescaled = [
            np.clip(fixed_point.multiply_by_quantized_multiplier(bytes_, *factor), -128, 127)
            for factor in (wide, narrow)
        ]
        if not np.array_equal(*rescaled):
            found.append((float(scale_in), float(scale_w), scale_out))
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bias", [None, 0])
def test_fully_connected_factor_is_a_float64_product(channels, bias):
    """TFLM once rounded s_in * s_w to float32 here, and LiteRT may still do so."""
    for scale_in, scale_w, scale_out in _products_near_ties(10):
        builder = GraphBuilder("tie", (1,), scale_in, 0)
        builder.fully_connected(
            np.ones((channels, 1)),
            scale_w,
            None if bias is None else np.full(channels, bias),
            scale=scale_out,
            zero_point=0,
        )
        graph = builder.build()
        x = np.arange(-128, 128).astype(np.int8)[:, np.newaxis]
        assert np.array_equal(reference.predict(graph, x), oracle.predict(graph, x))


def test_quantize_rounds_half_away_from_zero():
    builder = GraphBuilder("ties", (256,), dtype="float32")
    builder.quantize(0.5, -3)
    graph = builder.build()
    x = (np.arange(-128, 128, dtype=np.float32) / 4)[np.newaxis]
    x = np.concatenate([x, np.nextafter(x, np.float32(0)), np.nextafter(x, np.float32(99))])
    assert np.array_equal(reference.predict(graph, x), oracle.predict(graph, x))


def test_relu6_bound_is_a_float32_quotient():
    """6 / scale rounds up in float32 where it is just below a half."""
    for steps in (8, 19, 65, 103, 129, 194):
        scale = np.float32(6 / (steps + 0.5))
        builder = GraphBuilder("tie", (1, 1, 256), float(scale), -128)
        builder.max_pool_2d((1, 1), activation=Activation.RELU6)
        builder.relu6()
        graph = builder.build()
        x = random_graphs.pictures(np.random.default_rng(0), graph, 1)
        answer = reference.predict(graph, x)
        assert answer.max() == -128 + steps + 1
        assert np.array_equal(answer, oracle.predict(graph, x))


def test_relu_n1_to_1_bounds_are_float32_quotients():
    for steps in (8, 19, 65, 103):
        builder = GraphBuilder("tie", (1, 1, 256), float(np.float32(1 / (steps + 0.5))), 3)
        builder.max_pool_2d((1, 1), activation=Activation.RELU_N1_TO_1)
        graph = builder.build()
        x = random_graphs.pictures(np.random.default_rng(0), graph, 1)
        assert np.array_equal(reference.predict(graph, x), oracle.predict(graph, x))


def test_hard_swish_factor_is_a_float64_quotient():
    builder = GraphBuilder("tie", (1,), 0.16287667, -127)
    builder.hard_swish(0.3464271, -128)
    assert reference.predict(builder.build(), np.array([[74]], np.int8)).item() == -34


def test_keep_chooses_tensors():
    graph = random_graphs.add(np.random.default_rng(0))
    x = random_graphs.pictures(np.random.default_rng(0), graph, 3)
    middle = graph.operators[0].outputs[0]
    assert reference.run(graph, x).keys() == {graph.outputs[0]}
    assert reference.run(graph, x, keep=[middle]).keys() == {middle, graph.outputs[0]}
    kept = reference.run(graph, x, keep=[graph.inputs[0]])
    assert np.array_equal(kept[graph.inputs[0]], x)


def test_batches_of_any_size_agree():
    graph = random_graphs.conv_2d(np.random.default_rng(3))
    x = random_graphs.pictures(np.random.default_rng(0), graph, 700)
    whole = reference.predict(graph, x)
    assert np.array_equal(whole[650:651], reference.predict(graph, x[650:651]))
    assert reference.predict(graph, x[:0]).shape == (0, *whole.shape[1:])


def test_a_replay_takes_what_was_stored():
    """What a board stored is taken as it is, and all that follows is made of that."""
    graph = zoo.load("digits")
    x = datasets.to_int8(datasets.load("digits").x_test[0])
    every = reference.run(graph, x[np.newaxis], keep="all")
    values = reference.replay(graph, x, {})
    for index, expected in every.items():
        np.testing.assert_array_equal(values[index].reshape(expected[0].shape), expected[0])
    first = graph.operators[0].outputs[0]
    stored = every[first][0] ^ np.int8(1)
    changed = reference.replay(graph, x, {first: stored})
    np.testing.assert_array_equal(changed[first].reshape(stored.shape), stored)
    second = graph.operators[1]
    expected = reference.compute(
        graph, second, [changed[index][np.newaxis] for index in second.inputs]
    )[0]
    np.testing.assert_array_equal(changed[second.outputs[0]].ravel(), expected.ravel())
    assert (changed[second.outputs[0]] != values[second.outputs[0]]).any()
