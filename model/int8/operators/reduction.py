"""MEAN, SUM, REDUCE_MAX and REDUCE_MIN over any dimensions.

Source: TFLM ``micro/kernels/reduce_common.cc``, TensorFlow Lite ``reference/reduce.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from model.int8 import fixed_point
from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, written
from model.int8.operators.quantization import affine, constant, saturate

__all__ = ["DEFINITIONS", "ReductionLayers", "ReductionOptions", "factor", "mean", "reduced_axes"]


@dataclass(frozen=True)
class ReductionOptions(Options):
    """Options of reductions: whether the dimensions that were reduced stay, with size 1."""

    keep_dims: bool = False


def reduced_axes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """The dimensions of the input over which `operator` reduces, in order."""
    rank = len(graph.tensors[operator.inputs[0]].shape)
    return tuple(sorted({int(axis) % rank for axis in np.ravel(constant(graph, operator, 1))}))


def _axes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """Those axes of an array of examples."""
    return tuple(axis + 1 for axis in reduced_axes(graph, operator))


def _total(graph: Graph, operator: Operator, x: np.ndarray) -> np.ndarray:
    return x.sum(axis=_axes(graph, operator), dtype=np.int64)


def _mean(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return _mean_of_sum(graph, operator, _total(graph, operator, inputs[0]))


def _mean_of_sum(graph: Graph, operator: Operator, total: np.ndarray) -> np.ndarray:
    return _scaled_sum(graph, operator, total, *factor(graph, operator))


def _sum(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    total = _total(graph, operator, inputs[0])
    return _scaled_sum(graph, operator, total, *factor(graph, operator))


def factor(graph: Graph, operator: Operator) -> tuple[int, int]:
    """Multiplier and shift of a MEAN's or SUM's sum.

    ``QuantizedMeanOrSum``: a MEAN's count is folded into the multiplier.
    """
    scale_in, _ = affine(graph, operator.inputs[0])
    scale_out, _ = affine(graph, operator.outputs[0])
    found = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
    multiplier, shift = (int(part) for part in found)
    if operator.kind is OperatorKind.SUM:
        return multiplier, shift
    count = _count(graph, operator)
    places = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << places) // count, shift - places


def _scaled_sum(
    graph: Graph, operator: Operator, total: np.ndarray, multiplier: int, shift: int
) -> np.ndarray:
    _, zero_in = affine(graph, operator.inputs[0])
    _, zero_out = affine(graph, operator.outputs[0])
    centred = fixed_point.wrap_int32(total - zero_in * _count(graph, operator))
    scaled = fixed_point.multiply_by_quantized_multiplier(centred, multiplier, shift)
    return saturate(scaled + zero_out)


def _count(graph: Graph, operator: Operator) -> int:
    """How many bytes are reduced to one."""
    shape = graph.tensors[operator.inputs[0]].shape
    return prod(shape[axis] for axis in reduced_axes(graph, operator))


def mean(graph: Graph, operator: Operator) -> np.ndarray:
    """A MEAN's or SUM's output for every sum of the bytes, from the least to the greatest."""
    count = _count(graph, operator)
    every = np.arange(-128 * count, 127 * count + 1)
    if operator.kind is OperatorKind.SUM:
        return _scaled_sum(graph, operator, every, *factor(graph, operator))
    return _mean_of_sum(graph, operator, every)


def _maximum(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return inputs[0].max(axis=_axes(graph, operator))


def _minimum(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return inputs[0].min(axis=_axes(graph, operator))


def _check_shapes(layer: Examined) -> None:
    axes, shape = layer.integers(1, "axes"), layer.input.shape
    rank = len(shape)
    layer.require(
        all(-rank <= axis < rank for axis in np.ravel(axes)),
        f"reduces dimensions {list(np.ravel(axes))} of {written(shape)}",
    )
    reduced = reduced_axes(layer.graph, layer.operator)
    kept = tuple(1 if axis in reduced else size for axis, size in enumerate(shape))
    left = tuple(size for axis, size in enumerate(shape) if axis not in reduced)
    layer.require(
        layer.output.shape in (kept, left), f"output of shape {written(layer.output.shape)}"
    )


def _check_sum(layer: Examined) -> None:
    scale_in = float(layer.affine(layer.input, "input").scale[0])
    scale_out = float(layer.affine(layer.output, "output").scale[0])
    _check_shapes(layer)
    layer.require(scale_in < scale_out * 2**30, "output scale far below its input's scale")


def _check_extreme(layer: Examined) -> None:
    source = layer.affine(layer.input, "input")
    target = layer.affine(layer.output, "output")
    _check_shapes(layer)
    layer.require(
        source.scale[0] == target.scale[0] and source.zero_point[0] == target.zero_point[0],
        "its output has another quantisation than its input, which takes a QUANTIZE behind it",
    )


_TABLE = OptionTable("ReducerOptions", ReductionOptions, (Field("KeepDims", "keep_dims", bool),))

DEFINITIONS = (
    Definition(OperatorKind.MEAN, _mean, _check_sum, _TABLE),
    Definition(OperatorKind.SUM, _sum, _check_sum, _TABLE),
    Definition(OperatorKind.REDUCE_MAX, _maximum, _check_extreme, _TABLE),
    Definition(OperatorKind.REDUCE_MIN, _minimum, _check_extreme, _TABLE),
)


class ReductionLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds.

    ``axes`` counts the batch dimension as 0; height and width, 1 and 2, unless given.
    """

    def mean(
        self,
        scale: float,
        zero_point: int,
        axes: tuple[int, ...] = (1, 2),
        keep_dims: bool = True,
    ) -> int:
        """MEAN."""
        return self._reduction(OperatorKind.MEAN, axes, keep_dims, (scale, zero_point))

    def sum(
        self,
        scale: float,
        zero_point: int,
        axes: tuple[int, ...] = (1, 2),
        keep_dims: bool = True,
    ) -> int:
        """SUM."""
        return self._reduction(OperatorKind.SUM, axes, keep_dims, (scale, zero_point))

    def reduce_max(self, axes: tuple[int, ...] = (1, 2), keep_dims: bool = True) -> int:
        """REDUCE_MAX."""
        quantization = self._quantization(self.last)
        return self._reduction(OperatorKind.REDUCE_MAX, axes, keep_dims, quantization)

    def reduce_min(self, axes: tuple[int, ...] = (1, 2), keep_dims: bool = True) -> int:
        """REDUCE_MIN."""
        quantization = self._quantization(self.last)
        return self._reduction(OperatorKind.REDUCE_MIN, axes, keep_dims, quantization)

    def _reduction(
        self,
        kind: OperatorKind,
        axes: tuple[int, ...],
        keep_dims: bool,
        quantization: tuple[float, int],
    ) -> int:
        shape = (1, *self.shape)
        reduced = {axis % len(shape) for axis in axes}
        kept = (1 if axis in reduced else size for axis, size in enumerate(shape))
        left = (size for axis, size in enumerate(shape) if axis not in reduced)
        return self._layer(
            kind,
            tuple(kept if keep_dims else left),
            quantization,
            (("axes", np.array(axes, np.int32), None),),
            ReductionOptions(keep_dims),
            whole=True,
        )
