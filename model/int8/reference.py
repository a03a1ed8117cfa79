"""The exact int8 network: byte for byte what TensorFlow Lite for Microcontrollers computes.

`run` and `predict` execute a whole graph on a batch. `requantization`, `window` and `table` give
the integers that define a layer; the compiler takes them from here, so that hardware and reference
cannot drift apart.

Products are summed in floating point by BLAS, which is exact: every partial sum is an integer below
2**24 in float32, or below 2**53 in float64; the bound of the actual weights chooses the type.

Sources: TensorFlow Lite ``kernels/internal/reference/integer_ops`` and ``kernels/padding.h``;
TensorFlow Lite for Microcontrollers ``micro/kernels/*_common.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from model.errors import ModelError
from model.int8 import fixed_point
from model.int8.geometry import extent
from model.int8.graph import (
    ABSENT,
    WEIGHTED,
    Activation,
    AddOptions,
    DenseOptions,
    Graph,
    LeakyReluOptions,
    Operator,
    OperatorKind,
    Quantization,
    SoftmaxOptions,
    WindowOptions,
)

__all__ = ["Requantization", "Window", "predict", "requantization", "run", "table", "window"]

_WORKING_SET = 1 << 20
"""Elements of the largest intermediate array: a batch is cut so that it stays near the cache."""

_MAX_BATCH = 512


@dataclass(frozen=True, eq=False)
class Requantization:
    """How a layer's accumulator becomes int8.

    ``clip(scale(accumulator, multiplier, shift) + output_zero_point, minimum, maximum)`` with
    `model.int8.fixed_point.multiply_by_quantized_multiplier` as ``scale``; the accumulator sums
    ``(input - input_zero_point) * weight`` and the bias.

    Attributes
    ----------
    multiplier, shift : ndarray of int64, shape (output channels,)
    input_zero_point, output_zero_point : int
        In -128 .. 127.
    minimum, maximum : int
        The clamp, which holds the fused activation; in -128 .. 127.
    """

    multiplier: np.ndarray
    shift: np.ndarray
    input_zero_point: int
    output_zero_point: int
    minimum: int
    maximum: int

    def apply(self, accumulator: np.ndarray) -> np.ndarray:
        """Requantise `accumulator`, shape (..., output channels), of int32 values, to int8."""
        return self.clamp(self.scale(accumulator))

    def scale(self, accumulator: np.ndarray) -> np.ndarray:
        """The first part of `apply`: scaled, with the output's zero point, not yet clamped."""
        scaled = fixed_point.multiply_by_quantized_multiplier(
            accumulator, self.multiplier, self.shift
        )
        scaled += self.output_zero_point
        return scaled

    def clamp(self, scaled: np.ndarray) -> np.ndarray:
        """The second part of `apply`."""
        return np.clip(scaled, self.minimum, self.maximum).astype(np.int8)


