"""Does a graph make sense? Checked before anything runs, for models come from strangers.

The checks hold what `model.int8.reference` and the compiler take for granted: shapes that fit one
another, int8 all along, quantisation that the arithmetic can express, and sizes that cannot exhaust
the machine. Every failure is one :class:`ModelError` line that names the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import numpy as np

from model.errors import ModelError
from model.int8.graph import (
    ABSENT,
    DenseOptions,
    Graph,
    LeakyReluOptions,
    MeanOptions,
    Operator,
    OperatorKind,
    SoftmaxOptions,
    Tensor,
    WindowOptions,
)
from model.int8.reference import Window, window

__all__ = ["validate"]

_MAX_ELEMENTS = 1 << 24
"""Elements of one tensor."""

_MAX_WINDOW_TAPS = 1 << 28
"""Products of a window layer over one picture: bounds memory and time of the reference."""

_MAX_WINDOW_SIDE = 4096
"""Kernel times dilation, and stride."""

_MAX_SOFTMAX_CLASSES = 4095


class _Layer:
    """One operator under examination, with its tensors at hand."""

    def __init__(self, graph: Graph, operator: Operator) -> None:
        self.graph = graph
        self.operator = operator

    def require(self, condition: bool, reason: str) -> None:
        if not condition:
            raise ModelError(f"layer {self.operator.name}: {reason}")

    @property
    def input(self) -> Tensor:
        return self.graph.tensors[self.operator.inputs[0]]

    @property
    def output(self) -> Tensor:
        return self.graph.tensors[self.operator.outputs[0]]

    def has(self, position: int) -> bool:
        inputs = self.operator.inputs
        return position < len(inputs) and inputs[position] != ABSENT

    def constant(self, position: int, role: str, dtype: str) -> Tensor:
        self.require(self.has(position), f"no {role}")
        tensor = self.graph.tensors[self.operator.inputs[position]]
        self.require(tensor.dtype == dtype, f"{role} of type {tensor.dtype}; only int8 models run")
        self.require(tensor.data is not None, f"its {role} must be a constant")
        return tensor


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _check_activation(layer: _Layer, tensor: Tensor, role: str) -> None:
    layer.require(
        tensor.dtype == "int8", f"its {role} is of type {tensor.dtype}; only int8 models run"
    )
    layer.require(
        len(tensor.shape) >= 1 and tensor.shape[0] == 1,
        f"its {role} has shape {_shape(tensor.shape)}; the first dimension must be 1",
    )
    quantization = tensor.quantization
    layer.require(
        quantization is not None and len(quantization.scale) == 1,
        f"its {role} needs one scale and one zero point",
    )


def _check_quantization(tensor: Tensor) -> None:
    quantization = tensor.quantization
    if quantization is None:
        return
    where = f"tensor {tensor.name}"
    scale, zero_point = quantization.scale, quantization.zero_point
    if not (np.all(np.isfinite(scale)) and np.all(scale >= np.finfo(np.float32).tiny)):
        raise ModelError(f"{where}: a scale is not a positive finite number")
    if len(scale) != len(zero_point):
        raise ModelError(f"{where}: {len(scale)} scales but {len(zero_point)} zero points")
    if len(scale) > 1:
        axis = quantization.axis
        if not 0 <= axis < len(tensor.shape) or tensor.shape[axis] != len(scale):
            raise ModelError(
                f"{where}: {len(scale)} scales do not fit dimension {axis} "
                f"of {_shape(tensor.shape)}"
            )
    if tensor.dtype == "int8" and not np.all((zero_point >= -128) & (zero_point <= 127)):
        raise ModelError(f"{where}: a zero point is outside -128 to 127")


def _check_weights(layer: _Layer, rank: int, axis: int) -> Tensor:
    weights = layer.constant(1, "weights", "int8")
    layer.require(
        len(weights.shape) == rank, f"weights of shape {_shape(weights.shape)}, not {rank}-D"
    )
    quantization = weights.quantization
    layer.require(quantization is not None, "weights without quantisation")
    assert quantization is not None
    layer.require(not quantization.zero_point.any(), "weights with a zero point other than 0")
    layer.require(
        len(quantization.scale) == 1 or quantization.axis == axis,
        f"weights quantised along dimension {quantization.axis}, not {axis}",
    )
    channels = weights.shape[axis]
    if layer.has(2):
        bias = layer.constant(2, "bias", "int32")
        layer.require(
            prod(bias.shape) == channels,
            f"bias of {prod(bias.shape)} entries for {channels} output channels",
        )
    return weights


def _check_window(layer: _Layer) -> Window:
    """Geometry, common to convolution and pooling; the channels are the caller's."""
    options = layer.operator.options
    assert isinstance(options, WindowOptions)
    layer.require(
        len(layer.input.shape) == len(layer.output.shape) == 4,
        f"needs pictures of 1xHxWxC, not {_shape(layer.input.shape)}",
    )
    for what, size in (
        ("kernel", options.kernel_h * options.dilation_h),
        ("kernel", options.kernel_w * options.dilation_w),
        ("stride", options.stride_h),
        ("stride", options.stride_w),
    ):
        layer.require(
            1 <= size <= _MAX_WINDOW_SIDE, f"{what} of {size}; 1 to {_MAX_WINDOW_SIDE} is possible"
        )
    layer.require(
        min(options.kernel_h, options.kernel_w, options.dilation_h, options.dilation_w) >= 1,
        "kernel or dilation below 1",
    )
    geometry = window(layer.graph, layer.operator)
    expected = (1, geometry.output_h, geometry.output_w)
    layer.require(
        layer.output.shape[:3] == expected,
        f"output of {_shape(layer.output.shape[1:3])} pixels, where its window gives "
        f"{_shape(expected[1:])}",
    )
    padded_h = geometry.input_h + geometry.top + geometry.bottom
    padded_w = geometry.input_w + geometry.left + geometry.right
    padded = padded_h * padded_w * layer.input.shape[3]
    taps = geometry.output_h * geometry.output_w * geometry.kernel_h * geometry.kernel_w
    layer.require(
        padded <= _MAX_WINDOW_TAPS and taps * layer.input.shape[3] <= _MAX_WINDOW_TAPS,
        "its window is too large to compute",
    )
    return geometry


