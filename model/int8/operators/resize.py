"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR.

Source: TensorFlow Lite ``kernels/internal/reference/resize_nearest_neighbor.h`` and
``resize_bilinear.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_same_type, written

__all__ = ["DEFINITIONS", "ResizeLayers", "ResizeOptions", "interpolation", "nearest"]

_UNIT = 1 << 10
"""Positions between pixels have 10 bits."""

_MAX_SIDE = 1 << 16
"""So that a position, with its 10 bits, fits 32 bits."""


@dataclass(frozen=True)
class ResizeOptions(Options):
    """Options of both: whether corners fall on corners, and whether pixels are their centres."""

    align_corners: bool = False
    half_pixel_centers: bool = False


def _sides(graph: Graph, operator: Operator) -> list[tuple[int, int]]:
    """Sizes of input and output: of the rows, of the columns."""
    source, target = (graph.tensors[index] for index in (operator.inputs[0], operator.outputs[0]))
    return list(zip(source.shape[1:3], target.shape[1:3]))


def nearest(graph: Graph, operator: Operator) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of the input for each of a RESIZE_NEAREST_NEIGHBOR's output.

    ``GetNearestNeighbor``, in float32.
    """
    options = operator.options
    assert isinstance(options, ResizeOptions)
    found = []
    for size, wanted in _sides(graph, operator):
        if options.align_corners and wanted > 1:
            scale = np.float32(size - 1) / np.float32(wanted - 1)
        else:
            scale = np.float32(size) / np.float32(wanted)
        offset = np.float32(0.5 if options.half_pixel_centers else 0)
        position = (np.arange(wanted).astype(np.float32) + offset) * scale
        if options.align_corners:
            # C's ``roundf`` of what is not negative, exact in float64
            index = np.floor(position.astype(np.float64) + 0.5)
        else:
            index = np.floor(position)
        found.append(np.clip(index.astype(np.int64), 0, size - 1))
    return found[0], found[1]


def _nearest(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    rows, columns = nearest(graph, operator)
    return inputs[0][:, :, rows[:, np.newaxis], columns]


def interpolation(
    graph: Graph, operator: Operator
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Between which rows, and between which columns, a RESIZE_BILINEAR's output lies.

    ``ComputeInterpolationValuesInteger``.

    Returns
    -------
    list of two (lower, upper, weight)
        For the rows, then for the columns: for each of the output, two of the input, and the
        weight of the upper one in units of 2**-10; the lower one has the rest. Weights may lie
        outside of 0 .. 1024 at the edge, where both are the same pixel.
    """
    options = operator.options
    assert isinstance(options, ResizeOptions)
    found = []
    for size, wanted in _sides(graph, operator):
        if options.align_corners and wanted > 1:
            scale = (_UNIT * (size - 1) + (wanted - 1) // 2) // (wanted - 1)
        else:
            scale = (_UNIT * size + wanted // 2) // wanted
        position = np.arange(wanted, dtype=np.int64) * scale
        if options.half_pixel_centers:
            position += scale // 2 - _UNIT // 2
        # C divides towards zero, which differs only below zero, where 0 is taken anyway.
        lower = np.maximum(position // _UNIT, 0)
        above = position + _UNIT - 1
        upper = np.minimum(np.where(above < 0, -(-above // _UNIT), above // _UNIT), size - 1)
        found.append((lower, upper, position - _UNIT * lower))
    return found


def _bilinear(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    (top, bottom, down), (left, right, along) = interpolation(graph, operator)
    x = inputs[0].astype(np.int64)
    down, along = down[:, np.newaxis, np.newaxis], along[:, np.newaxis]
    rows = x[:, :, top] * (_UNIT - down) + x[:, :, bottom] * down
    total = rows[:, :, :, left] * (_UNIT - along) + rows[:, :, :, right] * along
    # half away from zero
    half = 1 << 19
    rounded = (np.abs(total) + half) >> 20
    return (np.sign(total) * rounded).astype(np.int8)


def _check(layer: Examined) -> None:
    check_same_type(layer)
    layer.int8(layer.input, "input")
    options = layer.operator.options
    assert isinstance(options, ResizeOptions)
    source, target = layer.input.shape, layer.output.shape
    size = layer.integers(1, "size")
    layer.require(
        len(source) == len(target) == 4
        and (source[0], source[3]) == (target[0], target[3])
        and tuple(size.ravel()) == target[1:3],
        f"from {written(source)} to {written(target)}, with a size of {list(size.ravel())}",
    )
    layer.require(
        max(*source[1:3], *target[1:3]) <= _MAX_SIDE, f"{_MAX_SIDE} rows or columns are possible"
    )


def _check_bilinear(layer: Examined) -> None:
    _check(layer)
    options = layer.operator.options
    assert isinstance(options, ResizeOptions)
    layer.require(
        not (options.align_corners and options.half_pixel_centers),
        "aligned corners and half-pixel centres at once",
    )
    sides = zip(interpolation(layer.graph, layer.operator), layer.input.shape[1:3])
    for (lower, _, _), size in sides:
        layer.require(bool((lower < size).all()), "its kernel reads beyond its input")


_FIELDS = (
    Field("AlignCorners", "align_corners", bool),
    Field("HalfPixelCenters", "half_pixel_centers", bool),
)

DEFINITIONS = (
    Definition(
        OperatorKind.RESIZE_NEAREST_NEIGHBOR,
        _nearest,
        _check,
        OptionTable("ResizeNearestNeighborOptions", ResizeOptions, _FIELDS),
    ),
    Definition(
        OperatorKind.RESIZE_BILINEAR,
        _bilinear,
        _check_bilinear,
        OptionTable("ResizeBilinearOptions", ResizeOptions, _FIELDS),
    ),
)


class ResizeLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def resize_nearest_neighbor(
        self, height: int, width: int, align_corners: bool = False, half_pixel: bool = False
    ) -> int:
        """RESIZE_NEAREST_NEIGHBOR."""
        options = ResizeOptions(align_corners, half_pixel)
        return self._resized(OperatorKind.RESIZE_NEAREST_NEIGHBOR, (height, width), options)

    def resize_bilinear(
        self, height: int, width: int, align_corners: bool = False, half_pixel: bool = False
    ) -> int:
        """RESIZE_BILINEAR."""
        options = ResizeOptions(align_corners, half_pixel)
        return self._resized(OperatorKind.RESIZE_BILINEAR, (height, width), options)

    def _resized(self, kind: OperatorKind, size: tuple[int, int], options: ResizeOptions) -> int:
        return self._layer(
            kind,
            (*size, self.shape[2]),
            self._quantization(self.last),
            (("size", np.array(size, np.int32), None),),
            options,
        )
