"""The reference against TensorFlow Lite for Microcontrollers: zero differences."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import ModelError
from model.int8 import fixed_point, reference
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation
from model.int8.validation import validate
from tests.model.int8 import oracle, random_graphs


@pytest.mark.parametrize("layer", random_graphs.LAYERS)
def test_random_layers_agree_with_tflm(layer):
    for seed in range(60):
        rng = np.random.default_rng([seed, 20])
        graph = random_graphs.LAYERS[layer](rng)
        x = random_graphs.pictures(rng, graph, 6)
        expected = oracle.predict(graph, x)
        actual = reference.predict(graph, x)
        assert np.array_equal(actual, expected), (
            f"{layer}, seed {seed}: {np.sum(actual != expected)} of {actual.size} differ"
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
