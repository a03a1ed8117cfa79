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
    "Graph",
    "Operator",
    "OperatorKind",
    "Options",
    "Padding",
    "Quantization",
    "Tensor",
    "Variable",
]

ABSENT = -1
"""Tensor index of an optional input that is not there."""


class OperatorKind(str, Enum):
    """Operators of TensorFlow Lite for Microcontrollers, by their names in the schema.

    This is the vocabulary; `model.int8.operators.OPERATORS` has those that run.
    """

    ABS = "ABS"
    ADD = "ADD"
    ADD_N = "ADD_N"
    ARG_MAX = "ARG_MAX"
    ARG_MIN = "ARG_MIN"
    ASSIGN_VARIABLE = "ASSIGN_VARIABLE"
    AVERAGE_POOL_2D = "AVERAGE_POOL_2D"
    BATCH_MATMUL = "BATCH_MATMUL"
    BATCH_TO_SPACE_ND = "BATCH_TO_SPACE_ND"
    BROADCAST_ARGS = "BROADCAST_ARGS"
    BROADCAST_TO = "BROADCAST_TO"
    CALL_ONCE = "CALL_ONCE"
    CAST = "CAST"
    CEIL = "CEIL"
    CONCATENATION = "CONCATENATION"
    CONV_2D = "CONV_2D"
    COS = "COS"
    CUMSUM = "CUMSUM"
    CUSTOM = "CUSTOM"
    DEPTHWISE_CONV_2D = "DEPTHWISE_CONV_2D"
    DEPTH_TO_SPACE = "DEPTH_TO_SPACE"
    DEQUANTIZE = "DEQUANTIZE"
    DIV = "DIV"
    DYNAMIC_UPDATE_SLICE = "DYNAMIC_UPDATE_SLICE"
    ELU = "ELU"
    EMBEDDING_LOOKUP = "EMBEDDING_LOOKUP"
    EQUAL = "EQUAL"
    EXP = "EXP"
    EXPAND_DIMS = "EXPAND_DIMS"
    FILL = "FILL"
    FLOOR = "FLOOR"
    FLOOR_DIV = "FLOOR_DIV"
    FLOOR_MOD = "FLOOR_MOD"
    FULLY_CONNECTED = "FULLY_CONNECTED"
    GATHER = "GATHER"
    GATHER_ND = "GATHER_ND"
    GREATER = "GREATER"
    GREATER_EQUAL = "GREATER_EQUAL"
    HARD_SWISH = "HARD_SWISH"
    IF = "IF"
    L2_NORMALIZATION = "L2_NORMALIZATION"
    L2_POOL_2D = "L2_POOL_2D"
    LEAKY_RELU = "LEAKY_RELU"
    LESS = "LESS"
    LESS_EQUAL = "LESS_EQUAL"
    LOG = "LOG"
    LOGICAL_AND = "LOGICAL_AND"
    LOGICAL_NOT = "LOGICAL_NOT"
    LOGICAL_OR = "LOGICAL_OR"
    LOGISTIC = "LOGISTIC"
    LOG_SOFTMAX = "LOG_SOFTMAX"
    MAXIMUM = "MAXIMUM"
    MAX_POOL_2D = "MAX_POOL_2D"
    MEAN = "MEAN"
    MINIMUM = "MINIMUM"
    MIRROR_PAD = "MIRROR_PAD"
    MUL = "MUL"
    NEG = "NEG"
    NOT_EQUAL = "NOT_EQUAL"
    PACK = "PACK"
    PAD = "PAD"
    PADV2 = "PADV2"
    PRELU = "PRELU"
    QUANTIZE = "QUANTIZE"
    READ_VARIABLE = "READ_VARIABLE"
    REDUCE_ALL = "REDUCE_ALL"
    REDUCE_MAX = "REDUCE_MAX"
    REDUCE_MIN = "REDUCE_MIN"
    RELU = "RELU"
    RELU6 = "RELU6"
    RESHAPE = "RESHAPE"
    RESIZE_BILINEAR = "RESIZE_BILINEAR"
    RESIZE_NEAREST_NEIGHBOR = "RESIZE_NEAREST_NEIGHBOR"
    REVERSE_V2 = "REVERSE_V2"
    ROUND = "ROUND"
    RSQRT = "RSQRT"
    SELECT_V2 = "SELECT_V2"
    SHAPE = "SHAPE"
    SIN = "SIN"
    SLICE = "SLICE"
    SOFTMAX = "SOFTMAX"
    SPACE_TO_BATCH_ND = "SPACE_TO_BATCH_ND"
    SPACE_TO_DEPTH = "SPACE_TO_DEPTH"
    SPLIT = "SPLIT"
    SPLIT_V = "SPLIT_V"
    SQRT = "SQRT"
    SQUARE = "SQUARE"
    SQUARED_DIFFERENCE = "SQUARED_DIFFERENCE"
    SQUEEZE = "SQUEEZE"
    STRIDED_SLICE = "STRIDED_SLICE"
    SUB = "SUB"
    SUM = "SUM"
    SVDF = "SVDF"
    TANH = "TANH"
    TRANSPOSE = "TRANSPOSE"
    TRANSPOSE_CONV = "TRANSPOSE_CONV"
    UNIDIRECTIONAL_SEQUENCE_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    UNPACK = "UNPACK"
    VAR_HANDLE = "VAR_HANDLE"
    WHILE = "WHILE"
    ZEROS_LIKE = "ZEROS_LIKE"

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
    OperatorKind.UNIDIRECTIONAL_SEQUENCE_LSTM: "lstm",
    OperatorKind.RESIZE_NEAREST_NEIGHBOR: "resize_nearest",
    OperatorKind.RESIZE_BILINEAR: "resize_bilinear",
    OperatorKind.CONCATENATION: "concat",
}


