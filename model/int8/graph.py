"""The int8 network as plain data: tensors, operators, and the order in which they run.

This is the one form in which a network travels through the project: `.tflite` reads and writes it,
`model.training.quantization` makes it, `.reference` runs it, and the compiler turns it into a tape.
It knows no arithmetic and no hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np

__all__ = [
    "ABSENT",
    "WEIGHTED",
    "Activation",
    "AddOptions",
    "DenseOptions",
    "Graph",
    "LeakyReluOptions",
    "MeanOptions",
    "Operator",
    "OperatorKind",
    "Options",
    "Padding",
    "Quantization",
    "ReshapeOptions",
    "SoftmaxOptions",
    "Tensor",
    "WindowOptions",
]

ABSENT = -1
"""Tensor index of an optional input that is not there."""


class OperatorKind(str, Enum):
    """Operators by the name that TensorFlow Lite gives them."""

    CONV_2D = "CONV_2D"
    FULLY_CONNECTED = "FULLY_CONNECTED"
    MAX_POOL_2D = "MAX_POOL_2D"
    LOGISTIC = "LOGISTIC"
    RELU = "RELU"
    RELU6 = "RELU6"
    RESHAPE = "RESHAPE"
    SOFTMAX = "SOFTMAX"
    DEPTHWISE_CONV_2D = "DEPTHWISE_CONV_2D"
    ADD = "ADD"
    AVERAGE_POOL_2D = "AVERAGE_POOL_2D"
    MEAN = "MEAN"
    PAD = "PAD"
    TANH = "TANH"
    HARD_SWISH = "HARD_SWISH"
    LEAKY_RELU = "LEAKY_RELU"
    QUANTIZE = "QUANTIZE"

    @property
    def stem(self) -> str:
        """What a layer of this kind is called, before its number: ``conv``, ``dense``, ``relu``."""
        return _STEMS.get(self, self.value.lower())


_STEMS = {
    OperatorKind.CONV_2D: "conv",
    OperatorKind.DEPTHWISE_CONV_2D: "depthwise",
    OperatorKind.FULLY_CONNECTED: "dense",
    OperatorKind.MAX_POOL_2D: "max_pool",
    OperatorKind.AVERAGE_POOL_2D: "average_pool",
}


WEIGHTED = frozenset(
    {OperatorKind.CONV_2D, OperatorKind.DEPTHWISE_CONV_2D, OperatorKind.FULLY_CONNECTED}
)
"""Kinds whose inputs are (activation, weights, bias)."""


class Activation(str, Enum):
    """Activation fused into an operator: a clamp of its output."""

    NONE = "NONE"
    RELU = "RELU"
    RELU6 = "RELU6"


class Padding(str, Enum):
    """Padding rule of a window: SAME keeps ceil(size / stride), VALID reads no pixel outside."""

    SAME = "SAME"
    VALID = "VALID"


@dataclass(frozen=True, eq=False)
class Quantization:
    """Affine quantisation, ``real = scale * (stored - zero_point)``.

    Attributes
    ----------
    scale : ndarray of float32, 1-D
        One entry for the whole tensor, or one per slice along ``axis``. Positive and finite.
    zero_point : ndarray of int64, 1-D
        As long as ``scale``; within the range of the tensor's type.
    axis : int
        Dimension along which the entries vary; 0 where there is only one.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int = 0


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array that operators pass on, or a constant.

    Attributes
    ----------
    name : str
    shape : tuple of int
        As in the file, the batch dimension of 1 included.
    dtype : str
        NumPy's name of the element type: ``int8``, ``int32``, ``float32`` ...
    quantization : Quantization or None
    data : ndarray or None
        The constant's elements, of type ``dtype`` and shape ``shape``; None for an activation.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
    data: np.ndarray | None = None


