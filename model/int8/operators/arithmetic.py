"""ADD.

Source: TensorFlow Lite ``kernels/internal/reference/integer_ops/add.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.int8 import fixed_point
from model.int8.graph import Activation, Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import ACTIVATION, Definition, OptionTable
from model.int8.operators.examined import Examined, check_same_shape, written
from model.int8.operators.quantization import affine, clamp, fused_activation

__all__ = ["DEFINITIONS", "AddOptions", "ArithmeticLayers", "addition"]

_LEFT_SHIFT = 20


@dataclass(frozen=True)
class AddOptions(Options):
    """Options of ADD."""

    activation: Activation = Activation.NONE


def _add(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Both inputs in units of twice the larger scale, with 20 bits to spare, summed and scaled.

    ``reference_integer_ops::Add``. Each input's part is a function of one byte, hence a table.
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
    x, other = (each.astype(np.intp) + 128 for each in inputs)
    total = first[x] + second[other]
    factor = fixed_point.quantize_multiplier(unit / ((1 << _LEFT_SHIFT) * float(scale_out)))
    result = fixed_point.multiply_by_quantized_multiplier(total, *factor) + zero_out
    low, high = clamp(fused_activation(operator), scale_out, zero_out)
    return np.clip(result, low, high).astype(np.int8)


def addition(graph: Graph, operator: Operator) -> np.ndarray:
    """An ADD's output for every pair of bytes: int8, shape (256, 256).

    Indexed by both inputs' values plus 128.
    """
    every = np.arange(-128, 128).astype(np.int8)
    return _add(graph, operator, np.meshgrid(every, every, indexing="ij"))


def _check_add(layer: Examined) -> None:
    layer.require(layer.has(1), "one input only")
    other = layer.graph.tensors[layer.operator.inputs[1]]
    affine = [
        layer.affine(layer.input, "input"),
        layer.affine(other, "second input"),
        layer.affine(layer.output, "output"),
    ]
    check_same_shape(layer)
    layer.require(
        other.shape == layer.input.shape,
        f"adds {written(layer.input.shape)} and {written(other.shape)}; shapes must be equal",
    )
    layer.require(other.data is None, "adding a constant is not supported")
    first, second, output = (float(each.scale[0]) for each in affine)
    layer.require(
        2 * max(first, second) <= output * 2**20, "output scale far below its inputs' scales"
    )


DEFINITIONS = (
    Definition(
        OperatorKind.ADD, _add, _check_add, OptionTable("AddOptions", AddOptions, (ACTIVATION,))
    ),
)


class ArithmeticLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def add(
        self,
        other: int,
        *,
        scale: float,
        zero_point: int,
        activation: Activation = Activation.NONE,
    ) -> int:
        """ADD of `last` and tensor number `other`."""
        return self._layer(
            OperatorKind.ADD,
            self.shape,
            (scale, zero_point),
            options=AddOptions(activation),
            others=(other,),
        )
