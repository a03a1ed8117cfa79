"""Operators that leave every byte where it is, and SHAPE.

RESHAPE, SQUEEZE and EXPAND_DIMS. What comes out has the shape of the output's tensor, which the
converter has worked out; the operators' own ideas of it are not looked at, as TFLM does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_same_type, written

__all__ = ["DEFINITIONS", "ReshapeOptions", "ShapeLayers", "SqueezeOptions"]


@dataclass(frozen=True)
class ReshapeOptions(Options):
    """Options of RESHAPE: the shape asked for, batch included; the output tensor's shape rules."""

    new_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class SqueezeOptions(Options):
    """Options of SQUEEZE: the dimensions that go; all of size 1 if none is named."""

    squeeze_dims: tuple[int, ...] = ()


def _as_it_is(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return inputs[0]


def _shape(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([graph.tensors[operator.inputs[0]].shape], np.int32)


def _check(layer: Examined) -> None:
    check_same_type(layer)
    layer.require(
        prod(layer.input.shape) == prod(layer.output.shape),
        f"{written(layer.input.shape)} does not hold as many as {written(layer.output.shape)}",
    )


def _check_shape(layer: Examined) -> None:
    layer.require(
        layer.output.dtype == "int32" and layer.output.shape == (len(layer.input.shape),),
        f"output of type {layer.output.dtype} and shape {written(layer.output.shape)}",
    )


DEFINITIONS = (
    Definition(
        kind=OperatorKind.RESHAPE,
        compute=_as_it_is,
        check=_check,
        table=OptionTable(
            "ReshapeOptions", ReshapeOptions, (Field("NewShape", "new_shape", vector=True),)
        ),
        version=1,
    ),
    Definition(
        kind=OperatorKind.SQUEEZE,
        compute=_as_it_is,
        check=_check,
        table=OptionTable(
            "SqueezeOptions", SqueezeOptions, (Field("SqueezeDims", "squeeze_dims", vector=True),)
        ),
        version=1,
    ),
    Definition(OperatorKind.EXPAND_DIMS, _as_it_is, _check, version=1),
    Definition(OperatorKind.SHAPE, _shape, _check_shape, version=1),
)


class ShapeLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def reshape(self, shape: tuple[int, ...]) -> int:
        """RESHAPE; `shape` is without the batch dimension."""
        new_shape = (1, *shape)
        return self._moved(
            OperatorKind.RESHAPE, new_shape, [("shape", new_shape)], ReshapeOptions(new_shape)
        )

    def squeeze(self, dims: tuple[int, ...] = ()) -> int:
        """SQUEEZE: without the dimensions `dims` of size 1, or all but the batch."""
        shape = (1, *self.shape)
        gone = {dim % len(shape) for dim in dims} or {
            axis for axis, size in enumerate(shape) if axis and size == 1
        }
        left = tuple(size for axis, size in enumerate(shape) if axis not in gone)
        return self._moved(OperatorKind.SQUEEZE, left, [], SqueezeOptions(tuple(sorted(gone))))

    def expand_dims(self, axis: int) -> int:
        """EXPAND_DIMS: a dimension of size 1 at `axis`, where the batch is 0."""
        shape = [1, *self.shape]
        shape.insert(axis % (len(shape) + 1), 1)
        return self._moved(OperatorKind.EXPAND_DIMS, tuple(shape), [("axis", axis)])

    def _moved(
        self,
        kind: OperatorKind,
        shape: tuple[int, ...],
        constants: Sequence[tuple[str, object]],
        options: Options | None = None,
    ) -> int:
        """An operator of bytes that keeps type and quantisation; `constants` are int32."""
        return self._layer(
            kind,
            shape,
            self._same(self.last),
            tuple((role, np.array(data, np.int32), None) for role, data in constants),
            options,
            dtype=self._dtype,
            whole=True,
        )
