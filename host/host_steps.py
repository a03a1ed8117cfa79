"""What the host computes at a network's ends, with the reference's own arithmetic.

The model card says what: see :class:`.model_card.HostStep`. It comes from a device, so a step that
the reference refuses is a ValueError.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import ModelError
from model.int8 import reference
from model.int8.graph import Graph, Operator, OperatorKind, Quantization, Tensor
from model.int8.operators.scores import SoftmaxOptions

from .model_card import HostStep, HostTensor, TensorCard

__all__ = ["finish", "of_type", "prepare"]

Int8Array = npt.NDArray[np.int8]
Array = npt.NDArray[Any]


def of_type(kind: str, values: Array, scale: float, zero_point: int) -> Array:
    """``values`` as an input of type ``kind``, of which they may be already.

    Parameters
    ----------
    kind : str
        int8, uint8 or float32.
    values : ndarray
        int8 else: pixels less 128, or the bytes that a float32 input becomes on the board.
    scale : float
    zero_point : int
        Of the board's tensor.

    Raises
    ------
    ValueError
        If there is no way from one to the other.
    """
    if values.dtype == kind:
        return values
    if values.dtype == np.int8 and kind == "uint8":
        return values.view(np.uint8) ^ np.uint8(0x80)
    if values.dtype == np.int8 and kind == "float32":
        steps = values.astype(np.int32) - zero_point
        result: Array = steps.astype(np.float32) * np.float32(scale)
        return result
    raise ValueError(f"the model takes {kind}, not {values.dtype}")


def prepare(card: TensorCard, values: Array) -> Int8Array:
    """What is written to the board for an input ``values``, of the type and shape of
    :attr:`.TensorCard.before`; what is int8 in the shape of the board's tensor is taken as it is.

    Raises
    ------
    ValueError
        If ``values`` fit neither.
    """
    wanted = card.before
    if values.dtype == np.int8 and values.size == np.prod(card.shape):
        return values.reshape(card.shape)
    if values.dtype != wanted.type or values.size != np.prod(wanted.shape):
        raise ValueError(
            f"The model takes {wanted.type} of {_size(wanted.shape)}, not {values.dtype} of "
            f"{_size(values.shape)}"
        )
    values = values.reshape(wanted.shape)
    following = (*(step.tensor for step in card.steps[1:]), card.board)
    for step, target in zip(card.steps, following):
        values = _compute(step, step.tensor, target, values)
    return values


def finish(card: TensorCard, values: Int8Array) -> Array:
    """The model's output, of type and shape of :attr:`.TensorCard.behind`, from the board's.

    Raises
    ------
    ValueError
        If the card asks for what cannot be computed.
    """
    result: Array = values
    source = card.board
    for step in card.steps:
        result = _compute(step, source, step.tensor, result)
        source = step.tensor
    return result


def _compute(step: HostStep, source: HostTensor, target: HostTensor, values: Array) -> Array:
    kind = OperatorKind(step.kind)
    if kind is OperatorKind.RESHAPE:
        return values.reshape(target.shape)
    tensors = [_tensor("input", source), _tensor("output", target)]
    inputs, options = [0], None
    if kind is OperatorKind.SOFTMAX:
        options = SoftmaxOptions(step.parameter)
    elif kind in (OperatorKind.ARG_MAX, OperatorKind.ARG_MIN):
        axis = np.array(int(step.parameter) + 1, np.int32)
        tensors.append(Tensor("axis", axis.shape, "int32", data=axis))
        inputs.append(2)
    operator = Operator(kind, step.kind.lower(), tuple(inputs), (1,), options)
    graph = Graph("host", tuple(tensors), (operator,), (0,), (1,))
    try:
        return reference.predict(graph, values[np.newaxis])[0].reshape(target.shape)
    except (ModelError, KeyError) as error:
        raise ValueError(f"the card asks for what cannot be computed: {error}") from error


def _tensor(name: str, value: HostTensor) -> Tensor:
    quantization = None
    if value.scale:
        scale = np.array([value.scale], np.float32)
        quantization = Quantization(scale, np.array([value.zero_point], np.int64))
    return Tensor(name, (1, *value.shape), value.type, quantization)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
