"""FULLY_CONNECTED.

Source: TensorFlow Lite ``kernels/internal/reference/integer_ops/fully_connected.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import tflite
from numpy.typing import ArrayLike

from model.int8.graph import Activation, Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import ACTIVATION, Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_weights, written
from model.int8.operators.quantization import (
    accumulate,
    bias,
    constant,
    exact_float,
    requantization,
)

__all__ = ["DEFINITIONS", "DenseLayers", "DenseOptions"]


_MAX_PRODUCTS = 1 << 28
"""Products over one example: bounds the time of the reference."""


@dataclass(frozen=True)
class DenseOptions(Options):
    """Options of FULLY_CONNECTED; the output tensor's shape says which dimensions are kept."""

    activation: Activation = Activation.NONE
    keep_num_dims: bool = False
    weights_format: int = tflite.FullyConnectedOptionsWeightsFormat.DEFAULT


def _fully_connected(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Matrix product: weights (outputs, inputs)."""
    rule = requantization(graph, operator)
    weights = constant(graph, operator, 1).astype(np.int64).T
    exact = exact_float(weights, rule.input_zero_point)
    flat = inputs[0].reshape(-1, len(weights)).astype(exact) - exact(rule.input_zero_point)
    return rule.apply(accumulate(flat, weights, bias(graph, operator)))


def _check(layer: Examined) -> None:
    weights = check_weights(layer, rank=2, axis=0)
    options = layer.operator.options
    assert isinstance(options, DenseOptions)
    layer.require(
        options.weights_format == tflite.FullyConnectedOptionsWeightsFormat.DEFAULT,
        "shuffled weights are not supported",
    )
    units, inputs = weights.shape
    layer.require(
        prod(layer.input.shape) % inputs == 0,
        f"weights for {inputs} inputs on {prod(layer.input.shape)}",
    )
    rows = prod(layer.input.shape) // inputs
    layer.require(rows * units * inputs <= _MAX_PRODUCTS, "it is too large to compute")
    layer.require(
        layer.output.shape[-1:] == (units,) and prod(layer.output.shape) == rows * units,
        f"weights for {units} outputs on {written(layer.output.shape)}",
    )


DEFINITIONS = (
    Definition(
        kind=OperatorKind.FULLY_CONNECTED,
        compute=_fully_connected,
        check=_check,
        table=OptionTable(
            "FullyConnectedOptions",
            DenseOptions,
            (
                ACTIVATION,
                Field("WeightsFormat", "weights_format"),
                Field("KeepNumDims", "keep_num_dims", bool),
            ),
        ),
        version=4,
    ),
)


class DenseLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def fully_connected(
        self,
        weights: np.ndarray,
        weight_scale: ArrayLike,
        bias: np.ndarray | None,
        *,
        scale: float,
        zero_point: int,
        activation: Activation = Activation.NONE,
        keep_num_dims: bool = False,
    ) -> int:
        """FULLY_CONNECTED: weights (outputs, inputs).

        With `keep_num_dims` it works on the last dimension alone, at every place of a map.
        """
        kept = self.shape[:-1] if keep_num_dims else ()
        return self._weighted(
            OperatorKind.FULLY_CONNECTED,
            (*kept, len(weights)),
            (scale, zero_point),
            (weights, weight_scale, 0),
            bias,
            DenseOptions(activation, keep_num_dims),
        )
