"""The parts of an ONNX graph that depend on no input: computed once, in NumPy.

Exporters leave shapes to be computed, and weights to be cut, cast and reshaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from model.errors import ModelError
from model.importing.onnx.file import OnnxNode

__all__ = ["axes_of", "constant", "dequantized", "slices"]

_MAX_ELEMENTS = 1 << 26

_DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}
"""ONNX's numbers of element types."""

Arguments = Sequence[Any]
"""Arrays, and None for what is left out."""


def axes_of(node: OnnxNode, arguments: Sequence[object], rank: int) -> tuple[int, ...] | None:
    """Axes that a node names, as an attribute or as its second input, counted from 0, sorted.

    None where it names none.
    """
    axes = node.attributes.get("axes")
    if axes is None and len(arguments) > 1 and isinstance(arguments[1], np.ndarray):
        axes = arguments[1].ravel().tolist()
    if axes is None:
        return None
    if not all(-rank <= axis < rank for axis in axes):
        raise node.error(f"axes {tuple(axes)} of {rank}")
    return tuple(sorted(int(axis) % rank for axis in axes))


def slices(node: OnnxNode, arguments: Sequence[Any], shape: Sequence[int]) -> list[slice]:
    """What a Slice takes of each axis of `shape`, with bounds from 0 and within the axis."""
    if len(arguments) > 1:
        starts, ends, *others = arguments[1:]
        axes = others[0] if others else None
        steps = others[1] if len(others) > 1 else None
    else:
        starts, ends = node.attributes.get("starts"), node.attributes.get("ends")
        axes, steps = node.attributes.get("axes"), None
    if starts is None or ends is None:
        raise node.error("says not where it begins and ends")
    begin, end = np.ravel(starts).tolist(), np.ravel(ends).tolist()
    chosen = list(range(len(begin))) if axes is None else np.ravel(axes).tolist()
    stride = [1] * len(begin) if steps is None else np.ravel(steps).tolist()
    if not len(begin) == len(end) == len(chosen) == len(stride):
        raise node.error("its bounds, axes and steps are not as many")
    parts = [slice(0, size, 1) for size in shape]
    for first, last, axis, step in zip(begin, end, chosen, stride):
        if not -len(shape) <= axis < len(shape) or step == 0:
            raise node.error(f"axis {axis}, step {step}")
        first, last, step = slice(int(first), int(last), int(step)).indices(shape[axis])
        # Backwards to the beginning: -1 would count from the end.
        parts[axis] = slice(first, None if last < 0 else last, step)
    return parts


