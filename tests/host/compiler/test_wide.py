"""Sums of more bits than the accumulator has: by the interpreter, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from host.compiler import CompileError, compile
from model.int8 import reference
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Padding
from tests.host.compiler.networks import configuration, run

SIZES = ((8, 2), (16, 8, 8), (6, 3))


def network(seed, kind):
    """A layer of large weights whose outputs are clamped on both sides."""
    rng = np.random.default_rng(seed)
    shape = (1, 1, 300) if kind == "dense" else (5, 4, 12)
    net = GraphBuilder("wide", shape, 0.1, int(rng.choice([-128, -5, 127])))
    channels = 5
    weight_shape = {
        "dense": (channels, 300),
        "conv": (channels, 3, 3, 12),
        "depthwise": (1, 3, 3, 12),
    }[kind]
    largest = 50 if kind == "dense" else 127
    weights = rng.integers(-largest, largest + 1, weight_shape).astype(np.int8)
    # One channel's sums fit.
    weights[(..., 0) if kind == "depthwise" else 0] //= 64
    channels = weight_shape[-1 if kind == "depthwise" else 0]
    bias = rng.integers(-(2**16), 2**16, channels).astype(np.int32)
    if kind == "depthwise":
        # So few taps overflow with the greatest weights and an extreme zero point only.
        weights[..., 1] = 127
        bias[1] = 20_000
    values = {
        "weights": weights,
        "weight_scale": 2**-8,
        "bias": bias,
        # In steps of 2**7 to 2**8.7 of the accumulator.
        "scale": float(0.1 * 2**-8 * 2 ** rng.uniform(7.0, 8.7)),
        "zero_point": int(rng.choice([-128, 3, 127])),
        "activation": Activation(str(rng.choice(["NONE", "RELU", "RELU6"]))),
    }
    if kind == "dense":
        net.fully_connected(**values)
    else:
        getattr(net, "conv_2d" if kind == "conv" else "depthwise_conv_2d")(
            **values, padding=Padding.SAME
        )
    behind = seed % 4
    if behind == 1:
        net.logistic()
    elif behind == 2:
        net.hard_swish(0.3, 1)
    elif behind == 3:
        net.add(net.last, scale=values["scale"] * 3, zero_point=0)
    return net.build(), weights, rng


def pictures(graph, weights, rng, kind):
    """Random ones, some of them with little contrast, and such that drive a channel to its ends."""
    shape = graph.input.shape[1:]
    zero = int(graph.input.quantization.zero_point[0])
    for contrast in (1.0, 1.0, 0.3, 0.05):
        noise = rng.integers(-128, 128, shape) * contrast
        yield np.clip(np.round(noise) + (zero if contrast < 1 else 0), -128, 127).astype(np.int8)
    if kind == "depthwise":
        return
    for channel in (1, 2):
        signs = np.sign(weights[channel].reshape(-1, shape[2]))
        every = np.resize(signs, shape) if kind == "conv" else signs.reshape(shape)
        for sign in (-1, 1):
            for share in (1.0, 0.6, 0.52):
                kept = rng.random(shape) < share
                yield np.where(sign * every * np.where(kept, 1, -1) > 0, 127, -128).astype(np.int8)


@pytest.mark.parametrize("kind", ["dense", "conv", "depthwise"])
@pytest.mark.parametrize("size", SIZES)
def test_two_passes_agree_with_the_reference(size, kind):
    engine = configuration(size, accumulator_bits=20)
    ends, passes = set(), 0
    for seed in range(8):
        graph, weights, rng = network(seed, kind)
        compiled = compile(graph, engine)
        names = [layer.name for layer in compiled.layers]
        passes += max(map(names.count, names)) >= 2
        for picture in pictures(graph, weights, rng, kind):
            expected = reference.predict(graph, picture[np.newaxis])[0]
            memory, _ = run(compiled, picture)
            layout = compiled.output
            actual = compiled.card.output.unpack(memory[layout.address :][: layout.size].tobytes())
            assert np.array_equal(actual, expected), (seed, kind)
            ends |= {int(expected.min()), int(expected.max())}
    assert (kind == "depthwise" or {-128, 127} <= ends) and passes > 2


def test_refuses_what_is_in_range_and_does_not_fit():
    net = GraphBuilder("wide", (1, 1, 300), 0.1, 0)
    weights = np.full((4, 300), 127, np.int8)
    net.fully_connected(weights // 4, 2**-8, None, scale=0.1 * 2**-8 * 2**13, zero_point=0)
    with pytest.raises(CompileError, match="can need 22 bits, the engine's limit is 19, and too"):
        compile(net.build(), configuration((8, 2), accumulator_bits=20))


def test_a_dense_layer_of_thousands_of_values():
    """Coarse weights of no power of two give sums that fit, and tell enough."""
    rng = np.random.default_rng(1)
    count = 7104
    weights = np.clip(np.rint(rng.normal(-6.8, 14.5, (1, count))), -127, 127).astype(np.int8)
    net = GraphBuilder("long", (count,), 0.0139, -128)
    net.fully_connected(weights, 0.0038, np.array([6000]), scale=0.2, zero_point=30)
    graph = net.build()
    compiled = compile(graph, configuration((8, 2)))
    assert len(compiled.layers) == 2
    extremes = np.where(weights[0] > 0, 127, -128).astype(np.int8)
    # Some outputs at the clamp's ends, some between.
    inputs = [extremes, -1 - extremes, rng.integers(-128, 128, count).astype(np.int8)]
    inputs += [np.where(rng.random(count) < 0.016 * k, -100, -128).astype(np.int8) for k in (1, 2)]
    expected = reference.predict(graph, np.array(inputs)).ravel().tolist()
    assert len(set(expected)) > 3
    for x, wanted in zip(inputs, expected):
        memory, _ = run(compiled, x)
        layout = compiled.output
        assert layout.unpack(memory[layout.address :][: layout.size].tobytes()).flat[0] == wanted
