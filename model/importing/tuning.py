"""Learning on in int8: an imported network in the trainer, with the forward pass of its int8 form.

As in `model.training.quantized_training`, the forward pass is the int8 network itself, computed by
`model.int8.reference`, and gradients go through the rounding as if it were not there, but stop
where a value was clamped (the straight-through estimator). Here that holds for any graph: each node
goes backwards by its rule in `model.importing.gradients`, at the values that the bytes stand for.

Scales stay as calibration chose them; weights and biases move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model.datasets.datasets import Dataset
from model.errors import ModelError
from model.importing.conversion import Conversion
from model.importing.float_graph import Node
from model.importing.float_operators import (
    Convolution,
    Dense,
    Function,
    Softmax,
    TransposedConvolution,
)
from model.importing.gradients import gradients
from model.int8 import reference
from model.int8.graph import Graph
from model.training.fit import Progress, Settings, accuracy, fit, hold_out
from model.training.network import Network

__all__ = ["TunedNetwork", "tune"]

_WEIGHTED = (Convolution, Dense, TransposedConvolution)
_HELD_OUT = 0.1
_CHUNK = 64


class TunedNetwork(Network):
    """An imported network that `model.training.fit` can train.

    Its parameters are float32 copies of the weights and biases; its logits are those of the int8
    graph, dequantised. Of a network with one output, which says how likely it is, the logits are
    those of no and yes.

    Parameters
    ----------
    conversion : Conversion
        Its graph gets the weights that are learned.

    Raises
    ------
    ModelError
        If the network takes no pixels, or has no output of classes.
    """

    def __init__(self, conversion: Conversion) -> None:
        graph = conversion.graph
        if conversion.preprocessing is None:
            raise ModelError("fine-tuning needs pixels, not real numbers")
        self._quantizer = conversion.quantizer()
        self._graph = self._quantizer.graph
        self._logits = self._graph.outputs[0]
        last = self._graph.producer(self._logits)
        if last is not None and (
            isinstance(last.operator, Softmax) or last.operator == Function("sigmoid")
        ):
            self._logits = last.inputs[0]
        shape = self._graph.shapes[self._logits]
        outputs = int(np.prod(shape))
        if outputs != shape[-1]:
            raise ModelError("fine-tuning needs an output of classes, not of pictures")
        self.layers = ()
        self.shape = graph.shapes[0]
        self.classes = max(outputs, 2)
        self._is_single = outputs == 1
        self._nodes = [node for node in self._graph.nodes if isinstance(node.operator, _WEIGHTED)]
        if not self._nodes:
            raise ModelError("has no weights that could learn")
        self._parameters = []
        for node in self._nodes:
            assert isinstance(node.operator, _WEIGHTED)
            self._parameters += [
                node.operator.weights.astype(np.float32),
                node.operator.bias.astype(np.float32),
            ]
        self._gradients = [np.zeros_like(values) for values in self._parameters]
        self._values: dict[int, np.ndarray] = {}
        self._inside: dict[int, np.ndarray] = {}
        self._round()

    @property
    def parameters(self) -> list[np.ndarray]:
        return self._parameters

    @property
    def gradients(self) -> list[np.ndarray]:
        return self._gradients

    @property
    def state(self) -> list[np.ndarray]:
        return []

    def clear_gradients(self) -> None:
        for gradient in self._gradients:
            gradient.fill(0)
        self._round()

    def _round(self) -> None:
        """The int8 graph of the weights as they are now."""
        for place, node in enumerate(self._nodes):
            weights, bias = self._parameters[2 * place : 2 * place + 2]
            assert isinstance(node.operator, _WEIGHTED)
            node.operator = replace(
                node.operator,
                weights=weights.astype(np.float64),
                bias=bias.astype(np.float64),
                weight_scale=None,
            )
        self._int8, self._tensors = self._quantizer.export("tuned")

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        pixels = np.rint(np.moveaxis(x, 2, 0) * np.float32(255)).astype(np.uint8)
        return self._forward((pixels ^ np.uint8(0x80)).view(np.int8), rng is not None)

    def _forward(self, stored: np.ndarray, keep: bool) -> np.ndarray:
        shapes = self._graph.shapes
        wanted = self._tensors if keep else {self._logits: self._tensors[self._logits]}
        found = reference.run(self._int8, stored, "all" if keep else list(wanted.values()))
        found[self._tensors[0]] = found.get(self._tensors[0], stored)
        self._values, self._inside = {}, {}
        for tensor, place in wanted.items():
            scale, zero_point = _affine(self._int8, place)
            values = found[place].reshape(len(stored), *shapes[tensor])
            self._values[tensor] = (values.astype(np.float32) - zero_point) * scale
            self._inside[tensor] = (values > -128) & (values < 127)
        logits = self._values[self._logits].reshape(len(stored), -1)
        if self._is_single:
            return np.concatenate([-logits / 2, logits / 2], axis=1)
        return logits

    def backward(self, dz: np.ndarray) -> None:
        if self._is_single:
            dz = (dz[:, 1:] - dz[:, :1]) / 2
        shape = (len(dz), *self._graph.shapes[self._logits])
        slopes = {self._logits: dz.reshape(shape).astype(np.float32)}
        for node in reversed(self._graph.nodes):
            dy = slopes.pop(node.output, None)
            if dy is None:
                continue
            if _clamps(node):
                dy = dy * self._inside[node.output]
            inputs = [self._values[index] for index in node.inputs]
            by_input, by_parameter = gradients(node.operator, inputs, self._values[node.output], dy)
            if by_parameter:
                place = 2 * self._nodes.index(node)
                self._gradients[place] += by_parameter["weights"]
                self._gradients[place + 1] += by_parameter["bias"]
            for index, gradient in zip(node.inputs, by_input):
                slopes[index] = slopes[index] + gradient if index in slopes else gradient

    def predict(self, x: np.ndarray) -> np.ndarray:
        self._round()
        stored = (x ^ np.uint8(0x80)).view(np.int8)
        parts = [
            self._forward(stored[start : start + _CHUNK], keep=False)
            for start in range(0, len(stored), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.classes), np.float32)

    def give_back(self, conversion: Conversion) -> None:
        """Put what was learned into the conversion's graph."""
        learned = {node.output: node.operator for node in self._nodes}
        for node in conversion.graph.nodes:
            if node.output in learned:
                node.operator = learned[node.output]


