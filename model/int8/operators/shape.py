"""Operators that leave every byte where it is: RESHAPE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, written

__all__ = ["DEFINITIONS", "ReshapeOptions", "ShapeLayers"]


@dataclass(frozen=True)
class ReshapeOptions(Options):
    """Options of RESHAPE: the shape asked for, batch included; the output tensor's shape rules."""

    new_shape: tuple[int, ...] = ()


def _reshape(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return inputs[0]


def _check_reshape(layer: Examined) -> None:
    layer.affine(layer.input, "input")
    layer.affine(layer.output, "output")
    layer.require(
        prod(layer.input.shape) == prod(layer.output.shape),
        f"{written(layer.input.shape)} does not hold as many as {written(layer.output.shape)}",
    )
    if layer.has(1):
        layer.integers(1, "shape")


DEFINITIONS = (
    Definition(
        kind=OperatorKind.RESHAPE,
        compute=_reshape,
        check=_check_reshape,
        table=OptionTable(
            "ReshapeOptions", ReshapeOptions, (Field("NewShape", "new_shape", vector=True),)
        ),
        version=1,
    ),
)


class ShapeLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def reshape(self, shape: tuple[int, ...]) -> int:
        """RESHAPE; `shape` is without the batch dimension."""
        new_shape = (1, *shape)
        return self._layer(
            OperatorKind.RESHAPE,
            shape,
            self._quantization(self.last),
            (("shape", np.array(new_shape, np.int32), None),),
            ReshapeOptions(new_shape),
        )
