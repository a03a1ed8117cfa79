"""Every operator that runs: one record each, in files by kind.

A record (`.definition.Definition`) has an operator's arithmetic, what it requires of its tensors,
and how a `.tflite` file holds it; the builder's method stands beside it. To add an operator, write
its record into one of these files.
"""

from __future__ import annotations

from model.int8.graph import OperatorKind
from model.int8.operators import (
    arithmetic,
    byte_functions,
    convolution,
    dense,
    ends,
    joining,
    layout,
    padding,
    pooling,
    reduction,
    resize,
    scores,
    shape,
    slicing,
    transpose_convolution,
)
from model.int8.operators.definition import Definition

__all__ = ["OPERATORS"]

_FILES = (
    arithmetic,
    byte_functions,
    convolution,
    dense,
    ends,
    joining,
    layout,
    padding,
    pooling,
    reduction,
    resize,
    scores,
    shape,
    slicing,
    transpose_convolution,
)

OPERATORS: dict[OperatorKind, Definition] = {
    definition.kind: definition for file in _FILES for definition in file.DEFINITIONS
}
"""The record of each operator that runs."""
