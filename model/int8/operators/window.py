"""Layers that slide a kernel over a picture: CONV_2D, DEPTHWISE_CONV_2D and pools share this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.errors import ModelError
from model.int8.geometry import extent
from model.int8.graph import Activation, Graph, Operator, Options, Padding
from model.int8.operators.definition import ACTIVATION, PADDING, Field
from model.int8.operators.examined import Examined, LayerError, written

__all__ = ["WINDOW_FIELDS", "Window", "WindowOptions", "check_window", "window"]

_MAX_TAPS = 1 << 28
"""Products of a window layer over one picture: bounds memory and time of the reference."""

_MAX_SIDE = 4096
"""Kernel times dilation, and stride."""


@dataclass(frozen=True)
class WindowOptions(Options):
    """Options of CONV_2D, DEPTHWISE_CONV_2D, MAX_POOL_2D and AVERAGE_POOL_2D.

    For a convolution the kernel's size repeats the shape of its weights. ``depth_multiplier``
    counts output channels per input channel and matters to DEPTHWISE_CONV_2D only.
    """

    kernel_h: int = 0
    kernel_w: int = 0
    stride_h: int = 1
    stride_w: int = 1
    padding: Padding = Padding.VALID
    activation: Activation = Activation.NONE
    dilation_h: int = 1
    dilation_w: int = 1
    depth_multiplier: int = 1


WINDOW_FIELDS = (
    PADDING,
    Field("StrideW", "stride_w"),
    Field("StrideH", "stride_h"),
    ACTIVATION,
)


@dataclass(frozen=True)
class Window:
    """Geometry of a layer that slides a kernel over a picture.

    Output pixel (y, x) reads the input rows ``y * stride_h - top + i * dilation_h`` for i in
    0 .. kernel_h - 1, and the columns likewise; pixels outside count as padding.

    Attributes
    ----------
    top, left, bottom, right : int
        Rows and columns of padding that are read beyond each edge; 0 if none.
    """

    input_h: int
    input_w: int
    output_h: int
    output_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    top: int
    left: int
    bottom: int
    right: int

    def taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield (kernel row, kernel column, rows, columns) of the padded pixels for each tap."""
        for i in range(self.kernel_h):
            for j in range(self.kernel_w):
                y, x = i * self.dilation_h, j * self.dilation_w
                rows = slice(y, y + (self.output_h - 1) * self.stride_h + 1, self.stride_h)
                columns = slice(x, x + (self.output_w - 1) * self.stride_w + 1, self.stride_w)
                yield i, j, rows, columns

    def pad(self, x: np.ndarray, value: float) -> np.ndarray:
        """Surround `x`, shape (n, input_h, input_w, channels), with `value` as the taps need it."""
        edges = ((0, 0), (self.top, self.bottom), (self.left, self.right), (0, 0))
        if not any(map(any, edges)):
            return x
        return np.pad(x, edges, constant_values=value)


def window(graph: Graph, operator: Operator) -> Window:
    """Geometry of a CONV_2D, DEPTHWISE_CONV_2D, MAX_POOL_2D or AVERAGE_POOL_2D.

    Raises
    ------
    TypeError
        If `operator` slides no window.
    ModelError
        If the kernel does not fit into the picture.
    """
    options = operator.options
    if not isinstance(options, WindowOptions):
        raise TypeError(f"{operator.kind.value} {operator.name!r} slides no window")
    _, input_h, input_w, _ = graph.tensors[operator.inputs[0]].shape
    output_h, top, bottom = extent(
        input_h, options.kernel_h, options.stride_h, options.dilation_h, options.padding
    )
    output_w, left, right = extent(
        input_w, options.kernel_w, options.stride_w, options.dilation_w, options.padding
    )
    if output_h < 1 or output_w < 1:
        raise ModelError(
            f"layer {operator.name}: a {options.kernel_h}x{options.kernel_w} window does not fit "
            f"into {input_h}x{input_w} pixels"
        )
    return Window(
        input_h=input_h,
        input_w=input_w,
        output_h=output_h,
        output_w=output_w,
        kernel_h=options.kernel_h,
        kernel_w=options.kernel_w,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        dilation_h=options.dilation_h,
        dilation_w=options.dilation_w,
        top=top,
        left=left,
        bottom=bottom,
        right=right,
    )


def check_window(layer: Examined) -> Window:
    """Geometry, common to convolution and pooling; the channels are the caller's."""
    options = layer.operator.options
    assert isinstance(options, WindowOptions)
    layer.require(
        len(layer.input.shape) == len(layer.output.shape) == 4,
        f"needs pictures of NxHxWxC, not {written(layer.input.shape)}",
    )
    for what, size in (
        ("kernel", options.kernel_h * options.dilation_h),
        ("kernel", options.kernel_w * options.dilation_w),
        ("stride", options.stride_h),
        ("stride", options.stride_w),
    ):
        layer.require(1 <= size <= _MAX_SIDE, f"{what} of {size}; 1 to {_MAX_SIDE} is possible")
    layer.require(
        min(options.kernel_h, options.kernel_w, options.dilation_h, options.dilation_w) >= 1,
        "kernel or dilation below 1",
    )
    layer.require(
        layer.input.shape[0] == layer.output.shape[0],
        f"{layer.input.shape[0]} pictures in, {layer.output.shape[0]} out",
    )
    try:
        geometry = window(layer.graph, layer.operator)
    except ModelError as error:
        raise LayerError(layer.operator.name, str(error).partition(": ")[2]) from error
    expected = (geometry.output_h, geometry.output_w)
    layer.require(
        layer.output.shape[1:3] == expected,
        f"output of {written(layer.output.shape[1:3])} pixels, where its window gives "
        f"{written(expected)}",
    )
    padded_h = geometry.input_h + geometry.top + geometry.bottom
    padded_w = geometry.input_w + geometry.left + geometry.right
    padded = padded_h * padded_w * layer.input.shape[3]
    taps = geometry.output_h * geometry.output_w * geometry.kernel_h * geometry.kernel_w
    layer.require(
        padded <= _MAX_TAPS and taps * layer.input.shape[3] <= _MAX_TAPS,
        "its window is too large to compute",
    )
    return geometry
