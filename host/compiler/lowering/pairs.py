"""Arithmetic of two tensors as the engine has it: sums, products, the greater of two, and lines.

A constant of one element makes a function of one byte, which is no affair of this file. A constant
for each channel makes a line for each channel, where that is exact: a depthwise convolution of one
tap. Any other constant becomes a tensor that a layer writes; a tensor that is broadcast is spread
first. The lesser of two is the complement of the greater of their complements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from model.int8 import fixed_point, reference
from model.int8.graph import Graph, Operator, OperatorKind, Tensor
from model.int8.operators.arithmetic import ArithmeticOptions
from model.int8.operators.quantization import affine, clamp, fused_activation

from ..channels import fit_sums
from ..errors import CompileError
from ..layers import UNIT_MULTIPLIER
from .network import Function, Item, Lines, Move, Table

__all__ = ["PAIRS", "complement", "expand"]

#: What this file knows.
PAIRS = frozenset(
    {
        OperatorKind.ADD,
        OperatorKind.SUB,
        OperatorKind.MUL,
        OperatorKind.MAXIMUM,
        OperatorKind.MINIMUM,
        OperatorKind.PRELU,
    }
)
_EVERY = np.arange(-128, 128).astype(np.int8)
_COMPLEMENT: Table = (-1 - _EVERY.astype(np.int64)).astype(np.int8)
#: Bits that a line's numbers may take: few beside any accumulator's.
_LINE_BITS = 19
#: To try: most lines that are found at all are found with one of these.
_LINE_WEIGHTS = (1, 2, 4, 16, 64, 127, 113, 97)

NewTensor = Callable[[Tensor], int]


def expand(graph: Graph, operator: Operator, target: int, new: NewTensor) -> list[Item]:
    """Items for an operator of two tensors, in running order.

    Parameters
    ----------
    graph : Graph
    operator : Operator
        Of one of :data:`PAIRS`.
    target : int
    new : callable
        Gives the number of a new tensor.

    Raises
    ------
    CompileError
    """
    first, second = operator.inputs[:2]
    activations = [tensor for tensor in (first, second) if graph.tensors[tensor].data is None]
    kinds = (operator.kind.value,)
    if operator.kind is OperatorKind.PRELU:
        return _prelu(graph, operator, target, new)
    if len(activations) == 1:
        lines = _lines(graph, operator, activations[0])
        if lines is not None and graph.tensors[activations[0]].shape == _shape(graph, target):
            return [Item(operator.name, kinds, operator, (activations[0],), target, lines=lines)]
    items: list[Item] = []
    operands = []
    for tensor in (first, second):
        whole, more = _as_large(graph, operator, tensor, target, activations[0], new)
        items += more
        operands.append(whole)
    alike = replace(operator, inputs=tuple(operands))
    if operator.kind in (OperatorKind.ADD, OperatorKind.SUB):
        reads = tuple(operands)
        return [*items, Item(operator.name, kinds, alike, reads, target)]
    if operator.kind is OperatorKind.MINIMUM:
        return [*items, *_minimum(graph, alike, target, new)]
    return [*items, Item(operator.name, kinds, alike, tuple(operands), target, pair=alike.kind)]


def complement(tensor: int) -> Function:
    """``-1 - x`` of each byte."""
    return Function(tensor, _COMPLEMENT, ("COMPLEMENT",))


def _shape(graph: Graph, tensor: int) -> tuple[int, ...]:
    return graph.tensors[tensor].shape


def _like(graph: Graph, tensor: int, shape: tuple[int, ...], role: str) -> Tensor:
    value = graph.tensors[tensor]
    return Tensor(f"{value.name} {role}", shape, "int8", value.quantization)


def _as_large(
    graph: Graph, operator: Operator, tensor: int, target: int, any_other: int, new: NewTensor
) -> tuple[int, list[Item]]:
    """An operand as large as the result, and what makes it that."""
    value, shape = graph.tensors[tensor], _shape(graph, target)
    rank = len(shape) - len(value.shape)
    if value.data is None and prod(value.shape) == prod(shape):
        return tensor, []
    whole = new(_like(graph, tensor, shape, "spread"))
    aligned = (1,) * rank + value.shape
    if value.data is not None:
        index = np.broadcast_to(value.data.astype(np.int64).reshape(aligned), shape)
        sizes = (prod(_shape(graph, any_other)),)
        move = Move((any_other,), sizes, np.full(shape, -1, np.int64), index)
        kinds: tuple[str, ...] = ("CONSTANT",)
    else:
        every = np.arange(prod(value.shape)).reshape(aligned)
        move = Move(
            (tensor,),
            (prod(value.shape),),
            np.zeros(shape, np.int64),
            np.broadcast_to(every, shape),
        )
        kinds = ("BROADCAST",)
    return whole, [Item(operator.name, kinds, operator, move.sources, whole, move=move)]


def _minimum(graph: Graph, operator: Operator, target: int, new: NewTensor) -> list[Item]:
    items, operands = [], []
    for tensor in operator.inputs:
        other = new(_like(graph, target, _shape(graph, target), "complement"))
        function = complement(tensor)
        items.append(
            Item(operator.name, function.kinds, operator, (tensor,), other, function=function)
        )
        operands.append(other)
    greater = new(_like(graph, target, _shape(graph, target), "complement"))
    kinds = (operator.kind.value,)
    pair = replace(operator, inputs=tuple(operands), outputs=(greater,))
    items.append(
        Item(operator.name, kinds, pair, tuple(operands), greater, pair=OperatorKind.MAXIMUM)
    )
    function = complement(greater)
    items.append(
        Item(operator.name, function.kinds, operator, (greater,), target, function=function)
    )
    return items


def _per_channel(graph: Graph, operator: Operator, tensor: int) -> np.ndarray | None:
    """A constant's bytes as one for each channel of the result; None if it varies otherwise."""
    value = graph.tensors[tensor]
    channels = _shape(graph, operator.outputs[0])[-1]
    assert value.data is not None
    if prod(value.shape[:-1]) != 1 or value.shape[-1] not in (1, channels):
        return None
    return np.broadcast_to(value.data.ravel().astype(np.int64), (channels,))


