"""How a byte was made, as data: what was read, and each integer from there to the byte.

`.explain` fills this in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.int8 import fixed_point
from model.int8.graph import Operator, OperatorKind

__all__ = ["MOVES", "Chain", "Explanation", "Source", "Step"]

_Kind = OperatorKind

MOVES = frozenset(
    {
        _Kind.CONCATENATION,
        _Kind.DEPTH_TO_SPACE,
        _Kind.EXPAND_DIMS,
        _Kind.PACK,
        _Kind.PAD,
        _Kind.PADV2,
        _Kind.RESHAPE,
        _Kind.RESIZE_NEAREST_NEIGHBOR,
        _Kind.REVERSE_V2,
        _Kind.SLICE,
        _Kind.SPACE_TO_DEPTH,
        _Kind.SPLIT,
        _Kind.SPLIT_V,
        _Kind.SQUEEZE,
        _Kind.STRIDED_SLICE,
        _Kind.TRANSPOSE,
        _Kind.UNPACK,
    }
)
"""Kinds whose every byte is a byte of an input, or of the padding."""


@dataclass(frozen=True)
class Step:
    """One thing that is done with a number.

    Attributes
    ----------
    what : str
        ``bias``, ``zero points``, ``plus``: ``x + a``. ``minus``: ``x - a``. ``negate``: ``-x``.
        ``times``: ``x * a``. ``shift left``: ``x * 2**a``. ``multiply``: ``x * a / 2**31``, to the
        nearest, half up. ``shift right``: ``x / 2**a``, to the nearest, half away from zero.
        ``divide``: ``x / a``, likewise. ``clamp``: to ``a .. b``. ``table``: entry ``x + 128``.
    operands : tuple of int
    result : int
    """

    what: str
    operands: tuple[int, ...]
    result: int


@dataclass(frozen=True, eq=False)
class Source:
    """What was read of one tensor.

    Attributes
    ----------
    tensor : int
    positions : ndarray of int64, shape (n, rank)
        Where each value stands, an index of `Tensor.example_shape`.
    inside : ndarray of bool, shape (n,)
        False for padding, whose position is one beyond the picture.
    values : ndarray of int64, shape (n,)
        The bytes; for padding, what it counts as.
    zero_point : int
        What is subtracted from each value before it is multiplied; 0 where nothing is.
    weights : ndarray of int64, shape (n,), or None
    shape : tuple of int
        How the values lie: kernel rows, kernel columns, channels; (n,) for others.
    steps : tuple of Step
        For a single value: what is done with it before it meets the other source.
    """

    tensor: int
    positions: np.ndarray
    inside: np.ndarray
    values: np.ndarray
    zero_point: int = 0
    weights: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def terms(self) -> np.ndarray:
        """What each value adds: less the zero point, and times its weight."""
        centred = self.values - self.zero_point
        return centred if self.weights is None else centred * self.weights


@dataclass(frozen=True, eq=False)
class Explanation:
    """How a byte was made.

    Attributes
    ----------
    tensor : int
    position : tuple of int
        Index of `Tensor.example_shape`.
    operator : Operator or None
        What made it; None for an input or a constant.
    how : str
        What joins what was read: ``sum`` (of all terms), ``greatest``, ``least``, ``product`` (of
        two values), ``value`` (there is one), ``moved`` (it is the value), ``given`` (nothing was
        read), or ``reference``: the operator's arithmetic is not taken apart here.
    sources : tuple of Source
    joined : int
        What they give.
    steps : tuple of Step
        From there to the byte.
    result : int
        The byte.
    table : ndarray of int8, shape (256,), or None
        Of a function of one byte.
    """

    tensor: int
    position: tuple[int, ...]
    operator: Operator | None
    how: str
    sources: tuple[Source, ...]
    joined: int
    steps: tuple[Step, ...]
    result: int
    table: np.ndarray | None = None


class Chain:
    """Steps one after the other, each of what the one before gave: `value` is the last."""

    def __init__(self, value: int) -> None:
        self.value = int(value)
        self.steps: list[Step] = []

    def _then(self, what: str, result: int, *operands: int) -> Chain:
        self.value = int(result)
        self.steps.append(Step(what, tuple(map(int, operands)), self.value))
        return self

    def plus(self, amount: int, what: str = "plus") -> Chain:
        return self._then(what, int(fixed_point.wrap_int32(self.value + int(amount))), amount)

    def minus(self, amount: int) -> Chain:
        return self._then("minus", self.value - int(amount), amount)

    def negate(self) -> Chain:
        return self._then("negate", -self.value)

    def shift_left(self, places: int) -> Chain:
        shifted = fixed_point.wrap_int32(self.value << int(places))
        return self._then("shift left", int(shifted), places)

    def scale(self, multiplier: int, shift: int) -> Chain:
        """`model.int8.fixed_point.multiply_by_quantized_multiplier`, rounding by rounding."""
        multiplier, shift = int(multiplier), int(shift)
        if shift > 0:
            self.shift_left(shift)
        high = fixed_point.saturating_rounding_doubling_high_mul(self.value, multiplier)
        self._then("multiply", int(high), multiplier)
        if shift < 0:
            divided = fixed_point.rounding_divide_by_pot(self.value, -shift)
            self._then("shift right", int(divided), -shift)
        return self

    def divide(self, count: int) -> Chain:
        size = (abs(self.value) + count // 2) // count
        return self._then("divide", size if self.value >= 0 else -size, count)

    def clamp(self, low: int, high: int) -> Chain:
        return self._then("clamp", min(max(self.value, low), high), low, high)

    def look_up(self, table: np.ndarray) -> Chain:
        return self._then("table", int(table[self.value + 128]))
