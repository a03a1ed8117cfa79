"""Where a byte comes from: everything that was read for it, and each integer on the way.

`explain` takes one value of one tensor apart, into an `.explanation.Explanation`. The integers are
those of the reference (`.reference`), which the board matches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from model.int8 import fixed_point, reference
from model.int8.explanation import MOVES, Chain, Explanation, Source
from model.int8.graph import ABSENT, Graph, Operator, OperatorKind
from model.int8.operators.quantization import affine, clamp, fused_activation, requantization
from model.int8.operators.reduction import factor, reduced_axes
from model.int8.operators.transpose_convolution import TransposeOptions, margins
from model.int8.operators.window import window

__all__ = ["explain"]

_Kind = OperatorKind

_ADD_LEFT_SHIFT = 20
_INDEX_BYTES = 4


def explain(
    graph: Graph, tensor: int, position: Sequence[int], values: Mapping[int, np.ndarray]
) -> Explanation:
    """Take a value of a tensor apart.

    Parameters
    ----------
    graph : Graph
    tensor : int
    position : sequence of int
        Index of the tensor's `Tensor.example_shape`.
    values : mapping of int to ndarray
        What the operator reads, by tensor: from `model.int8.reference.replay`.

    Raises
    ------
    IndexError
        If there is no such tensor or position.
    """
    if not 0 <= tensor < len(graph.tensors):
        raise IndexError(f"there is no tensor {tensor}")
    shape = graph.tensors[tensor].example_shape
    place = tuple(int(index) for index in position)
    if len(place) != len(shape) or not all(0 <= at < size for at, size in zip(place, shape)):
        raise IndexError(f"{place} is no position in a tensor of {shape}")
    maker = graph.producer(tensor)
    operator = None if maker is None else graph.operators[maker]
    return _Explaining(graph, tensor, place, operator, values).explain()


class _Explaining:
    """One value, and what is needed to tell where it comes from."""

    def __init__(
        self,
        graph: Graph,
        tensor: int,
        position: tuple[int, ...],
        operator: Operator | None,
        values: Mapping[int, np.ndarray],
    ) -> None:
        self._graph = graph
        self._tensor = tensor
        self._position = position
        self._operator = operator
        self._values = values
        #: In the tensor's own shape, with the batch dimension.
        shape = graph.tensors[tensor].shape
        sizes = graph.tensors[tensor].example_shape
        self._flat = int(np.ravel_multi_index(position, sizes)) if position else 0
        places = np.unravel_index(self._flat, shape) if shape else ()
        self._index = tuple(int(place) for place in places)

    def explain(self) -> Explanation:
        operator = self._operator
        if operator is None:
            value = self._values[self._tensor].reshape(-1)[self._flat]
            return self._told("given", (), Chain(int(value)))
        if self._graph.tensors[self._tensor].dtype != "int8":
            return self._as_the_reference()
        if operator.kind in MOVES:
            return self._moved()
        method = _METHODS.get(operator.kind)
        if method is not None and self._reads_int8(operator):
            return method(self)
        table = self._table(operator)
        return self._as_the_reference() if table is None else self._looked_up(table)

    # What all need.

    def _made_by(self) -> Operator:
        assert self._operator is not None
        return self._operator

    def _reads_int8(self, operator: Operator) -> bool:
        """Whether the activation that it reads is int8, as shapes and floats are not."""
        return self._graph.tensors[self._activation(operator)].dtype == "int8"

    @staticmethod
    def _activation(operator: Operator) -> int:
        return operator.inputs[2 if operator.kind is _Kind.TRANSPOSE_CONV else 0]

    def _told(
        self,
        how: str,
        sources: Sequence[Source],
        chain: Chain,
        joined: int | None = None,
        table: np.ndarray | None = None,
    ) -> Explanation:
        return Explanation(
            tensor=self._tensor,
            position=self._position,
            operator=self._operator,
            how=how,
            sources=tuple(sources),
            joined=chain.value if joined is None else joined,
            steps=tuple(chain.steps),
            result=chain.value,
            table=table,
        )

    def _source(
        self,
        tensor: int,
        flat: np.ndarray,
        inside: np.ndarray | None = None,
        padding: int = 0,
        zero_point: int = 0,
        weights: np.ndarray | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> Source:
        """Values of a tensor, by their places among its elements."""
        flat = np.asarray(flat, np.int64).reshape(-1)
        inside = np.ones(len(flat), bool) if inside is None else inside.reshape(-1)
        example = self._graph.tensors[tensor].example_shape
        elements = self._values[tensor].reshape(-1)
        found = elements[np.where(inside, flat, 0)].astype(np.int64)
        positions = np.stack(np.unravel_index(np.where(inside, flat, 0), example or (1,)), axis=1)
        return Source(
            tensor=tensor,
            positions=positions.astype(np.int64) if example else positions[:, :0],
            inside=inside,
            values=np.where(inside, found, padding),
            zero_point=zero_point,
            weights=None if weights is None else weights.astype(np.int64).reshape(-1),
            shape=shape or (len(flat),),
        )

    def _clamp(self) -> tuple[int, int]:
        operator = self._made_by()
        return clamp(fused_activation(operator), *affine(self._graph, self._tensor))

    def _places(
        self, rows: np.ndarray, columns: np.ndarray, channels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places in the activation of each row × column × channel, and which are in the picture."""
        source = self._activation(self._made_by())
        _, height, width, depth = self._graph.tensors[source].shape
        y, x, c = np.meshgrid(rows, columns, channels, indexing="ij")
        inside = (0 <= y) & (y < height) & (0 <= x) & (x < width)
        batch = self._index[0]
        return ((batch * height + y) * width + x) * depth + c, inside

    # Layers with weights.

    def _requantized(self, source: Source, channel: int, bias: int) -> Explanation:
        """The sum of all products, the bias, and what makes a byte of that."""
        operator = self._made_by()
        rule = requantization(self._graph, operator)
        total = int(fixed_point.wrap_int32(int(source.terms.sum())))
        chain = Chain(total)
        if len(operator.inputs) > bias and operator.inputs[bias] != ABSENT:
            biases = self._values[operator.inputs[bias]].reshape(-1)
            chain.plus(int(biases[channel]), "bias")
        chain.scale(int(rule.multiplier[channel]), int(rule.shift[channel]))
        chain.plus(rule.output_zero_point).clamp(rule.minimum, rule.maximum)
        return self._told("sum", (source,), chain, total)

    def _convolution(self) -> Explanation:
        operator, (_, y, x, channel) = self._made_by(), self._index
        shape = window(self._graph, operator)
        filters = self._values[operator.inputs[1]]
        rows = y * shape.stride_h - shape.top + np.arange(shape.kernel_h) * shape.dilation_h
        columns = x * shape.stride_w - shape.left + np.arange(shape.kernel_w) * shape.dilation_w
        depth = self._graph.tensors[operator.inputs[0]].shape[3]
        if operator.kind is _Kind.DEPTHWISE_CONV_2D:
            weights = filters[0, :, :, channel : channel + 1]
            channels = np.array([channel * depth // filters.shape[3]])
        else:
            own = filters.shape[3]
            group = channel * (depth // own) // len(filters)
            weights = filters[channel]
            channels = group * own + np.arange(own)
        flat, inside = self._places(rows, columns, channels)
        _, zero = affine(self._graph, operator.inputs[0])
        source = self._source(operator.inputs[0], flat, inside, zero, zero, weights, flat.shape)
        return self._requantized(source, channel, 2)

    def _transpose_convolution(self) -> Explanation:
        operator, (_, y, x, channel) = self._made_by(), self._index
        options = operator.options
        assert isinstance(options, TransposeOptions)
        top, left = margins(self._graph, operator)
        filters = self._values[operator.inputs[1]][channel]
        kernel_h, kernel_w, depth = filters.shape
        # A kernel row reaches this row from an input row, if it lies a whole number of strides off.
        down, along = y + top - np.arange(kernel_h), x + left - np.arange(kernel_w)
        rows = np.where(down % options.stride_h, -1, down // options.stride_h)
        columns = np.where(along % options.stride_w, -1, along // options.stride_w)
        flat, inside = self._places(rows, columns, np.arange(depth))
        _, zero = affine(self._graph, operator.inputs[2])
        source = self._source(operator.inputs[2], flat, inside, zero, zero, filters, flat.shape)
        return self._requantized(source, channel, 3)

    def _fully_connected(self) -> Explanation:
        operator = self._made_by()
        weights = self._values[operator.inputs[1]]
        units, inputs = weights.shape
        row, unit = divmod(self._flat, units)
        _, zero = affine(self._graph, operator.inputs[0])
        flat = row * inputs + np.arange(inputs)
        source = self._source(operator.inputs[0], flat, zero_point=zero, weights=weights[unit])
        return self._requantized(source, unit, 2)

    # Pools and reductions.

    def _pool(self) -> Explanation:
        operator, (_, y, x, channel) = self._made_by(), self._index
        shape = window(self._graph, operator)
        rows = y * shape.stride_h - shape.top + np.arange(shape.kernel_h)
        columns = x * shape.stride_w - shape.left + np.arange(shape.kernel_w)
        flat, inside = self._places(rows, columns, np.array([channel]))
        if operator.kind is _Kind.MAX_POOL_2D:
            source = self._source(operator.inputs[0], flat, inside, -128, shape=flat.shape)
            chain = Chain(int(source.values.max()))
            joined = chain.value
            return self._told("greatest", (source,), chain.clamp(*self._clamp()), joined)
        source = self._source(operator.inputs[0], flat, inside, 0, shape=flat.shape)
        chain = Chain(int(source.values.sum()))
        joined = chain.value
        chain.divide(int(inside.sum())).clamp(*self._clamp())
        return self._told("sum", (source,), chain, joined)

    def _reduction(self) -> Explanation:
        operator = self._made_by()
        source_tensor = self._graph.tensors[operator.inputs[0]]
        axes = reduced_axes(self._graph, operator)
        kept = [axis for axis in range(len(source_tensor.shape)) if axis not in axes]
        place = np.unravel_index(self._flat, [source_tensor.shape[axis] for axis in kept] or (1,))
        index: list[slice | int] = [slice(None)] * len(source_tensor.shape)
        for axis, at in zip(kept, place):
            index[axis] = int(at)
        flat = np.arange(prod(source_tensor.shape)).reshape(source_tensor.shape)[tuple(index)]
        source = self._source(operator.inputs[0], flat)
        if operator.kind in (_Kind.REDUCE_MAX, _Kind.REDUCE_MIN):
            greatest = operator.kind is _Kind.REDUCE_MAX
            chain = Chain(int(source.values.max() if greatest else source.values.min()))
            return self._told("greatest" if greatest else "least", (source,), chain)
        chain = Chain(int(source.values.sum()))
        joined, count = chain.value, len(source.values)
        _, zero_in = affine(self._graph, operator.inputs[0])
        _, zero_out = affine(self._graph, self._tensor)
        chain.plus(-zero_in * count, "zero points").scale(*factor(self._graph, operator))
        chain.plus(zero_out).clamp(-128, 127)
        return self._told("sum", (source,), chain, joined)

    # Two tensors.

    def _pair(self) -> tuple[Source, Source]:
        """The value of either input that meets the other's here."""
        sources = []
        for tensor in self._made_by().inputs[:2]:
            shape = self._graph.tensors[tensor].shape
            every = np.arange(prod(shape)).reshape(shape)
            target = self._graph.tensors[self._tensor].shape
            flat = np.broadcast_to(every, target)[self._index] if target else every
            sources.append(self._source(tensor, flat))
        return sources[0], sources[1]

    def _addition(self) -> Explanation:
        operator = self._made_by()
        sides = [affine(self._graph, tensor) for tensor in operator.inputs[:2]]
        scale_out, zero_out = affine(self._graph, self._tensor)
        unit = 2 * float(max(scale for scale, _ in sides))
        sources: list[Source] = []
        parts: list[int] = []
        for source, (scale, zero) in zip(self._pair(), sides):
            chain = Chain(int(source.values[0])).minus(zero).shift_left(_ADD_LEFT_SHIFT)
            multiplier, shift = fixed_point.quantize_multiplier(float(scale) / unit)
            chain.scale(int(multiplier), int(shift))
            if operator.kind is _Kind.SUB and sources:
                chain.negate()
            sources.append(replace(source, steps=tuple(chain.steps)))
            parts.append(chain.value)
        chain = Chain(sum(parts))
        joined = chain.value
        multiplier, shift = fixed_point.quantize_multiplier(
            unit / ((1 << _ADD_LEFT_SHIFT) * float(scale_out))
        )
        chain.scale(int(multiplier), int(shift)).plus(zero_out).clamp(*self._clamp())
        return self._told("sum", sources, chain, joined)

    def _product(self) -> Explanation:
        operator = self._made_by()
        sides = [affine(self._graph, tensor) for tensor in operator.inputs[:2]]
        scale_out, zero_out = affine(self._graph, self._tensor)
        sources: list[Source] = []
        parts: list[int] = []
        for source, (_, zero) in zip(self._pair(), sides):
            chain = Chain(int(source.values[0])).minus(zero)
            sources.append(replace(source, steps=tuple(chain.steps)))
            parts.append(chain.value)
        chain = Chain(parts[0] * parts[1])
        joined = chain.value
        multiplier, shift = fixed_point.quantize_multiplier(
            float(sides[0][0]) * float(sides[1][0]) / float(scale_out)
        )
        chain.scale(int(multiplier), int(shift)).plus(zero_out).clamp(*self._clamp())
        return self._told("product", sources, chain, joined)

    def _slope(self) -> Explanation:
        """PRELU: one factor for what is not negative, another with the slope for the rest."""
        operator = self._made_by()
        (scale, zero), (slope_scale, slope_zero) = (
            affine(self._graph, tensor) for tensor in operator.inputs[:2]
        )
        scale_out, zero_out = affine(self._graph, self._tensor)
        ratio = float(scale) / float(scale_out)
        source, slope = self._pair()
        value = Chain(int(source.values[0])).minus(zero)
        source = replace(source, steps=tuple(value.steps))
        if value.value >= 0:
            chain, how, sources = Chain(value.value), "value", [source]
        else:
            factor = Chain(int(slope.values[0])).minus(slope_zero)
            sources = [source, replace(slope, steps=tuple(factor.steps))]
            chain, how = Chain(value.value * factor.value), "product"
            ratio = float(scale) * float(slope_scale) / float(scale_out)
        joined = chain.value
        multiplier, shift = fixed_point.quantize_multiplier(ratio)
        chain.scale(int(multiplier), int(shift)).plus(zero_out).clamp(-128, 127)
        return self._told(how, sources, chain, joined)

    def _extreme(self) -> Explanation:
        greatest = self._made_by().kind is _Kind.MAXIMUM
        sources = self._pair()
        values = [int(source.values[0]) for source in sources]
        chain = Chain(max(values) if greatest else min(values))
        return self._told("greatest" if greatest else "least", sources, chain)

    # Bytes.

    def _table(self, operator: Operator) -> np.ndarray | None:
        try:
            return reference.table(self._graph, operator)
        except TypeError:
            return None

    def _looked_up(self, table: np.ndarray) -> Explanation:
        operator = self._made_by()
        read = next(
            tensor for tensor in operator.inputs if self._graph.tensors[tensor].data is None
        )
        source = self._source(read, np.array([self._flat]))
        chain = Chain(int(source.values[0]))
        joined = chain.value
        return self._told("value", (source,), chain.look_up(table), joined, table)

    def _moved(self) -> Explanation:
        """Which byte of which input it is, found by moving the numbers of all bytes instead."""
        operator = self._made_by()
        read = [
            tensor
            for tensor in dict.fromkeys(operator.inputs)
            if tensor != ABSENT and self._graph.tensors[tensor].dtype == "int8"
        ]
        sizes = [prod(self._graph.tensors[tensor].shape) for tensor in read]
        starts = np.concatenate([[0], np.cumsum(sizes)])

        def moved(byte: Callable[[np.ndarray], np.ndarray]) -> int:
            """The byte that comes here, if each had that byte of its number."""
            bytes_ = {
                tensor: byte(start + np.arange(size))
                for tensor, start, size in zip(read, starts, sizes)
            }
            return int(self._result(bytes_).reshape(-1)[self._flat]) + 128

        digits = [moved(lambda n, at=8 * k: n >> at & 255) for k in range(_INDEX_BYTES)]  # type: ignore[misc]
        turned = moved(lambda number: ~number & 255)
        value = int(self._result().reshape(-1)[self._flat])
        if digits[0] + turned != 255:
            # It does not change with what is read: padding.
            return self._told("given", (), Chain(value))
        number = sum(digit << (8 * place) for place, digit in enumerate(digits))
        which = int(np.searchsorted(starts, number, "right")) - 1
        source = self._source(read[which], np.array([number - starts[which]]))
        return self._told("moved", (source,), Chain(int(source.values[0])))

    def _result(self, instead: Mapping[int, np.ndarray] | None = None) -> np.ndarray:
        """The operator's output, computed; of other bytes than it read, where they are given."""
        operator, inputs = self._made_by(), []
        for tensor in operator.inputs:
            if tensor == ABSENT:
                inputs.append(np.empty(0))
                continue
            value = self._values[tensor]
            if instead is not None and tensor in instead:
                value = (instead[tensor] - 128).astype(np.int8).reshape(value.shape)
            inputs.append(value[np.newaxis])
        outputs = reference.compute(self._graph, operator, inputs)
        return outputs[operator.outputs.index(self._tensor)]

    def _as_the_reference(self) -> Explanation:
        value = self._result().reshape(-1)[self._flat]
        return self._told("reference", (), Chain(int(value)))


_METHODS: dict[OperatorKind, Callable[[_Explaining], Explanation]] = {
    _Kind.CONV_2D: _Explaining._convolution,
    _Kind.DEPTHWISE_CONV_2D: _Explaining._convolution,
    _Kind.TRANSPOSE_CONV: _Explaining._transpose_convolution,
    _Kind.FULLY_CONNECTED: _Explaining._fully_connected,
    _Kind.MAX_POOL_2D: _Explaining._pool,
    _Kind.AVERAGE_POOL_2D: _Explaining._pool,
    _Kind.MEAN: _Explaining._reduction,
    _Kind.SUM: _Explaining._reduction,
    _Kind.REDUCE_MAX: _Explaining._reduction,
    _Kind.REDUCE_MIN: _Explaining._reduction,
    _Kind.ADD: _Explaining._addition,
    _Kind.SUB: _Explaining._addition,
    _Kind.MUL: _Explaining._product,
    _Kind.PRELU: _Explaining._slope,
    _Kind.MAXIMUM: _Explaining._extreme,
    _Kind.MINIMUM: _Explaining._extreme,
}
