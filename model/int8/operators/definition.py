"""What there is to know about one operator, in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import tflite

from model.int8.graph import Activation, Graph, Operator, OperatorKind, Options, Padding, Tensor
from model.int8.operators.examined import Examined

__all__ = [
    "ACTIVATION",
    "PADDING",
    "ByteFunction",
    "Compute",
    "Definition",
    "Field",
    "OptionTable",
]

Values = Sequence[np.ndarray]

Compute = Callable[[Graph, Operator, Values], "np.ndarray | tuple[np.ndarray, ...]"]

ByteFunction = Callable[[Graph, Operator, np.ndarray], np.ndarray]
"""(graph, operator, every int8 value as int64) to the results, before they are cut to int8."""


@dataclass(frozen=True)
class Field:
    """A field of an operator's table of options in the schema.

    Attributes
    ----------
    name : str
        As the schema's accessors spell it: ``StrideW``.
    attribute : str
        The attribute of the operator's `Options` that holds it.
    type : callable
        What a number of the file becomes: ``int``, ``float`` or ``bool``.
    codes : mapping of int to Enum, or None
        For an enumeration: what each number of the schema means.
    vector : bool
        The field holds several numbers.
    """

    name: str
    attribute: str
    type: Callable[[Any], Any] = int
    codes: Mapping[int, Enum] | None = None
    vector: bool = False


ACTIVATION = Field(
    "FusedActivationFunction",
    "activation",
    codes={
        tflite.ActivationFunctionType.NONE: Activation.NONE,
        tflite.ActivationFunctionType.RELU: Activation.RELU,
        tflite.ActivationFunctionType.RELU6: Activation.RELU6,
        tflite.ActivationFunctionType.RELU_N1_TO_1: Activation.RELU_N1_TO_1,
        tflite.ActivationFunctionType.TANH: Activation.TANH,
        tflite.ActivationFunctionType.SIGN_BIT: Activation.SIGN_BIT,
    },
)

PADDING = Field(
    "Padding",
    "padding",
    codes={tflite.Padding.SAME: Padding.SAME, tflite.Padding.VALID: Padding.VALID},
)


@dataclass(frozen=True)
class OptionTable:
    """An operator's table of options in the schema, and the `Options` that it becomes."""

    name: str
    options: type[Options]
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Definition:
    """One operator: its arithmetic, what is required of it, and how a file holds it.

    Attributes
    ----------
    kind : OperatorKind
    compute : callable
        ``compute(graph, operator, inputs)`` gives the output, or a tuple of the outputs. Each input
        is an array with one axis more than its tensor: the first one counts examples, and has size
        1 for a constant. An input that is absent is an array of shape (0,). What comes back has
        that axis, too.
    check : callable
        ``check(examined)`` raises a `ModelError` for what ``compute`` cannot do.
    table : OptionTable or None
        None where the schema has nothing to say.
    version : int
        The operator's version in which int8 came.
    byte_function : ByteFunction or None
        For an operator that maps each byte to a byte: see `ByteFunction`.
    outputs : int or None
        How many there are; None for as many as the operator has.
    elementwise : bool
        Each element of the output depends on one element of each input, broadcast.
    complete : callable or None
        ``complete(operator, tensors)`` adds what the options do not say but the tensors do.
    """

    kind: OperatorKind
    compute: Compute
    check: Callable[[Examined], None]
    table: OptionTable | None = None
    version: int = 2
    byte_function: ByteFunction | None = None
    outputs: int | None = 1
    elementwise: bool = False
    complete: Callable[[Operator, Sequence[Tensor]], Operator] | None = None
