"""TRANSPOSE_CONV: each input pixel adds its kernel to the output.

Source: TensorFlow Lite ``kernels/internal/reference/integer_ops/transpose_conv.h``; TFLM
``micro/kernels/transpose_conv.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from model.int8 import fixed_point
from model.int8.geometry import extent
from model.int8.graph import Activation, Graph, Operator, OperatorKind, Options, Padding
from model.int8.operators.building import Input, LayerBuilder, weight_constants
from model.int8.operators.definition import ACTIVATION, PADDING, Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_weights, written
from model.int8.operators.quantization import bias, constant, exact_float, requantization

__all__ = ["DEFINITIONS", "TransposeConvolutionLayers", "TransposeOptions", "margins"]

_MAX_PRODUCTS = 1 << 28
_MAX_SIDE = 4096


@dataclass(frozen=True)
class TransposeOptions(Options):
    """Options of TRANSPOSE_CONV: how far apart neighbouring pixels' kernels begin."""

    stride_h: int = 1
    stride_w: int = 1
    padding: Padding = Padding.VALID
    activation: Activation = Activation.NONE


def margins(graph: Graph, operator: Operator) -> tuple[int, int]:
    """Rows and columns of the first pixel's kernel that lie before the output, and are lost."""
    options = operator.options
    assert isinstance(options, TransposeOptions)
    _, kernel_h, kernel_w, _ = graph.tensors[operator.inputs[1]].shape
    _, height, width, _ = graph.tensors[operator.outputs[0]].shape
    rows = extent(height, kernel_h, options.stride_h, 1, options.padding)
    columns = extent(width, kernel_w, options.stride_w, 1, options.padding)
    return rows.before, columns.before


def _transpose_conv(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Inputs (shape of the output, weights (oc, kh, kw, ic), activation, bias)."""
    x = inputs[2].reshape(-1, *inputs[2].shape[2:])
    options, rule = operator.options, requantization(graph, operator)
    assert isinstance(options, TransposeOptions)
    filters = constant(graph, operator, 1).astype(np.int64)
    outputs, kernel_h, kernel_w, channels = filters.shape
    flat = filters.reshape(outputs, -1).T
    exact = exact_float(flat, rule.input_zero_point)
    centred = x.astype(exact) - exact(rule.input_zero_point)
    (top, left), (_, height, width, _) = (
        margins(graph, operator),
        graph.tensors[operator.outputs[0]].shape,
    )
    count, rows, columns, _ = x.shape
    # Everything that any pixel adds, of which the output is a part.
    total = np.zeros(
        (
            count,
            max((rows - 1) * options.stride_h + kernel_h, top + height),
            max((columns - 1) * options.stride_w + kernel_w, left + width),
            outputs,
        ),
        np.int64,
    )
    for i in range(kernel_h):
        for j in range(kernel_w):
            products = centred @ filters[:, i, j].T.astype(exact)
            down = slice(i, i + (rows - 1) * options.stride_h + 1, options.stride_h)
            along = slice(j, j + (columns - 1) * options.stride_w + 1, options.stride_w)
            total[:, down, along] += products.astype(np.int64)
    accumulator = total[:, top : top + height, left : left + width]
    offset = bias(graph, operator, 3)
    if offset is not None:
        accumulator = accumulator + offset
    return rule.apply(fixed_point.wrap_int32(accumulator))


def _check(layer: Examined) -> None:
    source, target, options = layer.tensor(2), layer.output, layer.operator.options
    assert isinstance(options, TransposeOptions)
    layer.integers(0, "output shape")
    weights = check_weights(layer, rank=4, axis=0, position=2)
    layer.require(
        len(source.shape) == len(target.shape) == 4 and source.shape[0] == target.shape[0],
        f"from {written(source.shape)} to {written(target.shape)}",
    )
    layer.require(
        weights.shape[3] == source.shape[3] and weights.shape[0] == target.shape[3],
        f"weights of shape {written(weights.shape)} between {source.shape[3]} and "
        f"{target.shape[3]} channels",
    )
    for what, size in (
        ("stride", options.stride_h),
        ("stride", options.stride_w),
        ("kernel", weights.shape[1]),
        ("kernel", weights.shape[2]),
    ):
        layer.require(1 <= size <= _MAX_SIDE, f"{what} of {size}; 1 to {_MAX_SIDE} is possible")
    spread = (source.shape[1] * options.stride_h + weights.shape[1]) * (
        source.shape[2] * options.stride_w + weights.shape[2]
    )
    layer.require(
        prod(source.shape[:3]) * prod(weights.shape) <= _MAX_PRODUCTS
        and spread * weights.shape[0] <= _MAX_PRODUCTS,
        "it is too large to compute",
    )


DEFINITIONS = (
    Definition(
        OperatorKind.TRANSPOSE_CONV,
        _transpose_conv,
        _check,
        OptionTable(
            "TransposeConvOptions",
            TransposeOptions,
            (PADDING, Field("StrideW", "stride_w"), Field("StrideH", "stride_h"), ACTIVATION),
        ),
        version=3,
    ),
)


class TransposeConvolutionLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def transpose_conv(
        self,
        weights: np.ndarray,
        weight_scale: ArrayLike,
        bias: np.ndarray | None,
        *,
        scale: float,
        zero_point: int,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = Padding.VALID,
        activation: Activation = Activation.NONE,
        size: tuple[int, int] | None = None,
    ) -> int:
        """TRANSPOSE_CONV: weights (output channels, kernel rows, columns, input channels).

        The output has `size` rows and columns: unless given, the input times the stride with SAME,
        all that the kernels reach with VALID.
        """
        height, width, _ = self.shape
        if size is None and padding is Padding.SAME:
            size = height * stride[0], width * stride[1]
        elif size is None:
            size = (
                (height - 1) * stride[0] + weights.shape[1],
                (width - 1) * stride[1] + weights.shape[2],
            )
        shape = (1, *size, len(weights))
        source = self.last
        constants = weight_constants((weights, weight_scale, 0), bias, self.scale)
        inputs: list[Input] = [
            ("output_shape", np.array(shape, np.int32), None),
            constants[0],
            source,
            *constants[1:],
        ]
        options = TransposeOptions(*stride, padding, activation)
        output = (shape, (scale, zero_point))
        return self._append(OperatorKind.TRANSPOSE_CONV, inputs, [output], options)[0]