def _clamps(node: Node) -> bool:
    """Whether an operator's result may have been cut to the range of its output."""
    return isinstance(node.operator, (*_WEIGHTED, Function)) or node.clamp is not None


def _affine(graph: Graph, tensor: int) -> tuple[np.float32, int]:
    quantization = graph.tensors[tensor].quantization
    assert quantization is not None
    return quantization.scale[0], int(quantization.zero_point[0])


def tune(
    conversion: Conversion,
    dataset: Dataset,
    settings: Settings,
    rng: np.random.Generator,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[float, float]:
    """Learn on, and keep what was learned unless it is worse.

    A tenth of the training part decides that.

    Parameters
    ----------
    conversion : Conversion
        Its graph gets what was learned.
    dataset : Dataset
    settings : Settings
    rng : numpy.random.Generator
    progress : callable, optional
        Told after every step, as by `fit`.

    Returns
    -------
    before, after : float
        Accuracy on the tenth.
    """
    network = TunedNetwork(conversion)
    watched = hold_out(dataset, _HELD_OUT, rng)
    before = accuracy(network.predict(watched.x_test), watched.y_test)
    fit(network, watched, settings, rng, progress)
    after = accuracy(network.predict(watched.x_test), watched.y_test)
    if after >= before:
        network.give_back(conversion)
    return before, after
