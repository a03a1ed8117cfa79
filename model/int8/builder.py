"""Building a graph layer by layer."""

from __future__ import annotations

from model.int8.operators.arithmetic import ArithmeticLayers
from model.int8.operators.byte_functions import ByteFunctionLayers
from model.int8.operators.convolution import ConvolutionLayers
from model.int8.operators.dense import DenseLayers
from model.int8.operators.ends import EndLayers
from model.int8.operators.joining import JoiningLayers
from model.int8.operators.layout import LayoutLayers
from model.int8.operators.padding import PaddingLayers
from model.int8.operators.pooling import PoolingLayers
from model.int8.operators.reduction import ReductionLayers
from model.int8.operators.resize import ResizeLayers
from model.int8.operators.scores import ScoreLayers
from model.int8.operators.shape import ShapeLayers
from model.int8.operators.slicing import SlicingLayers
from model.int8.operators.transpose_convolution import TransposeConvolutionLayers

__all__ = ["GraphBuilder"]


class GraphBuilder(
    ArithmeticLayers,
    ByteFunctionLayers,
    ConvolutionLayers,
    DenseLayers,
    EndLayers,
    JoiningLayers,
    LayoutLayers,
    PaddingLayers,
    PoolingLayers,
    ReductionLayers,
    ResizeLayers,
    ScoreLayers,
    ShapeLayers,
    SlicingLayers,
    TransposeConvolutionLayers,
):
    """A graph in the making.

    Each method appends one layer behind the last, numbers it by kind (``conv1``, ``conv2``,
    ``dense1``), works out its output's shape, and returns the index of its output tensor. The
    methods stand beside the operators' records, in `model.int8.operators`.

    Parameters
    ----------
    name : str
        Name of the graph.
    shape : tuple of int
        Shape of one picture, without the batch dimension.
    scale : float
    zero_point : int
        Quantisation of the input.
    dtype : str
        Type of the input: ``int8``, ``uint8`` or ``float32``.

    Attributes
    ----------
    last : int
        Tensor that the next layer reads; may be set to branch off elsewhere.
    """
