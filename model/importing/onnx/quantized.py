"""ONNX nodes of networks that are quantised already."""

from __future__ import annotations

from math import inf

import numpy as np

from model.importing.float_operators import BinaryKind, Function
from model.importing.layout import Value
from model.importing.onnx.constants import dequantized
from model.importing.onnx.context import (
    Argument,
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


def _qlinear_conv(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    stored = array(node, arguments, 3, "weights")
    scale = array(node, arguments, 4, "weights' scale")
    zero = array(node, arguments, 5, "weights' zero point")
    along = OnnxNode(node.op, "", node.name, (), (), {"axis": 0})
    weights = dequantized(along, stored, scale, zero)
    plain: list[Argument] = [value, weights]
    if optional(arguments, 8) is not None:
        unit = np.float64(context.graph.fixed[value.tensor][0]) * scale.astype(np.float64)
        plain.append(array(node, arguments, 8, "bias") * unit)
    inner = OnnxNode("Conv", "", node.name, ("", node.inputs[3], ""), (), node.attributes)
    if stored.dtype == np.int8 and not zero.any():
        context.scales[node.inputs[3]] = np.ravel(scale)
    result = convolution(context, inner, plain)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qlinear_matmul(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    stored = array(node, arguments, 3, "weights")
    scale = array(node, arguments, 4, "weights' scale")
    zero = array(node, arguments, 5, "weights' zero point")
    along = OnnxNode(node.op, "", node.name, (), (), {"axis": 1})
    weights = dequantized(along, stored, scale, zero)
    exact = stored.dtype == np.int8 and not zero.any()
    result = dense(context, node, value, weights, np.zeros(1), np.ravel(scale) if exact else None)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qlinear_add(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    first = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    second = _fixed(context, node, live(node, arguments, 3), _affine_int8(node, arguments, 4))
    result = of_two(context, node, BinaryKind.ADD, first, second)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qgemm(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, live(node, arguments), _affine_int8(node, arguments, 1))
    stored = array(node, arguments, 3, "weights")
    scale = array(node, arguments, 4, "weights' scale")
    zero = array(node, arguments, 5, "weights' zero point")
    transposed = bool(node.attributes.get("transB"))
    along = OnnxNode(node.op, "", node.name, (), (), {"axis": 0 if transposed else 1})
    weights = dequantized(along, stored, scale, zero)
    bias = np.zeros(1)
    if optional(arguments, 6) is not None:
        unit = np.float64(context.graph.fixed[value.tensor][0]) * scale.astype(np.float64)
        bias = array(node, arguments, 6, "bias") * unit
    exact = stored.dtype == np.int8 and not zero.any()
    result = dense(
        context,
        node,
        value,
        weights.T if transposed else weights,
        bias,
        np.ravel(scale) if exact else None,
    )
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