def _lines(graph: Graph, operator: Operator, activation: int) -> Lines | None:
    """An operator with a constant for each channel as lines; None where there are none."""
    first, second = operator.inputs[:2]
    other = second if activation == first else first
    constants = _per_channel(graph, operator, other)
    if constants is None or operator.kind not in (
        OperatorKind.ADD,
        OperatorKind.SUB,
        OperatorKind.MUL,
    ):
        return None
    scale, zero = affine(graph, operator.outputs[0])
    low, high = clamp(fused_activation(operator), scale, zero)
    (scale_in, zero_in), (scale_other, zero_other) = (
        affine(graph, tensor) for tensor in (activation, other)
    )
    factor = fixed_point.quantize_multiplier(float(scale_in) * float(scale_other) / float(scale))
    fitted = {}
    for constant in set(constants.tolist()):
        known = np.full((1, 1), constant, np.int8)
        x = _EVERY.reshape(256, 1)
        inputs = (x, known) if activation == first else (known, x)
        (whole,) = reference.compute(graph, operator, inputs)
        wanted = np.asarray(whole).reshape(256)
        line = None
        if operator.kind is OperatorKind.MUL:
            line = _product(constant - int(zero_other), int(zero_in), factor)
        if line is None or not np.array_equal(_values(line, int(zero), low, high), wanted):
            line = _line(wanted, int(zero), low, high)
        if line is None:
            return None
        fitted[constant] = line
    columns = np.array([fitted[constant] for constant in constants.tolist()], np.int64).T
    return Lines(columns[0], columns[1], columns[2], columns[3], int(zero), low, high)


def _line(wanted: Table, zero: int, low: int, high: int) -> tuple[int, int, int, int] | None:
    """Weight, bias, multiplier and right shift that give ``wanted`` for each byte."""
    values = wanted.astype(np.int64)
    for sign in (1, -1):
        # Of a falling line, the complement rises.
        rising = values if sign > 0 else values[::-1]
        if (np.diff(rising) < 0).any():
            continue
        found = fit_sums(rising.astype(np.int8), 1, zero, _LINE_BITS, _LINE_WEIGHTS)
        if found is None:
            continue
        weight, bias, multiplier, shift = found
        if sign < 0:
            weight, bias = -weight, bias - weight
        line = (weight, bias, multiplier, shift)
        if np.array_equal(_values(line, zero, low, high), values):
            return line
    return None


