"""From a graph to layers that the engine can run.

Three steps. *Plan*: which operators become a layer, which fold into another one (a table into the
layer before it, a reshape into nothing, a final softmax into the host). *Store*: how each tensor
that remains lies in memory. *Build*: each layer's geometry, weights and arithmetic.

A channel-wise layer reads ``G`` channels of a pixel at once and wants them within a memory word, so
the pixel pitch of its input is rounded up to a multiple of ``G``. The tensor's producer simply
leaves the bytes between untouched, and a convolution that reads the same tensor has weights of zero
for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from model import reference
from model.graph import (
    ABSENT,
    Graph,
    Operator,
    OperatorKind,
    SoftmaxOptions,
    WindowOptions,
)

from .addition import find_addition
from .channels import average, fit_channels, signed_bits
from .errors import CompileError
from .layers import Epilogue, IntArray, Kernel, Layer, Mode, View
from .loops import MAX_GROUPS, MAX_ROW_BYTES
from .nest import ceil_divide, round_up
from .schedule import schedule

Table = npt.NDArray[np.int8]
Shape = tuple[int, int, int]

_CHANNEL_WISE = (
    OperatorKind.MAX_POOL_2D,
    OperatorKind.AVERAGE_POOL_2D,
    OperatorKind.DEPTHWISE_CONV_2D,
)
_ENGINE = (
    OperatorKind.CONV_2D,
    OperatorKind.FULLY_CONNECTED,
    OperatorKind.ADD,
    *_CHANNEL_WISE,
)
#: Never greater than any byte of the picture.
PADDING_OF_MAXIMUM = -128


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph as the engine will run it.

    Attributes
    ----------
    layers : tuple of Layer
    storage : dict of int to View
        Every tensor that is kept in memory, by its index.
    input, output : int
        Tensors in memory that the host writes and reads.
    answer : int
        The same tensor as ``output`` with the shape that the network gives it: the graph's output,
        or the softmax's input.
    softmax : SoftmaxOptions or None
        What the host does with the output.
    kept : dict of int to int
        Tensors that lie in another tensor's memory, and that tensor.
    """

    layers: tuple[Layer, ...]
    storage: dict[int, View]
    input: int
    output: int
    answer: int
    softmax: SoftmaxOptions | None
    kept: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Step:
    """An operator that becomes a layer, with the tables fused behind it.

    ``operator`` is None for a layer that only copies.
    """

    name: str
    operator: Operator | None
    kinds: tuple[str, ...]
    source: int
    target: int
    table: Table | None = None

    @property
    def kind(self) -> OperatorKind | None:
        return self.operator.kind if self.operator else None


def lower(graph: Graph, configuration: EngineConfiguration) -> Lowered:
    """Turn ``graph`` into layers.

    Raises
    ------
    CompileError
        If the engine has no way to run a layer; the text names it and the reason.
    """
    return _Lowering(graph, configuration).run()


def picture_shape(graph: Graph, tensor: int) -> Shape:
    """(height, width, channels) of a tensor; the dimensions it has not are 1.

    Raises
    ------
    CompileError
        If it has a batch or more dimensions than a picture.
    """
    shape = graph.tensors[tensor].shape
    batch, rest = (shape[0], shape[1:]) if len(shape) > 1 else (1, shape)
    if batch != 1 or len(rest) > 3 or 0 in rest:
        text = "x".join(map(str, shape))
        raise CompileError(
            f"tensor {graph.tensors[tensor].name}: has shape {text}, the engine takes one picture "
            f"of height, width and channels at a time"
        )
    height, width, channels = (1,) * (3 - len(rest)) + tuple(rest)
    return height, width, channels


