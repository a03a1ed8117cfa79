"""The compiler's own form of a network: layers that the engine can run, over views of memory.

Lowering makes them from a graph; placement, tape writer and cycle model use them. A layer knows
which tensors it reads and writes, but not their addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from .addition import Addition

IntArray = npt.NDArray[np.int64]

#: The least multiplier of a requantisation, which multiplies by it and 2^-31: a half.
UNIT_MULTIPLIER = 1 << 30


class Mode(Enum):
    """How a layer uses the engine's lanes and pixel streams."""

    #: Lanes are output channels, streams are neighbouring output pixels.
    CONVOLUTION = "convolution"
    #: Streams are channels; groups of lanes are output rows, or columns.
    DEPTHWISE = "depthwise"
    #: Streams are channels; a stream's greatest byte is the result.
    POOL = "pool"
    #: Streams are channels; bytes of two tensors are multiplied.
    PRODUCT = "product"

    @property
    def channel_wise(self) -> bool:
        return self is not Mode.CONVOLUTION


@dataclass(frozen=True)
class View:
    """A tensor in memory as a layer reads or writes it.

    Attributes
    ----------
    tensor : int
        The tensor whose memory it is, by its index in the graph (or an index beyond, for a tensor
        that only the compiler knows).
    height, width, channels : int
        Shape of the view, which may divide the same bytes into other rows than the tensor's shape
        does.
    pixel_pitch, row_pitch : int
        Bytes from pixel to pixel and from row to row. The bytes between ``channels`` and
        ``pixel_pitch`` are undefined.
    offset : int
        Bytes from the tensor's beginning to the view's.
    """

    tensor: int
    height: int
    width: int
    channels: int
    pixel_pitch: int
    row_pitch: int
    offset: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes from a row's first pixel to the end of its last."""
        return self.width * self.pixel_pitch

    @property
    def size(self) -> int:
        return self.height * self.row_pitch

    @property
    def dense(self) -> bool:
        """Whether the elements follow each other without a gap."""
        return self.pixel_pitch == self.channels and (
            self.height == 1 or self.row_pitch == self.row_bytes
        )

    def reshaped(self, height: int, width: int, channels: int) -> View:
        """Return the same bytes in another shape; the view must be dense."""
        if not self.dense or height * width * channels != self.height * self.row_bytes:
            raise ValueError(f"{self} cannot be seen as {height}x{width}x{channels}")
        pitch = width * channels if height > 1 else self.size
        return View(self.tensor, height, width, channels, channels, pitch, self.offset)


@dataclass(frozen=True)
class Kernel:
    """The window: its size, and its position in the input for output pixel (0, 0).

    ``top`` and ``left`` count the rows and columns of padding before the picture.
    """

    height: int = 1
    width: int = 1
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    top: int = 0
    left: int = 0


class Axis(Enum):
    """A direction in a picture."""

    #: From one row to the next: downward.
    ROWS = "rows"
    #: From one column to the next.
    COLUMNS = "columns"

    @property
    def other(self) -> Axis:
        return Axis.COLUMNS if self is Axis.ROWS else Axis.ROWS


@dataclass(frozen=True)
class Direction:
    """The sizes of a layer along one axis.

    Attributes
    ----------
    inputs, outputs : int
        Pixels of the source, and results before they are pooled.
    pitch, write : int
        Bytes from pixel to pixel of the source and of the target.
    kernel, stride, dilation : int
    before : int
        Pixels of padding.
    """

    inputs: int
    outputs: int
    pitch: int
    write: int
    kernel: int
    stride: int
    dilation: int
    before: int

    @property
    def span(self) -> int:
        """Pixels from the window's first to its last."""
        return (self.kernel - 1) * self.dilation + 1


@dataclass(frozen=True)
class Arrangement:
    """A mapping of a layer to the engine: which results it computes at once, and in which order.

    Attributes
    ----------
    axis : Axis
        The direction in which the pixels of a window lie side by side. A convolution along the
        rows sees the picture as one row: it must need no padding beside the picture. A
        channel-wise layer along the rows sees it transposed.
    pixels : int
        Neighbours along the axis that a channel-wise window computes, a pixel each.
    results : int
        Neighbours across it that a channel-wise window computes, a group of lanes each.
    channels_inside : bool
        A channel-wise layer that treats all channels alike may visit them in the innermost loop,
        so that it has one set of weights instead of one for each group of channels.
    """

    axis: Axis = Axis.COLUMNS
    pixels: int = 1
    results: int = 1
    channels_inside: bool = False


@dataclass(frozen=True, eq=False)
class Epilogue:
    """The operations on an accumulator: bias, requantisation, clamp and, possibly, a table.

    Attributes
    ----------
    bias, multiplier, shift : ndarray of int64, shape (output channels,)
        The input's zero point is folded into the bias. Multipliers are in 2**30 .. 2**31 - 1,
        shifts go right.
    zero_point, minimum, maximum : int
    table : ndarray of int8, shape (256,), or None
        Applied last, indexed by the value plus 128.
    addition : Addition or None
        Instead of a table: the sum with the byte that lies where the result goes. The clamp is
        the sum's.
    """

    bias: IntArray
    multiplier: IntArray
    shift: IntArray
    zero_point: int = 0
    minimum: int = -128
    maximum: int = 127
    table: npt.NDArray[np.int8] | None = None
    addition: Addition | None = None

    def adding(self, addition: Addition) -> Epilogue:
        """With ``addition`` of what this gives, its first addend, and what lies in its place."""
        values = np.clip(np.arange(-128, 128), self.minimum, self.maximum)
        if self.table is not None:
            values = self.table[values + 128].astype(np.int64)
        first, second = addition.tables
        return replace(
            self,
            minimum=addition.low,
            maximum=addition.high,
            table=None,
            addition=replace(addition, tables=np.stack([first[values + 128], second])),
        )

    @property
    def has_tables(self) -> bool:
        return self.table is not None or self.addition is not None

    @classmethod
    def half(
        cls,
        channels: int,
        zero_point: int = 0,
        minimum: int = -128,
        maximum: int = 127,
        table: npt.NDArray[np.int8] | None = None,
    ) -> Epilogue:
        """Halve an even accumulator, exactly, and add ``zero_point``; the parameter words are
        zero."""
        return cls(
            bias=np.zeros(channels, np.int64),
            multiplier=np.full(channels, 1 << 30, np.int64),
            shift=np.zeros(channels, np.int64),
            zero_point=zero_point,
            minimum=minimum,
            maximum=maximum,
            table=table,
        )


