"""PAD and PADV2.

Source: TFLM ``micro/kernels/pad_common.cc`` and ``pad.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.int8.graph import Graph, Operator, OperatorKind
from model.int8.operators.building import Input, LayerBuilder
from model.int8.operators.definition import Definition
from model.int8.operators.examined import Examined, written
from model.int8.operators.quantization import affine, constant

__all__ = ["DEFINITIONS", "PaddingLayers", "pad_value", "padding"]

_MAX_RANK = 5


def padding(graph: Graph, operator: Operator) -> np.ndarray:
    """What a PAD or PADV2 puts before and behind each dimension: int64, shape (rank, 2)."""
    return constant(graph, operator, 1).astype(np.int64).reshape(-1, 2)


def pad_value(graph: Graph, operator: Operator) -> int:
    """The byte of the border: the output's zero point, unless a PADV2 says otherwise."""
    if len(operator.inputs) == 3:
        return int(constant(graph, operator, 2).ravel()[0])
    return affine(graph, operator.outputs[0])[1]


def _pad(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    widths = [(0, 0), *padding(graph, operator)]
    return np.pad(inputs[0], widths, constant_values=pad_value(graph, operator))


def _check(layer: Examined) -> None:
    layer.affine(layer.input, "input")
    target = layer.affine(layer.output, "output")
    shape, stored = layer.input.shape, layer.integers(1, "padding").shape
    layer.require(stored == (len(shape), 2), f"padding of shape {written(stored)}")
    layer.require(len(shape) <= _MAX_RANK, f"pads {written(shape)}")
    widths = padding(layer.graph, layer.operator)
    layer.require(
        bool((widths >= 0).all()),
        f"padding of {widths.tolist()} for {written(shape)}",
    )
    expected = tuple(
        size + int(before) + int(after) for size, (before, after) in zip(shape, widths, strict=True)
    )
    layer.require(
        layer.output.shape == expected,
        f"output of shape {written(layer.output.shape)}, where padding gives {written(expected)}",
    )
    if len(layer.operator.inputs) == 3:
        value = layer.constant(2, "padding value", "int8")
        same = layer.affine(value, "padding value")
        layer.require(value.shape in ((), (1,)), "more than one padding value")
        layer.require(
            same.scale[0] == target.scale[0] and same.zero_point[0] == target.zero_point[0],
            "its padding value has another quantisation than its output",
        )


DEFINITIONS = (
    Definition(OperatorKind.PAD, _pad, _check),
    Definition(OperatorKind.PADV2, _pad, _check),
)


class PaddingLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def pad(
        self, top: int, bottom: int, left: int, right: int, before: int = 0, after: int = 0
    ) -> int:
        """PAD of rows, columns and channels with the zero point."""
        return self.pad_by(((top, bottom), (left, right), (before, after)))

    def pad_by(
        self,
        widths: tuple[tuple[int, int], ...],
        value: int | None = None,
        scale: float | None = None,
        zero_point: int | None = None,
    ) -> int:
        """PAD, or PADV2 with the byte `value`.

        Parameters
        ----------
        widths : tuple
            What comes before and behind each dimension but the batch.
        value : int, optional
            The byte that is put there; the output's zero point unless given.
        scale, zero_point : optional
            The output's quantisation, where it is not the input's.
        """
        shape = tuple(
            size + before + after for size, (before, after) in zip(self.shape, widths, strict=True)
        )
        own_scale, own_zero = self._quantization(self.last)
        quantization = (
            own_scale if scale is None else scale,
            own_zero if zero_point is None else zero_point,
        )
        constants = [("padding", np.array([(0, 0), *widths], np.int32), None)]
        if value is None:
            return self._layer(OperatorKind.PAD, shape, quantization, tuple(constants))
        byte = self.constant(np.array([value], np.int8), *quantization)
        output = ((1, *shape), quantization)
        inputs: list[Input] = [self.last, *constants, byte]
        return self._append(OperatorKind.PADV2, inputs, [output])[0]
