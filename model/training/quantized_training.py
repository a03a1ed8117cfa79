"""Quantisation-aware training: the forward pass is the int8 network itself.

A trained float network loses some accuracy when it is rounded. Here it continues to learn with the
rounding in place. In every step, the weights are rounded as `.quantization.export` rounds them.
Each layer then computes in integers what `model.int8.reference`, and so TensorFlow Lite for
Microcontrollers, computes: the same numbers, not an imitation in floating point. The optimiser
still moves the float weights.

Rounding has a gradient of zero nearly everywhere. The straight-through estimator uses that of the
identity instead, and zero where a value was clamped:

y = s (clamp(round(x / s) + z) - z), dx = dy where the clamp did nothing, else 0

The activations between layers are q - z, the stored byte less the zero point: integers in float32,
which BLAS multiplies, and which are exact up to 2**24. The gradients are those by the real values s
(q - z), so they mean the same as in the float network.

Sources: Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic
Neurons" (2013), for the estimator; Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference" (2018), section 3.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from model.int8 import fixed_point, reference
from model.int8.graph import Activation, Graph, Operator
from model.int8.operators.arithmetic import ArithmeticOptions
from model.training.layers import (
    AveragePool2D,
    Flatten,
    Layer,
    MaxPool2D,
    Residual,
    Sigmoid,
    Weighted,
)
from model.training.layers.layer import sum_by_channel
from model.training.network import Network
from model.training.quantization import Ranges, export, fused

__all__ = ["QuantizedNetwork"]


class QuantizedNetwork(Network):
    """A folded network with the forward pass of its int8 form.

    `model.training.fit` trains it like any other network. Its parameters are the arrays of the
    float layers themselves; its logits are those of the exported graph, dequantised.

    Parameters
    ----------
    network : Network
        Folded: see `model.training.folding`.
    ranges : dict of Layer to Range
        Ranges of its activations, from `model.training.quantization.calibrate`; they do not change.
    name : str
        Name of the graph.
    labels : tuple of str
        Class names.
    """

    def __init__(
        self, network: Network, ranges: Ranges, name: str, labels: tuple[str, ...] = ()
    ) -> None:
        self.layers = tuple(_stages(network.layers))
        self.shape = network.shape
        self.classes = network.classes
        self._network = network
        self._ranges = ranges
        self._name, self._labels = name, labels
        self._scale = np.float32(1)
        self._round()

    @property
    def graph(self) -> Graph:
        """The int8 graph with the current weights."""
        graph, _ = export(self._network, self._ranges, self._name, self._labels)
        return graph

    def clear_gradients(self) -> None:
        """Begin a step: set the gradients to zero, and round the weights again."""
        super().clear_gradients()
        self._round()

    def _round(self) -> None:
        graph, tensors = export(self._network, self._ranges, self._name, self._labels)
        makers = {operator.outputs[0]: operator for operator in graph.operators}
        for layer in self.walk():
            if isinstance(layer, _Stage):
                layer.take(graph, makers[tensors[layer.layer]])
        self._scale = _scale(graph, graph.operators[-1].inputs[0])

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        # The input's scale is 1/255 and its zero point -128: q - z is the pixel.
        return super().forward(np.rint(x * np.float32(255)), rng) * self._scale

    def predict(self, x: np.ndarray) -> np.ndarray:
        self._round()
        return super().predict(x)


def _stages(layers: Sequence[Layer]) -> list[Layer]:
    """The int8 form of each layer; max pools and reshapes are the same on integers."""
    stages: list[Layer] = []
    for layer, _ in fused(layers):
        match layer:
            case Weighted():
                stages.append(_WeightedStage(layer))
            case Residual():
                stages.append(_AdditionStage(layer))
            case AveragePool2D():
                stages.append(_AverageStage(layer))
            case MaxPool2D() | Flatten():
                stages.append(layer)
            case _:
                stages.append(_TableStage(layer))
    return stages


def _scale(graph: Graph, tensor: int) -> np.float32:
    quantization = graph.tensors[tensor].quantization
    assert quantization is not None
    return quantization.scale[0]


def _centred(stored: np.ndarray, zero_point: int) -> np.ndarray:
    """q - z of bytes."""
    return stored.astype(np.float32) - np.float32(zero_point)


def _zero_point(graph: Graph, tensor: int) -> int:
    quantization = graph.tensors[tensor].quantization
    assert quantization is not None
    return int(quantization.zero_point[0])


class _Stage(Layer):
    """The int8 form of one layer.

    Attributes
    ----------
    layer : Layer
        The float layer.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.children = (layer,)

    @abstractmethod
    def take(self, graph: Graph, operator: Operator) -> None:
        """From now on, compute as `operator` does, which is this layer in `graph`."""


