"""Operators that put every byte elsewhere: TRANSPOSE, REVERSE_V2, DEPTH_TO_SPACE, SPACE_TO_DEPTH.

Source: TensorFlow Lite ``kernels/internal/reference/transpose.h``, ``reverse.h``,
``depth_to_space.h`` and ``space_to_depth.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_same_shape, check_same_type, written
from model.int8.operators.quantization import constant

__all__ = ["DEFINITIONS", "BlockOptions", "LayoutLayers", "permutation"]

_MAX_RANK = 5


@dataclass(frozen=True)
class BlockOptions(Options):
    """Options of DEPTH_TO_SPACE and SPACE_TO_DEPTH: the side of the square of pixels."""

    block_size: int = 0


def permutation(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """For each dimension of a TRANSPOSE's output, the dimension of its input."""
    return tuple(int(axis) for axis in constant(graph, operator, 1).ravel())


def _transpose(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    axes = permutation(graph, operator)
    return inputs[0].transpose(0, *(axis + 1 for axis in axes))


def _reversed_axes(graph: Graph, operator: Operator) -> list[int]:
    """The dimensions along which a REVERSE_V2 turns its input round, in order."""
    rank = len(graph.tensors[operator.inputs[0]].shape)
    return sorted(int(axis) % rank for axis in constant(graph, operator, 1).ravel())


def _reverse(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return np.flip(inputs[0], tuple(axis + 1 for axis in _reversed_axes(graph, operator)))


def _side(operator: Operator) -> int:
    assert isinstance(operator.options, BlockOptions)
    return operator.options.block_size


def _depth_to_space(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Channels (row in the block, column in the block, channel) become pixels."""
    side = _side(operator)
    _, height, width, channels = graph.tensors[operator.inputs[0]].shape
    blocks = inputs[0].reshape(-1, height, width, side, side, channels // side**2)
    return blocks.transpose(0, 1, 3, 2, 4, 5)


def _space_to_depth(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    side = _side(operator)
    _, height, width, channels = graph.tensors[operator.inputs[0]].shape
    blocks = inputs[0].reshape(-1, height // side, side, width // side, side, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5)


def _check_transpose(layer: Examined) -> None:
    check_same_type(layer)
    layer.integers(1, "permutation")
    axes, shape = permutation(layer.graph, layer.operator), layer.input.shape
    layer.require(
        sorted(axes) == list(range(len(shape))) and len(shape) <= _MAX_RANK,
        f"permutes {written(shape)} by {list(axes)}",
    )
    expected = tuple(shape[axis] for axis in axes)
    layer.require(
        layer.output.shape == expected,
        f"output of shape {written(layer.output.shape)}, where its input gives {written(expected)}",
    )


def _check_reverse(layer: Examined) -> None:
    check_same_type(layer)
    check_same_shape(layer)
    given, rank = layer.integers(1, "axes").ravel().tolist(), len(layer.input.shape)
    layer.require(
        all(-rank <= axis < rank for axis in given),
        f"reverses dimensions {given} of {written(layer.input.shape)}",
    )
    # The reference kernel reverses neighbouring dimensions only.
    axes = _reversed_axes(layer.graph, layer.operator)
    layer.require(
        bool(axes) and axes == list(range(axes[0], axes[-1] + 1)),
        f"reverses dimensions {given}, which are not neighbours",
    )


def _check_blocks(layer: Examined, small: tuple[int, ...], large: tuple[int, ...]) -> None:
    """`small` has few pixels of many channels, `large` many pixels of few."""
    check_same_type(layer)
    side = _side(layer.operator)
    layer.require(1 <= side <= 1 << 10, f"blocks of {side}")
    layer.require(
        len(small) == len(large) == 4
        and small[0] == large[0]
        and small[3] == large[3] * side**2
        and (small[1] * side, small[2] * side) == large[1:3],
        f"blocks of {side}x{side} between {written(small)} and {written(large)}",
    )


DEFINITIONS = (
    Definition(OperatorKind.TRANSPOSE, _transpose, _check_transpose),
    Definition(OperatorKind.REVERSE_V2, _reverse, _check_reverse, version=3),
    Definition(
        OperatorKind.DEPTH_TO_SPACE,
        _depth_to_space,
        lambda layer: _check_blocks(layer, layer.input.shape, layer.output.shape),
        OptionTable("DepthToSpaceOptions", BlockOptions, (Field("BlockSize", "block_size"),)),
        version=1,
    ),
    Definition(
        OperatorKind.SPACE_TO_DEPTH,
        _space_to_depth,
        lambda layer: _check_blocks(layer, layer.output.shape, layer.input.shape),
        OptionTable("SpaceToDepthOptions", BlockOptions, (Field("BlockSize", "block_size"),)),
        version=1,
    ),
)


class LayoutLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def transpose(self, axes: Sequence[int]) -> int:
        """TRANSPOSE: dimension i of the output is dimension ``axes[i]``, the batch is 0."""
        shape = self._tensors[self.last].shape
        return self._layer(
            OperatorKind.TRANSPOSE,
            tuple(shape[axis] for axis in axes),
            self._same(self.last),
            (("permutation", np.array(axes, np.int32), None),),
            dtype=self._dtype,
            whole=True,
        )

    def reverse(self, axes: Sequence[int]) -> int:
        """REVERSE_V2 along these dimensions, which are neighbours; the batch is 0."""
        return self._layer(
            OperatorKind.REVERSE_V2,
            self._tensors[self.last].shape,
            self._same(self.last),
            (("axes", np.array(axes, np.int32), None),),
            dtype=self._dtype,
            whole=True,
        )

    def depth_to_space(self, side: int) -> int:
        """DEPTH_TO_SPACE in blocks of `side` by `side` pixels."""
        height, width, channels = self.shape
        shape = (height * side, width * side, channels // side**2)
        return self._blocks(OperatorKind.DEPTH_TO_SPACE, shape, side)

    def space_to_depth(self, side: int) -> int:
        """SPACE_TO_DEPTH in blocks of `side` by `side` pixels."""
        height, width, channels = self.shape
        shape = (height // side, width // side, channels * side**2)
        return self._blocks(OperatorKind.SPACE_TO_DEPTH, shape, side)

    def _blocks(self, kind: OperatorKind, shape: tuple[int, ...], side: int) -> int:
        quantization = self._same(self.last)
        return self._layer(kind, shape, quantization, options=BlockOptions(side), dtype=self._dtype)