@dataclass(frozen=True, eq=False)
class Layer:
    """One pass of the engine over a picture.

    Attributes
    ----------
    name : str
        Name of the operator, for people.
    kinds : tuple of str
        Operators that it computes, the fused ones last.
    mode : Mode
    source, target : View
    kernel : Kernel
    weights : ndarray of int64 or None
        CONVOLUTION: (output channels, kernel rows, kernel columns, input pixel pitch);
        DEPTHWISE: (channels, kernel rows, kernel columns); POOL: None; PRODUCT: (channels, 2,
        steps): of each byte of ``source``, then of ``other``, as often as it comes.
    pad_value : int
        Value that the window reads outside the picture.
    epilogue : Epilogue
    macs : int
        Multiplications that the network asks for, as :meth:`model.int8.graph.Graph.macs` counts.
    output_step : int
        Bytes from one channel-wise result to the next channel's: more than 1 where a depthwise
        convolution has several outputs a channel and this layer computes one of them.
    result : int
        The graph's tensor that ``target`` holds; an addition's lies in the memory of an addend.
    pooled : bool
        A convolution of which each result is the greatest of 2x2, none of them in two.
    other : View or None
        PRODUCT, or POOL of a window of one: a second tensor, read as a kernel row of its own at
        the place of the first. As large as ``source``, and laid out like it.
    arrangement : Arrangement
    """

    name: str
    kinds: tuple[str, ...]
    mode: Mode
    source: View
    target: View
    kernel: Kernel
    weights: IntArray | None
    pad_value: int
    epilogue: Epilogue
    macs: int = 0
    output_step: int = 1
    result: int = -1
    pooled: bool = False
    other: View | None = None
    arrangement: Arrangement = Arrangement()

    @property
    def sources(self) -> tuple[View, ...]:
        """All views that it reads."""
        return (self.source,) if self.other is None else (self.source, self.other)

    def direction(self, axis: Axis) -> Direction:
        """The layer's sizes along ``axis``: elements, and bytes from one to the next."""
        source, target, kernel = self.source, self.target, self.kernel
        pool = 2 if self.pooled else 1
        if axis is Axis.ROWS:
            return Direction(
                inputs=source.height,
                outputs=pool * target.height,
                pitch=source.row_pitch,
                write=target.row_pitch,
                kernel=kernel.height,
                stride=kernel.stride_h,
                dilation=kernel.dilation_h,
                before=kernel.top,
            )
        return Direction(
            inputs=source.width,
            outputs=pool * target.width,
            pitch=source.pixel_pitch,
            write=target.pixel_pitch,
            kernel=kernel.width,
            stride=kernel.stride_w,
            dilation=kernel.dilation_w,
            before=kernel.left,
        )

    @property
    def operation(self) -> str:
        return "+".join(self.kinds)

    def part(self, rows: range, columns: range) -> Layer:
        """The layer that computes only these rows and columns of the target."""
        kernel, target = self.kernel, self.target
        pixels = len(rows) * len(columns)
        pool = 2 if self.pooled else 1
        return replace(
            self,
            kernel=replace(
                kernel,
                top=kernel.top - pool * rows.start * kernel.stride_h,
                left=kernel.left - pool * columns.start * kernel.stride_w,
            ),
            target=replace(
                target,
                height=len(rows),
                width=len(columns),
                offset=target.offset
                + rows.start * target.row_pitch
                + columns.start * target.pixel_pitch,
            ),
            macs=self.macs * pixels // (target.height * target.width),
        )

    def without_unread_rows(self) -> Layer:
        """The same, of a source that ends at the last row which a window reads."""
        rows = self.direction(Axis.ROWS)
        first = max(0, -rows.before)
        last = (rows.outputs - 1) * rows.stride - rows.before + rows.span
        height = min(rows.inputs, last) - first
        if height < 1:
            return self
        return replace(
            self,
            kernel=replace(self.kernel, top=self.kernel.top + first),
            source=replace(
                self.source,
                height=height,
                offset=self.source.offset + first * self.source.row_pitch,
            ),
        )

    def channels(self, channels: range) -> Layer:
        """The layer that computes only these channels of the target.

        A channel-wise layer reads from the first of them on, which must begin a memory word.
        """
        source, target, epilogue = self.source, self.target, self.epilogue
        start, count = channels.start, len(channels)
        if self.mode.channel_wise:
            source = replace(source, channels=count, offset=source.offset + start)
        part = slice(start, channels.stop)
        return replace(
            self,
            source=source,
            target=replace(target, channels=count, offset=target.offset + start * self.output_step),
            weights=None if self.weights is None else self.weights[part],
            epilogue=replace(
                epilogue,
                bias=epilogue.bias[part],
                multiplier=epilogue.multiplier[part],
                shift=epilogue.shift[part],
            ),
            macs=self.macs * count // len(epilogue.bias),
        )