def _check_convolution(layer: _Layer) -> None:
    weights = _check_weights(layer, rank=4, axis=0)
    layer.require(
        weights.shape[3] == layer.input.shape[-1],
        f"weights for {weights.shape[3]} input channels on {layer.input.shape[-1]}",
    )
    _check_window(layer)
    layer.require(
        layer.output.shape[3] == weights.shape[0],
        f"{weights.shape[0]} filters for {layer.output.shape[3]} output channels",
    )


def _check_depthwise(layer: _Layer) -> None:
    weights = _check_weights(layer, rank=4, axis=3)
    options = layer.operator.options
    assert isinstance(options, WindowOptions)
    channels = layer.input.shape[-1] * options.depth_multiplier
    layer.require(
        weights.shape[0] == 1 and weights.shape[3] == channels,
        f"weights of shape {_shape(weights.shape)} for {channels} output channels",
    )
    _check_window(layer)
    layer.require(
        layer.output.shape[3] == channels,
        f"{channels} filters for {layer.output.shape[3]} output channels",
    )


def _check_pool(layer: _Layer) -> None:
    _check_window(layer)
    layer.require(
        layer.input.shape[3] == layer.output.shape[3],
        f"{layer.input.shape[3]} channels in, {layer.output.shape[3]} out",
    )


def _check_dense(layer: _Layer) -> None:
    weights = _check_weights(layer, rank=2, axis=0)
    layer.require(isinstance(layer.operator.options, DenseOptions), "no options")
    layer.require(
        prod(layer.input.shape) == weights.shape[1],
        f"weights for {weights.shape[1]} inputs on {prod(layer.input.shape)}",
    )
    layer.require(
        prod(layer.output.shape) == weights.shape[0],
        f"weights for {weights.shape[0]} outputs on {prod(layer.output.shape)}",
    )


