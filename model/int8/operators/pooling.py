"""MAX_POOL_2D and AVERAGE_POOL_2D.

Source: TensorFlow Lite ``kernels/internal/reference/integer_ops/pooling.h``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.int8.graph import Activation, Graph, Operator, OperatorKind, Padding
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined
from model.int8.operators.quantization import affine, clamp, fused_activation
from model.int8.operators.window import WINDOW_FIELDS, WindowOptions, check_window, window

__all__ = ["DEFINITIONS", "PoolingLayers"]


def _limits(graph: Graph, operator: Operator) -> tuple[int, int]:
    return clamp(fused_activation(operator), *affine(graph, operator.outputs[0]))


def _max_pool_2d(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Largest byte under the window; padding never wins."""
    x = inputs[0].reshape(-1, *inputs[0].shape[2:])
    shape = window(graph, operator)
    padded = shape.pad(x, -128)
    result = np.full((len(x), shape.output_h, shape.output_w, x.shape[3]), -128, np.int8)
    for _, _, rows, columns in shape.taps():
        np.maximum(result, padded[:, rows, columns], out=result)
    return np.clip(result, *_limits(graph, operator))


def _average_pool_2d(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Sum over the taps inside of the picture, divided by their number, half away from zero."""
    x = inputs[0].reshape(-1, *inputs[0].shape[2:])
    shape = window(graph, operator)
    padded = shape.pad(x.astype(np.int64), 0)
    inside = shape.pad(np.ones((1, *x.shape[1:3], 1), np.int64), 0)
    total = np.zeros((len(x), shape.output_h, shape.output_w, x.shape[3]), np.int64)
    count = np.zeros((1, shape.output_h, shape.output_w, 1), np.int64)
    for _, _, rows, columns in shape.taps():
        total += padded[:, rows, columns]
        count += inside[:, rows, columns]
    mean = (np.abs(total) + count // 2) // count * np.sign(total)
    return np.clip(mean, *_limits(graph, operator)).astype(np.int8)


def _check(layer: Examined) -> None:
    source = layer.affine(layer.input, "input")
    target = layer.affine(layer.output, "output")
    check_window(layer)
    # what ``PoolingPrepare`` tolerates
    difference = abs(float(source.scale[0] - target.scale[0]))
    layer.require(
        difference <= 1e-6 and source.zero_point[0] == target.zero_point[0],
        "its output has another quantisation than its input, which takes a QUANTIZE behind it",
    )
    layer.require(
        layer.input.shape[3] == layer.output.shape[3],
        f"{layer.input.shape[3]} channels in, {layer.output.shape[3]} out",
    )


_TABLE = OptionTable(
    "Pool2DOptions",
    WindowOptions,
    (*WINDOW_FIELDS, Field("FilterWidth", "kernel_w"), Field("FilterHeight", "kernel_h")),
)

DEFINITIONS = (
    Definition(OperatorKind.MAX_POOL_2D, _max_pool_2d, _check, _TABLE),
    Definition(OperatorKind.AVERAGE_POOL_2D, _average_pool_2d, _check, _TABLE),
)


class PoolingLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def max_pool_2d(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int] | None = None,
        padding: Padding = Padding.VALID,
        activation: Activation = Activation.NONE,
    ) -> int:
        """MAX_POOL_2D; the stride is the kernel unless given."""
        return self._pool(OperatorKind.MAX_POOL_2D, kernel, stride, padding, activation)

    def average_pool_2d(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int] | None = None,
        padding: Padding = Padding.VALID,
        activation: Activation = Activation.NONE,
    ) -> int:
        """AVERAGE_POOL_2D; the stride is the kernel unless given."""
        return self._pool(OperatorKind.AVERAGE_POOL_2D, kernel, stride, padding, activation)

    def _pool(
        self,
        kind: OperatorKind,
        kernel: tuple[int, int],
        stride: tuple[int, int] | None,
        padding: Padding,
        activation: Activation,
    ) -> int:
        options = WindowOptions(*kernel, *(stride or kernel), padding, activation)
        shape = (*self._pixels(kind, options), self.shape[2])
        return self._layer(kind, shape, self._quantization(self.last), options=options)
