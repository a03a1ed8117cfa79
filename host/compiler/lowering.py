"""From a graph to layers that the engine can run.

Three steps. *Plan*: which operators become a layer, which fold into another one (a table or an ADD
into the layer before it, a reshape into nothing, a final softmax into the host). *Store*: how each
tensor that remains lies in memory. *Build*: each layer's geometry, weights and arithmetic.

A channel-wise layer reads ``G`` channels of a pixel at once and wants them within a memory word, so
the pixel pitch of its input is rounded up to a multiple of ``G``. The tensor's producer simply
leaves the bytes between untouched, and a convolution that reads the same tensor has weights of zero
for them. An engine of several requantisers writes as many channels at once, so there all tensors
but the input are like that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import ADDITION_SHIFT
from model.int8 import reference
from model.int8.graph import (
    ABSENT,
    Graph,
    Operator,
    OperatorKind,
    SoftmaxOptions,
)

from .addition import Addition, find_addition
from .channels import average, fit_channels, fit_sums, signed_bits
from .errors import CompileError
from .layers import Epilogue, IntArray, Kernel, Layer, Mode, View
from .loops import MAX_GROUPS, MAX_WINDOW_HEIGHT, MAX_WINDOW_WIDTH, max_row_bytes
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
    margin : tuple of int
        Pixels of padding to the left and the right of the input's rows that the host writes too.
    """

    layers: tuple[Layer, ...]
    storage: dict[int, View]
    input: int
    output: int
    answer: int
    softmax: SoftmaxOptions | None
    margin: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class _Sum:
    """An ADD behind a step: what that gives, input number ``made``, is added to the other input.

    The sum takes the other's place in memory.
    """

    operator: Operator
    made: int


