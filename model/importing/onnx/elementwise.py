"""ONNX nodes that work element by element, and softmax."""

from __future__ import annotations

from math import inf, prod

import numpy as np

from model.importing import layout
from model.importing.float_operators import Affine, Binary, BinaryKind, Function, PRelu, Softmax
from model.importing.layout import Value
from model.importing.onnx.context import (
    Arguments,
    Context,
    Translation,
    array,
    channels_last,
    live,
    number,
    text,
)
from model.importing.onnx.file import OnnxNode

__all__ = ["MICROSOFT", "TRANSLATIONS", "of_two"]


def _in_our_order(context: Context, node: OnnxNode, value: Value, values: np.ndarray) -> np.ndarray:
    """Constants that broadcast to `value`, in our order: one number a channel if that does."""
    full = np.empty(value.index.size)
    try:
        full[value.index] = np.broadcast_to(values, value.shape)
    except ValueError:
        raise node.error(
            f"a constant of shape {text(values.shape)} on shape {text(value.shape)} is not "
            "supported"
        ) from None
    ours = context.graph.shapes[value.tensor]
    rows = full.reshape(-1, ours[-1])
    return rows[0] if (rows == rows[0]).all() else full.reshape(ours)


def _affine(
    context: Context, node: OnnxNode, value: Value, factor: np.ndarray, offset: np.ndarray
) -> Value:
    """``value * factor + offset`` with constants that broadcast as ONNX's do."""
    both = []
    for values in (np.asarray(factor, np.float64), np.asarray(offset, np.float64)):
        if values.size == 1:
            both.append(values.reshape(()))
            continue
        if values.ndim > value.index.ndim:
            lead = values.ndim - value.index.ndim
            if any(size != 1 for size in values.shape[:lead]):
                raise node.error(f"a constant of shape {text(values.shape)} is not supported")
            values = values.reshape(values.shape[lead:])
        both.append(_in_our_order(context, node, value, values))
    return context.same(node, value, Affine(*both))


