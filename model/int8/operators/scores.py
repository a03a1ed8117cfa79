"""Operators that turn logits into answers: SOFTMAX, LOG_SOFTMAX, ARG_MAX and ARG_MIN.

Sources: TensorFlow Lite ``kernels/internal/reference/softmax.h``, ``log_softmax.h`` and
``arg_min_max.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from model.int8 import fixed_point, float_functions
from model.int8.graph import Graph, Operator, OperatorKind, Options
from model.int8.operators.building import LayerBuilder
from model.int8.operators.definition import Definition, Field, OptionTable
from model.int8.operators.examined import Examined, check_fixed_output, check_same_shape, written
from model.int8.operators.quantization import affine, constant

__all__ = ["DEFINITIONS", "ArgOptions", "ScoreLayers", "SoftmaxOptions"]

_MAX_CLASSES = 4095


@dataclass(frozen=True)
class ArgOptions(Options):
    """Options of ARG_MAX and ARG_MIN: the output's type, which is int32."""

    output_type: int = tflite.TensorType.INT32


@dataclass(frozen=True)
class SoftmaxOptions(Options):
    """Options of SOFTMAX: ``softmax(beta * x)``."""

    beta: float = 1.0


def _exponentials(x: np.ndarray, beta: np.float32) -> np.ndarray:
    """exp(beta * (x - max)) in float32."""
    return float_functions.exp((x - x.max(axis=-1, keepdims=True)) * beta)


def _total(terms: np.ndarray) -> np.ndarray:
    """The sum along the last axis in float32, one after the other, as the kernels add."""
    return np.cumsum(terms, axis=-1, dtype=np.float32)[..., -1:]


def _softmax(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    assert isinstance(operator.options, SoftmaxOptions)
    if inputs[0].dtype == np.float32:
        terms = _exponentials(inputs[0], np.float32(operator.options.beta))
        return terms / _total(terms)
    scale, _ = affine(graph, operator.inputs[0])
    return fixed_point.softmax(inputs[0], float(scale), float(np.float32(operator.options.beta)))


def _log_softmax(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    if inputs[0].dtype == np.float32:
        x = inputs[0]
        total = _total(_exponentials(x, np.float32(1)))
        return x - x.max(axis=-1, keepdims=True) - float_functions.log(total)
    scale, _ = affine(graph, operator.inputs[0])
    return fixed_point.log_softmax(inputs[0], float(scale))


def _axis(graph: Graph, operator: Operator) -> int:
    """The dimension along which an ARG_MAX or ARG_MIN looks."""
    rank = len(graph.tensors[operator.inputs[0]].shape)
    return int(constant(graph, operator, 1).ravel()[0]) % rank


def _arg_max(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The first of the greatest."""
    return inputs[0].argmax(axis=_axis(graph, operator) + 1).astype(np.int32)


def _arg_min(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The first of the least."""
    return inputs[0].argmin(axis=_axis(graph, operator) + 1).astype(np.int32)


def _is_float(layer: Examined) -> bool:
    """Whether the layer computes in float32, behind a DEQUANTIZE."""
    if layer.input.dtype != "float32" or layer.output.dtype != "float32":
        return False
    maker = layer.graph.producer(layer.operator.inputs[0])
    if maker is None or layer.graph.operators[maker].kind is not OperatorKind.DEQUANTIZE:
        return False
    check_same_shape(layer)
    layer.require(layer.input.shape != (), "no classes")
    return True


def _check_softmax(layer: Examined) -> None:
    if _is_float(layer):
        return
    quantization = layer.affine(layer.input, "input")
    check_fixed_output(layer, 1 / 256, -128)
    options = layer.operator.options
    assert isinstance(options, SoftmaxOptions)
    layer.require(
        layer.input.shape[-1:] != () and layer.input.shape[-1] <= _MAX_CLASSES,
        f"{written(layer.input.shape)} classes; {_MAX_CLASSES} are possible",
    )
    # below 2**-27 the factor cannot be written as a left shift
    factor = float(options.beta) * float(quantization.scale[0])
    layer.require(
        2.0**-26 <= factor < np.inf,
        f"beta times scale is {factor:g}, so its input would not matter; the usual beta is 1"
        if factor < 1
        else f"beta times scale is {factor:g}",
    )


def _check_log_softmax(layer: Examined) -> None:
    if _is_float(layer):
        return
    scale = float(layer.affine(layer.input, "input").scale[0])
    check_fixed_output(layer, 1 / 16, 127)
    layer.require(
        layer.input.shape[-1:] != () and layer.input.shape[-1] <= _MAX_CLASSES,
        f"{written(layer.input.shape)} classes; {_MAX_CLASSES} are possible",
    )
    layer.require(2.0**-26 <= scale < 2.0**10, f"its input's scale is {scale:g}")


def _check_arg(layer: Examined) -> None:
    if layer.input.dtype != "float32":
        layer.int8(layer.input, "input")
    axes, shape = layer.integers(1, "axis").ravel(), layer.input.shape
    layer.require(
        len(axes) == 1 and -len(shape) <= axes[0] < len(shape),
        f"looks along {list(axes)} of {written(shape)}",
    )
    axis = _axis(layer.graph, layer.operator)
    layer.require(
        layer.output.dtype == "int32" and layer.output.shape == shape[:axis] + shape[axis + 1 :],
        f"output of type {layer.output.dtype} and shape {written(layer.output.shape)}",
    )


DEFINITIONS = (
    Definition(
        OperatorKind.SOFTMAX,
        _softmax,
        _check_softmax,
        OptionTable("SoftmaxOptions", SoftmaxOptions, (Field("Beta", "beta", float),)),
    ),
    Definition(OperatorKind.LOG_SOFTMAX, _log_softmax, _check_log_softmax),
    Definition(
        OperatorKind.ARG_MAX,
        _arg_max,
        _check_arg,
        OptionTable("ArgMaxOptions", ArgOptions, (Field("OutputType", "output_type"),)),
    ),
    Definition(
        OperatorKind.ARG_MIN,
        _arg_min,
        _check_arg,
        OptionTable("ArgMinOptions", ArgOptions, (Field("OutputType", "output_type"),)),
    ),
)


class ScoreLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def softmax(self, beta: float = 1.0) -> int:
        """SOFTMAX, of float32 behind a DEQUANTIZE."""
        return self._layer(
            OperatorKind.SOFTMAX,
            self.shape,
            (1 / 256, -128),
            options=SoftmaxOptions(beta),
            dtype=self._dtype,
        )

    def log_softmax(self) -> int:
        """LOG_SOFTMAX, of float32 behind a DEQUANTIZE."""
        return self._layer(OperatorKind.LOG_SOFTMAX, self.shape, (1 / 16, 127), dtype=self._dtype)

    def arg_max(self, axis: int = -1) -> int:
        """ARG_MAX along `axis`, where the batch is 0: int32."""
        return self._arg(OperatorKind.ARG_MAX, axis)

    def arg_min(self, axis: int = -1) -> int:
        """ARG_MIN along `axis`, where the batch is 0: int32."""
        return self._arg(OperatorKind.ARG_MIN, axis)

    def _arg(self, kind: OperatorKind, axis: int) -> int:
        shape = list(self._tensors[self.last].shape)
        del shape[axis]
        constants = (("axis", np.array(axis, np.int32), None),)
        return self._layer(
            kind, tuple(shape), None, constants, ArgOptions(), dtype="int32", whole=True
        )