def _check_same_shape(layer: _Layer) -> None:
    layer.require(
        layer.input.shape == layer.output.shape,
        f"shape {_shape(layer.input.shape)} in, {_shape(layer.output.shape)} out",
    )


def _check_fixed_output(layer: _Layer, scale: float, zero_point: int) -> None:
    _check_same_shape(layer)
    quantization = layer.output.quantization
    assert quantization is not None
    layer.require(
        float(quantization.scale[0]) == scale and int(quantization.zero_point[0]) == zero_point,
        f"output must have scale {scale} and zero point {zero_point}",
    )


def _check_logistic(layer: _Layer) -> None:
    _check_fixed_output(layer, 1 / 256, -128)


def _check_tanh(layer: _Layer) -> None:
    _check_fixed_output(layer, 1 / 128, 0)


def _check_softmax(layer: _Layer) -> None:
    _check_fixed_output(layer, 1 / 256, -128)
    options, quantization = layer.operator.options, layer.input.quantization
    assert isinstance(options, SoftmaxOptions) and quantization is not None
    layer.require(
        layer.input.shape[-1] <= _MAX_SOFTMAX_CLASSES,
        f"{layer.input.shape[-1]} classes; {_MAX_SOFTMAX_CLASSES} are possible",
    )
    # below 2**-27 the factor cannot be written as a left shift
    factor = float(options.beta) * float(quantization.scale[0])
    layer.require(2.0**-26 <= factor < np.inf, f"beta times scale is {factor:g}")


def _check_reshape(layer: _Layer) -> None:
    layer.require(
        prod(layer.input.shape) == prod(layer.output.shape),
        f"{_shape(layer.input.shape)} does not hold as many as {_shape(layer.output.shape)}",
    )
    if layer.has(1):
        layer.constant(1, "shape", "int32")


def _check_add(layer: _Layer) -> None:
    layer.require(layer.has(1), "one input only")
    other = layer.graph.tensors[layer.operator.inputs[1]]
    _check_activation(layer, other, "second input")
    _check_same_shape(layer)
    layer.require(
        other.shape == layer.input.shape,
        f"adds {_shape(layer.input.shape)} and {_shape(other.shape)}; shapes must be equal",
    )
    layer.require(other.data is None, "adding a constant is not supported")
    affine = [tensor.quantization for tensor in (layer.input, other, layer.output)]
    first, second, output = (float(each.scale[0]) for each in affine if each is not None)
    layer.require(
        2 * max(first, second) <= output * 2**20, "output scale far below its inputs' scales"
    )


def _check_leaky_relu(layer: _Layer) -> None:
    _check_same_shape(layer)
    options = layer.operator.options
    assert isinstance(options, LeakyReluOptions)
    layer.require(0 <= options.alpha < 2**20, f"alpha of {options.alpha:g}")


def _check_hard_swish(layer: _Layer) -> None:
    _check_same_shape(layer)
    scale_in, scale_out = (
        tensor.quantization.scale[0]
        for tensor in (layer.input, layer.output)
        if tensor.quantization is not None
    )
    # the reference kernel can only shift right
    layer.require(bool(scale_in / 128 < scale_out), "output scale far below its input's scale")


def _check_mean(layer: _Layer) -> None:
    axes = layer.constant(1, "axes", "int32").data
    assert axes is not None and isinstance(layer.operator.options, MeanOptions)
    rank = len(layer.input.shape)
    layer.require(rank == 4, f"needs pictures of 1xHxWxC, not {_shape(layer.input.shape)}")
    chosen = {int(axis) % rank for axis in np.ravel(axes) if -rank <= axis < rank}
    layer.require(chosen == {1, 2}, "averages dimensions other than height and width")
    layer.require(
        prod(layer.output.shape) == layer.input.shape[3],
        f"output of shape {_shape(layer.output.shape)}",
    )


