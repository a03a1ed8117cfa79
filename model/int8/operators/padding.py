"""PAD.

Source: TFLM ``micro/kernels/pad_common.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.int8.graph import Graph, Operator, OperatorKind
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition
from model.int8.operators.examined import Examined, written
from model.int8.operators.quantization import affine, constant

__all__ = ["DEFINITIONS", "PaddingLayers"]


def _pad(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """PAD with the output's zero point."""
    _, zero_point = affine(graph, operator.outputs[0])
    widths = [(0, 0), *constant(graph, operator, 1)]
    return np.pad(inputs[0], widths, constant_values=zero_point)


def _check(layer: Examined) -> None:
    layer.affine(layer.input, "input")
    layer.affine(layer.output, "output")
    padding = layer.integers(1, "padding")
    rank = len(layer.input.shape)
    layer.require(padding.shape == (rank, 2), f"padding of shape {written(padding.shape)}")
    layer.require(bool((padding >= 0).all()) and not padding[0].any(), "padding that cannot be")
    expected = tuple(
        size + int(before) + int(after)
        for size, (before, after) in zip(layer.input.shape, padding, strict=True)
    )
    layer.require(
        layer.output.shape == expected,
        f"output of shape {written(layer.output.shape)}, where padding gives {written(expected)}",
    )


DEFINITIONS = (Definition(OperatorKind.PAD, _pad, _check),)


class PaddingLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def pad(self, top: int, bottom: int, left: int, right: int) -> int:
        """PAD with the zero point."""
        height, width, channels = self.shape
        widths = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        return self._layer(
            OperatorKind.PAD,
            (height + top + bottom, width + left + right, channels),
            self._quantization(self.last),
            (("padding", widths, None),),
        )
