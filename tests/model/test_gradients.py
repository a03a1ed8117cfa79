"""Every layer's gradient against differences of its output, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from model.graph import Padding
from model.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sigmoid
from model.loss import softmax, softmax_cross_entropy
from model.network import Network

STEP = 1e-6

PICTURE_LAYERS = {
    "conv same": lambda: Conv2D(3, 3),
    "conv valid": lambda: Conv2D(2, (2, 3), padding=Padding.VALID),
    "conv same stride 2": lambda: Conv2D(2, 3, stride=2),
    "conv valid stride 3": lambda: Conv2D(2, 2, stride=3, padding=Padding.VALID),
    "conv 1x1": lambda: Conv2D(4, 1),
    "conv 4x4 same": lambda: Conv2D(2, 4),
    "max pool": lambda: MaxPool2D(2),
    "max pool overlapping": lambda: MaxPool2D(3, 2),
    "max pool same": lambda: MaxPool2D(3, 2, Padding.SAME),
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "flatten": Flatten,
}


def _to_float64(layer) -> None:
    layer.parameters = {name: value.astype(float) for name, value in layer.parameters.items()}
    layer.gradients = {name: np.zeros_like(value) for name, value in layer.parameters.items()}


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


def _check(layer, x: np.ndarray, rng: np.random.Generator) -> None:
    _to_float64(layer)
    weight = rng.standard_normal(layer.forward(x).shape)

    def loss() -> float:
        return float((layer.forward(x) * weight).sum())

    layer.forward(x)
    layer.clear_gradients()
    dx = layer.backward(weight)
    assert dx.shape == x.shape
    assert np.allclose(dx, _numerical(loss, x), atol=1e-6)
    for name, value in layer.parameters.items():
        assert np.allclose(layer.gradients[name], _numerical(loss, value), atol=1e-6), name


@pytest.mark.parametrize("name", PICTURE_LAYERS)
def test_picture_layer(name):
    rng = np.random.default_rng(2)
    layer = PICTURE_LAYERS[name]()
    shape = layer.build((5, 6, 2), rng)
    x = rng.standard_normal((5, 6, 3, 2))
    _check(layer, x, rng)
    y = layer.forward(x)
    assert (y.shape[1:] if y.ndim == 2 else (*y.shape[:2], y.shape[3])) == shape


def test_dense():
    rng = np.random.default_rng(3)
    layer = Dense(4)
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