class _WeightedStage(_Stage):
    """A sum of products, the bias, and requantisation to int8 with TFLM's two roundings.

    A = linear(x, w) + b in integers; q = requantise(A). For the gradients, the real output is
    s_x s_w A, so those of the real weights and inputs follow from the float layer's own formulas,
    with s_w w in place of w and s_x x in place of x.
    """

    layer: Weighted

    def take(self, graph: Graph, operator: Operator) -> None:
        weights, bias = (graph.tensors[index] for index in operator.inputs[1:])
        assert weights.data is not None and bias.data is not None
        assert weights.quantization is not None
        self._rule = reference.requantization(graph, operator)
        self._bias = bias.data.astype(np.int64)
        self._weight_scale = weights.quantization.scale
        self._input_scale = _scale(graph, operator.inputs[0])
        stored = self._as_the_layer_has_them(weights.data)
        # 255 is the most that an input differs from its zero point.
        sums = np.abs(stored.astype(np.int64)).reshape(-1, stored.shape[-1]).sum(axis=0)
        largest = 255 * int(sums.max())
        self._weights = stored.astype(np.float32 if largest < 1 << 24 else np.float64)

    def _as_the_layer_has_them(self, stored: np.ndarray) -> np.ndarray:
        """Weights of the graph, in the float layer's order: output channel last."""
        shape = self.layer.parameters["weights"].shape
        if stored.shape[0] == shape[-1] and stored.ndim == len(shape):
            return np.ascontiguousarray(np.moveaxis(stored, 0, -1))
        return stored.reshape(shape)

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        products = self.layer.linear(x.astype(self._weights.dtype, copy=False), self._weights)
        accumulator = fixed_point.wrap_int32(products.astype(np.int64) + self._bias)
        rule = self._rule
        scaled = rule.scale(accumulator)
        self._inside = (scaled >= rule.minimum) & (scaled <= rule.maximum)
        return _centred(rule.clamp(scaled), rule.output_zero_point)

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        passed = dy * self._inside
        self.layer.gradients["bias"] += sum_by_channel(passed)
        passed *= self._weight_scale
        gradient = self.layer.weights_gradient(passed.astype(self._weights.dtype, copy=False))
        gradient *= self._input_scale / self._weight_scale
        self.layer.gradients["weights"] += gradient
        if not input_gradient:
            return None
        return self.layer.input_gradient(passed, self._weights.astype(np.float32, copy=False))


class _TableStage(_Stage):
    """A function of one byte: a ReLU that no layer took as its clamp, or a sigmoid."""

    def take(self, graph: Graph, operator: Operator) -> None:
        self._table = reference.table(graph, operator)
        self._input_zero_point = _zero_point(graph, operator.inputs[0])
        self._zero_point = _zero_point(graph, operator.outputs[0])
        self._scale = _scale(graph, operator.outputs[0])

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        stored = self._table[x.astype(np.intp) + (self._input_zero_point + 128)]
        self._y = _centred(stored, self._zero_point)
        return self._y

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        if isinstance(self.layer, Sigmoid):
            y = self._y * self._scale
            return dy * (y * (1 - y))
        return dy * (self._y > 0)


class _AverageStage(_Stage):
    """The mean of bytes, rounded half away from zero."""

    layer: AveragePool2D

    def take(self, graph: Graph, operator: Operator) -> None:
        self._zero_point = _zero_point(graph, operator.inputs[0])

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        total = self.layer.sums(x.astype(np.int64) + self._zero_point)
        count = self.layer.counts.astype(np.int64)
        mean = (np.abs(total) + count // 2) // count * np.sign(total)
        return (mean - self._zero_point).astype(np.float32)

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        return self.layer.backward(dy)


class _AdditionStage(_Stage):
    """The sum of two branches: a function of two bytes."""

    layer: Residual

    def __init__(self, layer: Residual) -> None:
        super().__init__(layer)
        self._ways = Residual(_stages(layer.body), _stages(layer.shortcut))
        self.children = (self._ways,)
        self._sums: np.ndarray | None = None

    def take(self, graph: Graph, operator: Operator) -> None:
        if self._sums is None:  # it depends on the ranges only, which stay
            self._sums = reference.addition(graph, operator)
        self._input_zero_points = [_zero_point(graph, index) for index in operator.inputs]
        self._zero_point = _zero_point(graph, operator.outputs[0])
        assert isinstance(operator.options, ArithmeticOptions)
        self._has_relu = operator.options.activation is Activation.RELU

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        assert self._sums is not None
        ways = (_run(self._ways.body, x, rng), _run(self._ways.shortcut, x, rng))
        first, second = (
            way.astype(np.intp) + (zero_point + 128)
            for way, zero_point in zip(ways, self._input_zero_points)
        )
        self._y = _centred(self._sums[first, second], self._zero_point)
        return self._y

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        passed = dy * (self._y > 0) if self._has_relu else dy
        return self._ways.backward(passed, input_gradient)


def _run(
    layers: Sequence[Layer], x: np.ndarray, rng: np.random.Generator | None = None
) -> np.ndarray:
    for layer in layers:
        x = layer.forward(x, rng)
    return x
