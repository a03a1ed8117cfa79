"""Arithmetic of two tensors, byte by byte, either of which may be a constant or be broadcast.

ADD, SUB, MUL, MAXIMUM, MINIMUM and PRELU.

Sources: TensorFlow Lite ``kernels/internal/reference/integer_ops/add.h`` and ``mul.h``,
``reference/sub.h``, ``maximum_minimum.h``, ``prelu.h``; TFLM ``micro/kernels/*_common.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from model.int8 import fixed_point
from model.int8.graph import Activation, Graph, Operator, OperatorKind, Options, Tensor
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import ACTIVATION, Compute, Definition, OptionTable
from model.int8.operators.examined import Examined, written
from model.int8.operators.quantization import affine, clamp, fused_activation, saturate

__all__ = ["DEFINITIONS", "ArithmeticLayers", "ArithmeticOptions", "addition"]

_LEFT_SHIFT = 20


@dataclass(frozen=True)
class ArithmeticOptions(Options):
    """Options of ADD, SUB and MUL."""

    activation: Activation = Activation.NONE


def _aligned(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Both inputs with as many axes, so that NumPy broadcasts them as TensorFlow does."""
    rank = max(each.ndim for each in inputs)
    return [
        each.reshape(each.shape[0], *(1,) * (rank - each.ndim), *each.shape[1:])
        for each in inputs[:2]
    ]


def _clamped(graph: Graph, operator: Operator, result: np.ndarray) -> np.ndarray:
    low, high = clamp(fused_activation(operator), *affine(graph, operator.outputs[0]))
    return np.clip(result, low, high).astype(np.int8)


