"""Operators that turn logits into answers: SOFTMAX.

Source: TensorFlow Lite ``kernels/internal/reference/softmax.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.int8 import fixed_point
from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_fixed_output
from model.int8.operators.quantization import affine

__all__ = ["DEFINITIONS", "ScoreLayers", "SoftmaxOptions"]

_MAX_CLASSES = 4095


@dataclass(frozen=True)
class SoftmaxOptions(Options):
    """Options of SOFTMAX: ``softmax(beta * x)``."""

    beta: float = 1.0


def _softmax(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    assert isinstance(operator.options, SoftmaxOptions)
    scale, _ = affine(graph, operator.inputs[0])
    return fixed_point.softmax(inputs[0], float(scale), float(np.float32(operator.options.beta)))


def _check_softmax(layer: Examined) -> None:
    quantization = layer.affine(layer.input, "input")
    check_fixed_output(layer, 1 / 256, -128)
    options = layer.operator.options
    assert isinstance(options, SoftmaxOptions)
    layer.require(
        layer.input.shape[-1] <= _MAX_CLASSES,
        f"{layer.input.shape[-1]} classes; {_MAX_CLASSES} are possible",
    )
    # below 2**-27 the factor cannot be written as a left shift
    factor = float(options.beta) * float(quantization.scale[0])
    layer.require(2.0**-26 <= factor < np.inf, f"beta times scale is {factor:g}")


DEFINITIONS = (
    Definition(
        OperatorKind.SOFTMAX,
        _softmax,
        _check_softmax,
        OptionTable("SoftmaxOptions", SoftmaxOptions, (Field("Beta", "beta", float),)),
    ),
)


class ScoreLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def softmax(self, beta: float = 1.0) -> int:
        """SOFTMAX."""
        options = SoftmaxOptions(beta)
        return self._layer(OperatorKind.SOFTMAX, self.shape, (1 / 256, -128), options=options)
