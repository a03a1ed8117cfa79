"""Quantisation-aware training computes what the exported graph computes, and learns by it."""

from __future__ import annotations

import numpy as np
import pytest

from model.datasets import datasets
from model.datasets.datasets import to_int8
from model.errors import ModelError
from model.int8 import reference, tflite
from model.int8.graph import OperatorKind, Padding
from model.training.fit import Settings, accuracy, fit
from model.training.folding import fold
from model.training.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
)
from model.training.network import Network, to_float
from model.training.quantization import calibrate, quantize
from model.training.quantized_training import QuantizedNetwork
from tests.model.int8 import oracle


def separable(filters: int, stride: int = 1) -> list[Layer]:
    """A depthwise-separable block, MobileNet's."""
    return [
        *(DepthwiseConv2D(3, stride, bias=False), BatchNorm(), ReLU()),
        *(Conv2D(filters, 1, bias=False), BatchNorm()),
    ]


def everything() -> list[Layer]:
    """Every layer, and what may stand behind it."""
    return [
        *(Conv2D(8, 3, bias=False), BatchNorm(), MaxPool2D(2), ReLU()),
        *(Residual(separable(8)), ReLU()),
        *(Residual(separable(12, stride=2), [Conv2D(12, 1, stride=2)]), Dropout(0.2)),
        *(AveragePool2D(3, 2, Padding.SAME), Conv2D(6, 1), Sigmoid(), MaxPool2D(2, 1)),
        *(Residual([Conv2D(6, 2), ReLU()]), GlobalAveragePool(), Flatten(), ReLU(), Dense(5)),
    ]


def trained_a_little(layers: list[Layer], seed: int) -> tuple[Network, np.ndarray]:
    """A network with statistics in its batch normalisation, and pictures."""
    rng = np.random.default_rng(seed)
    network = Network(layers, (18, 14, 3), rng)
    x = rng.integers(0, 256, (40, 18, 14, 3)).astype(np.uint8)
    for _ in range(20):
        network.forward(to_float(x), rng)
    for value in network.parameters:
        value += rng.normal(0, 0.05, value.shape).astype(np.float32)
    return network, x


def test_folding_changes_nothing():
    network, x = trained_a_little(everything(), 0)
    folded = fold(network)
    kinds = {type(layer) for layer in folded.walk()}
    assert not kinds & {BatchNorm, Dropout}
    assert np.allclose(folded.predict(x), network.predict(x), atol=1e-5)


def test_folding_needs_weights_before():
    network = Network([MaxPool2D(2), BatchNorm(), Flatten()], (4, 4, 1), np.random.default_rng(0))
    with pytest.raises(ModelError, match="BatchNorm folds only into a layer with weights"):
        fold(network)


def _logits(graph, x: np.ndarray) -> np.ndarray:
    """Real values of the logits by the reference."""
    logits = graph.operators[-1].inputs[0]
    stored = reference.run(graph, to_int8(x), keep=[logits])[logits].astype(np.float32)
    quantization = graph.tensors[logits].quantization
    return (stored - np.float32(quantization.zero_point[0])) * quantization.scale[0]


@pytest.mark.parametrize("seed", range(4))
def test_forward_is_the_exported_graph_bit_for_bit(seed):
    network, x = trained_a_little(everything(), seed)
    folded = fold(network)
    quantized = QuantizedNetwork(folded, calibrate(folded, x), "everything")
    assert np.array_equal(quantized.predict(x), _logits(quantized.graph, x))
    # also after steps, with weights that calibration has not seen
    rng = np.random.default_rng(seed)
    dataset = datasets.Dataset("x", x, np.arange(40) % 5, x, np.arange(40) % 5, tuple("abcde"))
    fit(quantized, dataset, Settings(2, batch=8, rate=1e-2), rng)
    assert np.array_equal(quantized.predict(x), _logits(quantized.graph, x))
    assert np.array_equal(
        quantized.predict(x), quantized.forward(to_float(x), np.random.default_rng(0))
    )


