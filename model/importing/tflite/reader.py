"""From a float `.tflite` model to a float graph.

Weights may be float32, float16 behind a DEQUANTIZE, or int8 with a scale, as "dynamic range"
quantisation leaves them. Tensors have channels last, as ours have; a sequence (steps, channels) is
a picture of height 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.errors import ModelError
from model.importing.channels_last import ours
from model.importing.float_graph import FloatGraph
from model.importing.float_operators import Reshape
from model.importing.tflite.context import Context
from model.importing.tflite.operators import OPERATORS
from model.int8 import tflite
from model.int8.graph import ABSENT, Graph, Operator, OperatorKind, Tensor

__all__ = ["load"]

_MAX_FILE_BYTES = 64 << 20

_FLOATS = ("float32", "float16")

_SENSELESS = (ArithmeticError, AssertionError, IndexError, KeyError, TypeError, ValueError)


def load(path: Path) -> FloatGraph:
    """Read a float `.tflite` file.

    Raises
    ------
    ModelError
        If it cannot be read or converted, or is an int8 model. The text is without the file's name.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise ModelError(f"{size} bytes; {_MAX_FILE_BYTES} are possible")
        source, missing = tflite.parse(path.read_bytes(), "float")
    except OSError as error:
        raise ModelError(f"{error.strerror or error}") from error
    if missing:
        raise missing[0].error
    if len(source.inputs) != 1 or not source.outputs:
        raise ModelError(f"has {len(source.inputs)} inputs; one is possible")
    numbers = range(len(source.tensors))
    used = [*source.inputs, *source.outputs]
    used += [each for operator in source.operators for each in operator.outputs]
    used += [each for operator in source.operators for each in operator.inputs if each != ABSENT]
    if any(each not in numbers for each in used):
        raise ModelError("is damaged: a tensor that it names does not exist")
    if source.input.dtype not in _FLOATS:
        raise ModelError(
            f"its input is {source.input.dtype}: it is quantised already, and needs no import"
        )
    return _read(source)


def _read(source: Graph) -> FloatGraph:
    context = Context(source)
    for index, tensor in enumerate(source.tensors):
        if tensor.data is not None:
            context.constants[index] = _real(tensor)
    (feed,) = source.inputs
    context.tensors[feed] = context.graph.tensor(ours(context.shape(feed)))
    for operator in source.operators:
        try:
            _take(context, operator)
        except ModelError as error:
            text = str(error)
            raise error if text.startswith("layer ") else context.error(operator, text) from error
        except _SENSELESS as error:
            raise context.error(operator, "its inputs or options make no sense") from error
    for index in source.outputs:
        if index not in context.tensors or context.tensors[index] == 0:
            raise ModelError("an output depends on no input, or is the input itself")
        context.graph.outputs.append(context.tensors[index])
        context.graph.output_names.append(source.tensors[index].name)
    return context.graph


def _take(context: Context, operator: Operator) -> None:
    live = [index for index in operator.inputs if index in context.tensors]
    if not live:
        _constant(context, operator)
        return
    build = OPERATORS.get(operator.kind)
    if build is None:
        raise context.error(operator, "is not supported")
    made = build(context, operator)
    results = made if isinstance(made, list) else [made]
    for index, tensor in zip(operator.outputs, results):
        wanted = ours(context.shape(index))
        if context.graph.shapes[tensor] != wanted:
            tensor = context.graph.append(Reshape(wanted), [tensor], operator.name)
        context.tensors[index] = tensor


def _constant(context: Context, operator: Operator) -> None:
    """What converters leave to be computed from constants."""
    index = operator.inputs[0]
    shape = context.source.tensors[operator.outputs[0]].shape
    match operator.kind:
        case OperatorKind.DEQUANTIZE:
            context.constants[operator.outputs[0]] = context.constants[index]
        case OperatorKind.RESHAPE | OperatorKind.SQUEEZE | OperatorKind.EXPAND_DIMS:
            context.constants[operator.outputs[0]] = context.constants[index].reshape(shape)
        case _:
            raise context.error(operator, "of constants is not supported")


def _real(tensor: Tensor) -> np.ndarray:
    """A constant's numbers, dequantised if they have a scale, in float64 or as integers."""
    assert tensor.data is not None
    affine = tensor.quantization
    if tensor.dtype in ("int8", "uint8", "int32") and affine is not None:
        shape = [1] * len(tensor.shape)
        if len(affine.scale) > 1:
            shape[affine.axis] = len(affine.scale)
        scale, zero = affine.scale.reshape(shape), affine.zero_point.reshape(shape)
        return (tensor.data.astype(np.float64) - zero) * scale.astype(np.float64)
    return tensor.data.astype(np.float64) if tensor.dtype in _FLOATS else tensor.data
