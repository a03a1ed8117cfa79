"""The operators of a float graph: what each computes, in float32, in files by kind.

Arrays have the batch in front; pictures are (n, height, width, channels).

Sources: the operators of ONNX, https://onnx.ai/onnx/operators/, whose outputs these are.
"""

from __future__ import annotations

from model.importing.float_operators.arrangement import (
    Concatenation,
    Pad,
    Reshape,
    Slice,
    Transpose,
)
from model.importing.float_operators.convolution import Convolution, TransposedConvolution
from model.importing.float_operators.definition import FloatOperator, Shape
from model.importing.float_operators.dense import Dense
from model.importing.float_operators.elementwise import Affine, Binary, BinaryKind, PRelu
from model.importing.float_operators.functions import FUNCTIONS, Function, Softmax
from model.importing.float_operators.pooling import AveragePool, MaxPool
from model.importing.float_operators.reduction import Reduction, ReductionKind
from model.importing.float_operators.resize import Nearest, Resize, Sampling
from model.importing.float_operators.window import Window

__all__ = [
    "Affine",
    "AveragePool",
    "Binary",
    "BinaryKind",
    "Concatenation",
    "Convolution",
    "Dense",
    "FUNCTIONS",
    "FloatOperator",
    "Function",
    "MaxPool",
    "Nearest",
    "PRelu",
    "Pad",
    "Reduction",
    "ReductionKind",
    "Reshape",
    "Resize",
    "Sampling",
    "Shape",
    "Slice",
    "Softmax",
    "Transpose",
    "TransposedConvolution",
    "Window",
]