def dequantized(node: OnnxNode, x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """``(x - zero) * scale``, by tensor or along the node's axis, in float64."""
    if scale.size > 1:
        axis = int(node.attributes.get("axis", 1))
        if not -x.ndim <= axis < x.ndim or x.shape[axis] != scale.size:
            raise node.error(f"{scale.size} scales for axis {axis} of shape {x.shape}")
        shape = [1] * x.ndim
        shape[axis] = scale.size
        scale, zero = scale.reshape(shape), np.broadcast_to(zero, scale.shape).reshape(shape)
    return (x.astype(np.float64) - zero.astype(np.float64)) * scale.astype(np.float64)


def constant(node: OnnxNode, arguments: Arguments) -> np.ndarray:
    """What a node makes of constants.

    Raises
    ------
    ModelError
        If it is none of those that exporters leave, or cannot be computed.
    """
    compute = _OPERATORS.get(node.op) if not node.domain else None
    if compute is None:
        raise node.error("is not supported")
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(compute(node, arguments))
    except ModelError:
        raise
    except (ArithmeticError, AttributeError, IndexError, KeyError, MemoryError) as error:
        raise node.error("cannot be computed") from error
    except (OverflowError, TypeError, ValueError) as error:
        raise node.error("cannot be computed") from error
    if result.size > _MAX_ELEMENTS:
        raise node.error(f"makes {result.size} numbers; {_MAX_ELEMENTS} are possible")
    return result


def _bounded(sizes: Any) -> tuple[int, ...]:
    shape = tuple(int(size) for size in sizes)
    if any(size < 0 for size in shape) or prod(shape) > _MAX_ELEMENTS:
        raise ModelError(f"a constant of shape {shape}; {_MAX_ELEMENTS} numbers are possible")
    return shape


def _value(node: OnnxNode, _: Arguments) -> np.ndarray:
    for name, value in node.attributes.items():
        if name.startswith("value"):
            return np.asarray(value, np.float32 if "float" in name else None)
    raise node.error("has no value")


def _reshape(node: OnnxNode, a: Arguments) -> np.ndarray:
    x: np.ndarray = a[0]
    target: Any = node.attributes["shape"] if len(a) < 2 else a[1]
    sizes = [int(size) for size in np.ravel(target)]
    if not node.attributes.get("allowzero"):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return x.reshape(sizes)


def _unsqueeze(node: OnnxNode, a: Arguments) -> np.ndarray:
    axes = node.attributes.get("axes") or np.ravel(a[1]).tolist()
    return np.expand_dims(a[0], tuple(int(axis) for axis in axes))


def _divide(_: OnnxNode, a: Arguments) -> np.ndarray:
    if a[0].dtype.kind in "iu" and a[1].dtype.kind in "iu":
        return np.trunc(a[0] / a[1]).astype(a[0].dtype)
    return a[0] / a[1]


def _range(node: OnnxNode, a: Arguments) -> np.ndarray:
    start, limit, delta = (np.ravel(each)[0] for each in a)
    _bounded([max(0, int(np.ceil((limit - start) / delta)))])
    return np.arange(start, limit, delta, dtype=a[0].dtype)


def _constant_of_shape(node: OnnxNode, a: Arguments) -> np.ndarray:
    value = np.ravel(node.attributes.get("value", np.zeros(1, np.float32)))
    result: np.ndarray = np.full(_bounded(np.ravel(a[0])), value[0])
    return result


def _cast(node: OnnxNode, a: Arguments) -> np.ndarray:
    dtype = _DTYPES.get(node.attributes.get("to", 0))
    if dtype is None:
        raise node.error(f"to element type {node.attributes.get('to')} is not supported")
    return a[0].astype(dtype)


def _expand(node: OnnxNode, a: Arguments) -> np.ndarray:
    shape = np.broadcast_shapes(a[0].shape, _bounded(np.ravel(a[1])))
    return np.broadcast_to(a[0], _bounded(shape))


def _tile(node: OnnxNode, a: Arguments) -> np.ndarray:
    repeats = [int(each) for each in np.ravel(a[1])]
    _bounded([size * count for size, count in zip(a[0].shape, repeats)])
    return np.tile(a[0], repeats)


def _squeeze(node: OnnxNode, a: Arguments) -> np.ndarray:
    return np.squeeze(a[0], axes_of(node, a, a[0].ndim))


def _dequantize(node: OnnxNode, a: Arguments) -> np.ndarray:
    zero = a[2] if len(a) > 2 and a[2] is not None else np.zeros(a[1].shape)
    return dequantized(node, a[0], a[1], zero)


def _reduce(name: str) -> Callable[[OnnxNode, Arguments], np.ndarray]:
    def compute(node: OnnxNode, a: Arguments) -> np.ndarray:
        axes = axes_of(node, a, a[0].ndim)
        return getattr(np, name)(a[0], axis=axes, keepdims=bool(node.attributes.get("keepdims", 1)))

    return compute


_OPERATORS: dict[str, Callable[[OnnxNode, Arguments], Any]] = {
    "Abs": lambda _, a: np.abs(a[0]),
    "Add": lambda _, a: a[0] + a[1],
    "Cast": _cast,
    "Ceil": lambda _, a: np.ceil(a[0]),
    "Concat": lambda n, a: np.concatenate(a, int(n.attributes["axis"])),
    "Constant": _value,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Div": _divide,
    "Equal": lambda _, a: a[0] == a[1],
    "Exp": lambda _, a: np.exp(a[0]),
    "Expand": _expand,
    "Flatten": lambda n, a: a[0].reshape(prod(a[0].shape[: n.attributes.get("axis", 1)]), -1),
    "Floor": lambda _, a: np.floor(a[0]),
    "Gather": lambda n, a: np.take(a[0], a[1].astype(np.int64), n.attributes.get("axis", 0)),
    "Greater": lambda _, a: a[0] > a[1],
    "Identity": lambda _, a: a[0],
    "Less": lambda _, a: a[0] < a[1],
    "Log": lambda _, a: np.log(a[0]),
    "Mod": lambda _, a: np.mod(a[0], a[1]),
    "Mul": lambda _, a: a[0] * a[1],
    "Neg": lambda _, a: -a[0],
    "Not": lambda _, a: ~a[0],
    "Pow": lambda _, a: a[0] ** a[1],
    "Range": _range,
    "Reciprocal": lambda _, a: 1 / a[0],
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("min"),
    "ReduceProd": _reduce("prod"),
    "ReduceSum": _reduce("sum"),
    "Reshape": _reshape,
    "Shape": lambda n, a: np.array(a[0].shape, np.int64)[
        n.attributes.get("start", 0) : n.attributes.get("end")
    ],
    "Size": lambda _, a: np.array(a[0].size),
    "Slice": lambda n, a: a[0][tuple(slices(n, a, a[0].shape))],
    "Sqrt": lambda _, a: np.sqrt(a[0]),
    "Squeeze": _squeeze,
    "Sub": lambda _, a: a[0] - a[1],
    "Tile": _tile,
    "Transpose": lambda n, a: a[0].transpose(n.attributes.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": lambda _, a: np.where(*a),
}