def _product(
    weight: int, zero_in: int, factor: tuple[np.ndarray, np.ndarray]
) -> tuple[int, int, int, int] | None:
    """``(x - zero_in) * weight`` times a factor as TensorFlow Lite computes it."""
    multiplier, shift = (int(each) for each in factor)
    if shift > 0:
        weight, shift = weight << shift, 0
    # Two or three weights of a byte are their sum.
    if not -256 <= weight <= 255 or shift < -31 or multiplier < UNIT_MULTIPLIER:
        return None
    return weight, -zero_in * weight, multiplier, -shift


def _values(line: tuple[int, int, int, int], zero: int, low: int, high: int) -> np.ndarray:
    """A line's value for each byte."""
    weight, bias, multiplier, shift = line
    totals = weight * _EVERY.astype(np.int64) + bias
    result = fixed_point.multiply_by_quantized_multiplier(totals, multiplier, -shift) + zero
    return np.clip(result, low, high)


def _prelu(graph: Graph, operator: Operator, target: int, new: NewTensor) -> list[Item]:
    """The greater, or the sum, of a table for what is positive and, for each channel, a line."""
    source, slope = operator.inputs[:2]
    shape = _shape(graph, target)
    if graph.tensors[slope].data is None:
        raise CompileError(f"layer {operator.name}: its slopes must be constants")
    constants = _per_channel(graph, operator, slope)
    if constants is None:
        raise CompileError(f"layer {operator.name}: has slopes that are not one for each channel")
    scale_in, zero_in = affine(graph, source)
    scale_slope, zero_slope = affine(graph, slope)
    scale, zero = affine(graph, target)
    factor = fixed_point.quantize_multiplier(float(scale_in) * float(scale_slope) / float(scale))
    split, zero = int(zero_in) + 128, int(zero)
    lines, positive = {}, np.full(256, -128, np.int64)
    # The greater of both sides where that is right, as with slopes of no more than one. Else their
    # sum: each is zero where the other is not, if no slope is negative.
    greater, added = True, True
    for constant in set(constants.tolist()):
        known = np.full((1, 1), constant, np.int8)
        (whole,) = reference.compute(graph, operator, (_EVERY.reshape(256, 1), known))
        wanted = np.asarray(whole).reshape(256).astype(np.int64)
        positive[split:] = wanted[split:]
        line = _product(constant - int(zero_slope), int(zero_in), factor)
        if line is None:
            greater = added = False
            break
        lines[constant] = line
        values = _values(line, zero, -128, 127)
        greater &= np.array_equal(values[:split], wanted[:split])
        greater &= bool((values[split:] <= positive[split:]).all())
        values = _values(line, zero, -128, zero)
        added &= np.array_equal(values[:split], wanted[:split])
        added &= bool((values[split:] == zero).all())
    if not (greater or added):
        raise CompileError(
            f"layer {operator.name}: has slopes above one and below zero; only either can be run"
        )
    if not greater:
        positive[:split] = zero
    columns = np.array([lines[constant] for constant in constants.tolist()], np.int64).T
    below_most = 127 if greater else zero
    every = Lines(columns[0], columns[1], columns[2], columns[3], zero, -128, below_most)
    above = new(_like(graph, target, shape, "positive"))
    below = new(_like(graph, target, shape, "negative"))
    kinds = (operator.kind.value,)
    function = Function(source, positive.astype(np.int8), ("PRELU",))
    return [
        Item(operator.name, kinds, operator, (source,), below, lines=every),
        Item(operator.name, kinds, operator, (source,), above, function=function),
        Item(
            operator.name,
            kinds,
            replace(operator, inputs=(above, below))
            if greater
            else Operator(
                OperatorKind.ADD,
                operator.name,
                (above, below),
                operator.outputs,
                ArithmeticOptions(),
            ),
            (above, below),
            target,
            pair=OperatorKind.MAXIMUM if greater else None,
        ),
    ]
