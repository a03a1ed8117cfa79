"""ONNX nodes of networks that are quantised already."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np

from model.importing.float_operators import BinaryKind, Function
from model.importing.layout import Value
from model.importing.onnx.constants import dequantized
from model.importing.onnx.context import (
    Arguments,
    Context,
    Translation,
    array,
    live,
    optional,
)
from model.importing.onnx.elementwise import of_two
from model.importing.onnx.file import OnnxNode
from model.importing.onnx.matrices import dense
from model.importing.onnx.windows import convolution

__all__ = ["MICROSOFT", "TRANSLATIONS"]


def _affine_int8(node: OnnxNode, arguments: Arguments, place: int) -> tuple[float, int]:
    """Scale and int8 zero point from the arguments at `place` and behind it."""
    scale = array(node, arguments, place, "scale")
    zero = optional(arguments, place + 1)
    zero = np.zeros(1, np.uint8) if zero is None else np.asarray(zero)
    if scale.size != 1 or zero.size != 1 or zero.dtype not in (np.int8, np.uint8):
        raise node.error("one scale, and a zero point of int8 or uint8, are needed")
    shift = 128 if zero.dtype == np.uint8 else 0
    number = float(np.float32(scale.ravel()[0]))
    if not 0 < number < inf:
        raise node.error(f"scale {number}")
    return number, int(zero.ravel()[0]) - shift


def _fixed(context: Context, node: OnnxNode, value: Value, affine: tuple[float, int]) -> Value:
    """The value rounded to int8 with a scale and zero point."""
    known = context.graph.fixed.get(value.tensor)
    if known == affine:
        return value
    if known is not None:
        value = context.same(node, value, Function("identity"))
    context.graph.fixed[value.tensor] = affine
    return value


def _quantize(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    return _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))


def _weights(
    node: OnnxNode, arguments: Arguments, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Inputs 3 to 5 as real weights; their scale along `axis`; that again if int8 keeps it."""
    stored = array(node, arguments, 3, "weights")
    scale = array(node, arguments, 4, "weights' scale")
    zero = array(node, arguments, 5, "weights' zero point")
    along = replace(node, attributes={"axis": axis})
    weights = dequantized(along, stored, scale, zero)
    exact = stored.dtype == np.int8 and not zero.any()
    return weights, scale.astype(np.float64), np.ravel(scale) if exact else None


def _bias(
    context: Context,
    node: OnnxNode,
    arguments: Arguments,
    place: int,
    value: Value,
    scale: np.ndarray,
) -> np.ndarray | None:
    """The bias at `place`, stored in steps of the input's scale times the weights'."""
    if optional(arguments, place) is None:
        return None
    return array(node, arguments, place, "bias") * (context.graph.fixed[value.tensor][0] * scale)


def _qlinear_conv(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    weights, scale, kept = _weights(node, arguments, 0)
    bias = _bias(context, node, arguments, 8, value, scale)
    name = node.inputs[3]
    if kept is not None:
        context.scales[name] = kept
    inner = replace(node, op="Conv", inputs=("", name, ""))
    result = convolution(context, inner, [value, weights, bias])
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qlinear_matmul(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    weights, _, kept = _weights(node, arguments, 1)
    result = dense(context, node, value, weights, np.zeros(1), kept)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qlinear_add(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    first = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    second = _fixed(context, node, live(node, arguments, 3), _affine_int8(node, arguments, 4))
    result = of_two(context, node, BinaryKind.ADD, first, second)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qgemm(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    transposed = bool(node.attributes.get("transB"))
    weights, scale, kept = _weights(node, arguments, 0 if transposed else 1)
    weights = weights.T if transposed else weights
    bias = _bias(context, node, arguments, 6, value, scale)
    result = dense(context, node, value, weights, np.zeros(1) if bias is None else bias, kept)
    if optional(arguments, 7) is None:
        return result
    return _fixed(context, node, result, _affine_int8(node, arguments, 7))


TRANSLATIONS: dict[str, Translation] = {
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize,
}

MICROSOFT: dict[str, Translation] = {
    "QGemm": _qgemm,
    "QLinearAdd": _qlinear_add,
}
"""Of onnxruntime's quantiser and optimiser."""
