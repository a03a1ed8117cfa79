"""CONV_2D, grouped or not, and DEPTHWISE_CONV_2D.

Source: TensorFlow Lite ``kernels/internal/reference/integer_ops/conv.h`` and
``depthwise_conv.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from model.int8 import fixed_point
from model.int8.graph import ABSENT, Activation, Graph, Operator, OperatorKind, Padding, Tensor
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_weights, written
from model.int8.operators.quantization import (
    accumulate,
    bias,
    constant,
    exact_float,
    requantization,
)
from model.int8.operators.window import WINDOW_FIELDS, WindowOptions, check_window, window

__all__ = ["DEFINITIONS", "ConvolutionLayers"]


def _conv_2d(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Convolution by im2col: weights (oc, kh, kw, ic of one group)."""
    x = inputs[0].reshape(-1, *inputs[0].shape[2:])
    shape = window(graph, operator)
    rule = requantization(graph, operator)
    filters = constant(graph, operator, 1).astype(np.int64)
    weights = filters.reshape(len(filters), -1).T
    exact = exact_float(weights, rule.input_zero_point)
    padded = shape.pad(x.astype(exact) - exact(rule.input_zero_point), 0)
    columns = np.empty(
        (len(x), shape.output_h, shape.output_w, *filters.shape[1:3], x.shape[3]), exact
    )
    for i, j, rows, cols in shape.taps():
        columns[:, :, :, i, j] = padded[:, rows, cols]
    groups = x.shape[3] // filters.shape[3]
    parts = np.split(columns, groups, axis=5) if groups > 1 else [columns]
    accumulator = np.concatenate(
        [
            accumulate(part.reshape(-1, len(weights)), own, None)
            for part, own in zip(parts, np.split(weights, groups, axis=1))
        ],
        axis=1,
    )
    offset = bias(graph, operator)
    if offset is not None:
        accumulator = fixed_point.wrap_int32(accumulator + offset)
    return rule.apply(accumulator).reshape(columns.shape[:3] + (len(filters),))


def _depthwise_conv_2d(
    graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]
) -> np.ndarray:
    """Each channel by filters of its own: weights (1, kh, kw, ic * depth multiplier)."""
    x = inputs[0].reshape(-1, *inputs[0].shape[2:])
    shape = window(graph, operator)
    rule = requantization(graph, operator)
    filters = constant(graph, operator, 1)[0].astype(np.int64)
    channels = filters.shape[2]
    exact = exact_float(filters.reshape(-1, channels), rule.input_zero_point)
    padded = shape.pad(x.astype(exact) - exact(rule.input_zero_point), 0)
    if channels != x.shape[3]:
        padded = np.repeat(padded, channels // x.shape[3], axis=3)
    total = np.zeros((len(x), shape.output_h, shape.output_w, channels), exact)
    for i, j, rows, columns in shape.taps():
        total += padded[:, rows, columns] * filters[i, j].astype(exact)
    accumulator = total.astype(np.int64)
    offset = bias(graph, operator)
    if offset is not None:
        accumulator += offset
    return rule.apply(fixed_point.wrap_int32(accumulator))


def _check_convolution(layer: Examined) -> None:
    weights = check_weights(layer, rank=4, axis=0)
    check_window(layer)
    channels, own = layer.input.shape[3], weights.shape[3]
    layer.require(
        channels % own == 0 and weights.shape[0] % (channels // own) == 0,
        f"weights for {own} input channels on {channels}",
    )
    layer.require(
        layer.output.shape[3] == weights.shape[0],
        f"{weights.shape[0]} filters for {layer.output.shape[3]} output channels",
    )


def _check_depthwise(layer: Examined) -> None:
    weights = check_weights(layer, rank=4, axis=3)
    check_window(layer)
    options = layer.operator.options
    assert isinstance(options, WindowOptions)
    channels = layer.input.shape[3] * options.depth_multiplier
    layer.require(
        weights.shape[0] == 1 and weights.shape[3] == channels,
        f"weights of shape {written(weights.shape)} for {channels} output channels",
    )
    layer.require(
        layer.output.shape[3] == channels,
        f"{channels} filters for {layer.output.shape[3]} output channels",
    )


def _with_kernel(operator: Operator, tensors: Sequence[Tensor]) -> Operator:
    """A convolution's kernel size comes from its weights."""
    options = operator.options
    assert isinstance(options, WindowOptions)
    weights = operator.inputs[1] if len(operator.inputs) > 1 else ABSENT
    if not 0 <= weights < len(tensors) or len(tensors[weights].shape) != 4:
        return operator  # its check refuses it
    _, kernel_h, kernel_w, _ = tensors[weights].shape
    return replace(operator, options=replace(options, kernel_h=kernel_h, kernel_w=kernel_w))


_FIELDS = (
    *WINDOW_FIELDS,
    Field("DilationWFactor", "dilation_w"),
    Field("DilationHFactor", "dilation_h"),
)

DEFINITIONS = (
    Definition(
        kind=OperatorKind.CONV_2D,
        compute=_conv_2d,
        check=_check_convolution,
        table=OptionTable("Conv2DOptions", WindowOptions, _FIELDS),
        version=3,
        complete=_with_kernel,
    ),
    Definition(
        kind=OperatorKind.DEPTHWISE_CONV_2D,
        compute=_depthwise_conv_2d,
        check=_check_depthwise,
        # A multiplier of 0 is what old files say for "work it out"; the check refuses it.
        table=OptionTable(
            "DepthwiseConv2DOptions",
            WindowOptions,
            (*_FIELDS, Field("DepthMultiplier", "depth_multiplier")),
        ),
        version=3,
        complete=_with_kernel,
    ),
)


class ConvolutionLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def conv_2d(
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
        dilation: tuple[int, int] = (1, 1),
    ) -> int:
        """CONV_2D; with fewer channels in the weights than in the input, in groups.

        Parameters
        ----------
        weights : ndarray, shape (output channels, kernel rows, kernel columns, input channels)
        weight_scale : float or ndarray, shape (output channels,)
        bias : ndarray, shape (output channels,), or None
        scale, zero_point
            Quantisation of the output.
        stride, dilation : tuple of int
            Along rows and columns.
        """
        channels, kernel_h, kernel_w, _ = weights.shape
        options = WindowOptions(kernel_h, kernel_w, *stride, padding, activation, *dilation)
        return self._weighted(
            OperatorKind.CONV_2D,
            (*self._pixels(OperatorKind.CONV_2D, options), channels),
            (scale, zero_point),
            (weights, weight_scale, 0),
            bias,
            options,
        )

    def depthwise_conv_2d(
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
        dilation: tuple[int, int] = (1, 1),
    ) -> int:
        """DEPTHWISE_CONV_2D: weights (1, kernel rows, kernel columns, output channels)."""
        _, kernel_h, kernel_w, channels = weights.shape
        multiplier = channels // self.shape[2]
        options = WindowOptions(
            kernel_h, kernel_w, *stride, padding, activation, *dilation, multiplier
        )
        return self._weighted(
            OperatorKind.DEPTHWISE_CONV_2D,
            (*self._pixels(OperatorKind.DEPTHWISE_CONV_2D, options), channels),
            (scale, zero_point),
            (weights, weight_scale, 3),
            bias,
            options,
        )
