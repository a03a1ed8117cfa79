"""MEAN.

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
from model.int8.operators.quantization import affine, saturate

__all__ = ["DEFINITIONS", "MeanOptions", "ReductionLayers", "mean"]


@dataclass(frozen=True)
class MeanOptions(Options):
    """Options of MEAN: whether the averaged dimensions stay, with size 1."""

    keep_dims: bool = False


def _mean(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """MEAN over height and width."""
    return _mean_of_sum(graph, operator, inputs[0].sum(axis=(2, 3), dtype=np.int64))


def _mean_of_sum(graph: Graph, operator: Operator, total: np.ndarray) -> np.ndarray:
    """``QuantizedMeanOrSum``, the count folded into the multiplier."""
    scale_in, zero_in = affine(graph, operator.inputs[0])
    scale_out, zero_out = affine(graph, operator.outputs[0])
    factor = fixed_point.quantize_multiplier(float(scale_in) / float(scale_out))
    multiplier, shift = (int(part) for part in factor)
    count = _mean_count(graph, operator)
    places = min(count.bit_length() - 1, 32, 31 + shift)
    mean = fixed_point.multiply_by_quantized_multiplier(
        total - zero_in * count, (multiplier << places) // count, shift - places
    )
    return saturate(mean + zero_out)


def _mean_count(graph: Graph, operator: Operator) -> int:
    _, height, width, _ = graph.tensors[operator.inputs[0]].shape
    return height * width


def mean(graph: Graph, operator: Operator) -> np.ndarray:
    """A MEAN's output for every sum of the picture's bytes, from the least to the greatest."""
    count = _mean_count(graph, operator)
    return _mean_of_sum(graph, operator, np.arange(-128 * count, 127 * count + 1))


def _check_mean(layer: Examined) -> None:
    layer.affine(layer.input, "input")
    layer.affine(layer.output, "output")
    axes = layer.integers(1, "axes")
    rank = len(layer.input.shape)
    layer.require(rank == 4, f"needs pictures of 1xHxWxC, not {written(layer.input.shape)}")
    chosen = {int(axis) % rank for axis in np.ravel(axes) if -rank <= axis < rank}
    layer.require(chosen == {1, 2}, "averages dimensions other than height and width")
    layer.require(
        prod(layer.output.shape) == layer.input.shape[3],
        f"output of shape {written(layer.output.shape)}",
    )


DEFINITIONS = (
    Definition(
        OperatorKind.MEAN,
        _mean,
        _check_mean,
        OptionTable("ReducerOptions", MeanOptions, (Field("KeepDims", "keep_dims", bool),)),
    ),
)


class ReductionLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def mean(self, scale: float, zero_point: int) -> int:
        """MEAN over height and width, which stay, with size 1."""
        return self._layer(
            OperatorKind.MEAN,
            (1, 1, self.shape[2]),
            (scale, zero_point),
            (("axes", np.array([1, 2], np.int32), None),),
            MeanOptions(keep_dims=True),
        )