def test_sums_beyond_single_precision_are_exact():
    rng = np.random.default_rng(3)
    network = Network([Flatten(), Dense(7), ReLU(), Dense(3)], (32, 32, 1), rng)
    network.layers[1].parameters["weights"][...] = rng.uniform(0.9, 1, (1024, 7))
    x = rng.integers(200, 256, (20, 32, 32, 1)).astype(np.uint8)
    folded = fold(network)
    quantized = QuantizedNetwork(folded, calibrate(folded, x), "large")
    assert 255 * 127 * 1024 * 0.8 > 1 << 24
    assert np.array_equal(quantized.predict(x), _logits(quantized.graph, x))


def test_every_layer_equals_tflm():
    network, x = trained_a_little(everything(), 9)
    graph = quantize(network, x, "everything")
    kinds = {operator.kind for operator in graph.operators}
    assert kinds >= {OperatorKind.DEPTHWISE_CONV_2D, OperatorKind.ADD, OperatorKind.AVERAGE_POOL_2D}
    expected = oracle.run(graph, to_int8(x))
    actual = reference.run(tflite.decode(tflite.encode(graph), "x"), to_int8(x), keep="all")
    assert actual.keys() == expected.keys()
    for operator in graph.operators:
        index = operator.outputs[0]
        assert np.array_equal(actual[index], expected[index]), operator.name


def test_gradients_are_nearly_those_of_the_float_network():
    """With fine steps of 8 bits, straight-through gradients point where the true ones do."""
    rng = np.random.default_rng(4)
    layers = [
        *(Conv2D(8, 3), ReLU(), Residual([DepthwiseConv2D(3), ReLU(), Conv2D(8, 1)])),
        *(AveragePool2D(2), Conv2D(6, 3, stride=2), Sigmoid(), Flatten(), Dense(4)),
    ]
    network = Network(layers, (12, 12, 1), rng)
    x = rng.integers(0, 256, (64, 12, 12, 1)).astype(np.uint8)
    folded = fold(network)
    quantized = QuantizedNetwork(folded, calibrate(folded, x), "gradients")
    dz = rng.standard_normal((64, 4)).astype(np.float32)
    quantized.clear_gradients()
    quantized.forward(to_float(x), rng)
    quantized.backward(dz)
    estimated = np.concatenate([gradient.ravel() for gradient in quantized.gradients])
    folded.clear_gradients()
    folded.forward(to_float(x))
    folded.backward(dz)
    true = np.concatenate([gradient.ravel() for gradient in folded.gradients])
    cosine = true @ estimated / np.linalg.norm(true) / np.linalg.norm(estimated)
    assert cosine > 0.98
    assert 0.95 < np.linalg.norm(estimated) / np.linalg.norm(true) < 1.05


def test_it_learns_what_rounding_lost():
    """Weights whose channels differ a thousandfold in one dense layer: rounding ruins them."""
    digits = datasets.load("digits")
    rng = np.random.default_rng(1)
    layers = [Flatten(), Dense(16), ReLU(), Dense(10)]
    network = Network(layers, digits.shape, rng)
    fit(network, digits, Settings(12, batch=32, rate=5e-3), rng)
    first, last = (layers[index].parameters for index in (1, 3))
    factor = np.geomspace(1, 1000, 16).astype(np.float32)
    first["weights"] *= factor
    first["bias"] *= factor
    last["weights"] /= factor[:, np.newaxis]
    folded = fold(network)
    quantized = QuantizedNetwork(folded, calibrate(folded, digits.x_train), "digits")
    before = accuracy(quantized.predict(digits.x_test), digits.y_test)
    fit(quantized, digits, Settings(10, batch=32, rate=2e-3, decay=0), rng)
    after = accuracy(quantized.predict(digits.x_test), digits.y_test)
    assert before < 0.8
    assert after > before + 0.1


def test_the_float_layers_are_what_it_trains():
    network, x = trained_a_little(everything(), 5)
    folded = fold(network)
    quantized = QuantizedNetwork(folded, calibrate(folded, x), "everything")
    assert [id(value) for value in quantized.parameters] == [id(v) for v in folded.parameters]