class _Lowering:
    def __init__(self, graph: Graph, configuration: EngineConfiguration) -> None:
        self.graph = graph
        self.configuration = configuration
        #: Tensors that a reshape made, and the tensor whose bytes they are.
        self.root: dict[int, int] = {}
        self.steps: list[_Step] = []
        self.storage: dict[int, View] = {}
        self.softmax: SoftmaxOptions | None = None
        self.answer = graph.outputs[0] if graph.outputs else ABSENT

    def run(self) -> Lowered:
        if len(self.graph.inputs) != 1 or len(self.graph.outputs) != 1:
            raise CompileError(
                f"{self.graph.name}: has {len(self.graph.inputs)} inputs and "
                f"{len(self.graph.outputs)} outputs, the engine takes one of each"
            )
        if self.graph.input.dtype != "int8":
            raise CompileError(
                f"{self.graph.name}: its input is {self.graph.input.dtype}, the engine takes int8"
            )
        for operator in self.graph.operators:
            self._plan(operator)
        if not self.steps:
            raise CompileError(f"{self.graph.name}: has no layer for the engine to run")
        self._store()
        layers = tuple(
            part
            for step in self.steps
            for layer in self._build(step)
            for part in schedule(layer, self.configuration)
        )
        return Lowered(
            layers=layers,
            storage=self.storage,
            input=self.graph.inputs[0],
            output=self._root(self.answer),
            answer=self.answer,
            softmax=self.softmax,
        )

    # Plan

    def _root(self, tensor: int) -> int:
        """The tensor in whose memory ``tensor`` lies."""
        return self.root.get(tensor, tensor)

    def _plan(self, operator: Operator) -> None:
        source, target = operator.inputs[0], operator.outputs[0]
        if self.softmax is not None:
            raise CompileError(
                f"layer {operator.name}: follows a SOFTMAX, which the host computes last of all"
            )
        if operator.kind is OperatorKind.RESHAPE:
            self.root[target] = self._root(source)
        elif operator.kind is OperatorKind.SOFTMAX:
            self._plan_softmax(operator)
        elif operator.kind in _ENGINE:
            self.steps.append(
                _Step(operator.name, operator, (operator.kind.value,), source, target)
            )
        else:
            self._plan_table(operator)

    def _plan_softmax(self, operator: Operator) -> None:
        source, target = operator.inputs[0], operator.outputs[0]
        if self.answer != target:
            raise CompileError(
                f"layer {operator.name}: a SOFTMAX is computed on the host, so it must come last"
            )
        assert isinstance(operator.options, SoftmaxOptions)
        self.softmax = operator.options
        self.answer = source

    def _plan_table(self, operator: Operator) -> None:
        """A function of one byte: behind the layer that makes its input, or a layer of its own."""
        try:
            table = reference.table(self.graph, operator)
        except TypeError:
            raise CompileError(
                f"layer {operator.name}: the engine has no {operator.kind.value}"
            ) from None
        source, target = operator.inputs[0], operator.outputs[0]
        kinds = (operator.kind.value,)
        made = next((i for i, step in enumerate(self.steps) if step.target == source), None)
        if made is None or not self._only_use(source):
            self.steps.append(_Step(operator.name, operator, kinds, source, target, table))
            return
        step = self.steps[made]
        if step.table is not None:
            table = table[step.table.astype(np.intp) + 128]
        self.steps[made] = replace(step, kinds=step.kinds + kinds, target=target, table=table)

    def _only_use(self, tensor: int) -> bool:
        return len(self.graph.consumers(tensor)) == 1 and tensor not in self.graph.outputs

    # Store

    def _store(self) -> None:
        """Decide every tensor's pitch, and insert copies where the host's own must stay dense."""
        fixed = {self.graph.inputs[0], self._root(self.answer)}
        shapes = {self.graph.inputs[0]: self._input_shape()}
        for step in self.steps:
            shapes[step.target] = picture_shape(self.graph, step.target)
        padded = self._padded_tensors(shapes)
        copies: dict[int, int] = {}
        for tensor in sorted(padded & fixed):
            copies[tensor] = len(self.graph.tensors) + len(copies)
            shapes[copies[tensor]] = shapes[tensor]
        self._insert_copies(copies, padded)
        padded = (padded - fixed) | set(copies.values())
        for tensor, shape in shapes.items():
            self.storage[tensor] = self._new_view(tensor, shape, tensor in padded)

    def _input_shape(self) -> Shape:
        """Of the input: as what it is used, where all that happens to it is a reshape."""
        tensor = self.graph.inputs[0]
        while self._only_use(tensor):
            operator = self.graph.operators[self.graph.consumers(tensor)[0]]
            if operator.kind is not OperatorKind.RESHAPE:
                break
            tensor = operator.outputs[0]
        return picture_shape(self.graph, tensor)

    def _padded_tensors(self, shapes: dict[int, Shape]) -> set[int]:
        """Tensors whose pixel pitch must be rounded up."""
        padded: set[int] = set()
        for step in reversed(self.steps):
            root = self._root(step.source)
            uneven = shapes[root][2] % self.configuration.channel_group != 0
            if uneven and self._reads_groups(step, padded):
                padded.add(root)
        return padded

    @staticmethod
    def _reads_groups(step: _Step, padded: set[int]) -> bool:
        """Whether the step's input must have a pixel pitch of whole groups.

        A table needs that only where its output has: otherwise it ignores where pixels begin.
        """
        return step.kind in _CHANNEL_WISE or (step.kind not in _ENGINE and step.target in padded)

    def _insert_copies(self, copies: dict[int, int], padded: set[int]) -> None:
        """Let channel-wise layers read a padded copy of the host's tensors."""
        steps: list[_Step] = []
        copied: set[int] = set()
        for step in self.steps:
            root = self._root(step.source)
            if root in copies and self._reads_groups(step, padded):
                if root not in copied:
                    name = self.graph.tensors[root].name
                    steps.append(_Step(f"copy of {name}", None, ("COPY",), root, copies[root]))
                    copied.add(root)
                step = replace(step, source=copies[root])
            steps.append(step)
        self.steps = steps

    def _new_view(self, tensor: int, shape: Shape, padded: bool) -> View:
        height, width, channels = shape
        pixel = round_up(channels, self.configuration.channel_group) if padded else channels
        pitch = round_up(width * pixel, self.configuration.word_bytes)
        return View(tensor, height, width, channels, pixel, pitch)

    # Build

    def _source(self, step: _Step) -> View:
        """The step's input in the shape in which the operator sees it."""
        stored = self.storage[self._root(step.source)]
        if step.source not in self.root:
            return stored
        height, width, channels = picture_shape(self.graph, step.source)
        if (height, width, channels) == (stored.height, stored.width, stored.channels):
            return stored
        if stored.dense:
            view = stored.reshaped(height, width, channels)
            if view.row_pitch % self.configuration.word_bytes == 0 or height == 1:
                return view
        raise CompileError(
            f"layer {step.name}: reads {height}x{width}x{channels} reshaped from "
            f"{stored.height}x{stored.width}x{stored.channels}, whose rows do not lie "
            f"in memory without gaps"
        )

    def _build(self, step: _Step) -> list[Layer]:
        if step.operator is None:
            return [self._build_copy(step)]
        builders: dict[OperatorKind, Callable[[_Step, Operator], list[Layer]]] = {
            OperatorKind.CONV_2D: self._build_convolution,
            OperatorKind.FULLY_CONNECTED: self._build_fully_connected,
            OperatorKind.DEPTHWISE_CONV_2D: self._build_depthwise,
            OperatorKind.ADD: self._build_addition,
            OperatorKind.MAX_POOL_2D: self._build_max_pool,
            OperatorKind.AVERAGE_POOL_2D: self._build_average_pool,
        }
        return builders.get(step.operator.kind, self._build_table)(step, step.operator)

    def _constants(self, operator: Operator) -> tuple[IntArray, IntArray]:
        """Weights as in the file, and bias."""
        weights = self.graph.tensors[operator.inputs[1]].data
        if weights is None:
            raise CompileError(f"layer {operator.name}: its weights must be a constant")
        channels = self.graph.tensors[operator.outputs[0]].shape[-1]
        bias = np.zeros(channels, np.int64)
        if len(operator.inputs) > 2 and operator.inputs[2] != ABSENT:
            data = self.graph.tensors[operator.inputs[2]].data
            if data is None:
                raise CompileError(f"layer {operator.name}: its bias must be a constant")
            bias = data.astype(np.int64)
        return weights.astype(np.int64), bias

    def _build_convolution(self, step: _Step, operator: Operator) -> list[Layer]:
        weights, bias = self._constants(operator)
        source = self._source(step)
        if weights.shape[3] != source.channels:
            raise CompileError(
                f"layer {operator.name}: its weights have {weights.shape[3]} input channels, its "
                f"input has {source.channels}; grouped convolutions are not supported"
            )
        weights, kernel = self._without_horizontal_dilation(weights, self._kernel(operator))
        return [self._convolution(step, operator, source, kernel, weights, bias)]

    def _build_fully_connected(self, step: _Step, operator: Operator) -> list[Layer]:
        weights, bias = self._constants(operator)
        stored = self.storage[self._root(step.source)]
        if stored.height * stored.width * stored.channels == weights.shape[1]:
            # One output pixel: a window as large as the picture.
            shape = (len(weights), stored.height, stored.width, stored.channels)
            kernel = Kernel(stored.height, stored.width)
        else:
            stored = self._source(step)
            if stored.channels != weights.shape[1]:
                raise CompileError(
                    f"layer {operator.name}: takes {weights.shape[1]} values, its input has "
                    f"{stored.height}x{stored.width}x{stored.channels}"
                )
            shape = (len(weights), 1, 1, stored.channels)
            kernel = Kernel()
        return [self._convolution(step, operator, stored, kernel, weights.reshape(shape), bias)]

    def _convolution(
        self,
        step: _Step,
        operator: Operator,
        source: View,
        kernel: Kernel,
        weights: IntArray,
        bias: IntArray,
    ) -> Layer:
        rule = reference.requantization(self.graph, operator)
        flat, epilogue = fit_channels(
            operator.name, weights.reshape(len(weights), -1), bias, rule, self.configuration
        )
        weights = _spread_channels(flat.reshape(weights.shape), source.pixel_pitch)
        layer = Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.CONVOLUTION,
            source=source,
            target=self.storage[step.target],
            kernel=kernel,
            weights=weights,
            pad_value=rule.input_zero_point,
            epilogue=replace(epilogue, table=step.table),
            macs=self.graph.macs(operator),
        )
        return _in_long_rows(layer, self.configuration)

    def _build_depthwise(self, step: _Step, operator: Operator) -> list[Layer]:
        """A pass for each of the outputs that a channel has; most networks have one."""
        self._check_lanes(operator)
        weights, bias = self._constants(operator)
        rule = reference.requantization(self.graph, operator)
        source, target = self._source(step), self.storage[step.target]
        _, height, width, outputs = weights.shape
        flat, epilogue = fit_channels(
            operator.name, weights.reshape(-1, outputs).T, bias, rule, self.configuration
        )
        per_channel = outputs // source.channels
        layers = []
        for output in range(per_channel):
            every = slice(output, None, per_channel)
            layers.append(
                Layer(
                    name=step.name,
                    kinds=step.kinds,
                    mode=Mode.DEPTHWISE,
                    source=source,
                    target=replace(target, offset=output),
                    kernel=self._kernel(operator),
                    weights=flat[every].reshape(-1, height, width),
                    pad_value=rule.input_zero_point,
                    epilogue=replace(
                        epilogue,
                        bias=epilogue.bias[every],
                        multiplier=epilogue.multiplier[every],
                        shift=epilogue.shift[every],
                        table=step.table,
                    ),
                    macs=self.graph.macs(operator) // per_channel,
                    output_step=per_channel,
                )
            )
        return layers

    def _check_lanes(self, operator: Operator) -> None:
        lanes, pixels = self.configuration.lanes, self.configuration.pixels
        if lanes < pixels:
            raise CompileError(
                f"layer {operator.name}: {operator.kind.value} needs as many lanes as pixels, the "
                f"engine has {lanes} and {pixels}"
            )

    def _build_average_pool(self, step: _Step, operator: Operator) -> list[Layer]:
        """A depthwise convolution with all weights alike, its scale one over their number."""
        self._check_lanes(operator)
        window = reference.window(self.graph, operator)
        if any((window.top, window.left, window.bottom, window.right)):
            raise CompileError(
                f"layer {operator.name}: an average over a window that hangs over the picture's "
                f"edge is not supported"
            )
        source = self._source(step)
        count = window.kernel_h * window.kernel_w
        weight, multiplier, shift = average(count)
        needed, limit = signed_bits(-128 * weight * count), self.configuration.accumulator_bits - 1
        if needed > limit:
            raise CompileError(
                f"layer {operator.name}: the sum of its {count} taps needs {needed} bits, the "
                f"engine's limit is {limit}"
            )
        minimum, maximum = self._clamp(operator)
        shape = (source.channels, window.kernel_h, window.kernel_w)
        epilogue = Epilogue(
            bias=np.zeros(source.channels, np.int64),
            multiplier=np.full(source.channels, multiplier),
            shift=np.full(source.channels, shift),
            minimum=minimum,
            maximum=maximum,
            table=step.table,
        )
        return [
            Layer(
                name=step.name,
                kinds=step.kinds,
                mode=Mode.DEPTHWISE,
                source=source,
                target=self.storage[step.target],
                kernel=self._kernel(operator),
                weights=np.full(shape, weight),
                pad_value=0,
                epilogue=epilogue,
            )
        ]

    def _build_max_pool(self, step: _Step, operator: Operator) -> list[Layer]:
        target = self.storage[step.target]
        minimum, maximum = self._clamp(operator)
        return [
            Layer(
                name=step.name,
                kinds=step.kinds,
                mode=Mode.POOL,
                source=self._source(step),
                target=target,
                kernel=self._kernel(operator),
                weights=None,
                pad_value=PADDING_OF_MAXIMUM,
                epilogue=_greatest(target.channels, minimum, maximum, step.table),
            )
        ]

    def _build_addition(self, step: _Step, operator: Operator) -> list[Layer]:
        """Element by element, so that the pictures' own rows and pixels do not matter."""
        stored = [self.storage[self._root(tensor)] for tensor in operator.inputs[:2]]
        stored.append(self.storage[step.target])
        if len({(view.size, view.row_pitch, view.pixel_pitch) for view in stored}) > 1:
            raise CompileError(
                f"layer {operator.name}: its inputs and its output do not lie alike in memory"
            )
        group = self.configuration.channel_group
        source, other, target = (
            replace(view, width=view.row_pitch // group, channels=group, pixel_pitch=group)
            for view in stored
        )
        affine = [
            self.graph.tensors[index].quantization
            for index in (*operator.inputs[:2], operator.outputs[0])
        ]
        scales = [float(value.scale[0]) for value in affine if value is not None]
        zeros = [int(value.zero_point[0]) for value in affine if value is not None]
        wanted = reference.addition(self.graph, operator)
        addition = find_addition(
            operator.name, wanted, (scales[0], scales[1], scales[2]), (zeros[0], zeros[1], zeros[2])
        )
        return [
            Layer(
                name=step.name,
                kinds=step.kinds,
                mode=Mode.ADDITION,
                source=source,
                target=target,
                kernel=Kernel(),
                weights=np.array(addition.digits, np.int64),
                pad_value=0,
                epilogue=Epilogue(
                    bias=np.full(group, addition.bias, np.int64),
                    multiplier=np.full(group, addition.multiplier, np.int64),
                    shift=np.full(group, addition.shift, np.int64),
                    zero_point=zeros[2],
                    minimum=int(wanted.min()),
                    maximum=int(wanted.max()),
                    table=step.table,
                ),
                other=other,
            )
        ]

    def _clamp(self, operator: Operator) -> tuple[int, int]:
        """A pool's fused activation: what the reference makes of the two extreme pictures."""
        alone = replace(
            self.graph,
            operators=(operator,),
            inputs=operator.inputs[:1],
            outputs=operator.outputs,
        )
        extremes = np.stack([np.full(alone.input.shape[1:], v, np.int8) for v in (-128, 127)])
        darkest, brightest = reference.predict(alone, extremes)
        return int(darkest.flat[0]), int(brightest.flat[0])

    def _build_table(self, step: _Step, operator: Operator) -> list[Layer]:
        """Each byte through the table: the greatest of a window of one."""
        source, target = self._source(step), self.storage[step.target]
        if source.pixel_pitch == source.channels and target.pixel_pitch == target.channels:
            # Neither has gaps within a row, so where pixels begin is ours to choose.
            width = self._table_width(step, target.row_pitch)
            group = target.row_pitch // width
            source, target = (
                replace(view, width=width, channels=group, pixel_pitch=group)
                for view in (source, target)
            )
        return [
            Layer(
                name=step.name,
                kinds=step.kinds,
                mode=Mode.POOL,
                source=source,
                target=target,
                kernel=Kernel(),
                weights=None,
                pad_value=PADDING_OF_MAXIMUM,
                epilogue=_greatest(source.channels, table=step.table),
            )
        ]

    def _table_width(self, step: _Step, row_bytes: int) -> int:
        """Most windows into which a row can be cut: few tiles, since each has its parameters."""
        groups = row_bytes // self.configuration.channel_group
        for tiles in range(1, groups + 1):
            if groups % tiles == 0 and groups // tiles <= MAX_GROUPS:
                return groups // tiles
        raise AssertionError(f"layer {step.name}: a row of one window always fits")

    def _build_copy(self, step: _Step) -> Layer:
        """A 1x1 convolution that multiplies by two, which the epilogue halves again."""
        source, target = self.storage[step.source], self.storage[step.target]
        weights = 2 * np.eye(source.channels, dtype=np.int64)[:, np.newaxis, np.newaxis, :]
        layer = Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.CONVOLUTION,
            source=source,
            target=target,
            kernel=Kernel(),
            weights=weights,
            pad_value=0,
            epilogue=Epilogue.half(source.channels),
        )
        return _in_long_rows(layer, self.configuration)

    def _kernel(self, operator: Operator) -> Kernel:
        assert isinstance(operator.options, WindowOptions)
        window = reference.window(self.graph, operator)
        return Kernel(
            height=window.kernel_h,
            width=window.kernel_w,
            stride_h=window.stride_h,
            stride_w=window.stride_w,
            dilation_h=window.dilation_h,
            dilation_w=window.dilation_w,
            top=window.top,
            left=window.left,
        )

    @staticmethod
    def _without_horizontal_dilation(weights: IntArray, kernel: Kernel) -> tuple[IntArray, Kernel]:
        """Weights of zero between the columns: a run of pixels has no holes."""
        if kernel.dilation_w == 1 or kernel.width == 1:
            return weights, replace(kernel, dilation_w=1)
        channels, height, width, inputs = weights.shape
        columns = (width - 1) * kernel.dilation_w + 1
        spread = np.zeros((channels, height, columns, inputs), np.int64)
        spread[:, :, :: kernel.dilation_w] = weights
        return spread, replace(kernel, width=columns, dilation_w=1)


