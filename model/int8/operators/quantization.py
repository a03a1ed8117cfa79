"""Scales, zero points and multipliers, as the operators share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from model.errors import ModelError
from model.int8 import fixed_point
from model.int8.graph import (
    ABSENT,
    WEIGHTED,
    Activation,
    Graph,
    Operator,
    OperatorKind,
    Quantization,
)

__all__ = [
    "Requantization",
    "accumulate",
    "affine",
    "bias",
    "clamp",
    "constant",
    "exact_float",
    "fused_activation",
    "requantization",
    "saturate",
]


@runtime_checkable
class _Fused(Protocol):
    """Options with an activation in them."""

    @property
    def activation(self) -> Activation: ...


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
        CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED or TRANSPOSE_CONV.

    Raises
    ------
    TypeError
        If `operator` has no weights.
    """
    transposed = operator.kind is OperatorKind.TRANSPOSE_CONV
    if operator.kind not in WEIGHTED and not transposed:
        raise TypeError(f"{operator.kind.value} {operator.name!r} has no weights")
    weights = graph.tensors[operator.inputs[1]]
    scale_in, zero_in = affine(graph, operator.inputs[2 if transposed else 0])
    scale_out, zero_out = affine(graph, operator.outputs[0])
    scale_w = _quantization(graph, operator.inputs[1]).scale
    product = float(scale_in) * scale_w.astype(np.float64)
    channels = weights.shape[3 if operator.kind is OperatorKind.DEPTHWISE_CONV_2D else 0]
    multiplier, shift = fixed_point.quantize_multiplier(product / float(scale_out))
    minimum, maximum = clamp(fused_activation(operator), scale_out, zero_out)
    return Requantization(
        multiplier=np.broadcast_to(multiplier, (channels,)),
        shift=np.broadcast_to(shift, (channels,)),
        input_zero_point=zero_in,
        output_zero_point=zero_out,
        minimum=minimum,
        maximum=maximum,
    )


def _quantization(graph: Graph, tensor: int) -> Quantization:
    quantization = graph.tensors[tensor].quantization
    if quantization is None:
        raise ModelError(f"tensor {graph.tensors[tensor].name}: no quantisation")
    return quantization


def affine(graph: Graph, tensor: int) -> tuple[np.float32, int]:
    """Scale and zero point of a tensor that has one of each."""
    quantization = _quantization(graph, tensor)
    return quantization.scale[0], int(quantization.zero_point[0])


def _round_half_away(x: float) -> int:
    """C's ``round``."""
    return int(np.copysign(np.floor(abs(float(x)) + 0.5), x))


def fused_activation(operator: Operator) -> Activation:
    """The activation that `operator` applies to its output."""
    return operator.options.activation if isinstance(operator.options, _Fused) else Activation.NONE


def clamp(activation: Activation, scale: np.float32, zero_point: int) -> tuple[int, int]:
    """int8 range of a fused activation: ``CalculateActivationRangeQuantized``, in float32.

    TANH and SIGN_BIT do nothing there, so they do nothing here.
    """

    def quantized(value: float) -> int:
        # The bound does not matter beyond 255 steps, and has to fit.
        with np.errstate(over="ignore"):
            steps = float(np.float32(value) / scale)
        return zero_point + _round_half_away(min(max(steps, -256.0), 256.0))

    low, high = -128, 127
    if activation in (Activation.RELU, Activation.RELU6):
        low = max(low, zero_point)
    if activation is Activation.RELU6:
        high = min(high, quantized(6))
    if activation is Activation.RELU_N1_TO_1:
        low, high = max(low, quantized(-1)), min(high, quantized(1))
    return low, high


def saturate(x: np.ndarray) -> np.ndarray:
    """Cut to the range of int8."""
    return np.clip(x, -128, 127).astype(np.int8)


def constant(graph: Graph, operator: Operator, position: int) -> np.ndarray:
    """The constant that `operator` reads at `position`."""
    data = graph.tensors[operator.inputs[position]].data
    if data is None:
        raise ModelError(f"layer {operator.name}: input {position} must be a constant")
    return data


def bias(graph: Graph, operator: Operator, position: int = 2) -> np.ndarray | None:
    """The bias of a weighted layer, int64; None if there is none."""
    if len(operator.inputs) <= position or operator.inputs[position] == ABSENT:
        return None
    return constant(graph, operator, position).astype(np.int64).ravel()


def exact_float(weights: np.ndarray, zero_point: int) -> type[np.floating]:
    """Narrowest float that holds every partial sum of ``(int8 - zero_point) @ weights``."""
    largest_input = max(127 - zero_point, 128 + zero_point)
    bound = largest_input * int(np.abs(weights).sum(axis=0).max(initial=0))
    return np.float32 if bound < 1 << 24 else np.float64


def accumulate(x: np.ndarray, weights: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
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
