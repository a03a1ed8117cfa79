"""Operators that are a function of one byte.

Sources: TensorFlow Lite ``kernels/internal/reference/integer_ops`` (``logistic.h``, ``tanh.h``),
``reference_ops`` (``leaky_relu.h``, ``hard_swish.h``, ``requantize.h``); TFLM ``activations``,
``elementwise``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.int8 import fixed_point, float_functions
from model.int8.graph import Activation, Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import ByteFunction, Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_same_shape
from model.int8.operators.quantization import affine, clamp, saturate

__all__ = ["DEFINITIONS", "ByteFunctionLayers", "LeakyReluOptions", "of_every_byte", "rescale"]


_RSQRT_BITS = 20
"""Bits behind the point of the inverse square root: ``kShift``."""


@dataclass(frozen=True)
class LeakyReluOptions(Options):
    """Options of LEAKY_RELU: the slope of the negative side."""

    alpha: float = 0.2


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
    scale, zero_in = affine(graph, operator.inputs[0])
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


def rescale(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``reference_ops::Requantize``: from the input's to the output's quantisation."""
    scale_in, zero_in = affine(graph, operator.inputs[0])
    scale_out, zero_out = affine(graph, operator.outputs[0])
    multiplier, shift = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
    return zero_out + fixed_point.multiply_by_quantized_multiplier(x - zero_in, multiplier, shift)


