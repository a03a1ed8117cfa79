"""ONNX nodes that multiply by a matrix."""

from __future__ import annotations

import numpy as np

from model.importing import layout
from model.importing.float_operators import Convolution, Dense, Window
from model.importing.layout import Value
from model.importing.onnx.context import (
    Arguments,
    Context,
    Translation,
    array,
    live,
    optional,
    text,
)
from model.importing.onnx.file import OnnxNode

__all__ = ["TRANSLATIONS", "dense"]


def dense(
    context: Context,
    node: OnnxNode,
    value: Value,
    weights: np.ndarray,
    bias: np.ndarray,
    scale: np.ndarray | None = None,
) -> Value:
    """`value` times weights (inputs, outputs); where it is no vector, along its last axis."""
    graph, index = context.graph, value.index
    weights, bias = weights.astype(np.float64), bias.astype(np.float64)
    if index.shape[-1] != len(weights):
        raise node.error(f"weights for {len(weights)} inputs on {index.shape[-1]}")
    if bias.size == 1:
        bias = np.broadcast_to(bias.ravel(), weights.shape[1:])
    if bias.size != weights.shape[1]:
        raise node.error(f"{bias.size} biases for {weights.shape[1]} outputs")
    bias = bias.ravel()
    if index.ndim == 1:
        ours = np.empty_like(weights)
        ours[index] = weights
        flat = layout.reshaped(graph, value.tensor, (index.size,), node.name)
        tensor = graph.append(Dense(ours, bias, scale), [flat], node.name)
        return Value(tensor, layout.standard(graph.shapes[tensor]))
    lead = index.shape[:-1]
    rows = index.reshape(1, -1, len(weights)) if len(lead) != 2 else index
    tensor, order = layout.pixels(graph, value, rows, node.name)
    ours = weights[np.argsort(order)][np.newaxis, np.newaxis]
    tensor = graph.append(Convolution(ours, bias, Window((1, 1)), 1, scale), [tensor], node.name)
    return Value(tensor, layout.standard((*lead, weights.shape[1])))


def _gemm(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    weights = array(node, arguments, 1, "weights")
    if node.attributes.get("transA"):
        raise node.error("transA is not supported")
    if weights.ndim != 2 or value.index.ndim != 1:
        raise node.error(f"weights {text(weights.shape)} on shape {text(value.shape)}")
    weights = weights.T if node.attributes.get("transB") else weights
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    bias = np.zeros(weights.shape[1])
    if optional(arguments, 2) is not None:
        bias = array(node, arguments, 2, "bias").astype(np.float64) * beta
    scale = context.scales.get(node.inputs[1]) if alpha == 1 else None
    return dense(context, node, value, weights.astype(np.float64) * alpha, bias, scale)


def _matmul(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    if all(isinstance(each, Value) for each in arguments[:2]):
        raise node.error("of two activations is not supported")
    weights = array(node, arguments, 1, "second matrix")
    if weights.ndim != 2:
        raise node.error(f"with an array of shape {text(weights.shape)} is not supported")
    value, scale = live(node, arguments), context.scales.get(node.inputs[1])
    return dense(context, node, value, weights, np.zeros(1), scale)


TRANSLATIONS: dict[str, Translation] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
}