def _batch_norm(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    scale, shift, mean, variance = (
        array(node, arguments, place, "statistics").astype(np.float64) for place in range(1, 5)
    )
    factor = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    shape = (-1, *[1] * (value.index.ndim - 1))
    offset = shift - mean * factor
    return _affine(context, node, value, factor.reshape(shape), offset.reshape(shape))


_BINARY = {
    "Add": BinaryKind.ADD,
    "Sub": BinaryKind.SUB,
    "Mul": BinaryKind.MUL,
    "Max": BinaryKind.MAXIMUM,
    "Min": BinaryKind.MINIMUM,
}


def _binary(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    if len(arguments) > 2:  # Sum, Max and Min take any number
        joined = _binary(context, node, arguments[:2])
        return _binary(context, node, [joined, *arguments[2:]])
    if len(arguments) == 1:
        return live(node, arguments)
    first, second = arguments
    kind = BinaryKind.ADD if node.op == "Sum" else _BINARY.get(node.op)
    if isinstance(first, Value) and isinstance(second, Value):
        if kind is None or "axis" in node.attributes:
            raise node.error("of two activations is not supported")
        return of_two(context, node, kind, first, second)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    if not isinstance(value, Value) or not isinstance(constant, np.ndarray):
        raise node.error("has one input only")
    other = constant.astype(np.float64)
    if "axis" in node.attributes:  # before version 7: where the constant's axes begin
        behind = value.index.ndim + 1 - int(node.attributes["axis"]) - other.ndim
        other = other.reshape(*other.shape, *[1] * behind)
    one, zero = np.array(1.0), np.array(0.0)
    match node.op:
        case "Add" | "Sum":
            return _affine(context, node, value, one, other)
        case "Sub" if value is first:
            return _affine(context, node, value, one, -other)
        case "Sub":
            return _affine(context, node, value, -one, other)
        case "Mul":
            return _affine(context, node, value, other, zero)
        case "Div" if value is first:
            if not other.all():
                raise node.error("divides by 0")
            return _affine(context, node, value, 1 / other, zero)
        case "Max" if other.size == 1:
            return context.clipped(node, value, (float(other.ravel()[0]), inf))
        case "Min" if other.size == 1:
            return context.clipped(node, value, (-inf, float(other.ravel()[0])))
    raise node.error("with this constant is not supported")


def of_two(
    context: Context, node: OnnxNode, kind: BinaryKind, first: Value, second: Value
) -> Value:
    """A function of two values, of which one may be smaller and repeated."""
    shapes = f"of shapes {text(first.shape)} and {text(second.shape)}"
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        raise node.error(f"{shapes}, which do not fit") from None
    base, other, swapped = first, second, False
    if first.shape != shape:
        base, other, swapped = second, first, True
    if base.shape != shape:
        raise node.error(f"{shapes}, of which neither is the result's, is not supported")
    graph = context.graph
    tensor = _fitted(context, node, base, other)
    if tensor is None and other.shape == shape:
        # Neither order is the other's: both into the source's.
        index = base.index
        if index.ndim > 1:
            index = channels_last(node, index)
        mine = layout.arranged(graph, base, index, node.name)
        axes = channels_last(node, other.index) if other.index.ndim > 1 else other.index
        tensor = layout.arranged(graph, other, axes, node.name)
        ours = layout.standard(graph.shapes[mine])
        index = ours
        if base.index.ndim > 1:
            index = ours.transpose(2, 0, 1).reshape(shape)
        base = Value(mine, index)
    if tensor is None:
        raise node.error(f"{shapes} is not supported")
    inputs = [tensor, base.tensor] if swapped else [base.tensor, tensor]
    return Value(graph.append(Binary(kind), inputs, node.name), base.index)


def _fitted(context: Context, node: OnnxNode, base: Value, other: Value) -> int | None:
    """`other`'s tensor in a shape that broadcasts to the base's tensor as the source means it."""
    graph = context.graph
    ours = graph.shapes[base.tensor]
    flat = np.empty(base.index.size, np.intp)
    flat[base.index] = np.broadcast_to(other.index, base.shape)
    wanted = flat.reshape(ours)
    candidates = [
        tuple(size if repeats >> axis & 1 else 1 for axis, size in enumerate(ours))
        for repeats in range(1 << len(ours))
    ]
    for shape in candidates:
        if prod(shape) != other.index.size:
            continue
        if np.array_equal(np.broadcast_to(layout.standard(shape), ours), wanted):
            return layout.reshaped(graph, other.tensor, shape, node.name)
    return None


def _clip(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    low, high = number(node, arguments, 1, "min"), number(node, arguments, 2, "max")
    bounds = (-inf if low is None else low, inf if high is None else high)
    # Exporters write the greatest float32 for infinity.
    least, greatest = (x if abs(x) < 3e38 else float(np.copysign(inf, x)) for x in bounds)
    if not least < greatest:
        raise node.error(f"to {least} .. {greatest}")
    return context.clipped(node, live(node, arguments), (least, greatest))


def _function(name: str, default: float = 0.0) -> Translation:
    def translate(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
        alpha = float(node.attributes.get("alpha", default))
        return context.same(node, live(node, arguments), Function(name, alpha))

    return translate


def _gelu(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    exact = node.attributes.get("approximate", "none") == "none"
    name = "gelu" if exact else "gelu_by_tanh"
    return context.same(node, live(node, arguments), Function(name))


def _hard_sigmoid(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    alpha, beta = (float(node.attributes.get(*each)) for each in (("alpha", 0.2), ("beta", 0.5)))
    value = _affine(context, node, live(node, arguments), np.array(alpha), np.array(beta))
    return context.clipped(node, value, (0.0, 1.0))


def _swish(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    if float(node.attributes.get("alpha", 1.0)) != 1:
        raise node.error("alpha other than 1 is not supported")
    return context.same(node, live(node, arguments), Function("silu"))


def _negative(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    return _affine(context, node, live(node, arguments), np.array(-1.0), np.zeros(()))


def _power(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value, exponent = live(node, arguments), array(node, arguments, 1, "exponent")
    power = float(exponent.ravel()[0])
    if exponent.size != 1 or power not in (2, 3):
        raise node.error(f"with exponent {exponent.ravel()[:3]} is not supported")
    result = of_two(context, node, BinaryKind.MUL, value, value)
    return result if power == 2 else of_two(context, node, BinaryKind.MUL, result, value)


def _prelu(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value, slope = live(node, arguments), array(node, arguments, 1, "slope")
    if slope.size == 1:
        return context.same(node, value, Function("leaky_relu", float(slope.ravel()[0])))
    # Old exporters give one number a channel without its trailing axes.
    if slope.ndim == 1 and value.index.ndim > 1 and len(slope) == value.shape[0]:
        slope = slope.reshape(-1, *[1] * (value.index.ndim - 1))
    slope = slope.reshape(slope.shape[-value.index.ndim :])
    return context.same(node, value, PRelu(_in_our_order(context, node, value, slope)))


def _softmax(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    rank = value.index.ndim + 1
    axis = int(node.attributes.get("axis", -1 if context.opset >= 13 else 1))
    if not -rank <= axis < rank or axis % rank == 0:
        raise node.error(f"axis {axis} is not supported")
    axis = axis % rank - 1
    index = np.moveaxis(value.index, axis, -1)
    if context.opset < 13:  # over all axes from that one on
        index = value.index.reshape(*value.shape[:axis], -1)
    softmax = Softmax(node.op == "LogSoftmax")
    graph = context.graph
    if index.ndim == 1:
        tensor = layout.reshaped(graph, value.tensor, (index.size,), node.name)
        tensor = graph.append(softmax, [tensor], node.name)
        return Value(tensor, value.index)
    tensor, order = layout.pixels(graph, value, index.reshape(1, -1, index.shape[-1]), node.name)
    tensor = graph.append(softmax, [tensor], node.name)
    result = layout.standard(graph.shapes[tensor])[:, :, order].reshape(index.shape)
    result = np.moveaxis(result, -1, axis) if context.opset >= 13 else result.reshape(value.shape)
    return Value(tensor, result)


TRANSLATIONS: dict[str, Translation] = {
    "Abs": _function("abs"),
    "Add": _binary,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Div": _binary,
    "Elu": _function("elu", 1.0),
    "Erf": _function("erf"),
    "Exp": _function("exp"),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _function("hard_swish"),
    "LeakyRelu": _function("leaky_relu", 0.01),
    "LogSoftmax": _softmax,
    "Max": _binary,
    "Min": _binary,
    "Mish": _function("mish"),
    "Mul": _binary,
    "Neg": _negative,
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _function("reciprocal"),
    "Relu": lambda c, n, a: c.clipped(n, live(n, a), (0.0, inf)),
    "Sigmoid": _function("sigmoid"),
    "Softmax": _softmax,
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "Sqrt": _function("sqrt"),
    "Sub": _binary,
    "Sum": _binary,
    "Swish": _swish,
    "Tanh": _function("tanh"),
}

MICROSOFT: dict[str, Translation] = {
    "Gelu": _gelu,
}
"""Of onnxruntime's quantiser and optimiser."""