@dataclass(frozen=True)
class Window:
    """Geometry of a layer that slides a kernel over a picture.

    Output pixel (y, x) reads the input rows ``y * stride_h - top + i * dilation_h`` for i in
    0 .. kernel_h - 1, and the columns likewise; pixels outside count as padding.

    Attributes
    ----------
    top, left, bottom, right : int
        Rows and columns of padding that are read beyond each edge; 0 if none.
    """

    input_h: int
    input_w: int
    output_h: int
    output_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    top: int
    left: int
    bottom: int
    right: int

    def taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield (kernel row, kernel column, rows, columns) of the padded pixels for each tap."""
        for i in range(self.kernel_h):
            for j in range(self.kernel_w):
                y, x = i * self.dilation_h, j * self.dilation_w
                rows = slice(y, y + (self.output_h - 1) * self.stride_h + 1, self.stride_h)
                columns = slice(x, x + (self.output_w - 1) * self.stride_w + 1, self.stride_w)
                yield i, j, rows, columns

    def pad(self, x: np.ndarray, value: float) -> np.ndarray:
        """Surround `x`, shape (n, input_h, input_w, channels), with `value` as the taps need it."""
        edges = ((0, 0), (self.top, self.bottom), (self.left, self.right), (0, 0))
        if not any(map(any, edges)):
            return x
        return np.pad(x, edges, constant_values=value)


def window(graph: Graph, operator: Operator) -> Window:
    """Geometry of a CONV_2D, DEPTHWISE_CONV_2D, MAX_POOL_2D or AVERAGE_POOL_2D.

    Raises
    ------
    TypeError
        If `operator` slides no window.
    ModelError
        If the kernel does not fit into the picture.
    """
    options = operator.options
    if not isinstance(options, WindowOptions):
        raise TypeError(f"{operator.kind.value} {operator.name!r} slides no window")
    _, input_h, input_w, _ = graph.tensors[operator.inputs[0]].shape
    output_h, top, bottom = extent(
        input_h, options.kernel_h, options.stride_h, options.dilation_h, options.padding
    )
    output_w, left, right = extent(
        input_w, options.kernel_w, options.stride_w, options.dilation_w, options.padding
    )
    if output_h < 1 or output_w < 1:
        raise ModelError(
            f"layer {operator.name}: a {options.kernel_h}x{options.kernel_w} window does not fit "
            f"into {input_h}x{input_w} pixels"
        )
    return Window(
        input_h=input_h,
        input_w=input_w,
        output_h=output_h,
        output_w=output_w,
        kernel_h=options.kernel_h,
        kernel_w=options.kernel_w,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        dilation_h=options.dilation_h,
        dilation_w=options.dilation_w,
        top=top,
        left=left,
        bottom=bottom,
        right=right,
    )


def _quantization(graph: Graph, tensor: int) -> Quantization:
    quantization = graph.tensors[tensor].quantization
    if quantization is None:
        raise ModelError(f"tensor {graph.tensors[tensor].name}: no quantisation")
    return quantization


def _affine(graph: Graph, tensor: int) -> tuple[np.float32, int]:
    """Scale and zero point of a tensor that has one of each."""
    quantization = _quantization(graph, tensor)
    return quantization.scale[0], int(quantization.zero_point[0])


def _round_half_away(x: float) -> int:
    """C's ``round``."""
    return int(np.copysign(np.floor(abs(float(x)) + 0.5), x))


def _clamp(activation: Activation, scale: np.float32, zero_point: int) -> tuple[int, int]:
    """int8 range of a fused activation: ``CalculateActivationRangeQuantized``, in float32."""
    low, high = -128, 127
    if activation is not Activation.NONE:
        low = max(low, zero_point)
    if activation is Activation.RELU6:
        steps = min(float(np.float32(6) / scale), 255.0)
        high = min(high, zero_point + _round_half_away(steps))
    return low, high


def requantization(graph: Graph, operator: Operator) -> Requantization:
    """Multipliers, shifts, zero points and clamp of a layer with weights.

    The factor of an output channel is s_in * s_w / s_out, in float64 throughout, for fully
    connected layers too. (TensorFlow Lite's older ``GetQuantizedConvolutionMultipler`` rounded
    s_in * s_w to float32 for these; the TFLM that we are held to does not, see
    ``tests/model/int8/test_reference.py``.)

    Parameters
    ----------
    graph : Graph
    operator : Operator
        CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED.

    Raises
    ------
    TypeError
        If `operator` has no weights.
    """
    options = operator.options
    if operator.kind not in WEIGHTED:
        raise TypeError(f"{operator.kind.value} {operator.name!r} has no weights")
    weights = graph.tensors[operator.inputs[1]]
    scale_in, zero_in = _affine(graph, operator.inputs[0])
    scale_out, zero_out = _affine(graph, operator.outputs[0])
    scale_w = _quantization(graph, operator.inputs[1]).scale
    assert isinstance(options, DenseOptions | WindowOptions)
    product = float(scale_in) * scale_w.astype(np.float64)
    channels = weights.shape[3 if operator.kind is OperatorKind.DEPTHWISE_CONV_2D else 0]
    multiplier, shift = fixed_point.quantize_multiplier(product / float(scale_out))
    minimum, maximum = _clamp(options.activation, scale_out, zero_out)
    return Requantization(
        multiplier=np.broadcast_to(multiplier, (channels,)),
        shift=np.broadcast_to(shift, (channels,)),
        input_zero_point=zero_in,
        output_zero_point=zero_out,
        minimum=minimum,
        maximum=maximum,
    )


# Layers that are a function of one byte.


