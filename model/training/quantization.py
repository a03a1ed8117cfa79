"""From a trained network to int8, by TensorFlow Lite's rules.

Activations are affine, ``real = scale * (stored - zero_point)``, over the range that calibration
saw, stretched to hold 0 exactly. Weights are symmetric in -127 .. 127, with a scale for each
output channel of a convolution and one for all of a dense layer. A bias is int32 with the scale of
the products that it joins. ReLU becomes the clamp of the layer before it; softmax is appended, so
that the file is a complete classifier.

In three steps: `.folding` takes out what only training needs; `calibrate` looks how large the
activations get; `export` rounds.

Sources: TensorFlow Lite 8-bit quantization specification; Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018), sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from model.errors import ModelError
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph
from model.training.folding import fold
from model.training.layers import (
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
    Weighted,
)
from model.training.network import Network, to_float

__all__ = [
    "Range",
    "Ranges",
    "calibrate",
    "export",
    "fused",
    "int32_bias",
    "quantize",
    "symmetric",
]

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


Ranges = dict[Layer, Range]
"""By layer: the range of its output."""


def calibrate(network: Network, x: np.ndarray) -> Ranges:
    """Range of every layer's output over pictures.

    Parameters
    ----------
    network : Network
    x : ndarray of uint8, shape (n, height, width, channels)
        Typical pictures, some hundreds or more.

    Raises
    ------
    ModelError
        If an activation was not finite.
    """
    ranges: Ranges = {}

    def observe(layers: Sequence[Layer], x: np.ndarray) -> np.ndarray:
        for layer in layers:
            if isinstance(layer, Residual):
                x = observe(layer.body, x) + observe(layer.shortcut, x)
            else:
                x = layer.forward(x)
            seen = ranges.get(layer, Range(np.inf, -np.inf))
            low, high = float(x.min()), float(x.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ModelError("training did not converge: an activation is not finite")
            ranges[layer] = Range(min(seen.low, low), max(seen.high, high))
        return x

    for start in range(0, len(x), _CHUNK):
        observe(network.layers, to_float(x[start : start + _CHUNK]))
    return ranges


class _Output(TypedDict):
    """Quantisation of a layer's output, and its clamp."""

    scale: float
    zero_point: int
    activation: Activation


def symmetric(weights: np.ndarray, axes: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights and their float32 scales, one for each index that `axes` leaves.

    Weights of shape (..., output channels).
    """
    largest = np.abs(weights).max(axis=axes)
    scale = np.maximum(largest / np.float32(127), np.float32(_SMALLEST_SCALE))
    stored = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    return stored, np.atleast_1d(scale).astype(np.float32)


def int32_bias(bias: np.ndarray, scale_in: float, weight_scale: np.ndarray) -> np.ndarray:
    """A bias in units of the products that it joins, within int32."""
    exact = np.rint(bias.astype(np.float64) / (scale_in * weight_scale.astype(np.float64)))
    return np.clip(exact, -(2**31), 2**31 - 1).astype(np.int32)


def quantize(network: Network, x: np.ndarray, name: str, labels: tuple[str, ...] = ()) -> Graph:
    """The int8 graph of a trained network: `fold`, `calibrate`, `export`.

    Parameters
    ----------
    network : Network
    x : ndarray of uint8, shape (n, height, width, channels)
        Pictures to calibrate with.
    name : str
        Name of the graph.
    labels : tuple of str
        Class names.

    Raises
    ------
    ModelError
        If an activation was not finite, or a layer has no int8 form.
    """
    folded = fold(network)
    graph, _ = export(folded, calibrate(folded, x), name, labels)
    return graph


def fused(layers: Sequence[Layer]) -> Iterator[tuple[Layer, ReLU | None]]:
    """Yield each layer that becomes one of the graph, with the ReLU that becomes its clamp, if any.

    A max pool may lie between a layer and its ReLU, for they commute.
    """
    taken: set[Layer] = set()
    for index, layer in enumerate(layers):
        if layer in taken:
            continue
        relu = None
        if isinstance(layer, Weighted | Residual):
            behind = layers[index + 1 : index + 3]
            if behind and isinstance(behind[0], MaxPool2D):
                behind = behind[1:]
            if behind and isinstance(behind[0], ReLU):
                relu = behind[0]
                taken.add(relu)
        yield layer, relu


def export(
    network: Network, ranges: Ranges, name: str, labels: tuple[str, ...] = ()
) -> tuple[Graph, dict[Layer, int]]:
    """Round a folded network to int8.

    Parameters
    ----------
    network : Network
    ranges : dict of Layer to Range
        From `calibrate`.
    name : str
        Name of the graph.
    labels : tuple of str
        Class names.

    Returns
    -------
    graph : Graph
        Its input is pixels less 128: scale 1/255, zero point -128. Its output is softmax.
    tensors : dict of Layer to int
        Number of the tensor that holds a layer's output.

    Raises
    ------
    ModelError
        If a layer has no int8 form.
    """
    builder = GraphBuilder(name, network.shape)
    tensors: dict[Layer, int] = {}

    def append(layers: Sequence[Layer]) -> None:
        for layer, relu in fused(layers):
            activation = Activation.NONE if relu is None else Activation.RELU
            seen = ranges[layer] if relu is None else Range(0.0, ranges[relu].high)
            scale, zero_point = seen.affine()
            match layer:
                case Weighted():
                    _weighted(builder, layer, scale, zero_point, activation)
                case Residual():
                    source = builder.last
                    append(layer.shortcut)
                    other, builder.last = builder.last, source
                    append(layer.body)
                    builder.add(other, scale=scale, zero_point=zero_point, activation=activation)
                case MaxPool2D():
                    builder.max_pool_2d(layer.kernel, layer.stride, layer.padding)
                case AveragePool2D():
                    builder.average_pool_2d(layer.kernel, layer.stride, layer.padding)
                case Sigmoid():
                    builder.logistic()
                case ReLU():
                    builder.relu(scale, zero_point)
                case Flatten():
                    builder.reshape((int(np.prod(builder.shape)),))
                case _:
                    raise ModelError(f"{type(layer).__name__} has no int8 form")
            tensors[layer] = builder.last

    append(network.layers)
    builder.softmax()
    return builder.build(labels), tensors


def _weighted(
    builder: GraphBuilder,
    layer: Weighted,
    scale: float,
    zero_point: int,
    activation: Activation,
) -> None:
    """Append a layer with its weights and bias quantised; `scale` is the output's."""
    weights, bias = layer.parameters["weights"], layer.parameters.get("bias")
    # One scale for each output channel, which is the last axis; a dense layer has one for all.
    axes = None if isinstance(layer, Dense) else tuple(range(weights.ndim - 1))
    stored, weight_scale = symmetric(weights, axes)
    if bias is None:
        bias = np.zeros(weights.shape[-1], np.float32)
    stored_bias = int32_bias(bias, builder.scale, weight_scale)
    output: _Output = {"scale": scale, "zero_point": zero_point, "activation": activation}
    match layer:
        case Conv2D():
            builder.conv_2d(
                stored.transpose(3, 0, 1, 2),
                weight_scale,
                stored_bias,
                stride=layer.stride,
                padding=layer.padding,
                **output,
            )
        case DepthwiseConv2D():
            builder.depthwise_conv_2d(
                stored[np.newaxis],
                weight_scale,
                stored_bias,
                stride=layer.stride,
                padding=layer.padding,
                **output,
            )
        case Dense():
            builder.fully_connected(stored.T, weight_scale, stored_bias, **output)
        case _:
            raise ModelError(f"{type(layer).__name__} has no int8 form")