WEIGHTED = frozenset(
    {OperatorKind.CONV_2D, OperatorKind.DEPTHWISE_CONV_2D, OperatorKind.FULLY_CONNECTED}
)
"""Kinds whose inputs are (activation, weights, bias)."""


class Activation(str, Enum):
    """Activation fused into an operator: a clamp of its output.

    TFLM computes nothing for TANH and SIGN_BIT where a quantised operator names them.
    """

    NONE = "NONE"
    RELU = "RELU"
    RELU6 = "RELU6"
    RELU_N1_TO_1 = "RELU_N1_TO_1"
    TANH = "TANH"
    SIGN_BIT = "SIGN_BIT"


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

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example: without the first dimension where that is a batch of 1."""
        return self.shape[1:] if self.shape[:1] == (1,) else self.shape


class Options:
    """What an operator is told besides its tensors; each kind has its own, in `.operators`."""


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
    options : Options or None
        The dataclass that belongs to ``kind``; None where there is nothing to say.
    """

    kind: OperatorKind
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options | None = None


@dataclass(frozen=True, eq=False)
class Variable:
    """State: a tensor whose bytes one run leaves to the next.

    In a file, VAR_HANDLE names it, READ_VARIABLE and ASSIGN_VARIABLE copy it, and CALL_ONCE gives
    it its first value. A graph has none of these: it is a function of its inputs and of what
    ``tensor`` holds.

    Attributes
    ----------
    name : str
    tensor : int
        What a run finds: no operator writes this tensor.
    next : int
        The tensor whose bytes the next run finds there; of the same type and shape.
    initial : ndarray
        What the first run finds, of type and shape of ``tensor``.
    """

    name: str
    tensor: int
    next: int
    initial: np.ndarray


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: operators in running order over a list of tensors.

    Attributes
    ----------
    name : str
    tensors : tuple of Tensor
    operators : tuple of Operator
        Each reads only tensors that are constant, inputs of the graph, variables, or written
        before.
    inputs, outputs : tuple of int
        Tensor indexes.
    labels : tuple of str
        Class names in the order of the output's channels; empty if the model has none.
    notes : tuple of str
        What whoever reads the model should know: what of its file was left out.
    variables : tuple of Variable
        What a run leaves to the next; empty for most networks.
    """

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()

    @property
    def input(self) -> Tensor:
        """The tensor into which a picture goes."""
        return self.tensors[self.inputs[0]]

    @property
    def output(self) -> Tensor:
        """The tensor that holds the answer."""
        return self.tensors[self.outputs[0]]

    @property
    def given(self) -> tuple[int, ...]:
        """Tensors that a run finds: the inputs, and the variables."""
        return (*self.inputs, *(each.tensor for each in self.variables))

    @property
    def kept(self) -> tuple[int, ...]:
        """Tensors that a run leaves: the outputs, and what the variables are assigned."""
        return (*self.outputs, *(each.next for each in self.variables))

    @property
    def parameters(self) -> int:
        """Weights and biases, counted one by one; a shared constant counts once."""
        constants = {
            index
            for operator in self.operators
            if operator.kind in WEIGHTED or operator.kind is OperatorKind.TRANSPOSE_CONV
            for index in operator.inputs[1:]
            if index != ABSENT and self.tensors[index].data is not None
        }
        return sum(prod(self.tensors[index].shape) for index in constants)

    def macs(self, operator: Operator) -> int:
        """Multiplications that one inference needs in `operator`, padding taps included.

        Convolutions and fully connected layers only: everything else counts as 0, as is the custom
        where networks are compared.
        """
        if operator.kind is OperatorKind.TRANSPOSE_CONV:
            _, weights, source = (self.tensors[index].shape for index in operator.inputs[:3])
            return prod(source[:3]) * prod(weights)
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
