"""An operator under examination: what its check requires, and how a refusal reads."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from model.errors import ModelError
from model.int8.graph import ABSENT, Graph, Operator, Quantization, Tensor

__all__ = ["Examined", "check_fixed_output", "check_same_shape", "check_weights", "written"]


def written(shape: Iterable[int]) -> str:
    """A shape as messages have it: 1x28x28x1."""
    return "x".join(map(str, shape))


class Examined:
    """One operator under examination, with its tensors at hand."""

    def __init__(self, graph: Graph, operator: Operator) -> None:
        self.graph = graph
        self.operator = operator

    def require(self, condition: bool, reason: str) -> None:
        """Refuse the layer for `reason` unless `condition` holds."""
        if not condition:
            raise ModelError(f"layer {self.operator.name}: {reason}")

    @property
    def input(self) -> Tensor:
        return self.graph.tensors[self.operator.inputs[0]]

    @property
    def output(self) -> Tensor:
        return self.graph.tensors[self.operator.outputs[0]]

    def has(self, position: int) -> bool:
        """Is there an input at `position`?"""
        inputs = self.operator.inputs
        return position < len(inputs) and inputs[position] != ABSENT

    def constant(self, position: int, role: str, dtype: str) -> Tensor:
        """The constant at `position`; refuses the layer if there is none of type `dtype`."""
        self.require(self.has(position), f"no {role}")
        tensor = self.graph.tensors[self.operator.inputs[position]]
        self.require(tensor.dtype == dtype, f"{role} of type {tensor.dtype}; only int8 models run")
        self.require(tensor.data is not None, f"its {role} must be a constant")
        return tensor

    def integers(self, position: int, role: str) -> np.ndarray:
        """The numbers of the int32 constant at `position`."""
        data = self.constant(position, role, "int32").data
        assert data is not None
        return data

    def affine(self, tensor: Tensor, role: str) -> Quantization:
        """Refuse the layer unless `tensor` is int8 with one scale and one zero point."""
        self.require(
            tensor.dtype == "int8", f"its {role} is of type {tensor.dtype}; only int8 models run"
        )
        quantization = tensor.quantization
        self.require(
            quantization is not None and len(quantization.scale) == 1,
            f"its {role} needs one scale and one zero point",
        )
        assert quantization is not None
        return quantization


def check_same_shape(layer: Examined) -> None:
    layer.require(
        layer.input.shape == layer.output.shape,
        f"shape {written(layer.input.shape)} in, {written(layer.output.shape)} out",
    )


def check_fixed_output(layer: Examined, scale: float, zero_point: int) -> None:
    """The output has the input's shape, and the quantisation that the kernel computes in."""
    check_same_shape(layer)
    quantization = layer.affine(layer.output, "output")
    layer.require(
        float(quantization.scale[0]) == scale and int(quantization.zero_point[0]) == zero_point,
        f"output must have scale {scale} and zero point {zero_point}",
    )


def check_weights(layer: Examined, rank: int, axis: int) -> Tensor:
    """int8 weights of `rank` dimensions, quantised along `axis`, and the bias that fits them."""
    weights = layer.constant(1, "weights", "int8")
    layer.require(
        len(weights.shape) == rank, f"weights of shape {written(weights.shape)}, not {rank}-D"
    )
    quantization = weights.quantization
    layer.require(quantization is not None, "weights without quantisation")
    assert quantization is not None
    layer.require(not quantization.zero_point.any(), "weights with a zero point other than 0")
    layer.require(
        len(quantization.scale) == 1 or quantization.axis == axis,
        f"weights quantised along dimension {quantization.axis}, not {axis}",
    )
    channels = weights.shape[axis]
    if layer.has(2):
        bias = layer.constant(2, "bias", "int32")
        layer.require(
            prod(bias.shape) == channels,
            f"bias of {prod(bias.shape)} entries for {channels} output channels",
        )
    return weights