@dataclass(frozen=True)
class WindowOptions:
    """Options of CONV_2D, DEPTHWISE_CONV_2D, MAX_POOL_2D and AVERAGE_POOL_2D.

    For a convolution the kernel's size repeats the shape of its weights. ``depth_multiplier``
    counts output channels per input channel and matters to DEPTHWISE_CONV_2D only.
    """

    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    padding: Padding = Padding.VALID
    activation: Activation = Activation.NONE
    dilation_h: int = 1
    dilation_w: int = 1
    depth_multiplier: int = 1


@dataclass(frozen=True)
class DenseOptions:
    """Options of FULLY_CONNECTED."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True)
class AddOptions:
    """Options of ADD."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True)
class SoftmaxOptions:
    """Options of SOFTMAX: ``softmax(beta * x)``."""

    beta: float = 1.0


@dataclass(frozen=True)
class LeakyReluOptions:
    """Options of LEAKY_RELU: the slope of the negative side."""

    alpha: float = 0.2


@dataclass(frozen=True)
class ReshapeOptions:
    """Options of RESHAPE: the shape asked for, batch included; the output tensor's shape rules."""

    new_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class MeanOptions:
    """Options of MEAN: whether the averaged dimensions stay, with size 1."""

    keep_dims: bool = False


Options = (
    WindowOptions
    | DenseOptions
    | AddOptions
    | SoftmaxOptions
    | LeakyReluOptions
    | ReshapeOptions
    | MeanOptions
    | None
)


@dataclass(frozen=True)
class Operator:
    """One step of the network.

    Attributes
    ----------
    kind : OperatorKind
    name : str
        Readable and unique within the graph, such as ``conv1``.
    inputs : tuple of int
        Tensor indexes; `ABSENT` for an optional input that is not there. Weighted operators have
        (activation, weights, bias).
    outputs : tuple of int
        Tensor indexes.
    options : Options
        The dataclass that belongs to ``kind``; None where there is nothing to say.
    """

    kind: OperatorKind
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = None


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: operators in running order over a list of tensors.

    Attributes
    ----------
    name : str
    tensors : tuple of Tensor
    operators : tuple of Operator
        Each reads only tensors that are constant, inputs of the graph, or written before.
    inputs, outputs : tuple of int
        Tensor indexes. The networks that we run have one of each.
    labels : tuple of str
        Class names in the order of the output's channels; empty if the model has none.
    """

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    labels: tuple[str, ...] = ()

    @property
    def input(self) -> Tensor:
        """The tensor into which a picture goes."""
        return self.tensors[self.inputs[0]]

    @property
    def output(self) -> Tensor:
        """The tensor that holds the answer."""
        return self.tensors[self.outputs[0]]

    @property
    def parameters(self) -> int:
        """Weights and biases, counted one by one; a shared constant counts once."""
        constants = {
            index
            for operator in self.operators
            if operator.kind in WEIGHTED
            for index in operator.inputs[1:]
            if index != ABSENT
        }
        return sum(prod(self.tensors[index].shape) for index in constants)

    def macs(self, operator: Operator) -> int:
        """Multiplications that one inference needs in `operator`, padding taps included.

        Convolutions and fully connected layers only: everything else counts as 0, as is the custom
        where networks are compared.
        """
        if operator.kind not in WEIGHTED:
            return 0
        weights = self.tensors[operator.inputs[1]].shape
        outputs = prod(self.tensors[operator.outputs[0]].shape)
        if operator.kind is OperatorKind.DEPTHWISE_CONV_2D:
            return outputs * weights[1] * weights[2]
        return outputs * prod(weights[1:])

    @property
    def total_macs(self) -> int:
        """Multiplications that one inference needs; see `macs`."""
        return sum(self.macs(operator) for operator in self.operators)

    def consumers(self, tensor: int) -> tuple[int, ...]:
        """Indexes of the operators that read tensor number `tensor`, in running order."""
        return tuple(
            index for index, operator in enumerate(self.operators) if tensor in operator.inputs
        )

    def producer(self, tensor: int) -> int | None:
        """Index of the operator that writes tensor number `tensor`; None if none does."""
        for index, operator in enumerate(self.operators):
            if tensor in operator.outputs:
                return index
        return None
