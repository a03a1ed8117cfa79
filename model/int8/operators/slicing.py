"""Operators that take parts: STRIDED_SLICE, SLICE, SPLIT, SPLIT_V and UNPACK.

Sources: TensorFlow Lite ``kernels/internal/strided_slice_logic.h``; TFLM
``micro/kernels/slice.cc``, ``split.cc``, ``split_v.cc``, ``unpack.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_same_type, written
from model.int8.operators.quantization import constant

__all__ = [
    "DEFINITIONS",
    "SlicingLayers",
    "SplitOptions",
    "StridedSliceOptions",
    "UnpackOptions",
    "parts",
    "slices",
]


@dataclass(frozen=True)
class StridedSliceOptions(Options):
    """Options of STRIDED_SLICE: a bit a dimension.

    A dimension whose bit is set in ``begin_mask`` or ``end_mask`` is taken from its beginning or to
    its end; one in ``shrink_axis_mask`` is reduced to the one index, and goes.
    """

    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0
    offset: bool = False


@dataclass(frozen=True)
class SplitOptions(Options):
    """Options of SPLIT and SPLIT_V, which repeat the number of outputs."""

    num_splits: int = 0


@dataclass(frozen=True)
class UnpackOptions(Options):
    """Options of UNPACK: the dimension that is taken apart, and how many outputs that gives."""

    num: int = 0
    axis: int = 0


def slices(graph: Graph, operator: Operator) -> tuple[slice, ...]:
    """What a STRIDED_SLICE or SLICE takes of each dimension of its input.

    Dimensions that a STRIDED_SLICE shrinks are slices of one element here.
    """
    shape = graph.tensors[operator.inputs[0]].shape
    begins = constant(graph, operator, 1).ravel()
    if operator.kind is OperatorKind.SLICE:
        sizes = constant(graph, operator, 2).ravel()
        return tuple(
            slice(int(begin), size if count < 0 else int(begin) + int(count))
            for begin, count, size in zip(begins, sizes, shape, strict=True)
        )
    options = operator.options
    assert isinstance(options, StridedSliceOptions)
    ends, strides = (constant(graph, operator, position).ravel() for position in (2, 3))
    taken = []
    for axis, (size, begin, end, stride) in enumerate(
        zip(shape, map(int, begins), map(int, ends), map(int, strides), strict=True)
    ):
        bit = 1 << axis
        start = None if options.begin_mask & bit else begin
        if options.shrink_axis_mask & bit:
            start = (0 if stride > 0 else size - 1) if start is None else start
            start = min(max(start + size if start < 0 else start, 0), size - 1)
            taken.append(slice(start, start + 1, 1))
            continue
        # ``indices`` clamps as TensorFlow does; an end before the beginning is None.
        first, last, step = slice(start, None if options.end_mask & bit else end, stride).indices(
            size
        )
        if first < 0:  # backwards, from before the beginning: there is nothing
            first, last, step = 0, 0, 1
        taken.append(slice(first, None if last < 0 else last, step))
    return tuple(taken)


def _slice(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    every: tuple[slice, ...] = (slice(None),)
    return inputs[0][every + slices(graph, operator)]


def parts(graph: Graph, operator: Operator) -> tuple[int, list[slice]]:
    """The dimension that a SPLIT, SPLIT_V or UNPACK cuts, and what each output has of it."""
    if operator.kind is OperatorKind.UNPACK:
        assert isinstance(operator.options, UnpackOptions)
        rank = len(graph.tensors[operator.inputs[0]].shape)
        count = len(operator.outputs)
        return operator.options.axis % rank, [slice(i, i + 1) for i in range(count)]
    position = 0 if operator.kind is OperatorKind.SPLIT else 2
    source = operator.inputs[1 if operator.kind is OperatorKind.SPLIT else 0]
    axis = int(constant(graph, operator, position).ravel()[0])
    axis %= len(graph.tensors[source].shape)
    ends = list(accumulate(graph.tensors[index].shape[axis] for index in operator.outputs))
    return axis, [slice(begin, end) for begin, end in zip([0, *ends], ends)]


def _split(
    graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    x = inputs[1 if operator.kind is OperatorKind.SPLIT else 0]
    axis, taken = parts(graph, operator)
    return tuple(x[(slice(None),) * (axis + 1) + (part,)] for part in taken)


def _indices(layer: Examined, position: int, role: str) -> np.ndarray:
    data = layer.integers(position, role)
    rank = len(layer.input.shape)
    layer.require(data.size == rank, f"{role} of {data.size} entries for {rank} dimensions")
    return data.ravel()


def _check_output(layer: Examined, expected: tuple[int, ...]) -> None:
    layer.require(
        layer.output.shape == expected and 0 not in expected,
        f"output of shape {written(layer.output.shape)}, where the slice gives {written(expected)}",
    )


def _check_strided_slice(layer: Examined) -> None:
    check_same_type(layer)
    for position, role in enumerate(("begins", "ends", "strides"), 1):
        _indices(layer, position, role)
    strides = layer.integers(3, "strides")
    options = layer.operator.options
    assert isinstance(options, StridedSliceOptions)
    layer.require(bool((strides != 0).all()), "stride of 0")
    layer.require(
        not options.ellipsis_mask and not options.new_axis_mask and not options.offset,
        "ellipsis, new dimensions and offsets are not supported",
    )
    taken = slices(layer.graph, layer.operator)
    expected = tuple(
        len(range(*part.indices(size)))
        for axis, (part, size) in enumerate(zip(taken, layer.input.shape))
        if not options.shrink_axis_mask & 1 << axis
    )
    _check_output(layer, expected)


def _check_slice(layer: Examined) -> None:
    check_same_type(layer)
    begins, sizes = _indices(layer, 1, "begins"), _indices(layer, 2, "sizes")
    for begin, count, size in zip(begins.tolist(), sizes.tolist(), layer.input.shape):
        end = size if count < 0 else begin + count
        layer.require(count >= -1 and 0 <= begin < end <= size, f"takes {begin} to {end} of {size}")
    taken = slices(layer.graph, layer.operator)
    _check_output(layer, tuple(part.stop - part.start for part in taken))


def _check_parts(layer: Examined, position: int) -> None:
    """That the outputs together are the input at `position`."""
    source = layer.tensor(position)
    rank = len(source.shape)
    if layer.operator.kind is OperatorKind.UNPACK:
        assert isinstance(layer.operator.options, UnpackOptions)
        axis = layer.operator.options.axis
    else:
        axes = layer.integers(0 if position else 2, "axis")
        layer.require(axes.size == 1, f"{axes.size} axes, not one")
        axis = int(axes.ravel()[0])
    layer.require(-rank <= axis < rank, f"cuts dimension {axis} of {written(source.shape)}")
    axis %= rank
    total = 0
    for index in layer.operator.outputs:
        part = layer.graph.tensors[index]
        layer.require(part.dtype == source.dtype, f"from {source.dtype} to {part.dtype}")
        shape = part.shape
        if layer.operator.kind is OperatorKind.UNPACK:
            shape = (*shape[:axis], 1, *shape[axis:])
        layer.require(
            len(shape) == rank
            and shape[:axis] + shape[axis + 1 :] == source.shape[:axis] + source.shape[axis + 1 :],
            f"output of shape {written(part.shape)} from {written(source.shape)}",
        )
        total += shape[axis]
    layer.require(
        total == source.shape[axis], f"outputs of {total} together from {source.shape[axis]}"
    )


def _check_split(layer: Examined) -> None:
    _check_parts(layer, 1)
    layer.require(
        len({layer.graph.tensors[index].shape for index in layer.operator.outputs}) == 1,
        "outputs of several shapes",
    )


def _check_split_v(layer: Examined) -> None:
    _check_parts(layer, 0)


_SPLIT_FIELDS = (Field("NumSplits", "num_splits"),)

DEFINITIONS = (
    Definition(
        OperatorKind.STRIDED_SLICE,
        _slice,
        _check_strided_slice,
        OptionTable(
            "StridedSliceOptions",
            StridedSliceOptions,
            (
                Field("BeginMask", "begin_mask"),
                Field("EndMask", "end_mask"),
                Field("EllipsisMask", "ellipsis_mask"),
                Field("NewAxisMask", "new_axis_mask"),
                Field("ShrinkAxisMask", "shrink_axis_mask"),
                Field("Offset", "offset", bool),
            ),
        ),
    ),
    Definition(OperatorKind.SLICE, _slice, _check_slice),
    Definition(
        OperatorKind.SPLIT,
        _split,
        _check_split,
        OptionTable("SplitOptions", SplitOptions, _SPLIT_FIELDS),
        outputs=None,
    ),
    Definition(
        OperatorKind.SPLIT_V,
        _split,
        _check_split_v,
        OptionTable("SplitVOptions", SplitOptions, _SPLIT_FIELDS),
        outputs=None,
    ),
    Definition(
        OperatorKind.UNPACK,
        _split,
        _check_split_v,
        OptionTable("UnpackOptions", UnpackOptions, (Field("Num", "num"), Field("Axis", "axis"))),
        outputs=None,
    ),
)


class SlicingLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds. Axes count the batch as 0."""

    def strided_slice(
        self,
        begin: Sequence[int],
        end: Sequence[int],
        strides: Sequence[int] | None = None,
        *,
        begin_mask: int = 0,
        end_mask: int = 0,
        shrink_axis_mask: int = 0,
    ) -> int:
        """STRIDED_SLICE; an entry a dimension, the batch included."""
        strides = [1] * len(begin) if strides is None else strides
        options = StridedSliceOptions(begin_mask, end_mask, 0, 0, shrink_axis_mask)
        roles = zip(("begin", "end", "strides"), (begin, end, strides))
        constants = [(role, np.array(data, np.int32), None) for role, data in roles]
        source = self.last
        numbers = [self._constant(f"slice{len(self._tensors)}/{c[0]}", c[1]) for c in constants]
        probe = Operator(OperatorKind.STRIDED_SLICE, "", (source, *numbers), (), options)
        taken = slices(self.build(), probe)
        shape = tuple(
            len(range(*part.indices(size)))
            for axis, (part, size) in enumerate(zip(taken, self._tensors[source].shape))
            if not shrink_axis_mask & 1 << axis
        )
        output = (shape, self._same(source))
        inputs = (source, *numbers)
        return self._append(
            OperatorKind.STRIDED_SLICE, inputs, [output], options, self._tensors[source].dtype
        )[0]

    def slice(self, begin: Sequence[int], size: Sequence[int]) -> int:
        """SLICE: `size` entries from `begin`, -1 for all that are left; an entry a dimension."""
        shape = tuple(
            whole - first if count < 0 else count
            for whole, first, count in zip(self._tensors[self.last].shape, begin, size)
        )
        return self._layer(
            OperatorKind.SLICE,
            shape,
            self._same(self.last),
            tuple(
                (role, np.array(data, np.int32), None)
                for role, data in (("begin", begin), ("size", size))
            ),
            dtype=self._dtype,
            whole=True,
        )

    def split(self, axis: int, count: int) -> tuple[int, ...]:
        """SPLIT into `count` equal parts; returns all of them."""
        shape = list(self._tensors[self.last].shape)
        shape[axis] //= count
        output = (tuple(shape), self._same(self.last))
        inputs = (("axis", np.array(axis, np.int32), None), self.last)
        return self._append(
            OperatorKind.SPLIT, inputs, [output] * count, SplitOptions(count), self._dtype
        )

    def split_v(self, axis: int, sizes: Sequence[int]) -> tuple[int, ...]:
        """SPLIT_V into parts of these sizes; returns all of them."""
        outputs = []
        for size in sizes:
            shape = list(self._tensors[self.last].shape)
            shape[axis] = size
            outputs.append((tuple(shape), self._same(self.last)))
        inputs = (
            self.last,
            ("sizes", np.array(sizes, np.int32), None),
            ("axis", np.array(axis, np.int32), None),
        )
        options = SplitOptions(len(sizes))
        return self._append(OperatorKind.SPLIT_V, inputs, outputs, options, self._dtype)

    def unpack(self, axis: int) -> tuple[int, ...]:
        """UNPACK: an output for each index of `axis`; returns all of them."""
        shape = list(self._tensors[self.last].shape)
        count = shape.pop(axis)
        output = (tuple(shape), self._same(self.last))
        options = UnpackOptions(count, axis)
        return self._append(
            OperatorKind.UNPACK, (self.last,), [output] * count, options, self._dtype
        )
