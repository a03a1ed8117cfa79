"""From a `.keras` model (Sequential or Functional) to a float graph.

Keras puts channels last, as we do; a sequence (steps, channels) is a picture of height 1. Layers
that only training needs are left out. What each layer computes: https://keras.io/api/layers/.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import ModelError
from model.importing.float_graph import Clamp, FloatGraph
from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Concatenation,
    Convolution,
    Dense,
    FloatOperator,
    Function,
    MaxPool,
    Pad,
    PRelu,
    Reduction,
    ReductionKind,
    Reshape,
    Resize,
    Sampling,
    Shape,
    Slice,
    Softmax,
    Transpose,
    TransposedConvolution,
    Window,
)
from model.importing.keras_file import KerasWeights, read_keras
from model.importing.onnx_file import printable
from model.int8.geometry import extent
from model.int8.graph import Padding

__all__ = ["load"]

_MAX_LAYERS = 10_000
_MAX_DEPTH = 20


@dataclass(frozen=True)
class _Tensor:
    """One of our tensors with the shape that Keras knows it by, without the batch."""

    number: int
    shape: Shape


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer as its configuration has it."""

    graph: FloatGraph
    kind: str
    name: str
    config: dict[str, Any]
    variables: list[np.ndarray]

    def error(self, reason: str) -> ModelError:
        return ModelError(f"layer {self.name} ({self.kind}): {reason}")

    def append(
        self, operator: FloatOperator, inputs: Sequence[_Tensor], clamp: Clamp | None = None
    ) -> _Tensor:
        """A node, whose output Keras knows by a shape of as many axes as the first input's."""
        number = self.graph.append(operator, [each.number for each in inputs], self.name, clamp)
        shape = self.graph.shapes[number]
        if len(inputs[0].shape) == 2 and len(shape) == 3 and shape[0] == 1:
            return _Tensor(number, shape[1:])
        return _Tensor(number, shape)

    def reshaped(self, tensor: _Tensor, shape: Shape) -> _Tensor:
        """The same elements under another shape of Keras's."""
        if prod(shape) != prod(tensor.shape) or not 1 <= len(shape) <= 3:
            raise self.error(f"{_text(tensor.shape)} to {_text(shape)} is not supported")
        ours = _ours(shape)
        if self.graph.shapes[tensor.number] == ours:
            return _Tensor(tensor.number, shape)
        number = self.graph.append(Reshape(ours), [tensor.number], self.name)
        return _Tensor(number, shape)

    def variable(self, place: int) -> np.ndarray:
        if place >= len(self.variables):
            raise self.error(f"has {len(self.variables)} variables only")
        return self.variables[place]

    def pair(self, key: str, default: int = 1) -> tuple[int, int]:
        """A size along rows and columns; of a sequence along its steps alone."""
        value = self.config.get(key)
        sizes = [default] if value is None else np.ravel(value).tolist()
        if not 1 <= len(sizes) <= 2 or not all(isinstance(each, int) for each in sizes):
            raise self.error(f"{key} of {value!r}")
        if "1D" in self.kind:
            return 1, sizes[0]
        return sizes[0], sizes[-1]

    def bias(self, place: int, channels: int) -> np.ndarray:
        if not self.config.get("use_bias", True):
            return np.zeros(channels)
        return self.variable(place)

    def check_format(self) -> None:
        if self.config.get("data_format") not in (None, "channels_last"):
            raise self.error("channels first is not supported")

    def window(self, tensor: _Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Window:
        self.check_format()
        dilation = self.pair("dilation_rate")
        name = self.config.get("padding", "valid")
        if name not in ("same", "valid", "causal"):
            raise self.error(f"padding {name!r} is not supported")
        if min(*kernel, *stride, *dilation) < 1:
            raise self.error(f"kernel {kernel}, strides {stride}, dilation {dilation}")
        shape = self.graph.shapes[tensor.number]
        if len(shape) != 3:
            raise self.error(f"needs pictures, not shape {_text(tensor.shape)}")
        if name == "causal":
            before = (kernel[1] - 1) * dilation[1]
            return Window(kernel, stride, dilation, (0, before, 0, 0))
        padding = Padding.SAME if name == "same" else Padding.VALID
        rows, columns = (
            extent(*each, padding) for each in zip(shape[:2], kernel, stride, dilation)
        )
        if padding is Padding.VALID:
            return Window(kernel, stride, dilation)
        pads = (rows.before, columns.before, rows.after, columns.after)
        return Window(kernel, stride, dilation, pads)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _ours(shape: Shape) -> Shape:
    """Shape of our tensor for one of Keras's: a sequence has height 1."""
    return (1, *shape) if len(shape) == 2 else shape


def load(path: Path) -> FloatGraph:
    """Read a `.keras` file.

    Raises
    ------
    ModelError
        If it cannot be read or converted. The text is without the file's name.
    """
    config, weights = read_keras(path)
    graph = FloatGraph()
    try:
        outputs = _Model(graph, config, weights, 0).call(None)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ModelError("its configuration makes no sense") from error
    for number, output in enumerate(outputs):
        if output.number == 0:
            raise ModelError("its output is its input")
        graph.outputs.append(output.number)
        graph.output_names.append(f"output {number + 1}")
    return graph


class _Model:
    """A model, or one that is a layer of another."""

    def __init__(
        self, graph: FloatGraph, config: dict[str, Any], weights: KerasWeights | None, depth: int
    ) -> None:
        self.graph = graph
        self.kind = printable(str(config["class_name"]))
        self.depth = depth
        if self.kind not in ("Sequential", "Functional"):
            raise ModelError(f"{self.kind} models are not supported; Sequential and Functional are")
        if depth > _MAX_DEPTH:
            raise ModelError("models are nested too deep")
        self.config = config["config"]
        self.layers: list[dict[str, Any]] = list(self.config["layers"])
        if len(self.layers) + len(graph.nodes) > _MAX_LAYERS:
            raise ModelError(f"{len(self.layers)} layers; {_MAX_LAYERS} are possible")
        self.weights = self._groups(weights)

    def _groups(self, weights: KerasWeights | None) -> list[KerasWeights | None]:
        """Each layer's weights: groups are named after the class, and counted."""
        parent = None if weights is None else weights.child("layers")
        seen: Counter[str] = Counter()
        groups: list[KerasWeights | None] = []
        for layer in self.layers:
            stem = _snake_case(str(layer["class_name"]))
            name = f"{stem}_{seen[stem]}" if seen[stem] else stem
            seen[stem] += 1
            groups.append(None if parent is None else parent.child(name))
        return groups

    def call(self, given: _Tensor | None) -> list[_Tensor]:
        """The outputs for an input; without one, the input is made."""
        if self.kind == "Sequential":
            return [self._call_in_turn(given)]
        return self._call_by_names(given)

    def _input(self, layer: dict[str, Any], given: _Tensor | None) -> _Tensor:
        if given is not None:
            return given
        config = layer["config"]
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        sizes = tuple(shape[1:])
        if not 1 <= len(sizes) <= 3 or not all(isinstance(size, int) for size in sizes):
            raise ModelError(f"its input has shape {shape}: one to three given sizes are needed")
        return _Tensor(self.graph.tensor(_ours(sizes)), sizes)

    def _call_in_turn(self, given: _Tensor | None) -> _Tensor:
        tensor = given
        for layer, weights in zip(self.layers, self.weights):
            if layer["class_name"] == "InputLayer":
                tensor = self._input(layer, tensor)
                continue
            if tensor is None:
                tensor = self._input({"config": self._built_shape(layer)}, None)
            tensor = self._apply(layer, weights, [tensor], [])
        if tensor is None:
            raise ModelError("has no layers")
        return tensor

    def _built_shape(self, layer: dict[str, Any]) -> dict[str, Any]:
        built = self.config.get("build_input_shape") or layer["build_config"]["input_shape"]
        return {"batch_shape": built}

    def _call_by_names(self, given: _Tensor | None) -> list[_Tensor]:
        inputs = _histories(self.config["input_layers"])
        if len(inputs) != 1:
            raise ModelError(f"has {len(inputs)} inputs; one is possible")
        known: dict[tuple[str, int], list[_Tensor]] = {}
        waiting: list[tuple[dict[str, Any], KerasWeights | None, int]] = []
        for layer, weights in zip(self.layers, self.weights):
            if layer["class_name"] == "InputLayer":
                known[str(layer["config"]["name"]), 0] = [self._input(layer, given)]
            else:
                waiting += [(layer, weights, place) for place in range(len(layer["inbound_nodes"]))]
        while waiting:
            left = []
            for layer, weights, place in waiting:
                node = layer["inbound_nodes"][place]
                sources: list[tuple[str, int, int]] = []
                numbers: list[float] = []
                _gather(node["args"], sources, numbers, 0)
                if any((name, index) not in known for name, index, _ in sources):
                    left.append((layer, weights, place))
                    continue
                tensors = [known[name, index][which] for name, index, which in sources]
                name = str(layer.get("name", layer["config"]["name"]))
                known[name, place] = [self._apply(layer, weights, tensors, numbers)]
            if len(left) == len(waiting):
                raise ModelError("its layers form a circle, or read what is not there")
            waiting = left
        outputs = _histories(self.config["output_layers"])
        return [known[name, index][which] for name, index, which in outputs]

    def _apply(
        self,
        described: dict[str, Any],
        weights: KerasWeights | None,
        tensors: list[_Tensor],
        numbers: list[float],
    ) -> _Tensor:
        kind, config = printable(str(described["class_name"])), described["config"]
        if kind in ("Sequential", "Functional"):
            outputs = _Model(self.graph, described, weights, self.depth + 1).call(tensors[0])
            return outputs[0]
        if kind == "TimeDistributed" or kind not in _LAYERS:
            name = printable(str(config.get("name", kind)))
            raise ModelError(f"layer {name} ({kind}): is not supported")
        variables = [] if weights is None else weights.variables()
        layer = _Layer(self.graph, kind, printable(str(config["name"])), config, variables)
        if not tensors:
            raise layer.error("has no input")
        try:
            if numbers and len(tensors) == 1 and kind in _WITH_NUMBER:
                return layer.append(_WITH_NUMBER[kind](numbers[0]), tensors)
            result = _LAYERS[kind](layer, tensors)
            return _activated(layer, result)
        except ModelError as error:
            text = str(error)
            raise error if text.startswith("layer ") else layer.error(text) from error


def _snake_case(name: str) -> str:
    """Keras's own: ``naming.to_snake_case``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _histories(value: Any) -> list[tuple[str, int, int]]:
    """Names of tensors: one, or a list of them."""
    if value and isinstance(value[0], str):
        value = [value]
    return [(str(name), int(index), int(which)) for name, index, which in value]


def _gather(
    value: Any, sources: list[tuple[str, int, int]], numbers: list[float], depth: int
) -> None:
    """The tensors and numbers among a call's arguments, in their order."""
    if depth > _MAX_DEPTH:
        raise ModelError("its configuration makes no sense")
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, index, which = value["config"]["keras_history"]
            sources.append((str(name), int(index), int(which)))
        else:
            for each in value.values():
                _gather(each, sources, numbers, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _gather(each, sources, numbers, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        numbers.append(float(value))


_ACTIVATIONS: dict[str, Callable[[], FloatOperator]] = {
    "sigmoid": lambda: Function("sigmoid"),
    "tanh": lambda: Function("tanh"),
    "softmax": Softmax,
    "hard_silu": lambda: Function("hard_swish"),
    "hard_swish": lambda: Function("hard_swish"),
    "silu": lambda: Function("silu"),
    "swish": lambda: Function("silu"),
    "gelu": lambda: Function("gelu"),
    "elu": lambda: Function("elu", 1.0),
    "leaky_relu": lambda: Function("leaky_relu", 0.2),
    "mish": lambda: Function("mish"),
    "softplus": lambda: Function("softplus"),
    "softsign": lambda: Function("softsign"),
    "exponential": lambda: Function("exp"),
}

_CLAMPS: dict[str, Clamp] = {"relu": (0.0, inf), "relu6": (0.0, 6.0)}


def _activated(layer: _Layer, tensor: _Tensor) -> _Tensor:
    """The tensor through the activation that the layer names."""
    name = layer.config.get("activation")
    if isinstance(name, dict):
        name = name.get("config", name.get("class_name"))
    if name in (None, "linear"):
        return tensor
    if name in _CLAMPS:
        return layer.append(Function("identity"), [tensor], _CLAMPS[name])
    if name == "hard_sigmoid":
        scaled = layer.append(Affine(np.array(1 / 6), np.array(0.5)), [tensor])
        return layer.append(Function("identity"), [scaled], (0.0, 1.0))
    if name == "log_softmax":
        layer.graph.notes.append(f"{layer.name}: softmax in place of its logarithm")
        name = "softmax"
    if name not in _ACTIVATIONS:
        raise layer.error(f"activation {printable(str(name))} is not supported")
    return layer.append(_ACTIVATIONS[name](), [tensor])


Build = Callable[[_Layer, list[_Tensor]], _Tensor]


def _convolution(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    kernel = layer.variable(0)
    if kernel.ndim == 3:
        kernel = kernel[np.newaxis]
    if kernel.ndim != 4:
        raise layer.error(f"a kernel of shape {_text(kernel.shape)}")
    window = layer.window(tensors[0], (kernel.shape[0], kernel.shape[1]), layer.pair("strides"))
    groups = int(layer.config.get("groups", 1))
    if groups < 1:
        raise layer.error(f"{groups} groups")
    bias = layer.bias(1, kernel.shape[3])
    return layer.append(Convolution(kernel, bias, window, groups), tensors)


def _depthwise(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    return layer.append(_depthwise_operator(layer, tensors[0], layer.bias), tensors)


def _depthwise_operator(
    layer: _Layer, tensor: _Tensor, bias: Callable[[int, int], np.ndarray]
) -> Convolution:
    kernel = layer.variable(0)
    if kernel.ndim == 3:
        kernel = kernel[np.newaxis]
    if kernel.ndim != 4:
        raise layer.error(f"a kernel of shape {_text(kernel.shape)}")
    rows, columns, channels, multiplier = kernel.shape
    window = layer.window(tensor, (rows, columns), layer.pair("strides"))
    # Keras's (rows, columns, channels, multiplier) has output channels in our order.
    weights = kernel.reshape(rows, columns, 1, channels * multiplier)
    return Convolution(weights, bias(1, channels * multiplier), window, channels)


def _separable(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    operator = _depthwise_operator(layer, tensors[0], lambda _, channels: np.zeros(channels))
    inner = layer.append(operator, tensors)
    pointwise = layer.variable(1)
    if pointwise.ndim == 3:
        pointwise = pointwise[np.newaxis]
    bias = layer.bias(2, pointwise.shape[3])
    return layer.append(Convolution(pointwise, bias, Window((1, 1))), [inner])


def _transposed(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    layer.check_format()
    kernel = layer.variable(0)
    if kernel.ndim == 3:
        kernel = kernel[np.newaxis]
    if kernel.ndim != 4:
        raise layer.error(f"a kernel of shape {_text(kernel.shape)}")
    stride = layer.pair("strides")
    if layer.pair("dilation_rate") != (1, 1) or layer.config.get("output_padding") is not None:
        raise layer.error("dilation and output padding are not supported")
    crop = [0, 0, 0, 0]
    for axis in (0, 1):
        size = layer.graph.shapes[tensors[0].number][axis]
        full = (size - 1) * stride[axis] + kernel.shape[axis]
        wanted = size * stride[axis]
        if layer.config.get("padding") != "same":
            wanted = max(full, wanted)
            crop[axis + 2] = full - wanted
        else:
            total = max(full - wanted, 0)
            crop[axis] = total // 2
            crop[axis + 2] = full - wanted - crop[axis]
    weights = kernel.transpose(0, 1, 3, 2)
    bias = layer.bias(1, weights.shape[3])
    top, left, bottom, right = crop
    operator = TransposedConvolution(weights, bias, stride, (top, left, bottom, right))
    return layer.append(operator, tensors)


def _dense(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    weights = layer.variable(0)
    if weights.ndim != 2:
        raise layer.error(f"weights of shape {_text(weights.shape)}")
    bias = layer.bias(1, weights.shape[1])
    if len(tensors[0].shape) == 1:
        return layer.append(Dense(weights, bias), tensors)
    return layer.append(Convolution(weights[np.newaxis, np.newaxis], bias, Window((1, 1))), tensors)


def _batch_norm(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) else axis
    rank = len(tensors[0].shape)
    if axis not in (-1, rank):
        raise layer.error(f"axis {axis} is not supported")
    values = list(layer.variables)
    channels = tensors[0].shape[-1]
    scale = values.pop(0) if layer.config.get("scale", True) and values else np.ones(channels)
    shift = values.pop(0) if layer.config.get("center", True) and values else np.zeros(channels)
    if len(values) < 2 or any(each.shape != (channels,) for each in (scale, shift, *values[:2])):
        raise layer.error("its statistics are missing, or are not one a channel")
    factor = scale / np.sqrt(values[1] + float(layer.config.get("epsilon", 1e-3)))
    return layer.append(Affine(factor, shift - values[0] * factor), tensors)


def _normalization(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    mean, variance = layer.config.get("mean"), layer.config.get("variance")
    if mean is None or variance is None:
        mean, variance = layer.variable(0), layer.variable(1)
    mean, deviation = np.ravel(mean).astype(np.float64), np.sqrt(np.ravel(variance))
    deviation = np.maximum(deviation.astype(np.float64), 1e-7)
    if layer.config.get("invert"):
        return layer.append(Affine(deviation, mean), tensors)
    return layer.append(Affine(1 / deviation, -mean / deviation), tensors)


def _rescaling(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    factor, offset = (
        np.asarray(layer.config.get(*each), np.float64) for each in (("scale", 1.0), ("offset", 0))
    )
    return layer.append(Affine(factor, offset), tensors)


def _pool(average: bool) -> Build:
    def build(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
        kernel = layer.pair("pool_size", 2)
        stride = kernel if layer.config.get("strides") is None else layer.pair("strides")
        window = layer.window(tensors[0], kernel, stride)
        return layer.append(AveragePool(window) if average else MaxPool(window), tensors)

    return build


def _global_pool(kind: ReductionKind) -> Build:
    def build(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
        layer.check_format()
        (tensor,) = tensors
        if len(tensor.shape) < 2:
            raise layer.error(f"on shape {_text(tensor.shape)}")
        result = layer.append(Reduction(kind, (0, 1)), tensors)
        channels = tensor.shape[-1]
        if layer.config.get("keepdims"):
            return layer.reshaped(result, (*[1] * (len(tensor.shape) - 1), channels))
        return layer.reshaped(result, (channels,))

    return build


def _flatten(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    layer.check_format()
    return layer.reshaped(tensors[0], (prod(tensors[0].shape),))


def _reshape(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    target = [int(size) for size in layer.config["target_shape"]]
    known = prod(size for size in target if size != -1)
    total = prod(tensors[0].shape)
    if target.count(-1) > 1 or known < 1:
        raise layer.error(f"to {target}")
    return layer.reshaped(
        tensors[0], tuple(total // known if size == -1 else size for size in target)
    )


def _permute(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    order = [int(axis) - 1 for axis in layer.config["dims"]]
    (tensor,) = tensors
    if sorted(order) != list(range(len(tensor.shape))):
        raise layer.error(f"dims {layer.config['dims']}")
    if len(order) == 2:
        order = [0, *(axis + 1 for axis in order)]
    number = layer.graph.append(Transpose(tuple(order)), [tensor.number], layer.name)
    shape = layer.graph.shapes[number]
    return _Tensor(number, shape[1:] if len(tensor.shape) == 2 else shape)


def _edges(layer: _Layer, key: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """(before, after) of rows and of columns."""
    layer.check_format()
    value = layer.config.get(key, 1)
    if "1D" in layer.kind:
        before, after = (value, value) if isinstance(value, int) else value
        return (0, 0), (int(before), int(after))
    if isinstance(value, int):
        return (value, value), (value, value)
    rows, columns = ((each, each) if isinstance(each, int) else each for each in value)
    return (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1]))


def _zero_padding(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    return layer.append(Pad((*_edges(layer, "padding"), (0, 0))), tensors)


def _cropping(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    edges = _edges(layer, "cropping")
    height, width, channels = layer.graph.shapes[tensors[0].number]
    (top, bottom), (left, right) = edges
    operator = Slice((top, left, 0), (height - bottom, width - right, channels), (1, 1, 1))
    return layer.append(operator, tensors)


def _upsampling(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    layer.check_format()
    mode = layer.config.get("interpolation", "nearest")
    if mode not in ("nearest", "bilinear"):
        raise layer.error(f"interpolation {printable(str(mode))} is not supported")
    factors = layer.pair("size", 2)
    height, width, _ = layer.graph.shapes[tensors[0].number]
    size = (height * factors[0], width * factors[1])
    linear = mode == "bilinear"
    sampling = Sampling.HALF_PIXEL if linear else Sampling.ASYMMETRIC
    return layer.append(Resize(size, linear, sampling), tensors)


def _relu(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    slope = float(layer.config.get("negative_slope") or 0)
    if float(layer.config.get("threshold") or 0):
        raise layer.error("a threshold is not supported")
    greatest = layer.config.get("max_value")
    bound = inf if greatest is None else float(greatest)
    if slope:
        return layer.append(Function("leaky_relu", slope), tensors, (-inf, bound))
    return layer.append(Function("identity"), tensors, (0.0, bound))


def _leaky_relu(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    slope = layer.config.get("negative_slope", layer.config.get("alpha", 0.3))
    return layer.append(Function("leaky_relu", float(slope)), tensors)


def _elu(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    return layer.append(Function("elu", float(layer.config.get("alpha", 1.0))), tensors)


def _prelu(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    slope = layer.variable(0)
    if slope.ndim == 2:
        slope = slope[np.newaxis]
    if slope[..., :1].size == 1:
        slope = slope.ravel()
    return layer.append(PRelu(slope), tensors)


def _softmax(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    if layer.config.get("axis", -1) not in (-1, len(tensors[0].shape)):
        raise layer.error(f"axis {layer.config['axis']} is not supported")
    return layer.append(Softmax(), tensors)


def _same(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    return tensors[0]


def _joined(kind: BinaryKind) -> Build:
    def build(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
        if len(tensors) < 2:
            raise layer.error("has one input only")
        result = tensors[0]
        for other in tensors[1:]:
            result = layer.append(Binary(kind), [result, other])
        return result

    return build


def _average(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    total = _joined(BinaryKind.ADD)(layer, tensors)
    return layer.append(Affine(np.array(1 / len(tensors)), np.array(0.0)), [total])


def _concatenate(layer: _Layer, tensors: list[_Tensor]) -> _Tensor:
    rank = len(tensors[0].shape)
    axis = int(layer.config.get("axis", -1))
    axis = axis + rank if axis < 0 else axis - 1
    if not 0 <= axis < rank or any(len(each.shape) != rank for each in tensors):
        raise layer.error(f"axis {layer.config.get('axis')}")
    if len(tensors) == 1:
        return tensors[0]
    return layer.append(Concatenation(axis + (rank == 2)), tensors)


_WITH_NUMBER: dict[str, Callable[[float], FloatOperator]] = {
    "Add": lambda number: Affine(np.array(1.0), np.array(number)),
    "Subtract": lambda number: Affine(np.array(1.0), np.array(-number)),
    "Multiply": lambda number: Affine(np.array(number), np.array(0.0)),
    "TrueDivide": lambda number: Affine(np.array(1 / number), np.array(0.0)),
}
"""Arithmetic of a tensor and a number, which a Functional model may hold as it was written."""

_LAYERS: dict[str, Build] = {
    "Activation": _same,
    "ActivityRegularization": _same,
    "Add": _joined(BinaryKind.ADD),
    "AlphaDropout": _same,
    "Average": _average,
    "AveragePooling1D": _pool(average=True),
    "AveragePooling2D": _pool(average=True),
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv1D": _convolution,
    "Conv1DTranspose": _transposed,
    "Conv2D": _convolution,
    "Conv2DTranspose": _transposed,
    "Cropping1D": _cropping,
    "Cropping2D": _cropping,
    "Dense": _dense,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "Dropout": _same,
    "ELU": _elu,
    "Flatten": _flatten,
    "GaussianDropout": _same,
    "GaussianNoise": _same,
    "GlobalAveragePooling1D": _global_pool(ReductionKind.MEAN),
    "GlobalAveragePooling2D": _global_pool(ReductionKind.MEAN),
    "GlobalMaxPooling1D": _global_pool(ReductionKind.MAX),
    "GlobalMaxPooling2D": _global_pool(ReductionKind.MAX),
    "Identity": _same,
    "LeakyReLU": _leaky_relu,
    "MaxPooling1D": _pool(average=False),
    "MaxPooling2D": _pool(average=False),
    "Maximum": _joined(BinaryKind.MAXIMUM),
    "Minimum": _joined(BinaryKind.MINIMUM),
    "Multiply": _joined(BinaryKind.MUL),
    "Normalization": _normalization,
    "PReLU": _prelu,
    "Permute": _permute,
    "RandomBrightness": _same,
    "RandomContrast": _same,
    "RandomFlip": _same,
    "RandomRotation": _same,
    "RandomTranslation": _same,
    "RandomZoom": _same,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv1D": _separable,
    "SeparableConv2D": _separable,
    "Softmax": _softmax,
    "SpatialDropout1D": _same,
    "SpatialDropout2D": _same,
    "Subtract": _joined(BinaryKind.SUB),
    "TrueDivide": _same,
    "UpSampling2D": _upsampling,
    "ZeroPadding1D": _zero_padding,
    "ZeroPadding2D": _zero_padding,
}
"""What each class of layers becomes; those that only training needs become nothing."""
