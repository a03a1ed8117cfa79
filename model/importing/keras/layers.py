"""What each class of Keras's layers becomes in a float graph.

Layers that only training needs are left out. What each computes: https://keras.io/api/layers/.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod

import numpy as np

from model.importing.channels_last import our_axis, our_order, transposed
from model.importing.float_graph import Clamp
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
    Resize,
    Sampling,
    Slice,
    Softmax,
    Transpose,
    Window,
)
from model.importing.keras.layer import KerasTensor, Layer
from model.importing.names import printable
from model.int8.graph import Padding
from model.int8.operators.examined import written

__all__ = ["LAYERS", "WITH_NUMBER", "activated"]

_ACTIVATIONS: dict[str, Callable[[], FloatOperator]] = {
    "sigmoid": lambda: Function("sigmoid"),
    "tanh": lambda: Function("tanh"),
    "softmax": Softmax,
    "log_softmax": lambda: Softmax(logarithm=True),
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


def activated(layer: Layer, tensor: KerasTensor) -> KerasTensor:
    """The tensor through the activation that the layer names."""
    name = layer.config.get("activation")
    if isinstance(name, dict):
        name = name.get("config", name.get("class_name"))
    if name in (None, "linear"):
        return tensor
    if name in _CLAMPS:
        return layer.append(Function("identity"), [tensor], _CLAMPS[name])
    if name == "hard_sigmoid":
        risen = layer.append(Affine.uniform(1 / 6, 0.5), [tensor])
        return layer.append(Function("identity"), [risen], (0.0, 1.0))
    if name not in _ACTIVATIONS:
        raise layer.error(f"activation {printable(str(name))} is not supported")
    return layer.append(_ACTIVATIONS[name](), [tensor])


Build = Callable[[Layer, list[KerasTensor]], KerasTensor]


def _convolution(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    kernel = layer.kernel()
    window = layer.window(tensors[0], (kernel.shape[0], kernel.shape[1]), layer.pair("strides"))
    groups = int(layer.config.get("groups", 1))
    if groups < 1:
        raise layer.error(f"{groups} groups")
    bias = layer.bias(1, kernel.shape[3])
    return layer.append(Convolution(kernel, bias, window, groups), tensors)


def _depthwise(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    return layer.append(_depthwise_operator(layer, tensors[0], layer.bias), tensors)


def _depthwise_operator(
    layer: Layer, tensor: KerasTensor, bias: Callable[[int, int], np.ndarray]
) -> Convolution:
    kernel = layer.kernel()
    rows, columns, channels, multiplier = kernel.shape
    window = layer.window(tensor, (rows, columns), layer.pair("strides"))
    # Keras's (rows, columns, channels, multiplier) has output channels in our order.
    weights = kernel.reshape(rows, columns, 1, channels * multiplier)
    return Convolution(weights, bias(1, channels * multiplier), window, channels)


def _separable(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    operator = _depthwise_operator(layer, tensors[0], lambda _, channels: np.zeros(channels))
    inner = layer.append(operator, tensors)
    pointwise = layer.kernel(1)
    bias = layer.bias(2, pointwise.shape[3])
    return layer.append(Convolution(pointwise, bias, Window((1, 1))), [inner])


def _transposed(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    layer.check_format()
    kernel = layer.kernel()
    stride = layer.pair("strides")
    if layer.pair("dilation_rate") != (1, 1) or layer.config.get("output_padding") is not None:
        raise layer.error("dilation and output padding are not supported")
    weights = kernel.transpose(0, 1, 3, 2)
    bias = layer.bias(1, weights.shape[3])
    shape = layer.graph.shapes[tensors[0].number]
    padding = Padding.SAME if layer.config.get("padding") == "same" else Padding.VALID
    wanted = [
        size * step + max(reach - step, 0) * (padding is Padding.VALID)
        for size, step, reach in zip(shape, stride, weights.shape)
    ]
    return layer.append(transposed(weights, bias, stride, shape, wanted, padding), tensors)


def _dense(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    weights = layer.variable(0)
    if weights.ndim != 2:
        raise layer.error(f"weights of shape {written(weights.shape)}")
    bias = layer.bias(1, weights.shape[1])
    if len(tensors[0].shape) == 1:
        return layer.append(Dense(weights, bias), tensors)
    return layer.append(Convolution(weights[np.newaxis, np.newaxis], bias, Window((1, 1))), tensors)


def _batch_norm(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
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


def _normalization(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    mean, variance = layer.config.get("mean"), layer.config.get("variance")
    if mean is None or variance is None:
        mean, variance = layer.variable(0), layer.variable(1)
    mean, deviation = np.ravel(mean).astype(np.float64), np.sqrt(np.ravel(variance))
    deviation = np.maximum(deviation.astype(np.float64), 1e-7)
    if layer.config.get("invert"):
        return layer.append(Affine(deviation, mean), tensors)
    return layer.append(Affine(1 / deviation, -mean / deviation), tensors)


def _rescaling(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    factor, offset = (
        np.asarray(layer.config.get(*each), np.float64) for each in (("scale", 1.0), ("offset", 0))
    )
    return layer.append(Affine(factor, offset), tensors)


def _pool(average: bool) -> Build:
    def build(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
        kernel = layer.pair("pool_size", 2)
        stride = kernel if layer.config.get("strides") is None else layer.pair("strides")
        window = layer.window(tensors[0], kernel, stride)
        return layer.append(AveragePool(window) if average else MaxPool(window), tensors)

    return build


def _global_pool(kind: ReductionKind) -> Build:
    def build(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
        layer.check_format()
        (tensor,) = tensors
        if len(tensor.shape) < 2:
            raise layer.error(f"on shape {written(tensor.shape)}")
        result = layer.append(Reduction(kind, (0, 1)), tensors)
        channels = tensor.shape[-1]
        if layer.config.get("keepdims"):
            return layer.reshaped(result, (*[1] * (len(tensor.shape) - 1), channels))
        return layer.reshaped(result, (channels,))

    return build


def _flatten(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    layer.check_format()
    return layer.reshaped(tensors[0], (prod(tensors[0].shape),))


def _reshape(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    target = [int(size) for size in layer.config["target_shape"]]
    known = prod(size for size in target if size != -1)
    total = prod(tensors[0].shape)
    if target.count(-1) > 1 or known < 1:
        raise layer.error(f"to {target}")
    return layer.reshaped(
        tensors[0], tuple(total // known if size == -1 else size for size in target)
    )


def _permute(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    (tensor,) = tensors
    order = [int(axis) - 1 for axis in layer.config["dims"]]
    if sorted(order) != list(range(len(tensor.shape))):
        raise layer.error(f"dims {layer.config['dims']}")
    return layer.append(Transpose(our_order(order)), tensors)


def _edges(layer: Layer, key: str) -> tuple[tuple[int, int], tuple[int, int]]:
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


def _zero_padding(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    return layer.append(Pad((*_edges(layer, "padding"), (0, 0))), tensors)


def _cropping(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    edges = _edges(layer, "cropping")
    height, width, channels = layer.graph.shapes[tensors[0].number]
    (top, bottom), (left, right) = edges
    operator = Slice((top, left, 0), (height - bottom, width - right, channels), (1, 1, 1))
    return layer.append(operator, tensors)


def _upsampling(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
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


def _relu(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    slope = float(layer.config.get("negative_slope") or 0)
    if float(layer.config.get("threshold") or 0):
        raise layer.error("a threshold is not supported")
    greatest = layer.config.get("max_value")
    bound = inf if greatest is None else float(greatest)
    if slope:
        return layer.append(Function("leaky_relu", slope), tensors, (-inf, bound))
    return layer.append(Function("identity"), tensors, (0.0, bound))


def _leaky_relu(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    slope = layer.config.get("negative_slope", layer.config.get("alpha", 0.3))
    return layer.append(Function("leaky_relu", float(slope)), tensors)


def _elu(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    return layer.append(Function("elu", float(layer.config.get("alpha", 1.0))), tensors)


def _prelu(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    return layer.append(PRelu(layer.variable(0)), tensors)


def _softmax(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    if layer.config.get("axis", -1) not in (-1, len(tensors[0].shape)):
        raise layer.error(f"axis {layer.config['axis']} is not supported")
    return layer.append(Softmax(), tensors)


def _same(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    return tensors[0]


def _joined(kind: BinaryKind) -> Build:
    def build(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
        if len(tensors) < 2:
            raise layer.error("has one input only")
        result = tensors[0]
        for other in tensors[1:]:
            result = layer.append(Binary(kind), [result, other])
        return result

    return build


def _average(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    total = _joined(BinaryKind.ADD)(layer, tensors)
    return layer.append(Affine.uniform(1 / len(tensors)), [total])


def _concatenate(layer: Layer, tensors: list[KerasTensor]) -> KerasTensor:
    rank = len(tensors[0].shape)
    axis = int(layer.config.get("axis", -1))
    axis = axis + rank if axis < 0 else axis - 1
    if not 0 <= axis < rank or any(len(each.shape) != rank for each in tensors):
        raise layer.error(f"axis {layer.config.get('axis')}")
    if len(tensors) == 1:
        return tensors[0]
    return layer.append(Concatenation(our_axis(axis, rank)), tensors)


WITH_NUMBER: dict[str, Callable[[float], FloatOperator]] = {
    "Add": lambda number: Affine.uniform(1.0, number),
    "Subtract": lambda number: Affine.uniform(1.0, -number),
    "Multiply": Affine.uniform,
    "TrueDivide": lambda number: Affine.uniform(1 / number),
}
"""Arithmetic of a tensor and a number, which a Functional model may hold as it was written."""

LAYERS: dict[str, Build] = {
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
