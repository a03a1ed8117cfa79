"""Operators that put tensors beside one another, bytes as they are: CONCATENATION and PACK.

Source: TFLM ``micro/kernels/concatenation.cc``, which asks for one quantisation, and ``pack.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.int8.graph import Activation, Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import ACTIVATION, Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_same_type, written

__all__ = ["DEFINITIONS", "ConcatenationOptions", "JoiningLayers", "PackOptions", "joined_axis"]

_MAX_INPUTS = 10
"""``kMaxInputNum`` of TFLM's CONCATENATION."""


@dataclass(frozen=True)
class ConcatenationOptions(Options):
    """Options of CONCATENATION; the only activation that TFLM takes is none."""

    axis: int = 0
    activation: Activation = Activation.NONE


@dataclass(frozen=True)
class PackOptions(Options):
    """Options of PACK: how many inputs there are, and which dimension counts them."""

    values_count: int = 0
    axis: int = 0


def joined_axis(graph: Graph, operator: Operator) -> int:
    """The dimension of the output along which a CONCATENATION or PACK puts its inputs."""
    assert isinstance(operator.options, ConcatenationOptions | PackOptions)
    return operator.options.axis % len(graph.tensors[operator.outputs[0]].shape)


def _alike(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """With as many examples of constants as of activations."""
    count = max(len(each) for each in inputs)
    return [np.broadcast_to(each, (count, *each.shape[1:])) for each in inputs]


def _concatenation(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(_alike(inputs), axis=joined_axis(graph, operator) + 1)


def _pack(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(_alike(inputs), axis=joined_axis(graph, operator) + 1)


def _check(layer: Examined) -> None:
    check_same_type(layer)
    options, output = layer.operator.options, layer.output
    assert isinstance(options, ConcatenationOptions | PackOptions)
    rank = len(output.shape)
    layer.require(
        -rank <= options.axis < rank,
        f"joins along dimension {options.axis} of {written(output.shape)}",
    )
    axis, total = options.axis % rank, 0
    for position in range(len(layer.operator.inputs)):
        part = layer.tensor(position)
        layer.require(part.dtype == output.dtype, f"from {part.dtype} to {output.dtype}")
        shape = part.shape
        if isinstance(options, PackOptions):
            shape = (*shape[:axis], 1, *shape[axis:])
        layer.require(
            len(shape) == rank
            and shape[:axis] + shape[axis + 1 :] == output.shape[:axis] + output.shape[axis + 1 :],
            f"puts {written(part.shape)} into {written(output.shape)}",
        )
        total += shape[axis]
    layer.require(total == output.shape[axis], f"puts {total} into {output.shape[axis]}")
    if isinstance(options, ConcatenationOptions):
        if output.dtype == "int8":
            _check_one_quantization(layer)
        layer.require(options.activation is Activation.NONE, "a fused activation")
        count = len(layer.operator.inputs)
        layer.require(count <= _MAX_INPUTS, f"{count} inputs; {_MAX_INPUTS} are possible")


def _check_one_quantization(layer: Examined) -> None:
    target = layer.scaled(layer.output, "output")
    for position in range(len(layer.operator.inputs)):
        source = layer.scaled(layer.tensor(position), f"input number {position}")
        layer.require(
            source.scale[0] == target.scale[0] and source.zero_point[0] == target.zero_point[0],
            f"input number {position} has another quantisation than its output",
        )


DEFINITIONS = (
    Definition(
        OperatorKind.CONCATENATION,
        _concatenation,
        _check,
        OptionTable(
            "ConcatenationOptions", ConcatenationOptions, (Field("Axis", "axis"), ACTIVATION)
        ),
    ),
    Definition(
        OperatorKind.PACK,
        _pack,
        _check,
        OptionTable(
            "PackOptions",
            PackOptions,
            (Field("ValuesCount", "values_count"), Field("Axis", "axis")),
        ),
    ),
)


class JoiningLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds. Axes count the batch as 0."""

    def concatenation(self, others: Sequence[int], axis: int = -1) -> int:
        """CONCATENATION of `last` and the tensors of these numbers, all of one quantisation."""
        shapes = [self._tensors[index].shape for index in (self.last, *others)]
        shape = list(shapes[0])
        shape[axis] = sum(each[axis] for each in shapes)
        return self._joined(
            OperatorKind.CONCATENATION, others, tuple(shape), ConcatenationOptions(axis)
        )

    def pack(self, others: Sequence[int], axis: int) -> int:
        """PACK of `last` and the tensors of these numbers, along a new dimension."""
        shape = list(self._tensors[self.last].shape)
        shape.insert(axis % (len(shape) + 1), len(others) + 1)
        return self._joined(
            OperatorKind.PACK, others, tuple(shape), PackOptions(len(others) + 1, axis)
        )

    def _joined(
        self, kind: OperatorKind, others: Sequence[int], shape: tuple[int, ...], options: Options
    ) -> int:
        return self._layer(
            kind,
            shape,
            self._same(self.last),
            options=options,
            others=tuple(others),
            dtype=self._dtype,
            whole=True,
        )
