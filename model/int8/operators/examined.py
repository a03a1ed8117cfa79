"""An operator under examination: what its check requires, and how a refusal reads."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import NoReturn

import numpy as np

from model.errors import ModelError
from model.int8.graph import ABSENT, Graph, Operator, OperatorKind, Quantization, Tensor

__all__ = [
    "Examined",
    "LayerError",
    "check_fixed_output",
    "check_same_shape",
    "check_same_type",
    "check_weights",
    "written",
]


def written(shape: Iterable[int]) -> str:
    """A shape as messages have it: 1x28x28x1."""
    return "x".join(map(str, shape))


class LayerError(ModelError):
    """A layer that cannot run, and the reason."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"layer {layer}: {reason}")
        self.layer = layer
        self.reason = reason


_ADVICE = {
    "float32": "; only int8 runs: quantise the float network, as host import does",
    "uint8": ", the quantisation of 2018; only int8 runs: quantise the float network anew",
    "int16": "; only int8 runs: quantise the float network anew",
}
"""What to do about a tensor of a type that does not run."""


_MOVED = ("int8", "uint8", "float32", "int32")
"""Types of bytes that are moved as they are."""


class Examined:
    """One operator under examination, with its tensors at hand."""

    def __init__(self, graph: Graph, operator: Operator) -> None:
        self.graph = graph
        self.operator = operator

    def refuse(self, reason: str) -> NoReturn:
        """Refuse the layer for `reason`."""
        raise LayerError(self.operator.name, reason)

    def require(self, condition: bool, reason: str) -> None:
        """Refuse the layer for `reason` unless `condition` holds."""
        if not condition:
            self.refuse(reason)

    def tensor(self, position: int) -> Tensor:
        """The input at `position`, which must be there."""
        self.require(self.has(position), f"no input number {position}")
        return self.graph.tensors[self.operator.inputs[position]]

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
        self.require(
            tensor.dtype == dtype,
            f"{role} of type {tensor.dtype}{_ADVICE.get(tensor.dtype, '')}",
        )
        self.require(tensor.data is not None, f"its {role} must be a constant")
        return tensor

    def integers(self, position: int, role: str) -> np.ndarray:
        """The numbers of the int32 constant at `position`."""
        data = self.constant(position, role, "int32").data
        assert data is not None
        return data

    def int8(self, tensor: Tensor, role: str) -> None:
        """Refuse the layer unless `tensor` is int8."""
        self.require(
            tensor.dtype == "int8",
            f"its {role} is of type {tensor.dtype}{_ADVICE.get(tensor.dtype, '')}",
        )

    def scaled(self, tensor: Tensor, role: str) -> Quantization:
        """Refuse the layer unless `tensor` has a scale and a zero point that its type holds."""
        quantization = tensor.quantization
        self.require(
            quantization is not None and len(quantization.scale) > 0,
            f"its {role} needs one scale and one zero point",
        )
        assert quantization is not None
        scale, zero_point = quantization.scale[0], quantization.zero_point
        self.require(
            bool(np.isfinite(scale) and scale > 0),
            f"the scale of its {role} is {scale:g}, not a positive finite number",
        )
        # The kernels take the first of several.
        count = len(quantization.scale)
        self.require(
            len(zero_point) == count,
            f"its {role} has {count} scale{'s' * (count > 1)} but {len(zero_point)} zero points",
        )
        if tensor.dtype in ("int8", "uint8"):
            limits = np.iinfo(tensor.dtype)
            self.require(
                bool(limits.min <= zero_point[0] <= limits.max),
                f"the zero point of its {role} is outside {limits.min} to {limits.max}",
            )
        return quantization

    def affine(self, tensor: Tensor, role: str) -> Quantization:
        """Refuse the layer unless `tensor` is int8 with a scale and a zero point."""
        self.int8(tensor, role)
        return self.scaled(tensor, role)


def check_same_shape(layer: Examined) -> None:
    layer.require(
        layer.input.shape == layer.output.shape,
        f"shape {written(layer.input.shape)} in, {written(layer.output.shape)} out",
    )


def check_same_type(layer: Examined) -> None:
    """The output has the input's type; what is moved as it is needs no quantisation."""
    for role, tensor in (("input", layer.input), ("output", layer.output)):
        layer.require(
            tensor.dtype in _MOVED,
            f"its {role} is of type {tensor.dtype}{_ADVICE.get(tensor.dtype, '')}",
        )
    layer.require(
        layer.input.dtype == layer.output.dtype,
        f"from {layer.input.dtype} to {layer.output.dtype}",
    )


def check_fixed_output(layer: Examined, scale: float, zero_point: int) -> None:
    """The output has the input's shape, and the quantisation that the kernel computes in."""
    check_same_shape(layer)
    quantization = layer.affine(layer.output, "output")
    layer.require(
        float(quantization.scale[0]) == scale and int(quantization.zero_point[0]) == zero_point,
        f"output must have scale {scale} and zero point {zero_point}",
    )


def check_weights(layer: Examined, rank: int, axis: int, position: int = 0) -> Tensor:
    """int8 weights of `rank` dimensions, quantised along `axis`, and the bias that fits them.

    Weights and bias are inputs 1 and 2; the activation is the one at `position`.
    """
    weights = layer.constant(1, "weights", "int8")
    layer.require(
        len(weights.shape) == rank, f"weights of shape {written(weights.shape)}, not {rank}-D"
    )
    quantization = weights.quantization
    layer.require(quantization is not None, "weights without quantisation")
    assert quantization is not None
    scale, dimension, channels = quantization.scale, quantization.axis, weights.shape[axis]
    # CONV_2D's kernel takes no notice of them.
    ignored = layer.operator.kind is OperatorKind.CONV_2D
    layer.require(
        ignored or not quantization.zero_point.any(), "weights with a zero point other than 0"
    )
    # The kernels take the scales for those of the output channels, whatever dimension is named.
    layer.require(
        len(scale) == 1
        or (
            len(scale) == channels
            and 0 <= dimension < len(weights.shape)
            and weights.shape[dimension] == channels
        ),
        f"{len(scale)} scales, along dimension {dimension}, for weights of shape "
        f"{written(weights.shape)}",
    )
    for channel in np.flatnonzero(~(np.isfinite(scale) & (scale >= 0))):
        layer.refuse(f"the scale of channel {channel} is {scale[channel]:g}")
    scale_in = float(
        layer.affine(layer.graph.tensors[layer.operator.inputs[position]], "input").scale[0]
    )
    scale_out = float(layer.affine(layer.output, "output").scale[0])
    for channel in np.flatnonzero(scale_in * scale.astype(np.float64) >= scale_out * 2.0**30):
        layer.refuse(
            f"the scale of channel {channel}, {scale[channel]:g}, is far above its output's"
        )
    bias_position = 2 if position == 0 else position + 1
    if layer.has(bias_position):
        bias = layer.constant(bias_position, "bias", "int32")
        layer.require(
            prod(bias.shape) == channels,
            f"bias of {prod(bias.shape)} entries for {channels} output channels",
        )
    return weights