def _relu(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``ReluQuantized``: rescale, then clamp at the output's zero point."""
    _, zero_out = affine(graph, operator.outputs[0])
    return np.maximum(rescale(graph, operator, x), zero_out)


def _relu6(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``Relu6Quantized``: a clamp by the input's quantisation, without rescaling."""
    low, high = clamp(Activation.RELU6, *affine(graph, operator.inputs[0]))
    return np.clip(x, low, high)


def _leaky_relu(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``QuantizeLeakyRelu``: one factor for either sign."""
    assert isinstance(operator.options, LeakyReluOptions)
    scale_in, zero_in = affine(graph, operator.inputs[0])
    scale_out, zero_out = affine(graph, operator.outputs[0])
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
    scale_in, zero_in = affine(graph, operator.inputs[0])
    scale_out, zero_out = affine(graph, operator.outputs[0])
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


def _abs(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """``AbsEvalQuantized``: what is above or below the zero point, rescaled where that matters."""
    scale_in, zero_in = affine(graph, operator.inputs[0])
    scale_out, zero_out = affine(graph, operator.outputs[0])
    distance = np.abs(x - zero_in)
    if scale_in == scale_out:
        return distance + zero_out
    factor = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
    return zero_out + fixed_point.multiply_by_quantized_multiplier(distance, *factor)


def _elu(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """exp(x) - 1 below zero: ``PopulateLookupTable``, in float32."""
    scale_in, zero_in = affine(graph, operator.inputs[0])
    scale_out, zero_out = affine(graph, operator.outputs[0])
    value = scale_in * (x - zero_in).astype(np.float32)
    below = float_functions.exp(np.minimum(value, np.float32(0))) - np.float32(1)
    steps = np.where(value < 0, below, value) * (np.float32(1) / scale_out)
    rounded = np.sign(steps) * np.floor(np.abs(steps).astype(np.float64) + 0.5)
    return (np.clip(rounded, -512, 512) + zero_out).astype(np.int64)


def _rsqrt_factor(graph: Graph, operator: Operator) -> float:
    """Scale of 1 / sqrt(x) for the stored x: ``SetRsqrtOutputMultiplier``."""
    scale_in, _ = affine(graph, operator.inputs[0])
    scale_out, _ = affine(graph, operator.outputs[0])
    return float(1 / (np.sqrt(float(scale_in)) * float(scale_out)))


def _rsqrt(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    """1 / sqrt(x), and the greatest byte for 0: ``RsqrtEvalQuantized``."""
    _, zero_in = affine(graph, operator.inputs[0])
    _, zero_out = affine(graph, operator.outputs[0])
    multiplier, shift = fixed_point.quantize_multiplier(_rsqrt_factor(graph, operator))
    root, root_shift = fixed_point.inverse_square_root(np.maximum(x - zero_in, 1))
    fine = fixed_point.multiply_by_quantized_multiplier(1, root, root_shift + _RSQRT_BITS)
    scaled = fixed_point.multiply_by_quantized_multiplier(fine, multiplier, shift - _RSQRT_BITS)
    return np.where(x == zero_in, 127, scaled + zero_out)


def _multiplier_16(factor: float) -> tuple[int, int]:
    """Multiplier in Q0.15 and shift: ``QuantizeMultiplier``, then its upper half, rounded."""
    multiplier, shift = fixed_point.quantize_multiplier(factor)
    return min((int(multiplier) + (1 << 15)) >> 16, (1 << 15) - 1), int(shift)


def _saturate_16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def _high_mul_16(x: np.ndarray, multiplier: int) -> np.ndarray:
    """``SaturatingRoundingDoublingHighMul`` of 16-bit numbers."""
    return _saturate_16((x * multiplier + (1 << 14)) >> 15)


def _check(layer: Examined) -> None:
    scale_in = float(layer.affine(layer.input, "input").scale[0])
    scale_out = float(layer.affine(layer.output, "output").scale[0])
    check_same_shape(layer)
    layer.require(scale_in < scale_out * 2**30, "output scale far below its input's scale")


def _check_through_q4(layer: Examined) -> None:
    """The kernels compute in their own output scale, whatever the tensor's is."""
    scale_in = float(layer.affine(layer.input, "input").scale[0])
    layer.affine(layer.output, "output")
    check_same_shape(layer)
    # beyond, the kernel shifts by more places than there are
    layer.require(
        2.0**-28 <= scale_in < 2.0**34, f"its input's scale is {scale_in:g}, which is out of range"
    )


def _check_logistic(layer: Examined) -> None:
    _check_through_q4(layer)
    zero_point = int(layer.affine(layer.output, "output").zero_point[0])
    layer.require(zero_point == -128, f"output must have zero point -128, not {zero_point}")


def _check_elu(layer: Examined) -> None:
    _check(layer)
    scale_in = float(layer.affine(layer.input, "input").scale[0])
    scale_out = float(layer.affine(layer.output, "output").scale[0])
    layer.require(scale_in < scale_out * 2**22, "output scale far below its input's scale")


def _check_relu6(layer: Examined) -> None:
    _check(layer)
    scale_in = float(layer.affine(layer.input, "input").scale[0])
    layer.require(6 < scale_in * 2**31, f"its input's scale is {scale_in:g}: 6 is out of range")


def _check_leaky_relu(layer: Examined) -> None:
    _check(layer)
    options = layer.operator.options
    assert isinstance(options, LeakyReluOptions)
    layer.require(0 <= options.alpha < 2**20, f"alpha of {options.alpha:g}")
    scale_in = float(layer.affine(layer.input, "input").scale[0])
    scale_out = float(layer.affine(layer.output, "output").scale[0])
    layer.require(
        scale_in * options.alpha < scale_out * 2**30, "output scale far below its input's scale"
    )


def _check_hard_swish(layer: Examined) -> None:
    _check(layer)
    scale_in, scale_out = (
        float(layer.affine(tensor, role).scale[0])
        for tensor, role in ((layer.input, "input"), (layer.output, "output"))
    )
    # the reference kernel can only shift right, and shifts 16 bits
    layer.require(scale_in / 128 < scale_out, "output scale far below its input's scale")
    _, output_shift = _multiplier_16(scale_in / 128 / scale_out)
    layer.require(output_shift >= -15, "output scale far above its input's scale")
    _, reluish_shift = _multiplier_16(scale_in / 128 / (3 / 32768))
    layer.require(
        -15 <= reluish_shift <= 16, f"its input's scale is {scale_in:g}, which is out of range"
    )


def _check_rsqrt(layer: Examined) -> None:
    layer.affine(layer.input, "input")
    layer.affine(layer.output, "output")
    check_same_shape(layer)
    zero_point = int(layer.affine(layer.input, "input").zero_point[0])
    layer.require(zero_point == -128, "may take the square root of a negative number")
    factor = _rsqrt_factor(layer.graph, layer.operator)
    # Beyond, the reference kernel shifts by more bits than there are.
    layer.require(2.0**-12 <= factor < 2.0**_RSQRT_BITS, f"a factor of {factor:g}")


def of_every_byte(function: ByteFunction, graph: Graph, operator: Operator) -> np.ndarray:
    """The 256 answers of `function`: int8, indexed by the input plus 128."""
    return saturate(function(graph, operator, np.arange(-128, 128, dtype=np.int64)))


def byte_definition(
    kind: OperatorKind,
    function: ByteFunction,
    check: Callable[[Examined], None] = _check,
    table: OptionTable | None = None,
    version: int = 2,
) -> Definition:
    """The record of an operator that maps each byte by `function`."""

    def compute(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return of_every_byte(function, graph, operator)[inputs[0].astype(np.intp) + 128]

    return Definition(kind, compute, check, table, version, function, elementwise=True)


DEFINITIONS = (
    byte_definition(OperatorKind.LOGISTIC, _logistic, _check_logistic),
    byte_definition(OperatorKind.TANH, _tanh, _check_through_q4),
    byte_definition(OperatorKind.RELU, _relu),
    byte_definition(OperatorKind.RELU6, _relu6, _check_relu6),
    byte_definition(
        OperatorKind.LEAKY_RELU,
        _leaky_relu,
        _check_leaky_relu,
        OptionTable("LeakyReluOptions", LeakyReluOptions, (Field("Alpha", "alpha", float),)),
    ),
    byte_definition(OperatorKind.ABS, _abs),
    byte_definition(OperatorKind.RSQRT, _rsqrt, _check_rsqrt),
    byte_definition(OperatorKind.ELU, _elu, _check_elu, version=1),
    byte_definition(OperatorKind.HARD_SWISH, _hard_swish, _check_hard_swish, version=1),
)


class ByteFunctionLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def logistic(self) -> int:
        """LOGISTIC: the sigmoid."""
        return self._layer(OperatorKind.LOGISTIC, self.shape, (1 / 256, -128))

    def tanh(self) -> int:
        """TANH."""
        return self._layer(OperatorKind.TANH, self.shape, (1 / 128, 0))

    def relu(self, scale: float, zero_point: int) -> int:
        """RELU on its own, with its own output quantisation."""
        return self._layer(OperatorKind.RELU, self.shape, (scale, zero_point))

    def relu6(self) -> int:
        """RELU6 on its own; it keeps its input's quantisation."""
        quantization = self._quantization(self.last)
        return self._layer(OperatorKind.RELU6, self.shape, quantization)

    def leaky_relu(self, alpha: float, scale: float, zero_point: int) -> int:
        """LEAKY_RELU."""
        return self._layer(
            OperatorKind.LEAKY_RELU,
            self.shape,
            (scale, zero_point),
            options=LeakyReluOptions(alpha),
        )

    def hard_swish(self, scale: float, zero_point: int) -> int:
        """HARD_SWISH."""
        return self._layer(OperatorKind.HARD_SWISH, self.shape, (scale, zero_point))

    def elu(self, scale: float, zero_point: int) -> int:
        """ELU."""
        return self._layer(OperatorKind.ELU, self.shape, (scale, zero_point))

    def abs(self, scale: float, zero_point: int) -> int:
        """ABS."""
        return self._layer(OperatorKind.ABS, self.shape, (scale, zero_point))

    def rsqrt(self, scale: float, zero_point: int) -> int:
        """RSQRT; the zero point of its input must be -128."""
        return self._layer(OperatorKind.RSQRT, self.shape, (scale, zero_point))