def _on_integers(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    quantized: Callable[[Graph, Operator, np.ndarray, np.ndarray], np.ndarray],
) -> Compute:
    """``function`` of int32, which computations of shapes use, or ``quantized`` of int8."""

    def compute(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
        x, other = _aligned(inputs)
        if x.dtype != np.int8:
            return function(x, other)
        return quantized(graph, operator, x, other)

    return compute


def _sum(
    graph: Graph, operator: Operator, x: np.ndarray, other: np.ndarray, sign: int
) -> np.ndarray:
    """Both inputs in units of twice the larger scale, with 20 bits to spare, summed and scaled.

    ``reference_integer_ops::Add`` and ``reference_ops::Sub``. Each input's part is a function of
    one byte, hence a table.
    """
    scale_out, zero_out = affine(graph, operator.outputs[0])
    quantizations = [affine(graph, index) for index in operator.inputs[:2]]
    unit = 2 * float(max(scale for scale, _ in quantizations))
    every = np.arange(-128, 128)
    first, second = (
        fixed_point.multiply_by_quantized_multiplier(
            (every - zero_point) << _LEFT_SHIFT,
            *fixed_point.quantize_multiplier(float(scale) / unit),
        )
        for scale, zero_point in quantizations
    )
    total = first[x.astype(np.intp) + 128] + sign * second[other.astype(np.intp) + 128]
    factor = fixed_point.quantize_multiplier(unit / ((1 << _LEFT_SHIFT) * float(scale_out)))
    result = fixed_point.multiply_by_quantized_multiplier(total, *factor) + zero_out
    return _clamped(graph, operator, result)


def _add(graph: Graph, operator: Operator, x: np.ndarray, other: np.ndarray) -> np.ndarray:
    return _sum(graph, operator, x, other, 1)


def _sub(graph: Graph, operator: Operator, x: np.ndarray, other: np.ndarray) -> np.ndarray:
    return _sum(graph, operator, x, other, -1)


def _mul(graph: Graph, operator: Operator, x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The product of what both inputs are above their zero points, scaled once."""
    (scale, zero), (other_scale, other_zero) = (affine(graph, i) for i in operator.inputs[:2])
    scale_out, zero_out = affine(graph, operator.outputs[0])
    factor = fixed_point.quantize_multiplier(float(scale) * float(other_scale) / float(scale_out))
    product = (x.astype(np.int64) - zero) * (other.astype(np.int64) - other_zero)
    result = fixed_point.multiply_by_quantized_multiplier(product, *factor) + zero_out
    return _clamped(graph, operator, result)


def _maximum(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The greater byte, whatever the quantisations are."""
    return np.maximum(*_aligned(inputs))


def _minimum(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The lesser byte, whatever the quantisations are."""
    return np.minimum(*_aligned(inputs))


def _prelu(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """``BroadcastPrelu4DSlow``: one factor for what is not negative, another with the slope."""
    x, slope = (each.astype(np.int64) for each in _aligned(inputs))
    (scale, zero), (slope_scale, slope_zero) = (affine(graph, i) for i in operator.inputs[:2])
    scale_out, zero_out = affine(graph, operator.outputs[0])
    positive = fixed_point.quantize_multiplier(float(scale) / float(scale_out))
    negative = fixed_point.quantize_multiplier(float(scale) * float(slope_scale) / float(scale_out))
    centred = x - zero
    result = np.where(
        centred >= 0,
        fixed_point.multiply_by_quantized_multiplier(centred, *positive),
        fixed_point.multiply_by_quantized_multiplier(centred * (slope - slope_zero), *negative),
    )
    return saturate(result + zero_out)


def addition(graph: Graph, operator: Operator) -> np.ndarray:
    """An ADD's output for every pair of bytes: int8, shape (256, 256).

    Indexed by both inputs' values plus 128.
    """
    every = np.arange(-128, 128).astype(np.int8)
    return _add(graph, operator, *np.meshgrid(every, every, indexing="ij"))


def _operands(layer: Examined) -> tuple[Tensor, Tensor]:
    """Both inputs, whose shapes must broadcast to the output's."""
    layer.require(layer.has(1), "one input only")
    first, second = (layer.graph.tensors[index] for index in layer.operator.inputs[:2])
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        layer.refuse(f"combines {written(first.shape)} and {written(second.shape)}")
    layer.require(
        layer.output.shape == shape,
        f"output of shape {written(layer.output.shape)}, where its inputs give {written(shape)}",
    )
    return first, second


def _scales(layer: Examined) -> tuple[float, float, float] | None:
    """Scales of both inputs and the output; None where the layer computes in int32."""
    first, second = _operands(layer)
    if first.dtype == second.dtype == layer.output.dtype == "int32":
        layer.require(
            fused_activation(layer.operator) is Activation.NONE, "a fused activation of int32"
        )
        return None
    quantizations = (
        layer.affine(first, "first input"),
        layer.affine(second, "second input"),
        layer.affine(layer.output, "output"),
    )
    one, other, output = (float(each.scale[0]) for each in quantizations)
    return one, other, output


def _check_sum(layer: Examined) -> None:
    scales = _scales(layer)
    if scales is not None:
        first, second, output = scales
        layer.require(
            2 * max(first, second) < output * 2**20, "output scale far below its inputs' scales"
        )


def _check_mul(layer: Examined) -> None:
    scales = _scales(layer)
    if scales is not None:
        first, second, output = scales
        layer.require(first * second < output * 2**30, "output scale far below its inputs' scales")


def _check_extreme(layer: Examined) -> None:
    first, second = _operands(layer)
    layer.require(
        first.dtype == second.dtype == layer.output.dtype,
        f"combines {first.dtype} and {second.dtype} to {layer.output.dtype}",
    )
    if first.dtype != "int32":
        layer.int8(first, "first input")


def _check_prelu(layer: Examined) -> None:
    first, second = _operands(layer)
    layer.require(first.shape == layer.output.shape, "broadcasts its input")
    scale = float(layer.affine(first, "input").scale[0])
    slope = float(layer.affine(second, "slope").scale[0])
    output = float(layer.affine(layer.output, "output").scale[0])
    layer.require(
        scale * max(slope, 1) < output * 2**30, "output scale far below its input's scale"
    )


def _table(name: str) -> OptionTable:
    return OptionTable(name, ArithmeticOptions, (ACTIVATION,))


DEFINITIONS = (
    Definition(
        OperatorKind.ADD,
        _on_integers(np.add, _add),
        _check_sum,
        _table("AddOptions"),
        elementwise=True,
    ),
    Definition(
        OperatorKind.SUB,
        _on_integers(np.subtract, _sub),
        _check_sum,
        _table("SubOptions"),
        elementwise=True,
    ),
    Definition(
        OperatorKind.MUL,
        _on_integers(np.multiply, _mul),
        _check_mul,
        _table("MulOptions"),
        elementwise=True,
    ),
    Definition(OperatorKind.MAXIMUM, _maximum, _check_extreme, elementwise=True),
    Definition(OperatorKind.MINIMUM, _minimum, _check_extreme, elementwise=True),
    Definition(OperatorKind.PRELU, _prelu, _check_prelu, version=1, elementwise=True),
)


class ArithmeticLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds: `last` combined with `other`.

    ``other`` is the number of a tensor, such as `constant` gives for a constant. Either may be
    broadcast to the other's shape.
    """

    def add(
        self,
        other: int,
        *,
        scale: float,
        zero_point: int,
        activation: Activation = Activation.NONE,
    ) -> int:
        """ADD of `last` and tensor number `other`."""
        return self._combined(OperatorKind.ADD, other, (scale, zero_point), activation)

    def sub(
        self,
        other: int,
        *,
        scale: float,
        zero_point: int,
        activation: Activation = Activation.NONE,
    ) -> int:
        """SUB: `last` less tensor number `other`."""
        return self._combined(OperatorKind.SUB, other, (scale, zero_point), activation)

    def mul(
        self,
        other: int,
        *,
        scale: float,
        zero_point: int,
        activation: Activation = Activation.NONE,
    ) -> int:
        """MUL of `last` and tensor number `other`."""
        return self._combined(OperatorKind.MUL, other, (scale, zero_point), activation)

    def maximum(self, other: int) -> int:
        """MAXIMUM of `last` and tensor number `other`, which keeps the quantisation of `last`."""
        return self._combined(OperatorKind.MAXIMUM, other, self._quantization(self.last), None)

    def minimum(self, other: int) -> int:
        """MINIMUM of `last` and tensor number `other`, which keeps the quantisation of `last`."""
        return self._combined(OperatorKind.MINIMUM, other, self._quantization(self.last), None)

    def prelu(
        self,
        slope: ArrayLike,
        slope_scale: float,
        slope_zero_point: int = 0,
        *,
        scale: float,
        zero_point: int,
    ) -> int:
        """PRELU: `slope` is int8 and broadcasts to the input, as (1, 1, channels) does."""
        alpha = self.constant(np.asarray(slope, np.int8), slope_scale, slope_zero_point)
        return self._combined(OperatorKind.PRELU, alpha, (scale, zero_point), None)

    def _combined(
        self,
        kind: OperatorKind,
        other: int,
        quantization: tuple[float, int],
        activation: Activation | None,
    ) -> int:
        shapes = (self._tensors[self.last].shape, self._tensors[other].shape)
        return self._layer(
            kind,
            np.broadcast_shapes(*shapes),
            quantization,
            options=None if activation is None else ArithmeticOptions(activation),
            others=(other,),
            whole=True,
        )
