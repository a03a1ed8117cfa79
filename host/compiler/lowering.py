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
)

from .addition import find_addition
from .channels import average, fit_channels, fit_sums, signed_bits
from .errors import CompileError
from .layers import Epilogue, IntArray, Kernel, Layer, Mode, View
from .loops import MAX_GROUPS, MAX_ROW_BYTES, MAX_WINDOW_HEIGHT, MAX_WINDOW_WIDTH
from .nest import ceil_divide, round_up
from .schedule import cycles, schedule

Table = npt.NDArray[np.int8]
Shape = tuple[int, int, int]

_CHANNEL_WISE = (
    OperatorKind.MAX_POOL_2D,
    OperatorKind.AVERAGE_POOL_2D,
    OperatorKind.DEPTHWISE_CONV_2D,
    OperatorKind.MEAN,
    OperatorKind.PAD,
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
    margin : tuple of int
        Pixels of padding to the left and the right of the input's rows that the host writes too.
    """

    layers: tuple[Layer, ...]
    storage: dict[int, View]
    input: int
    output: int
    answer: int
    softmax: SoftmaxOptions | None
    kept: dict[int, int] = field(default_factory=dict)
    margin: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class _Step:
    """An operator that becomes a layer, with the tables fused behind it.

    ``operator`` is None for a layer that only copies. ``padding`` is that of the PAD that
    was folded into it: rows above and columns to the left.
    """

    name: str
    operator: Operator | None
    kinds: tuple[str, ...]
    source: int
    target: int
    table: Table | None = None
    padding: tuple[int, int] | None = None

    @property
    def addends(self) -> tuple[int, ...]:
        """The tensors that an ADD adds."""
        if self.operator is None or self.operator.kind is not OperatorKind.ADD:
            return ()
        return self.operator.inputs[:2]

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
    plain = _Lowering(graph, configuration).run()
    # Padding that the host writes with the picture saves the fetcher's starting within a word.
    padded = _Lowering(graph, configuration, stores_padding=True).run()
    if not any(padded.margin):
        return plain
    return min(plain, padded, key=lambda lowered: cycles(lowered.layers, configuration))


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
    def __init__(
        self, graph: Graph, configuration: EngineConfiguration, stores_padding: bool = False
    ) -> None:
        self.graph = graph
        self.configuration = configuration
        self.stores_padding = stores_padding
        self.margin = (0, 0)
        #: By sum and addend, the copy that is added in the addend's place.
        self.copied_addends: dict[tuple[int, int], int] = {}
        #: What a folded PAD made: the tensor that it pads, and by how many rows and columns.
        self.padded: dict[int, tuple[int, tuple[int, int]]] = {}
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
            margin=self.margin,
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
        elif operator.kind is OperatorKind.PAD and self._folds(operator):
            root, (top, left) = self.padded.get(source, (source, (0, 0)))
            (above, _), (before, _), _ = self._padding(operator)
            self.padded[target] = root, (top + int(above), left + int(before))
        elif operator.kind in _ENGINE:
            kinds: tuple[str, ...] = (operator.kind.value,)
            padding = None
            if source in self.padded:
                source, padding = self.padded[source]
                kinds = (OperatorKind.PAD.value, *kinds)
            self.steps.append(
                _Step(operator.name, operator, kinds, source, target, padding=padding)
            )
        else:
            self._plan_table(operator)

    def _padding(self, operator: Operator) -> npt.NDArray[np.int64]:
        """A PAD's rows, columns and channels before and behind: shape (3, 2)."""
        data = self.graph.tensors[operator.inputs[1]].data
        if data is None:
            raise CompileError(f"layer {operator.name}: its padding must be a constant")
        padding = np.zeros((3, 2), np.int64)
        picture_shape(self.graph, operator.inputs[0])
        axes = data.astype(np.int64)[1:]
        padding[3 - len(axes) :] = axes
        if padding[2].any():
            raise CompileError(
                f"layer {operator.name}: pads channels; only rows and columns can be padded"
            )
        return padding

    def _folds(self, operator: Operator) -> bool:
        """Whether all that read a PAD's output can pad as much themselves."""
        self._padding(operator)
        target = operator.outputs[0]
        readers = [self.graph.operators[index] for index in self.graph.consumers(target)]

        def pads(reader: Operator) -> bool:
            if reader.kind is OperatorKind.PAD:
                return self._folds(reader)
            if reader.kind in (OperatorKind.MAX_POOL_2D, OperatorKind.AVERAGE_POOL_2D):
                # Their own padding is of another value.
                return not _hangs_over(reference.window(self.graph, reader))
            return reader.kind in (OperatorKind.CONV_2D, OperatorKind.DEPTHWISE_CONV_2D)

        return bool(readers) and target not in self.graph.outputs and all(map(pads, readers))

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
        self._align_addends(shapes, padded)
        for tensor, shape in shapes.items():
            self.storage[tensor] = self._new_view(tensor, shape, tensor in padded)
        if self.stores_padding:
            self._store_margin()

    def _store_margin(self) -> None:
        """Let the host write the columns of padding, if a convolution alone reads the input."""
        tensor = self.graph.inputs[0]
        stored = self.storage[tensor]
        readers = [
            step for step in self.steps if tensor in map(self._root, (step.source, *step.addends))
        ]
        if len(readers) != 1 or readers[0].kind is not OperatorKind.CONV_2D:
            return
        step, operator = readers[0], readers[0].operator
        shape = (stored.height, stored.width, stored.channels)
        if operator is None or picture_shape(self.graph, step.source) != shape:
            return
        kernel, width = self._kernel(step, operator), self.storage[step.target].width
        reach = (width - 1) * kernel.stride_w + (kernel.width - 1) * kernel.dilation_w + 1
        self.margin = kernel.left, max(0, reach - kernel.left - stored.width)
        shape = (stored.height, stored.width + sum(self.margin), stored.channels)
        self.storage[tensor] = self._new_view(tensor, shape, padded=False)

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
        before = -1
        while before < len(padded):
            before = len(padded)
            for step in reversed(self.steps):
                root = self._root(step.source)
                uneven = shapes[root][2] % self.configuration.channel_group != 0
                if uneven and self._reads_groups(step, padded):
                    padded.add(root)
                # What is added lies like its sum.
                operands = {self._root(tensor) for tensor in (*step.addends, step.target)}
                if step.addends and operands & padded:
                    padded |= operands
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

    def _align_addends(self, shapes: dict[int, Shape], padded: set[int]) -> None:
        """Copy what is added but, for the host's sake, does not lie like its sum."""
        steps: list[_Step] = []
        for step in self.steps:
            for tensor in set(step.addends):
                root = self._root(tensor)
                if (root in padded) == (step.target in padded):
                    continue
                copy = max(len(self.graph.tensors), *shapes) + 1
                name = self.graph.tensors[root].name
                steps.append(_Step(f"copy of {name}", None, ("COPY",), root, copy))
                shapes[copy] = shapes[root]
                self.copied_addends[step.target, tensor] = copy
                if step.target in padded:
                    padded.add(copy)
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
        root = self._root(step.source)
        stored = self.storage[root]
        if step.source not in self.root or (root == self.graph.inputs[0] and any(self.margin)):
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
            OperatorKind.MEAN: self._build_mean,
            OperatorKind.PAD: self._build_pad,
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
        weights, kernel = self._without_horizontal_dilation(weights, self._kernel(step, operator))
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
                    kernel=self._kernel(step, operator),
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

    def _pad_value(self, step: _Step, own: int) -> int:
        """What a pool reads outside the picture: the zero point where a PAD was folded into it."""
        if step.padding is None:
            return own
        assert step.operator is not None
        return self._zero_point(step.operator.inputs[0])

    def _zero_point(self, tensor: int) -> int:
        quantization = self.graph.tensors[tensor].quantization
        if quantization is None:
            raise CompileError(f"tensor {self.graph.tensors[tensor].name}: no quantisation")
        return int(quantization.zero_point[0])

    def _build_average_pool(self, step: _Step, operator: Operator) -> list[Layer]:
        """A depthwise convolution with all weights alike, its scale one over their number.

        Where windows hang over the edge their number varies: a layer for each that occurs.
        """
        self._check_lanes(operator)
        window = reference.window(self.graph, operator)
        minimum, maximum = self._clamp(operator)
        row_counts = _taps_inside(
            window.output_h, window.stride_h, window.top, window.kernel_h, window.input_h
        )
        column_counts = _taps_inside(
            window.output_w, window.stride_w, window.left, window.kernel_w, window.input_w
        )
        layers = []
        for rows, height in row_counts:
            for columns, width in column_counts:
                weight, multiplier, shift = average(height * width)
                self._check_sum(operator, weight, height * width)
                layer = self._sum(step, weight)
                epilogue = _alike(
                    layer.source.channels, 0, multiplier, shift, 0, minimum, maximum, step.table
                )
                layers.append(replace(layer, epilogue=epilogue).part(rows, columns))
        return layers

    def _check_sum(self, operator: Operator, weight: int, count: int) -> None:
        needed, limit = signed_bits(-128 * weight * count), self.configuration.accumulator_bits - 1
        if needed > limit:
            raise CompileError(
                f"layer {operator.name}: the sum of its {count} taps needs {needed} bits, the "
                f"engine's limit is {limit}"
            )

    def _sum(self, step: _Step, weight: int) -> Layer:
        """The sum of each channel's window, its bytes multiplied by ``weight``, not scaled yet."""
        assert step.operator is not None
        source, kernel = self._source(step), self._kernel(step, step.operator)
        source, kernel = self._narrowed(source, kernel)
        return Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.DEPTHWISE,
            source=source,
            target=self.storage[step.target],
            kernel=kernel,
            weights=np.full((source.channels, kernel.height, kernel.width), weight),
            pad_value=self._pad_value(step, 0),
            epilogue=Epilogue.half(source.channels),
        )

    def _narrowed(self, source: View, kernel: Kernel) -> tuple[View, Kernel]:
        """A picture that is all one window, cut into rows that a window may have.

        Where no cut fits, what was given.
        """
        whole = (kernel.height, kernel.width) == (source.height, source.width)
        gapless = source.height == 1 or source.row_pitch == source.row_bytes
        if not (whole and gapless and kernel.top == kernel.left == 0):
            return source, kernel
        pixels, word = source.height * source.width, self.configuration.word_bytes
        for width in (source.width, *range(min(MAX_WINDOW_WIDTH, pixels), 0, -1)):
            height, rest = divmod(pixels, width)
            pitch = width * source.pixel_pitch
            fits = width <= MAX_WINDOW_WIDTH and height <= MAX_WINDOW_HEIGHT
            if fits and not rest and (pitch % word == 0 or height == 1):
                view = replace(source, height=height, width=width, row_pitch=pitch)
                return view, replace(kernel, height=height, width=width)
        return source, kernel

    def _build_mean(self, step: _Step, operator: Operator) -> list[Layer]:
        """A sum over the picture with TensorFlow Lite's own rounding.

        That rounds twice, away from zero, and so coarsely that one multiplier often cannot do the
        same on both sides of the zero point. Then each side has a layer, and their sum is taken.
        """
        self._check_lanes(operator)
        source = self._source(step)
        count = source.height * source.width
        zero_point = self._zero_point(operator.outputs[0])
        wanted = reference.mean(self.graph, operator)
        if count == 1:
            table = wanted if step.table is None else step.table[wanted.astype(np.intp) + 128]
            return self._build_table(replace(step, table=table), operator)
        limit = self.configuration.accumulator_bits - 1

        def side(low: int, high: int) -> Layer | None:
            within = np.clip(wanted, low, high)
            found = fit_sums(within, count, zero_point, limit)
            if found is None:
                return None
            weight, bias, multiplier, shift = found
            low, high = int(within[0]), int(within[-1])
            epilogue = _alike(source.channels, bias, multiplier, shift, zero_point, low, high, None)
            return replace(self._sum(step, weight), epilogue=epilogue)

        whole = side(-128, 127)
        if whole is not None:
            return [replace(whole, epilogue=replace(whole.epilogue, table=step.table))]
        sides = side(zero_point, 127), side(-128, zero_point)
        if sides[0] is None or sides[1] is None:
            raise CompileError(
                f"layer {operator.name}: the engine cannot round the mean of {count} pixels as it "
                f"must be; an AVERAGE_POOL_2D in its place can be run"
            )
        return self._add_sides(step, (sides[0], sides[1]), zero_point)

    def _add_sides(self, step: _Step, sides: tuple[Layer, Layer], zero_point: int) -> list[Layer]:
        """Both sides beside each other, and their sum: one of them is the zero point always."""
        target = self.storage[step.target]
        pair = self._new_tensor((1, target.channels, 2))
        layers = [
            replace(
                side,
                target=replace(
                    pair, width=1, channels=target.channels, pixel_pitch=pair.row_pitch, offset=at
                ),
                output_step=2,
            )
            for at, side in enumerate(sides)
        ]
        epilogue = Epilogue.half(1, zero_point, table=step.table)
        total = Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.CONVOLUTION,
            source=pair,
            target=replace(target, width=target.channels, channels=1, pixel_pitch=1),
            kernel=Kernel(),
            weights=np.full((1, 1, 1, 2), 2),
            pad_value=0,
            epilogue=replace(epilogue, bias=epilogue.bias - 4 * zero_point),
        )
        return [*layers, total]

    def _new_tensor(self, shape: Shape) -> View:
        """A tensor that only the compiler knows."""
        tensor = max(len(self.graph.tensors), *self.storage) + 1
        self.storage[tensor] = self._new_view(tensor, shape, padded=False)
        return self.storage[tensor]

    def _build_pad(self, step: _Step, operator: Operator) -> list[Layer]:
        """The greatest of a window of one, over a larger picture."""
        (top, _), (left, _), _ = self._padding(operator)
        target = self.storage[step.target]
        return [
            Layer(
                name=step.name,
                kinds=step.kinds,
                mode=Mode.POOL,
                source=self._source(step),
                target=target,
                kernel=Kernel(top=int(top), left=int(left)),
                weights=None,
                pad_value=self._zero_point(operator.outputs[0]),
                epilogue=_greatest(target.channels, table=step.table),
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
                kernel=self._kernel(step, operator),
                weights=None,
                # Folded padding takes part; a pool that has any of its own folds none.
                pad_value=self._pad_value(step, PADDING_OF_MAXIMUM),
                epilogue=_greatest(target.channels, minimum, maximum, step.table),
            )
        ]

    def _build_addition(self, step: _Step, operator: Operator) -> list[Layer]:
        """Element by element, so that the pictures' own rows and pixels do not matter."""
        stored = [
            self.storage[self.copied_addends.get((step.target, tensor), self._root(tensor))]
            for tensor in step.addends
        ]
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

    def _kernel(self, step: _Step, operator: Operator) -> Kernel:
        """The operator's window, with a folded PAD's padding, and without what is stored."""
        if operator.kind is OperatorKind.MEAN:
            source = self._source(step)
            return Kernel(source.height, source.width)
        window = reference.window(self.graph, operator)
        top, left = step.padding or (0, 0)
        reads_margin = self._root(step.source) == self.graph.inputs[0]
        return Kernel(
            height=window.kernel_h,
            width=window.kernel_w,
            stride_h=window.stride_h,
            stride_w=window.stride_w,
            dilation_h=window.dilation_h,
            dilation_w=window.dilation_w,
            top=window.top + top,
            left=window.left + left - (self.margin[0] if reads_margin else 0),
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


def _hangs_over(window: reference.Window) -> bool:
    """Whether the window reads beyond the picture's edges."""
    return any((window.top, window.left, window.bottom, window.right))


def _taps_inside(
    outputs: int, stride: int, before: int, kernel: int, inputs: int
) -> list[tuple[range, int]]:
    """Ranges of outputs of which the windows have equally many taps inside, and how many."""
    begins = np.arange(outputs) * stride - before
    counts = np.minimum(begins + kernel, inputs) - np.maximum(begins, 0)
    edges = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), outputs]
    return [(range(a, b), int(counts[a])) for a, b in zip(edges, edges[1:])]


def _alike(
    channels: int,
    bias: int,
    multiplier: int,
    shift: int,
    zero_point: int,
    minimum: int,
    maximum: int,
    table: Table | None,
) -> Epilogue:
    """The same for every channel."""
    return Epilogue(
        bias=np.full(channels, bias, np.int64),
        multiplier=np.full(channels, multiplier, np.int64),
        shift=np.full(channels, shift, np.int64),
        zero_point=zero_point,
        minimum=minimum,
        maximum=maximum,
        table=table,
    )


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
    inside = kernel.top == kernel.left == 0
    if whole and inside and source.height > 1 and target.height == target.width == 1:
        assert layer.weights is not None
        width = source.height * source.width
        weights = layer.weights.reshape(len(layer.weights), 1, width, source.pixel_pitch)
        view = replace(source, height=1, width=width, row_pitch=source.size)
        return replace(layer, source=view, kernel=Kernel(1, width), weights=weights)

    pointwise = (kernel.height, kernel.width, kernel.stride_h, kernel.stride_w) == (1, 1, 1, 1)
    same = (source.height, source.width) == (target.height, target.width) and inside
    gapless = all(view.height == 1 or view.row_pitch == view.row_bytes for view in (source, target))
    if not (pointwise and same and gapless):
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