def _through_q4(
    graph: Graph,
    operator: Operator,
    x: np.ndarray,
    function: Callable[[np.ndarray, int], np.ndarray],
    output_bits: int,
    zero_point: int,
) -> np.ndarray:
    """A function of Q4.27, as ``reference_integer_ops::Logistic`` and ``Tanh`` compute theirs.

    The output has scale ``2**-output_bits`` and `zero_point`; beyond 4 integer bits it saturates.
    """
    integer_bits = 4
    scale, zero_in = _affine(graph, operator.inputs[0])
    multiplier, shift = fixed_point.quantize_multiplier(float(scale) * 2.0 ** (31 - integer_bits))
    centred = x - zero_in
    radius = fixed_point.input_radius(integer_bits, int(shift))
    inside = np.abs(centred) < radius
    q4 = fixed_point.multiply_by_quantized_multiplier(
        np.where(inside, centred, 0), multiplier, shift
    )
    q0 = function(q4, integer_bits)
    result = fixed_point.rounding_divide_by_pot(q0, 31 - output_bits) + zero_point
    return np.where(inside, result, np.where(centred > 0, 127, -128))


def _logistic(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    return _through_q4(graph, operator, x, fixed_point.logistic, output_bits=8, zero_point=-128)


def _tanh(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    return _through_q4(graph, operator, x, fixed_point.tanh, output_bits=7, zero_point=0)


def _rescale(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``reference_ops::Requantize``: from the input's to the output's quantisation."""
    scale_in, zero_in = _affine(graph, operator.inputs[0])
    scale_out, zero_out = _affine(graph, operator.outputs[0])
    multiplier, shift = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
    return zero_out + fixed_point.multiply_by_quantized_multiplier(x - zero_in, multiplier, shift)


def _relu(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``ReluQuantized``: rescale, then clamp at the output's zero point."""
    _, zero_out = _affine(graph, operator.outputs[0])
    return np.maximum(_rescale(graph, operator, x), zero_out)


def _relu6(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``Relu6Quantized``: a clamp by the input's quantisation, without rescaling."""
    low, high = _clamp(Activation.RELU6, *_affine(graph, operator.inputs[0]))
    return np.clip(x, low, high)


def _leaky_relu(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``QuantizeLeakyRelu``: one factor for either sign."""
    assert isinstance(operator.options, LeakyReluOptions)
    scale_in, zero_in = _affine(graph, operator.inputs[0])
    scale_out, zero_out = _affine(graph, operator.outputs[0])
    alpha = float(np.float32(operator.options.alpha))
    positive = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
    negative = fixed_point.quantize_multiplier(float(scale_in) * alpha / float(scale_out))
    centred = x - zero_in
    return zero_out + np.where(
        centred >= 0,
        fixed_point.multiply_by_quantized_multiplier(centred, *positive),
        fixed_point.multiply_by_quantized_multiplier(centred, *negative),
    )


def _hard_swish(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """x * relu6(x + 3) / 6 in 16-bit fixed point: ``reference_ops::HardSwish``."""
    scale_in, zero_in = _affine(graph, operator.inputs[0])
    scale_out, zero_out = _affine(graph, operator.outputs[0])
    fine_scale = float(scale_in) / 128
    output, output_shift = _multiplier_16(fine_scale / float(scale_out))
    reluish, reluish_shift = _multiplier_16(fine_scale / (3 / 32768))
    fine = (x - zero_in) << 7
    value = fine
    if reluish_shift > 0:
        value = _saturate_16(value << (reluish_shift - 1))
    value = _high_mul_16(value, reluish)
    if reluish_shift > 0:
        value = _saturate_16(value << 1)
    if reluish_shift < 0:
        value = fixed_point.rounding_divide_by_pot(value, -reluish_shift)
    value = (value + (1 << 15)) >> 1
    product = value * _high_mul_16(fine, output)
    truncated = np.where(product < 0, -(-product >> 15), product >> 15)
    return zero_out + fixed_point.rounding_divide_by_pot(truncated, -output_shift)


def _multiplier_16(factor: float) -> tuple[int, int]:
    """Multiplier in Q0.15 and shift: ``QuantizeMultiplier``, then its upper half, rounded."""
    multiplier, shift = fixed_point.quantize_multiplier(factor)
    return min((int(multiplier) + (1 << 15)) >> 16, (1 << 15) - 1), int(shift)


def _saturate_16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def _high_mul_16(x: np.ndarray, multiplier: int) -> np.ndarray:
    """``SaturatingRoundingDoublingHighMul`` of 16-bit numbers."""
    return _saturate_16((x * multiplier + (1 << 14)) >> 15)


_ByteFunction = Callable[[Graph, Operator, np.ndarray], np.ndarray]

_BYTE_FUNCTIONS: dict[OperatorKind, _ByteFunction] = {
    OperatorKind.LOGISTIC: _logistic,
    OperatorKind.TANH: _tanh,
    OperatorKind.RELU: _relu,
    OperatorKind.RELU6: _relu6,
    OperatorKind.LEAKY_RELU: _leaky_relu,
    OperatorKind.HARD_SWISH: _hard_swish,
    OperatorKind.QUANTIZE: _rescale,
}


def table(graph: Graph, operator: Operator) -> np.ndarray:
    """The 256 answers of a layer that maps byte to byte.

    Returns
    -------
    ndarray of int8, shape (256,)
        Indexed by the input plus 128.

    Raises
    ------
    TypeError
        If `operator` is no function of one byte.
    """
    if operator.kind not in _BYTE_FUNCTIONS:
        raise TypeError(f"{operator.kind.value} {operator.name!r} is no function of one byte")
    every = np.arange(-128, 128, dtype=np.int64)
    result = _BYTE_FUNCTIONS[operator.kind](graph, operator, every)
    return np.clip(result, -128, 127).astype(np.int8)


# Layers that look at more than one byte. `x` is int8 with a batch axis.


def _constant(graph: Graph, operator: Operator, position: int) -> np.ndarray:
    data = graph.tensors[operator.inputs[position]].data
    if data is None:
        raise ModelError(f"layer {operator.name}: input {position} must be a constant")
    return data


def _bias(graph: Graph, operator: Operator) -> np.ndarray | None:
    if len(operator.inputs) < 3 or operator.inputs[2] == ABSENT:
        return None
    return _constant(graph, operator, 2).astype(np.int64)


def _exact_float(weights: np.ndarray, zero_point: int) -> type[np.floating]:
    """Narrowest float that holds every partial sum of ``(int8 - zero_point) @ weights``."""
    largest_input = max(127 - zero_point, 128 + zero_point)
    bound = largest_input * int(np.abs(weights).sum(axis=0).max(initial=0))
    return np.float32 if bound < 1 << 24 else np.float64


def _accumulate(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray | None, zero_point: int
) -> np.ndarray:
    """``x @ weights + bias``, exact, in a 32-bit register.

    Parameters
    ----------
    x : ndarray of float, shape (rows, inputs)
        Integers with the zero point already taken away.
    weights : ndarray of int64, shape (inputs, outputs)
    bias : ndarray of int64, shape (outputs,), or None
    """
    accumulator = (x @ weights.astype(x.dtype)).astype(np.int64)
    if bias is not None:
        accumulator += bias
    return fixed_point.wrap_int32(accumulator)


def _conv_2d(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """Convolution by im2col: weights (oc, kh, kw, ic)."""
    shape = window(graph, operator)
    rule = requantization(graph, operator)
    filters = _constant(graph, operator, 1).astype(np.int64)
    weights = filters.reshape(len(filters), -1).T
    exact = _exact_float(weights, rule.input_zero_point)
    padded = shape.pad(x.astype(exact) - exact(rule.input_zero_point), 0)
    columns = np.empty(
        (len(x), shape.output_h, shape.output_w, *filters.shape[1:]),
        dtype=exact,
    )
    for i, j, rows, cols in shape.taps():
        columns[:, :, :, i, j] = padded[:, rows, cols]
    accumulator = _accumulate(
        columns.reshape(-1, len(weights)),
        weights,
        _bias(graph, operator),
        rule.input_zero_point,
    )
    return rule.apply(accumulator).reshape(columns.shape[:3] + (len(filters),))


def _fully_connected(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """Matrix product: weights (outputs, inputs)."""
    rule = requantization(graph, operator)
    weights = _constant(graph, operator, 1).astype(np.int64).T
    exact = _exact_float(weights, rule.input_zero_point)
    flat = x.reshape(-1, len(weights)).astype(exact) - exact(rule.input_zero_point)
    accumulator = _accumulate(flat, weights, _bias(graph, operator), rule.input_zero_point)
    return rule.apply(accumulator)


def _max_pool_2d(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """Largest byte under the window; padding never wins."""
    shape = window(graph, operator)
    assert isinstance(operator.options, WindowOptions)
    padded = shape.pad(x, -128)
    result = np.full((len(x), shape.output_h, shape.output_w, x.shape[3]), -128, np.int8)
    for _, _, rows, columns in shape.taps():
        np.maximum(result, padded[:, rows, columns], out=result)
    low, high = _clamp(operator.options.activation, *_affine(graph, operator.outputs[0]))
    return np.clip(result, low, high)


def _depthwise_conv_2d(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """Each channel by filters of its own: weights (1, kh, kw, ic * depth multiplier)."""
    shape = window(graph, operator)
    rule = requantization(graph, operator)
    filters = _constant(graph, operator, 1)[0].astype(np.int64)
    channels = filters.shape[2]
    exact = _exact_float(filters.reshape(-1, channels), rule.input_zero_point)
    padded = shape.pad(x.astype(exact) - exact(rule.input_zero_point), 0)
    if channels != x.shape[3]:
        padded = np.repeat(padded, channels // x.shape[3], axis=3)
    total = np.zeros((len(x), shape.output_h, shape.output_w, channels), exact)
    for i, j, rows, columns in shape.taps():
        total += padded[:, rows, columns] * filters[i, j].astype(exact)
    accumulator = total.astype(np.int64)
    bias = _bias(graph, operator)
    if bias is not None:
        accumulator += bias
    return rule.apply(fixed_point.wrap_int32(accumulator))


def _average_pool_2d(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """Sum over the taps inside of the picture, divided by their number, half away from zero."""
    shape = window(graph, operator)
    assert isinstance(operator.options, WindowOptions)
    padded = shape.pad(x.astype(np.int64), 0)
    inside = shape.pad(np.ones((1, *x.shape[1:3], 1), np.int64), 0)
    total = np.zeros((len(x), shape.output_h, shape.output_w, x.shape[3]), np.int64)
    count = np.zeros((1, shape.output_h, shape.output_w, 1), np.int64)
    for _, _, rows, columns in shape.taps():
        total += padded[:, rows, columns]
        count += inside[:, rows, columns]
    mean = (np.abs(total) + count // 2) // count * np.sign(total)
    low, high = _clamp(operator.options.activation, *_affine(graph, operator.outputs[0]))
    return np.clip(mean, low, high).astype(np.int8)


def _mean(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """MEAN over height and width."""
    return _mean_of_sum(graph, operator, x.sum(axis=(1, 2), dtype=np.int64))


def _mean_of_sum(graph: Graph, operator: Operator, total: np.ndarray) -> np.ndarray:
    """``QuantizedMeanOrSum``, the count folded into the multiplier."""
    scale_in, zero_in = _affine(graph, operator.inputs[0])
    scale_out, zero_out = _affine(graph, operator.outputs[0])
    factor = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
    multiplier, shift = (int(part) for part in factor)
    count = _mean_count(graph, operator)
    places = min(count.bit_length() - 1, 32, 31 + shift)
    mean = fixed_point.multiply_by_quantized_multiplier(
        total - zero_in * count, (multiplier << places) // count, shift - places
    )
    return np.clip(mean + zero_out, -128, 127).astype(np.int8)


def _mean_count(graph: Graph, operator: Operator) -> int:
    _, height, width, _ = graph.tensors[operator.inputs[0]].shape
    return height * width


def mean(graph: Graph, operator: Operator) -> np.ndarray:
    """A MEAN's output for every sum of the picture's bytes, from the least to the greatest."""
    count = _mean_count(graph, operator)
    return _mean_of_sum(graph, operator, np.arange(-128 * count, 127 * count + 1))


def _pad(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """PAD with the output's zero point."""
    _, zero_point = _affine(graph, operator.outputs[0])
    return np.pad(x, _constant(graph, operator, 1), constant_values=zero_point)


def _softmax(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    assert isinstance(operator.options, SoftmaxOptions)
    scale, _ = _affine(graph, operator.inputs[0])
    return fixed_point.softmax(x, float(scale), float(np.float32(operator.options.beta)))


def _reshape(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    return x


_Layer = Callable[[Graph, Operator, np.ndarray], np.ndarray]

_LAYERS: dict[OperatorKind, _Layer] = {
    OperatorKind.CONV_2D: _conv_2d,
    OperatorKind.DEPTHWISE_CONV_2D: _depthwise_conv_2d,
    OperatorKind.FULLY_CONNECTED: _fully_connected,
    OperatorKind.MAX_POOL_2D: _max_pool_2d,
    OperatorKind.AVERAGE_POOL_2D: _average_pool_2d,
    OperatorKind.MEAN: _mean,
    OperatorKind.PAD: _pad,
    OperatorKind.SOFTMAX: _softmax,
    OperatorKind.RESHAPE: _reshape,
}

_ADD_LEFT_SHIFT = 20


def _add(graph: Graph, operator: Operator, x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Both inputs in units of twice the larger scale, with 20 bits to spare, summed and scaled.

    ``reference_integer_ops::Add``. Each input's part is a function of one byte, hence a table.
    """
    assert isinstance(operator.options, AddOptions)
    scale_out, zero_out = _affine(graph, operator.outputs[0])
    affine = [_affine(graph, index) for index in operator.inputs[:2]]
    unit = 2 * float(max(scale for scale, _ in affine))
    every = np.arange(-128, 128)
    first, second = (
        fixed_point.multiply_by_quantized_multiplier(
            (every - zero_point) << _ADD_LEFT_SHIFT,
            *fixed_point.quantize_multiplier(float(scale) / unit),
        )
        for scale, zero_point in affine
    )
    total = first[x.astype(np.intp) + 128] + second[other.astype(np.intp) + 128]
    factor = fixed_point.quantize_multiplier(unit / ((1 << _ADD_LEFT_SHIFT) * float(scale_out)))
    result = fixed_point.multiply_by_quantized_multiplier(total, *factor) + zero_out
    low, high = _clamp(operator.options.activation, scale_out, zero_out)
    return np.clip(result, low, high).astype(np.int8)


def addition(graph: Graph, operator: Operator) -> np.ndarray:
    """An ADD's output for every pair of bytes: int8, shape (256, 256).

    Indexed by both inputs' values plus 128.
    """
    every = np.arange(-128, 128).astype(np.int8)
    first, second = np.meshgrid(every, every, indexing="ij")
    return _add(graph, operator, first, second)


def _execute(graph: Graph, operator: Operator, values: dict[int, np.ndarray]) -> np.ndarray:
    x = values[operator.inputs[0]]
    if operator.kind in _BYTE_FUNCTIONS:
        return table(graph, operator)[x.astype(np.intp) + 128]
    if operator.kind is OperatorKind.ADD:
        return _add(graph, operator, x, values[operator.inputs[1]])
    return _LAYERS[operator.kind](graph, operator, x)


def _batch(graph: Graph) -> int:
    """How many pictures to compute at once."""
    largest = 1
    for operator in graph.operators:
        size = prod(graph.tensors[operator.outputs[0]].shape)
        if operator.kind is OperatorKind.CONV_2D:
            shape = window(graph, operator)
            taps = prod(graph.tensors[operator.inputs[1]].shape[1:])
            size = max(size, shape.output_h * shape.output_w * taps)
        largest = max(largest, size)
    return min(max(1, _WORKING_SET // largest), _MAX_BATCH)


def run(
    graph: Graph, x: np.ndarray, keep: Iterable[int] | Literal["all"] = ()
) -> dict[int, np.ndarray]:
    """Execute a network on a batch of pictures.

    Parameters
    ----------
    graph : Graph
        With one input.
    x : ndarray of int8, shape (n, ...)
        The input tensor's shape with n in place of the batch dimension of 1.
    keep : iterable of int, or "all"
        Tensors to return besides the graph's outputs; "all" for every operator's output.

    Returns
    -------
    dict of int to ndarray of int8
        By tensor index; each with the batch axis first.

    Raises
    ------
    ModelError
        If `x` does not fit the network.
    """
    x = np.asarray(x)
    shape = graph.input.shape
    if x.dtype != np.int8 or x.shape[1:] != shape[1:]:
        wanted = "x".join(map(str, shape[1:]))
        given = "x".join(map(str, x.shape[1:]))
        raise ModelError(f"{graph.name}: takes int8 pictures of {wanted}, not {x.dtype} of {given}")
    if keep == "all":
        kept = {index for operator in graph.operators for index in operator.outputs}
    else:
        kept = {int(index) for index in keep}
    kept |= set(graph.outputs)
    results = {
        index: np.empty((len(x), *graph.tensors[index].shape[1:]), np.int8) for index in kept
    }
    last_use = {
        index: step for step, operator in enumerate(graph.operators) for index in operator.inputs
    }
    batch = _batch(graph)
    for start in range(0, len(x), batch):
        values = {graph.inputs[0]: x[start : start + batch]}
        for step, operator in enumerate(graph.operators):
            index = operator.outputs[0]
            value = _execute(graph, operator, values)
            values[index] = value.reshape(-1, *graph.tensors[index].shape[1:])
            for used in set(operator.inputs):
                if last_use[used] == step and used not in kept:
                    values.pop(used, None)
        for index in kept:
            results[index][start : start + batch] = values[index]
    return results


def predict(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The network's output for a batch of pictures; see `run`.

    Returns
    -------
    ndarray of int8, shape (n, ...)
        The output tensor with the batch axis first.
    """
    return run(graph, x)[graph.outputs[0]]
