"""QUANTIZE and DEQUANTIZE, between int8 and what a network takes and gives.

Sources: TFLM ``micro/kernels/quantize_common.cc``; TensorFlow Lite
``kernels/internal/reference/quantize.h``, ``requantize.h`` and ``dequantize.h``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.int8 import fixed_point
from model.int8.graph import Graph, Operator, OperatorKind
from model.int8.operators.building import LayerBuilder
from model.int8.operators.byte_functions import rescale
from model.int8.operators.definition import Definition
from model.int8.operators.examined import Examined, check_same_shape
from model.int8.operators.quantization import affine

__all__ = ["DEFINITIONS", "EndLayers"]


def _quantize(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """``AffineQuantize`` of float32, ``Requantize`` of bytes."""
    x = inputs[0]
    limits = np.iinfo(graph.tensors[operator.outputs[0]].dtype)
    if x.dtype == np.float32:
        scale, zero_point = affine(graph, operator.outputs[0])
        with np.errstate(over="ignore", invalid="ignore"):
            steps = x / scale
        # What does not fit int32 becomes its minimum, as on the machine that runs the kernels.
        fits = np.abs(steps) < np.float32(2.0**31)
        rounded = _rounded(np.where(fits, steps, np.float32(0))).astype(np.int64)
        result = np.where(fits, rounded, fixed_point.INT32_MIN)
        result = fixed_point.wrap_int32(result + zero_point)
    else:
        result = rescale(graph, operator, x.astype(np.int64))
    return np.clip(result, limits.min, limits.max).astype(limits.dtype)


def _rounded(x: np.ndarray) -> np.ndarray:
    """C's ``roundf``: half away from zero, exact in float32."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= np.float32(0.5), np.sign(x), np.float32(0))


def _dequantize(graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The product in float64, rounded to float32."""
    scale, zero_point = affine(graph, operator.inputs[0])
    return (float(scale) * (inputs[0].astype(np.float64) - zero_point)).astype(np.float32)


def _check_quantize(layer: Examined) -> None:
    check_same_shape(layer)
    source, target = layer.input, layer.output
    layer.scaled(target, "output")
    if source.dtype == "float32":
        layer.int8(target, "output")
        return
    layer.require(
        source.dtype in ("int8", "uint8") and "int8" in (source.dtype, target.dtype),
        f"from {source.dtype} to {target.dtype}",
    )
    layer.require(target.dtype in ("int8", "uint8"), f"from {source.dtype} to {target.dtype}")
    scale_in = float(layer.scaled(source, "input").scale[0])
    scale_out = float(layer.scaled(target, "output").scale[0])
    layer.require(scale_in < scale_out * 2**30, "output scale far below its input's scale")


def _check_dequantize(layer: Examined) -> None:
    check_same_shape(layer)
    layer.scaled(layer.input, "input")
    layer.require(
        layer.input.dtype in ("int8", "uint8") and layer.output.dtype == "float32",
        f"from {layer.input.dtype} to {layer.output.dtype}",
    )


DEFINITIONS = (
    Definition(
        OperatorKind.QUANTIZE, _quantize, _check_quantize, byte_function=rescale, elementwise=True
    ),
    Definition(OperatorKind.DEQUANTIZE, _dequantize, _check_dequantize),
)


class EndLayers(LayerBuilder):
    """What a `GraphBuilder` can append of this file's kinds."""

    def quantize(self, scale: float, zero_point: int, dtype: str = "int8") -> int:
        """QUANTIZE: from float32, or from another scale and zero point."""
        return self._layer(OperatorKind.QUANTIZE, self.shape, (scale, zero_point), dtype=dtype)

    def dequantize(self) -> int:
        """DEQUANTIZE: to float32."""
        return self._layer(OperatorKind.DEQUANTIZE, self.shape, None, dtype="float32")
