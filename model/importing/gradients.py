"""Gradients of a float graph's operators: given that by an output, those by inputs and weights.

With ``dy`` the gradient of the loss by an operator's output y = f(x, w), each rule below gives the
gradients by x, one for each input, and by w, as a dictionary. Shapes are those of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Concatenation,
    Convolution,
    Dense,
    FloatOperator,
    Function,
    MaxPool,
    Pad,
    PRelu,
    Reduction,
    ReductionKind,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Transpose,
    TransposedConvolution,
    Window,
)

__all__ = ["Gradients", "gradients"]

Values = Sequence[np.ndarray]
Gradients = tuple[list[np.ndarray], dict[str, np.ndarray]]
"""By each input, and by each parameter's name."""

_STEP = 1e-3
"""For differences of functions of one number."""


@singledispatch
def gradients(operator: FloatOperator, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    """Gradients by inputs and weights.

    Parameters
    ----------
    operator : FloatOperator
    inputs : sequence of ndarray
    y : ndarray
        The output for them.
    dy : ndarray
        Gradient by the output.
    """
    raise TypeError(f"no gradient of {operator.kind}")


def _by_channel(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def _unpadded(window: Window, padded: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    top, left, _, _ = window.pads
    return padded[:, top : top + shape[1], left : left + shape[2]]


def _padded_like(window: Window, x: np.ndarray) -> np.ndarray:
    top, left, bottom, right = window.pads
    count, height, width, channels = x.shape
    return np.zeros((count, top + height + bottom, left + width + right, channels), np.float32)


@gradients.register
def _convolution(operator: Convolution, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    (x,) = inputs
    window = operator.window
    positions = (y.shape[1], y.shape[2])
    padded = window.padded(x, 0)
    weights = operator.weights.astype(np.float32)
    dx = _padded_like(window, x)
    dw = np.zeros(weights.shape, np.float32)
    rows_of_dy = _by_channel(dy)
    repeats = weights.shape[3] // operator.groups
    for i, j, rows, columns in window.taps(positions):
        seen = padded[:, rows, columns]
        if operator.is_depthwise:
            wide = np.repeat(seen, repeats, axis=3) if repeats > 1 else seen
            dw[i, j, 0] = _by_channel(wide * dy).sum(axis=0)
            back = dy * weights[i, j, 0]
            if repeats > 1:
                back = back.reshape(*dy.shape[:3], -1, repeats).sum(axis=4)
            dx[:, rows, columns] += back
        elif operator.groups == 1:
            dw[i, j] = _by_channel(seen).T @ rows_of_dy
            dx[:, rows, columns] += (rows_of_dy @ weights[i, j].T).reshape(seen.shape)
        else:
            for inside, outside in operator.slices():
                own = _by_channel(dy[..., outside])
                dw[i, j, :, outside] = _by_channel(seen[..., inside]).T @ own
                back = (own @ weights[i, j, :, outside].T).reshape(seen[..., inside].shape)
                dx[:, rows, columns, inside] += back
    return [_unpadded(window, dx, x.shape)], {"weights": dw, "bias": rows_of_dy.sum(axis=0)}


@gradients.register
def _transposed(
    operator: TransposedConvolution, inputs: Values, y: np.ndarray, dy: np.ndarray
) -> Gradients:
    (x,) = inputs
    count, height, width, _ = x.shape
    kernel_h, kernel_w = operator.weights.shape[:2]
    down, right = operator.stride
    top, left = operator.crop[:2]
    shape = (
        count,
        max((height - 1) * down + kernel_h, dy.shape[1] + top),
        max((width - 1) * right + kernel_w, dy.shape[2] + left),
        dy.shape[3],
    )
    full = np.zeros(shape, np.float32)
    full[:, top : top + dy.shape[1], left : left + dy.shape[2]] = dy
    weights = operator.weights.astype(np.float32)
    dx, dw = np.zeros(x.shape, np.float32), np.zeros(weights.shape, np.float32)
    for i in range(kernel_h):
        for j in range(kernel_w):
            seen = full[
                :,
                i : i + (height - 1) * down + 1 : down,
                j : j + (width - 1) * right + 1 : right,
            ]
            dx += seen @ weights[i, j].T
            dw[i, j] = _by_channel(x).T @ _by_channel(seen)
    return [dx], {"weights": dw, "bias": _by_channel(dy).sum(axis=0)}


@gradients.register
def _dense(operator: Dense, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    (x,) = inputs
    dx = dy @ operator.weights.T.astype(np.float32)
    return [dx], {"weights": x.T @ dy, "bias": dy.sum(axis=0)}


@gradients.register
def _affine(operator: Affine, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    return [dy * operator.factor.astype(np.float32)], {}


@gradients.register
def _max_pool(operator: MaxPool, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    (x,) = inputs
    window = operator.window
    padded = window.padded(x, -np.inf)
    dx = _padded_like(window, x)
    left = np.ones(y.shape, bool)  # the first of equals takes all
    for _, _, rows, columns in window.taps((y.shape[1], y.shape[2])):
        here = left & (padded[:, rows, columns] == y)
        dx[:, rows, columns] += dy * here
        left &= ~here
    return [_unpadded(window, dx, x.shape)], {}


@gradients.register
def _average_pool(
    operator: AveragePool, inputs: Values, y: np.ndarray, dy: np.ndarray
) -> Gradients:
    (x,) = inputs
    window = operator.window
    dx = _padded_like(window, x)
    share = dy / operator.counts(x.shape[1:])
    for _, _, rows, columns in window.taps((y.shape[1], y.shape[2])):
        dx[:, rows, columns] += share
    return [_unpadded(window, dx, x.shape)], {}


@gradients.register
def _reduction(operator: Reduction, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    (x,) = inputs
    if operator.reduction is ReductionKind.MEAN:
        return [np.broadcast_to(dy * np.float32(y.size / x.size), x.shape)], {}
    if operator.reduction is ReductionKind.SUM:
        return [np.broadcast_to(dy, x.shape)], {}
    return [dy * (x == y)], {}


@gradients.register
def _binary(operator: Binary, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    first, second = inputs
    match operator.function:
        case BinaryKind.ADD:
            both = [dy, dy]
        case BinaryKind.SUB:
            both = [dy, -dy]
        case BinaryKind.MUL:
            both = [dy * second, dy * first]
        case BinaryKind.MAXIMUM:
            both = [dy * (first >= second), dy * (first < second)]
        case BinaryKind.MINIMUM:
            both = [dy * (first <= second), dy * (first > second)]
    return [_summed(each, x.shape) for each, x in zip(both, inputs)], {}


def _summed(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of what was repeated: the sum over its repetitions."""
    axes = tuple(axis for axis, (size, own) in enumerate(zip(gradient.shape, shape)) if size != own)
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient


@gradients.register
def _concatenation(
    operator: Concatenation, inputs: Values, y: np.ndarray, dy: np.ndarray
) -> Gradients:
    axis = operator.axis + 1
    ends = np.cumsum([x.shape[axis] for x in inputs])[:-1]
    return np.split(dy, ends, axis=axis), {}


@gradients.register
def _slice(operator: Slice, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    dx = np.zeros(inputs[0].shape, np.float32)
    parts = [slice(*part) for part in zip(operator.begin, operator.end, operator.step)]
    dx[tuple([slice(None), *parts])] = dy
    return [dx], {}


@gradients.register
def _pad(operator: Pad, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    parts = [
        slice(before, before + size)
        for (before, _), size in zip(operator.pads, inputs[0].shape[1:])
    ]
    return [dy[tuple([slice(None), *parts])]], {}


@gradients.register
def _resize(operator: Resize, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    for axis in (1, 0):
        matrix = operator.matrix(axis, inputs[0].shape[axis + 1])
        dy = np.moveaxis(np.moveaxis(dy, axis + 1, -1) @ matrix, -1, axis + 1)
    return [dy], {}


@gradients.register
def _reshape(operator: Reshape, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    return [dy.reshape(inputs[0].shape)], {}


@gradients.register
def _transpose(operator: Transpose, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    return [dy.transpose(0, *(int(axis) + 1 for axis in np.argsort(operator.axes)))], {}


@gradients.register
def _softmax(operator: Softmax, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    return [y * (dy - (dy * y).sum(axis=-1, keepdims=True))], {}


@gradients.register
def _prelu(operator: PRelu, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    return [np.where(inputs[0] < 0, dy * operator.slope.astype(np.float32), dy)], {}


@gradients.register
def _function(operator: Function, inputs: Values, y: np.ndarray, dy: np.ndarray) -> Gradients:
    if operator.name == "identity":
        return [dy], {}
    x = inputs[0].astype(np.float64)
    rise = operator.forward(x + _STEP) - operator.forward(x - _STEP)
    return [dy * (rise / (2 * _STEP)).astype(np.float32)], {}
