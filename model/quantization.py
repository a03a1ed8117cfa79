"""From a trained network to int8, by TensorFlow Lite's rules.

Activations are affine, ``real = scale * (stored - zero_point)``, over the range that calibration
saw, stretched to hold 0 exactly. Weights are symmetric in -127 .. 127, with a scale for each
output channel of a convolution and one for all of a dense layer. A bias is int32 with the scale of
the products that it joins. ReLU becomes the clamp of the layer before it; softmax is appended, so
that the file is a complete classifier.

Sources: TensorFlow Lite 8-bit quantization specification; Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018), sections 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.builder import GraphBuilder
from model.errors import ModelError
from model.graph import Activation, Graph
from model.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sigmoid
from model.network import Network, to_float

__all__ = ["Range", "calibrate", "quantize"]

_CHUNK = 64

_SMALLEST_SCALE = 1e-8
"""Scale of a channel whose weights, or of an activation whose values, are all zero."""


@dataclass(frozen=True)
class Range:
    """Least and greatest value that a layer's output took."""

    low: float
    high: float

    def affine(self) -> tuple[float, int]:
        """Scale and zero point that spread the range, and 0 with it, over -128 .. 127."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        scale = float(np.float32(max((high - low) / 255, _SMALLEST_SCALE)))
        zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
        return scale, zero_point


def calibrate(network: Network, x: np.ndarray) -> list[Range]:
    """Range of every layer's output over pictures.

    Parameters
    ----------
    network : Network
    x : ndarray of uint8, shape (n, height, width, channels)
        Typical pictures, some hundreds or more.

    Returns
    -------
    list of Range
        One for each of ``network.layers``.
    """
    low = np.full(len(network.layers), np.inf)
    high = np.full(len(network.layers), -np.inf)
    for start in range(0, len(x), _CHUNK):
        for index, y in enumerate(network.activations(to_float(x[start : start + _CHUNK]))):
            low[index] = min(low[index], y.min())
            high[index] = max(high[index], y.max())
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ModelError("training did not converge: an activation is not finite")
    return [Range(float(a), float(b)) for a, b in zip(low, high)]


def _symmetric(weights: np.ndarray, axes: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights and their float32 scales, one for each index that `axes` leaves.

    Weights of shape (..., output channels).
    """
    largest = np.abs(weights).max(axis=axes)
    scale = np.maximum(largest / np.float32(127), np.float32(_SMALLEST_SCALE))
    stored = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    return stored, np.atleast_1d(scale).astype(np.float32)


def _int32_bias(bias: np.ndarray, scale_in: float, weight_scale: np.ndarray) -> np.ndarray:
    exact = np.rint(bias.astype(np.float64) / (scale_in * weight_scale.astype(np.float64)))
    return np.clip(exact, -(2**31), 2**31 - 1).astype(np.int32)


def quantize(network: Network, x: np.ndarray, name: str, labels: tuple[str, ...] = ()) -> Graph:
    """The int8 graph of a trained network.

    Parameters
    ----------
    network : Network
    x : ndarray of uint8, shape (n, height, width, channels)
        Pictures to calibrate with.
    name : str
        Name of the graph.
    labels : tuple of str
        Class names.

    Returns
    -------
    Graph
        Its input is pixels less 128: scale 1/255, zero point -128. Its output is softmax.

    Raises
    ------
    ModelError
        If an activation was not finite.
    """
    ranges = calibrate(network, x)
    builder = GraphBuilder(name, network.shape)
    scale_in = 1 / 255
    skip: set[int] = set()
    for index, layer in enumerate(network.layers):
        if index in skip:
            continue
        match layer:
            case Conv2D() | Dense():
                relu = _fusible_relu(network.layers, index)
                seen = ranges[index]
                if relu is not None:
                    skip.add(relu)
                    seen = Range(0.0, seen.high)
                scale, zero_point = seen.affine()
                activation = Activation.NONE if relu is None else Activation.RELU
                _weighted(builder, layer, scale_in, scale, zero_point, activation)
                scale_in = scale
            case MaxPool2D():
                builder.max_pool_2d(layer.kernel, layer.stride, layer.padding)
            case Sigmoid():
                builder.logistic()
                scale_in = 1 / 256
            case ReLU():
                scale, zero_point = ranges[index].affine()
                builder.relu(scale, zero_point)
                scale_in = scale
            case Flatten():
                builder.reshape((int(np.prod(builder.shape)),))
            case _:
                raise ModelError(f"{type(layer).__name__} has no int8 form")
    builder.softmax()
    return builder.build(labels)


def _fusible_relu(layers: tuple[Layer, ...], index: int) -> int | None:
    """The ReLU behind layer `index`, if any; a max pool may lie between, for they commute."""
    following = index + 1
    if isinstance(layers[index], Conv2D) and following < len(layers):
        following += isinstance(layers[following], MaxPool2D)
    if following < len(layers) and isinstance(layers[following], ReLU):
        return following
    return None


def _weighted(
    builder: GraphBuilder,
    layer: Conv2D | Dense,
    scale_in: float,
    scale: float,
    zero_point: int,
    activation: Activation,
) -> None:
    """Append a convolution or dense layer with its weights and bias quantised."""
    weights, bias = layer.parameters["weights"], layer.parameters["bias"]
    # The input's scale as the file holds it
    scale_in = float(np.float32(scale_in))
    if isinstance(layer, Conv2D):
        stored, weight_scale = _symmetric(weights, axes=(0, 1, 2))
        builder.conv_2d(
            stored.transpose(3, 0, 1, 2),
            weight_scale,
            _int32_bias(bias, scale_in, weight_scale),
            stride=layer.stride,
            padding=layer.padding,
            activation=activation,
            scale=scale,
            zero_point=zero_point,
        )
    else:
        stored, weight_scale = _symmetric(weights, axes=None)
        builder.fully_connected(
            stored.T,
            weight_scale,
            _int32_bias(bias, scale_in, weight_scale),
            activation=activation,
            scale=scale,
            zero_point=zero_point,
        )