def _check_pad(layer: _Layer) -> None:
    padding = layer.constant(1, "padding", "int32").data
    assert padding is not None
    rank = len(layer.input.shape)
    layer.require(padding.shape == (rank, 2), f"padding of shape {_shape(padding.shape)}")
    layer.require(bool((padding >= 0).all()) and not padding[0].any(), "padding that cannot be")
    expected = tuple(
        size + int(before) + int(after)
        for size, (before, after) in zip(layer.input.shape, padding, strict=True)
    )
    layer.require(
        layer.output.shape == expected,
        f"output of shape {_shape(layer.output.shape)}, where padding gives {_shape(expected)}",
    )


_CHECKS: dict[OperatorKind, Callable[[_Layer], None]] = {
    OperatorKind.CONV_2D: _check_convolution,
    OperatorKind.DEPTHWISE_CONV_2D: _check_depthwise,
    OperatorKind.FULLY_CONNECTED: _check_dense,
    OperatorKind.MAX_POOL_2D: _check_pool,
    OperatorKind.AVERAGE_POOL_2D: _check_pool,
    OperatorKind.LOGISTIC: _check_logistic,
    OperatorKind.TANH: _check_tanh,
    OperatorKind.RELU: _check_same_shape,
    OperatorKind.RELU6: _check_same_shape,
    OperatorKind.HARD_SWISH: _check_hard_swish,
    OperatorKind.QUANTIZE: _check_same_shape,
    OperatorKind.LEAKY_RELU: _check_leaky_relu,
    OperatorKind.SOFTMAX: _check_softmax,
    OperatorKind.RESHAPE: _check_reshape,
    OperatorKind.ADD: _check_add,
    OperatorKind.MEAN: _check_mean,
    OperatorKind.PAD: _check_pad,
}


def _check_tensor(tensor: Tensor) -> None:
    if any(size < 1 for size in tensor.shape):
        raise ModelError(f"tensor {tensor.name}: shape {_shape(tensor.shape)} has no elements")
    if prod(tensor.shape) > _MAX_ELEMENTS:
        raise ModelError(
            f"tensor {tensor.name}: {prod(tensor.shape)} elements; {_MAX_ELEMENTS} are possible"
        )
    _check_quantization(tensor)


def validate(graph: Graph) -> None:
    """Check that the reference can run `graph` and that its numbers are meant as TFLM means them.

    Raises
    ------
    ModelError
        With one line that names the layer or tensor and the reason.
    """
    for role, indexes in (("input", graph.inputs), ("output", graph.outputs)):
        if len(indexes) != 1:
            raise ModelError(f"{len(indexes)} {role}s; a model with exactly one is needed")
    if not graph.operators:
        raise ModelError("no layers")
    used = {
        index
        for operator in graph.operators
        for index in operator.inputs + operator.outputs
        if index != ABSENT
    }
    for index in sorted(used | set(graph.inputs) | set(graph.outputs)):
        if not 0 <= index < len(graph.tensors):
            raise ModelError(f"tensor number {index} does not exist")
        _check_tensor(graph.tensors[index])
    known = set(graph.inputs)
    for operator in graph.operators:
        layer = _Layer(graph, operator)
        layer.require(len(operator.outputs) == 1, f"{len(operator.outputs)} outputs, not one")
        layer.require(layer.has(0), "no input")
        for index in operator.inputs:
            layer.require(
                index == ABSENT or index in known or graph.tensors[index].data is not None,
                "reads a tensor that nothing has written",
            )
        layer.require(operator.inputs[0] in known, "its input is a constant")
        _check_activation(layer, layer.input, "input")
        layer.require(operator.outputs[0] not in known, "its output is written twice")
        layer.require(layer.output.data is None, "its output is a constant")
        _check_activation(layer, layer.output, "output")
        _CHECKS[operator.kind](layer)
        known.add(operator.outputs[0])
    if graph.outputs[0] not in known - set(graph.inputs):
        raise ModelError("nothing writes the output")
    if graph.labels and len(graph.labels) != graph.output.shape[-1]:
        raise ModelError(f"{len(graph.labels)} labels for {graph.output.shape[-1]} output channels")