def _greatest(
    channels: int, minimum: int = -128, maximum: int = 127, table: Table | None = None
) -> Epilogue:
    """Of the window's bytes, from the accumulator's ``2 * (greatest + 128)``."""
    return Epilogue.half(channels, -128, minimum, maximum, table)


def _spread_channels(weights: IntArray, pixel_pitch: int) -> IntArray:
    """Weights of zero for the bytes between two pixels' channels."""
    gap = pixel_pitch - weights.shape[3]
    return np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, gap))) if gap else weights


def _in_long_rows(layer: Layer, configuration: EngineConfiguration) -> Layer:
    """The same convolution over longer rows, where neither picture has gaps between them.

    A window of the whole picture becomes one run; a 1x1 window sees rows of any length, and long
    ones waste less where the width is no multiple of ``P``.
    """
    source, target, kernel = layer.source, layer.target, layer.kernel
    if not source.row_pitch == source.row_bytes or source.row_bytes * source.height > MAX_ROW_BYTES:
        whole = False
    else:
        whole = (kernel.height, kernel.width) == (source.height, source.width)
    if whole and source.height > 1 and target.height == target.width == 1 and not kernel.top:
        assert layer.weights is not None
        width = source.height * source.width
        weights = layer.weights.reshape(len(layer.weights), 1, width, source.pixel_pitch)
        view = replace(source, height=1, width=width, row_pitch=source.size)
        return replace(layer, source=view, kernel=Kernel(1, width), weights=weights)

    pointwise = (kernel.height, kernel.width, kernel.stride_h, kernel.stride_w) == (1, 1, 1, 1)
    gapless = all(view.height == 1 or view.row_pitch == view.row_bytes for view in (source, target))
    if not (pointwise and gapless):
        return layer
    pixels = source.height * source.width
    rows = min(
        (
            rows
            for rows in range(1, source.height + 1)
            if pixels % rows == 0
            and pixels // rows * source.pixel_pitch <= MAX_ROW_BYTES
            and pixels // rows <= MAX_GROUPS * configuration.pixels
            and pixels // rows * source.pixel_pitch % configuration.word_bytes == 0
        ),
        key=lambda rows: (rows * ceil_divide(pixels // rows, configuration.pixels), rows),
        default=source.height,
    )
    if rows == source.height:
        return layer
    source, target = (
        replace(
            view,
            height=rows,
            width=pixels // rows,
            row_pitch=pixels // rows * view.pixel_pitch,
        )
        for view in (source, target)
    )
    return replace(layer, source=source, target=target)
