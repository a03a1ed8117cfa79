"""Every layer's gradient against differences of its output, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from model.int8.graph import Padding
from model.training.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
)
from model.training.loss import softmax, softmax_cross_entropy
from model.training.network import Network

STEP = 1e-6

PICTURE_LAYERS = {
    "conv same": lambda: Conv2D(3, 3),
    "conv valid": lambda: Conv2D(2, (2, 3), padding=Padding.VALID),
    "conv same stride 2": lambda: Conv2D(2, 3, stride=2),
    "conv valid stride 3": lambda: Conv2D(2, 2, stride=3, padding=Padding.VALID),
    "conv 1x1": lambda: Conv2D(4, 1),
    "conv 4x4 same": lambda: Conv2D(2, 4),
    "conv without bias": lambda: Conv2D(3, 3, bias=False),
    "depthwise same": lambda: DepthwiseConv2D(3),
    "depthwise valid": lambda: DepthwiseConv2D((2, 3), padding=Padding.VALID),
    "depthwise same stride 2": lambda: DepthwiseConv2D(3, stride=2, bias=False),
    "average pool": lambda: AveragePool2D(2),
    "average pool overlapping": lambda: AveragePool2D(3, 2),
    "average pool same": lambda: AveragePool2D(3, 2, Padding.SAME),
    "global average pool": GlobalAveragePool,
    "residual": lambda: Residual([Conv2D(2, 3), Sigmoid(), Conv2D(2, 1)]),
    "residual with shortcut": lambda: Residual(
        [DepthwiseConv2D(3, stride=2), Conv2D(4, 1)], [Conv2D(4, 1, stride=2), Sigmoid()]
    ),
    "max pool": lambda: MaxPool2D(2),
    "max pool overlapping": lambda: MaxPool2D(3, 2),
    "max pool same": lambda: MaxPool2D(3, 2, Padding.SAME),
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "flatten": Flatten,
}


def _to_float64(layer) -> None:
    for each in layer.walk():
        each.parameters = {name: value.astype(float) for name, value in each.parameters.items()}
        each.gradients = {name: np.zeros_like(value) for name, value in each.parameters.items()}
        each.state = {name: value.astype(float) for name, value in each.state.items()}


def _numerical(function, array: np.ndarray) -> np.ndarray:
    """Gradient of the number `function()` by `array`, which it reads, by central differences."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + STEP
        above = function()
        array[index] = kept - STEP
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


class SameDraws:
    """A generator that draws the same numbers each time."""

    def random(self, shape, dtype):
        return np.random.default_rng(9).random(shape, dtype)


def _check(layer, x: np.ndarray, rng: np.random.Generator, training: bool = False) -> None:
    draws = SameDraws() if training else None
    _to_float64(layer)
    weight = rng.standard_normal(layer.forward(x, draws).shape)

    def loss() -> float:
        return float((layer.forward(x, draws) * weight).sum())

    layer.forward(x, draws)
    for each in layer.walk():
        each.clear_gradients()
    dx = layer.backward(weight)
    assert dx.shape == x.shape
    assert np.allclose(dx, _numerical(loss, x), atol=1e-6)
    for each in layer.walk():
        for name, value in each.parameters.items():
            assert np.allclose(each.gradients[name], _numerical(loss, value), atol=1e-6), name


@pytest.mark.parametrize("name", PICTURE_LAYERS)
def test_picture_layer(name):
    rng = np.random.default_rng(2)
    layer = PICTURE_LAYERS[name]()
    shape = layer.build((5, 6, 2), rng)
    x = rng.standard_normal((5, 6, 3, 2))
    _check(layer, x, rng)
    y = layer.forward(x)
    assert (y.shape[1:] if y.ndim == 2 else (*y.shape[:2], y.shape[3])) == shape


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 3, 2), (6, 5)])
@pytest.mark.parametrize("make", [BatchNorm, lambda: Dropout(0.4)], ids=["batch norm", "dropout"])
def test_layer_that_knows_training(make, shape, training):
    rng = np.random.default_rng(12)
    layer = make()
    assert layer.build((*shape[:2], shape[-1])[-len(shape) + 1 :], rng)[-1] == shape[-1]
    for value in (*layer.parameters.values(), *layer.state.values()):
        value += rng.uniform(0, 1, value.shape).astype(np.float32)
    _check(layer, rng.standard_normal(shape), rng, training)


@pytest.mark.parametrize("bias", [True, False])
def test_dense(bias):
    rng = np.random.default_rng(3)
    layer = Dense(4, bias)
    assert layer.build((7,), rng) == (4,)
    _check(layer, rng.standard_normal((5, 7)), rng)


def test_gradients_add_up_until_cleared():
    rng = np.random.default_rng(4)
    layer = Conv2D(2, 3)
    layer.build((4, 4, 1), rng)
    x = rng.standard_normal((4, 4, 2, 1)).astype(np.float32)
    dy = np.ones_like(layer.forward(x))
    layer.backward(dy)
    once = layer.gradients["weights"].copy()
    layer.backward(dy)
    assert np.allclose(layer.gradients["weights"], 2 * once)
    layer.clear_gradients()
    assert not layer.gradients["weights"].any()


def test_equal_pixels_share_no_gradient():
    layer = MaxPool2D(2)
    layer.build((2, 2, 1), np.random.default_rng(0))
    layer.forward(np.ones((2, 2, 1, 1)))
    dx = layer.backward(np.ones((1, 1, 1, 1)))
    assert dx.ravel().tolist() == [1, 0, 0, 0]


def test_softmax_cross_entropy():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((4, 3))
    labels = np.array([0, 2, 1, 1])
    _, gradient = softmax_cross_entropy(z, labels)
    assert np.allclose(
        gradient, _numerical(lambda: softmax_cross_entropy(z, labels)[0], z), atol=1e-6
    )
    assert np.allclose(softmax(z + 1000), softmax(z))


def test_whole_network():
    rng = np.random.default_rng(6)
    layers = [Conv2D(2, 3), ReLU(), MaxPool2D(2), Conv2D(3, 2), Sigmoid(), Flatten(), Dense(3)]
    network = Network(layers, (6, 5, 1), rng)
    for layer in layers:
        _to_float64(layer)
    x = rng.standard_normal((6, 5, 4, 1))
    labels = np.array([0, 1, 2, 1])

    def loss() -> float:
        return softmax_cross_entropy(network.forward(x), labels)[0]

    network.backward(softmax_cross_entropy(network.forward(x), labels)[1])
    for parameter, gradient in zip(network.parameters, network.gradients):
        assert np.allclose(gradient, _numerical(loss, parameter), atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: Conv2D(2, 0), lambda: MaxPool2D((2, 0)), lambda: Conv2D(2, 3, 0)]
)
def test_kernels_and_strides_are_at_least_one(make):
    with pytest.raises(ValueError, match="must be at least 1, not"):
        make()


@pytest.mark.parametrize("make", [lambda: Conv2D(2, 5), lambda: DepthwiseConv2D(5, stride=2)])
def test_kernel_larger_than_the_picture(make):
    rng = np.random.default_rng(8)
    layer = make()
    layer.build((2, 3, 2), rng)
    _check(layer, rng.standard_normal((2, 3, 2, 2)), rng)