@dataclass(frozen=True, eq=False)
class _Step:
    """An operator that becomes a layer, with the tables, or the ADD, fused behind it.

    ``operator`` is None for a layer that only copies. ``padding`` is that of the PAD that
    was folded into it: rows above and columns to the left. ``pooled``: a 2x2 MAX_POOL_2D is.
    """

    name: str
    operator: Operator | None
    kinds: tuple[str, ...]
    source: int
    target: int
    table: Table | None = None
    padding: tuple[int, int] | None = None
    sum: _Sum | None = None
    pooled: bool = False

    @property
    def reads(self) -> tuple[int, ...]:
        """The tensors that it reads."""
        if self.operator is None or self.operator.kind is not OperatorKind.ADD:
            return (self.source,)
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
    found = []
    for pools in (False, True) if configuration.pooling else (False,):
        plain = _Lowering(graph, configuration, pools=pools).run()
        if pools and not any(layer.pooled for layer in plain.layers):
            break
        found.append(plain)
        # Padding that the host writes with the picture saves the fetcher's starting within a word.
        padded = _Lowering(graph, configuration, pools=pools, stores_padding=True).run()
        if any(padded.margin):
            found.append(padded)
    return min(found, key=lambda lowered: cycles(lowered.layers, configuration))


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
        self,
        graph: Graph,
        configuration: EngineConfiguration,
        pools: bool = False,
        stores_padding: bool = False,
    ) -> None:
        self.graph = graph
        self.configuration = configuration
        self.pools = pools
        self.stores_padding = stores_padding
        self.margin = (0, 0)
        self.tensors = len(graph.tensors)
        #: What a folded PAD made: the tensor that it pads, and by how many rows and columns.
        self.padded: dict[int, tuple[int, tuple[int, int]]] = {}
        #: Tensors that a reshape made, and the tensor whose bytes they are.
        self.root: dict[int, int] = {}
        #: Sums, and the tensor in whose memory they lie.
        self.place: dict[int, int] = {}
        #: Copies that only the compiler knows, and what they are copies of.
        self.copied: dict[int, int] = {}
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
        self._place_sums()
        self._store()
        layers = tuple(
            replace(part, result=step.target)
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

    def _value(self, tensor: int) -> int:
        """The tensor of which ``tensor`` has the bytes: before it was reshaped."""
        return self.root.get(tensor, tensor)

    def _root(self, tensor: int) -> int:
        """The tensor in whose memory ``tensor`` lies."""
        value = self._value(tensor)
        return self.place.get(value, value)

    def _shape(self, tensor: int) -> Shape:
        return picture_shape(self.graph, self.copied.get(tensor, tensor))

    def _plan(self, operator: Operator) -> None:
        source, target = operator.inputs[0], operator.outputs[0]
        if self.softmax is not None:
            raise CompileError(
                f"layer {operator.name}: follows a SOFTMAX, which the host computes last of all"
            )
        if operator.kind is OperatorKind.RESHAPE:
            self.root[target] = self._value(source)
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
            elif operator.kind is OperatorKind.MAX_POOL_2D and self._pool_behind(operator):
                return
            self.steps.append(
                _Step(operator.name, operator, kinds, source, target, padding=padding)
            )
        else:
            self._plan_table(operator)

    def _pool_behind(self, operator: Operator) -> bool:
        """Let the convolution that makes a 2x2 pool's input pool it, if it can."""
        source = operator.inputs[0]
        made = next((i for i, step in enumerate(self.steps) if step.target == source), None)
        if not self.pools or made is None or self.configuration.pixels == 1:
            return False
        step, window = self.steps[made], reference.window(self.graph, operator)
        sizes = (window.kernel_h, window.kernel_w, window.stride_h, window.stride_w)
        # The engine counts a pooled layer's results anew in every second line, so the last layer,
        # of which it finds the greatest result, is none.
        behind = self.graph.operators[self.graph.operators.index(operator) + 1 :]
        if (
            step.kind is not OperatorKind.CONV_2D
            or step.table is not None
            or step.pooled
            or sizes != (2, 2, 2, 2)
            or _hangs_over(window)
            or self._clamp(operator) != (-128, 127)
            or not self._only_use(source)
            or not any(each.kind in _ENGINE for each in behind)
        ):
            return False
        kinds = (*step.kinds, operator.kind.value)
        self.steps[made] = replace(step, kinds=kinds, target=operator.outputs[0], pooled=True)
        return True

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
        adds = made is not None and self.steps[made].kind is OperatorKind.ADD
        if made is None or adds or self.steps[made].pooled or not self._only_use(source):
            self.steps.append(_Step(operator.name, operator, kinds, source, target, table))
            return
        step = self.steps[made]
        if step.table is not None:
            table = table[step.table.astype(np.intp) + 128]
        self.steps[made] = replace(step, kinds=step.kinds + kinds, target=target, table=table)

    def _only_use(self, tensor: int) -> bool:
        return len(self.graph.consumers(tensor)) == 1 and tensor not in self.graph.outputs

    # Sums

    def _place_sums(self) -> None:
        """Find for each ADD the layer behind which it happens, and the memory.

        The layer that makes one addend overwrites the other with the sum, if nobody needs either.
        Otherwise a layer that copies the one overwrites the other, or a copy of it.
        """
        steps, self.steps = self.steps, []
        for index, step in enumerate(steps):
            if step.operator is None or step.operator.kind is not OperatorKind.ADD:
                self.steps.append(step)
                continue
            later = steps[index + 1 :]
            if self._add_behind(step, step.operator, later):
                continue
            inputs = step.reads
            made = next((i for i in (0, 1) if self._may_take(step, inputs[1 - i], later)), None)
            if made is None:
                made = 0
                place = self._copy(inputs[1])
            else:
                place = self._root(inputs[1 - made])
            self.place[step.target] = place
            self.steps.append(
                replace(step, operator=None, source=inputs[made], sum=_Sum(step.operator, made))
            )

    def _add_behind(self, step: _Step, operator: Operator, later: list[_Step]) -> bool:
        """Let the layer that makes one addend of ``step`` add the other, if it can."""
        for made, source in enumerate(step.reads):
            value, other = self._value(source), step.reads[1 - made]
            found = next((i for i, each in enumerate(self.steps) if each.target == value), None)
            if found is None or self.steps[found].sum or self.steps[found].pooled:
                continue
            if not self._may_take(step, source, later):
                continue
            before, since = self.steps[:found], self.steps[found:]
            # The two layers of a MEAN may be a sum themselves.
            if since[0].kind is OperatorKind.MEAN or self._is_read(value, since):
                continue
            complete = any(each.target == self._value(other) for each in before)
            if complete and self._may_take(step, other, [*since, *later]):
                kinds = since[0].kinds + step.kinds
                self.place[step.target] = self._root(other)
                self.steps[found] = replace(
                    since[0], kinds=kinds, target=step.target, sum=_Sum(operator, made)
                )
                return True
        return False

    def _may_take(self, step: _Step, tensor: int, later: list[_Step]) -> bool:
        """Whether a sum may take the place of its addend ``tensor``, if ``later`` comes after."""
        value = self._value(tensor)
        kept = (
            self.graph.inputs[0],
            self._value(self.answer),
            *map(self._value, self.graph.outputs),
        )
        twice = [self._value(each) for each in step.reads].count(value) == 2
        alike = self._shape(step.target) == self._shape(value) == self._shape(self._root(value))
        return alike and not twice and value not in kept and not self._is_read(value, later)

    def _is_read(self, value: int, steps: list[_Step]) -> bool:
        return any(self._value(tensor) == value for step in steps for tensor in step.reads)

    def _copy(self, tensor: int) -> int:
        """Add a step that copies ``tensor``."""
        copy = self._new_tensor()
        self.copied[copy] = tensor
        name = self.graph.tensors[tensor].name
        self.steps.append(_Step(f"copy of {name}", None, ("COPY",), tensor, copy))
        return copy

    # Store

    def _store(self) -> None:
        """Decide every tensor's pitch, and insert a copy where the host's own must stay dense."""
        host = self.graph.inputs[0]
        shapes = {host: self._input_shape()}
        for step in self.steps:
            root = self._root(step.target)
            shapes[root] = self._shape(root)
        padded = self._padded_tensors(shapes)
        if host in padded:
            copy = self._new_tensor()
            shapes[copy] = shapes[host]
            padded = padded - {host} | {copy}
            self._insert_copy(copy, padded)
        for tensor, shape in shapes.items():
            self.storage[tensor] = self._new_view(tensor, shape, tensor in padded)
        if self.stores_padding:
            self._store_margin()

    def _store_margin(self) -> None:
        """Let the host write the columns of padding, if a convolution alone reads the input."""
        tensor = self.graph.inputs[0]
        stored = self.storage[tensor]
        readers = [step for step in self.steps if self._root(step.source) == tensor]
        if len(readers) != 1 or readers[0].kind is not OperatorKind.CONV_2D:
            return
        step, operator = readers[0], readers[0].operator
        shape = (stored.height, stored.width, stored.channels)
        if operator is None or picture_shape(self.graph, step.source) != shape:
            return
        kernel, width = self._kernel(step, operator), self.storage[self._root(step.target)].width
        width *= 2 if step.pooled else 1
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
        if self.configuration.requantizers > 1:
            # Results are written so many channels at a time.
            padded |= {self._root(step.target) for step in self.steps}
        before = -1
        while before < len(padded):
            before = len(padded)
            for step in reversed(self.steps):
                root = self._root(step.source)
                uneven = shapes[root][2] % self.configuration.channel_group != 0
                if uneven and self._reads_groups(step, padded):
                    padded.add(root)
        return padded

    def _reads_groups(self, step: _Step, padded: set[int]) -> bool:
        """Whether the step's input must have a pixel pitch of whole groups.

        A table or a copy needs that only where its output has: otherwise it ignores where pixels
        begin. A copy of the host's own can do without.
        """
        if step.kind is None and self._root(step.source) == self.graph.inputs[0]:
            return False
        each_byte = step.kind not in _ENGINE
        return step.kind in _CHANNEL_WISE or (each_byte and self._root(step.target) in padded)

    def _insert_copy(self, copy: int, padded: set[int]) -> None:
        """Let channel-wise layers read a padded copy of the input."""
        host = self.graph.inputs[0]
        steps: list[_Step] = []
        copied = False
        for step in self.steps:
            if self._root(step.source) == host and self._reads_groups(step, padded):
                if not copied:
                    name = self.graph.tensors[host].name
                    steps.append(_Step(f"copy of {name}", None, ("COPY",), host, copy))
                    copied = True
                step = replace(step, source=copy)
            steps.append(step)
        self.steps = steps

    def _new_tensor(self) -> int:
        """Number of a tensor that only the compiler knows."""
        self.tensors += 1
        return self.tensors - 1

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
        layers = self._build_plain(step)
        if step.sum is None:
            return layers
        operator, made = step.sum.operator, step.sum.made
        addition = find_addition(operator.name, reference.addition(self.graph, operator))
        if made == 1:
            addition = replace(addition, tables=addition.tables[::-1])
        return [replace(each, epilogue=each.epilogue.adding(addition)) for each in layers]

    def _build_plain(self, step: _Step) -> list[Layer]:
        """Without the ADD behind it."""
        if step.operator is None:
            return self._build_copy(step)
        builders: dict[OperatorKind, Callable[[_Step, Operator], list[Layer]]] = {
            OperatorKind.CONV_2D: self._build_convolution,
            OperatorKind.FULLY_CONNECTED: self._build_fully_connected,
            OperatorKind.DEPTHWISE_CONV_2D: self._build_depthwise,
            OperatorKind.MAX_POOL_2D: self._build_max_pool,
            OperatorKind.AVERAGE_POOL_2D: self._build_average_pool,
            OperatorKind.MEAN: self._build_mean,
            OperatorKind.PAD: self._build_pad,
        }
        return builders.get(step.operator.kind, self._build_bytes)(step, step.operator)

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
            target=self.storage[self._root(step.target)],
            kernel=kernel,
            weights=weights,
            pad_value=rule.input_zero_point,
            epilogue=replace(epilogue, table=step.table),
            macs=self.graph.macs(operator),
            pooled=step.pooled,
        )
        if layer.pooled:
            # What the pool leaves out, at the end of odd rows and columns, is not computed.
            _, height, width, _ = self.graph.tensors[operator.outputs[0]].shape
            computed = 4 * layer.target.height * layer.target.width
            layer = replace(layer, macs=layer.macs * computed // (height * width))
        return _in_long_rows(layer, self.configuration)

    def _build_depthwise(self, step: _Step, operator: Operator) -> list[Layer]:
        """A pass for each of the outputs that a channel has; most networks have one."""
        weights, bias = self._constants(operator)
        source, target = self._source(step), self.storage[self._root(step.target)]
        _, height, width, outputs = weights.shape
        per_channel = outputs // source.channels
        weights = np.moveaxis(weights[0], -1, 0)
        if per_channel > 1 and self.configuration.requantizers > 1:
            # Results of one pass would not lie beside each other: all inputs, most weights zero.
            mixed = np.zeros((*weights.shape, source.channels), np.int64)
            every = np.arange(outputs)
            mixed[every, :, :, every // per_channel] = weights
            mixed, kernel = self._without_horizontal_dilation(mixed, self._kernel(step, operator))
            return [self._convolution(step, operator, source, kernel, mixed, bias)]
        rule = reference.requantization(self.graph, operator)
        flat, epilogue = fit_channels(
            operator.name, weights.reshape(outputs, -1), bias, rule, self.configuration
        )
        layers = []
        for output in range(per_channel):
            every_output = slice(output, None, per_channel)
            layers.append(
                Layer(
                    name=step.name,
                    kinds=step.kinds,
                    mode=Mode.DEPTHWISE,
                    source=source,
                    target=replace(target, offset=output),
                    kernel=self._kernel(step, operator),
                    weights=flat[every_output].reshape(-1, height, width),
                    pad_value=rule.input_zero_point,
                    epilogue=replace(
                        epilogue,
                        bias=epilogue.bias[every_output],
                        multiplier=epilogue.multiplier[every_output],
                        shift=epilogue.shift[every_output],
                        table=step.table,
                    ),
                    macs=self.graph.macs(operator) // per_channel,
                    output_step=per_channel,
                )
            )
        return layers

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
            target=self.storage[self._root(step.target)],
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
        source = self._source(step)
        count = source.height * source.width
        limit = self.configuration.accumulator_bits - 1
        # Before the table of all sums is made, which may be gigabytes.
        if count << 7 > 1 << limit:
            raise CompileError(
                f"layer {operator.name}: the sum of {count} pixels does not fit the engine's "
                f"accumulators; {1 << limit >> 7} are possible"
            )
        zero_point = self._zero_point(operator.outputs[0])
        wanted = reference.mean(self.graph, operator)
        if count == 1:
            table = wanted if step.table is None else step.table[wanted.astype(np.intp) + 128]
            return self._build_bytes(replace(step, table=table))

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
        return _add_sides((sides[0], sides[1]), zero_point, step.table)

    def _build_pad(self, step: _Step, operator: Operator) -> list[Layer]:
        """The greatest of a window of one, over a larger picture."""
        (top, _), (left, _), _ = self._padding(operator)
        target = self.storage[self._root(step.target)]
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
        target = self.storage[self._root(step.target)]
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

    def _build_bytes(self, step: _Step, operator: Operator | None = None) -> list[Layer]:
        """Each byte, through the table if there is one: the greatest of a window of one."""
        source, target = self._source(step), self.storage[self._root(step.target)]
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

    def _build_copy(self, step: _Step) -> list[Layer]:
        """Byte for byte, if groups of channels can be read.

        Else a 1x1 convolution multiplies by two, which the epilogue halves again.
        """
        source, target = self._source(step), self.storage[self._root(step.target)]
        group = self.configuration.channel_group
        dense = source.pixel_pitch == source.channels and target.pixel_pitch == target.channels
        if dense or source.pixel_pitch % group == 0:
            return self._build_bytes(step)
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
        return [_in_long_rows(layer, self.configuration)]

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


def _add_sides(sides: tuple[Layer, Layer], zero_point: int, table: Table | None) -> list[Layer]:
    """The second side added to the first in its place: one of them is the zero point always."""
    every = np.arange(-128, 128)
    values = every if table is None else table.astype(np.int64)
    # For the same reason a table's entries may be added too.
    tables = np.stack([values, values - values[zero_point + 128]]) << ADDITION_SHIFT
    first, second = sides
    addition = Addition(tables, -128, 127)
    return [first, replace(second, epilogue=second.epilogue.adding(addition))]


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
    longest = max_row_bytes(configuration)
    whole = (
        source.row_pitch == source.row_bytes
        and source.size <= longest
        and (kernel.height, kernel.width) == (source.height, source.width)
    )
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
            and pixels // rows * source.pixel_pitch <= longest
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
