"""Building a graph layer by layer."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike

from model.int8.graph import (
    Activation,
    AddOptions,
    DenseOptions,
    Graph,
    LeakyReluOptions,
    MeanOptions,
    Operator,
    OperatorKind,
    Options,
    Padding,
    Quantization,
    ReshapeOptions,
    SoftmaxOptions,
    Tensor,
    WindowOptions,
)
from model.int8.reference import window

__all__ = ["GraphBuilder"]


class GraphBuilder:
    """A graph in the making.

    Each method appends one layer behind the last, numbers it by kind (``conv1``, ``conv2``,
    ``dense1``), works out its output's shape, and returns the index of its output tensor.

    Parameters
    ----------
    name : str
        Name of the graph.
    shape : tuple of int
        Shape of one picture, without the batch dimension.
    scale : float
    zero_point : int
        Quantisation of the input.

    Attributes
    ----------
    last : int
        Tensor that the next layer reads; may be set to branch off elsewhere.
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], scale: float = 1 / 255, zero_point: int = -128
    ) -> None:
        self._name = name
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._seen: Counter[OperatorKind] = Counter()
        self.last = self._activation("input", (1, *shape), scale, zero_point)

    def build(self, labels: tuple[str, ...] = ()) -> Graph:
        """The graph so far; its output is `last`."""
        return Graph(
            name=self._name,
            tensors=tuple(self._tensors),
            operators=tuple(self._operators),
            inputs=(0,),
            outputs=(self.last,),
            labels=labels,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `last`, without the batch dimension."""
        return self._tensors[self.last].shape[1:]

    @property
    def scale(self) -> float:
        """Scale of `last`, as the file holds it."""
        return self._quantization(self.last)[0]

    def _add(self, tensor: Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _activation(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        return self._add(Tensor(name, shape, "int8", _affine([scale], [zero_point])))

    def _constant(
        self, name: str, data: np.ndarray, quantization: Quantization | None = None
    ) -> int:
        return self._add(Tensor(name, data.shape, data.dtype.name, quantization, data))

    def _layer(
        self,
        kind: OperatorKind,
        shape: tuple[int, ...],
        quantization: tuple[float, int],
        constants: tuple[tuple[str, np.ndarray, Quantization | None], ...] = (),
        options: Options = None,
        others: tuple[int, ...] = (),
    ) -> int:
        """Append an operator on `last`, `others` and `constants` (role, data, quantisation)."""
        self._seen[kind] += 1
        name = f"{kind.stem}{self._seen[kind]}"
        inputs = [self.last, *others]
        for role, data, constant_quantization in constants:
            inputs.append(self._constant(f"{name}/{role}", data, constant_quantization))
        output = self._activation(name, (1, *shape), *quantization)
        self._operators.append(Operator(kind, name, tuple(inputs), (output,), options))
        self.last = output
        return output

    def _weighted(
        self,
        kind: OperatorKind,
        shape: tuple[int, ...],
        quantization: tuple[float, int],
        weights: tuple[np.ndarray, ArrayLike, int],
        bias: np.ndarray | None,
        options: Options,
    ) -> int:
        data, weight_scale, axis = weights
        scale = np.atleast_1d(np.asarray(weight_scale, np.float32))
        constants = [("weights", data.astype(np.int8), _affine(scale, np.zeros(len(scale)), axis))]
        if bias is not None:
            bias_scale = np.float32(self._quantization(self.last)[0]) * scale
            zeros = np.zeros(len(bias_scale))
            constants.append(("bias", bias.astype(np.int32), _affine(bias_scale, zeros)))
        return self._layer(kind, shape, quantization, tuple(constants), options)

    def _quantization(self, tensor: int) -> tuple[float, int]:
        quantization = self._tensors[tensor].quantization
        assert quantization is not None
        return float(quantization.scale[0]), int(quantization.zero_point[0])

    def _pixels(self, kind: OperatorKind, options: WindowOptions) -> tuple[int, int]:
        """Output rows and columns of a window on `last`."""
        geometry = window(self.build(), Operator(kind, "window", (self.last,), (), options))
        return geometry.output_h, geometry.output_w

    def conv_2d(
        self,
        weights: np.ndarray,
        weight_scale: ArrayLike,
        bias: np.ndarray | None,
        *,
        scale: float,
        zero_point: int,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = Padding.VALID,
        activation: Activation = Activation.NONE,
        dilation: tuple[int, int] = (1, 1),
    ) -> int:
        """CONV_2D.

        Parameters
        ----------
        weights : ndarray, shape (output channels, kernel rows, kernel columns, input channels)
        weight_scale : float or ndarray, shape (output channels,)
        bias : ndarray, shape (output channels,), or None
        scale, zero_point
            Quantisation of the output.
        stride, dilation : tuple of int
            Along rows and columns.
        """
        channels, kernel_h, kernel_w, _ = weights.shape
        options = WindowOptions(kernel_h, kernel_w, *stride, padding, activation, *dilation)
        pixels = self._pixels(OperatorKind.CONV_2D, options)
        return self._weighted(
            OperatorKind.CONV_2D,
            (*pixels, channels),
            (scale, zero_point),
            (weights, weight_scale, 0),
            bias,
            options,
        )

    def depthwise_conv_2d(
        self,
        weights: np.ndarray,
        weight_scale: ArrayLike,
        bias: np.ndarray | None,
        *,
        scale: float,
        zero_point: int,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = Padding.VALID,
        activation: Activation = Activation.NONE,
        dilation: tuple[int, int] = (1, 1),
    ) -> int:
        """DEPTHWISE_CONV_2D: weights (1, kernel rows, kernel columns, output channels)."""
        _, kernel_h, kernel_w, channels = weights.shape
        multiplier = channels // self.shape[2]
        options = WindowOptions(
            kernel_h, kernel_w, *stride, padding, activation, *dilation, multiplier
        )
        pixels = self._pixels(OperatorKind.DEPTHWISE_CONV_2D, options)
        return self._weighted(
            OperatorKind.DEPTHWISE_CONV_2D,
            (*pixels, channels),
            (scale, zero_point),
            (weights, weight_scale, 3),
            bias,
            options,
        )

    def fully_connected(
        self,
        weights: np.ndarray,
        weight_scale: ArrayLike,
        bias: np.ndarray | None,
        *,
        scale: float,
        zero_point: int,
        activation: Activation = Activation.NONE,
    ) -> int:
        """FULLY_CONNECTED: weights (outputs, inputs)."""
        return self._weighted(
            OperatorKind.FULLY_CONNECTED,
            (len(weights),),
            (scale, zero_point),
            (weights, weight_scale, 0),
            bias,
            DenseOptions(activation),
        )

    def _pool(
        self,
        kind: OperatorKind,
        kernel: tuple[int, int],
        stride: tuple[int, int] | None,
        padding: Padding,
        activation: Activation,
    ) -> int:
        options = WindowOptions(*kernel, *(stride or kernel), padding, activation)
        shape = (*self._pixels(kind, options), self.shape[2])
        return self._layer(kind, shape, self._quantization(self.last), options=options)

    def max_pool_2d(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int] | None = None,
        padding: Padding = Padding.VALID,
        activation: Activation = Activation.NONE,
    ) -> int:
        """MAX_POOL_2D; the stride is the kernel unless given."""
        return self._pool(OperatorKind.MAX_POOL_2D, kernel, stride, padding, activation)

    def average_pool_2d(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int] | None = None,
        padding: Padding = Padding.VALID,
        activation: Activation = Activation.NONE,
    ) -> int:
        """AVERAGE_POOL_2D; the stride is the kernel unless given."""
        return self._pool(OperatorKind.AVERAGE_POOL_2D, kernel, stride, padding, activation)

    def logistic(self) -> int:
        """LOGISTIC: the sigmoid."""
        return self._layer(OperatorKind.LOGISTIC, self.shape, (1 / 256, -128))

    def tanh(self) -> int:
        """TANH."""
        return self._layer(OperatorKind.TANH, self.shape, (1 / 128, 0))

    def relu(self, scale: float, zero_point: int) -> int:
        """RELU on its own, with its own output quantisation."""
        return self._layer(OperatorKind.RELU, self.shape, (scale, zero_point))

    def relu6(self) -> int:
        """RELU6 on its own; it keeps its input's quantisation."""
        quantization = self._quantization(self.last)
        return self._layer(OperatorKind.RELU6, self.shape, quantization)

    def leaky_relu(self, alpha: float, scale: float, zero_point: int) -> int:
        """LEAKY_RELU."""
        return self._layer(
            OperatorKind.LEAKY_RELU,
            self.shape,
            (scale, zero_point),
            options=LeakyReluOptions(alpha),
        )

    def hard_swish(self, scale: float, zero_point: int) -> int:
        """HARD_SWISH."""
        return self._layer(OperatorKind.HARD_SWISH, self.shape, (scale, zero_point))

    def quantize(self, scale: float, zero_point: int) -> int:
        """QUANTIZE: another scale and zero point."""
        return self._layer(OperatorKind.QUANTIZE, self.shape, (scale, zero_point))

    def add(
        self,
        other: int,
        *,
        scale: float,
        zero_point: int,
        activation: Activation = Activation.NONE,
    ) -> int:
        """ADD of `last` and tensor number `other`."""
        return self._layer(
            OperatorKind.ADD,
            self.shape,
            (scale, zero_point),
            options=AddOptions(activation),
            others=(other,),
        )

    def mean(self, scale: float, zero_point: int) -> int:
        """MEAN over height and width, which stay, with size 1."""
        return self._layer(
            OperatorKind.MEAN,
            (1, 1, self.shape[2]),
            (scale, zero_point),
            (("axes", np.array([1, 2], np.int32), None),),
            MeanOptions(keep_dims=True),
        )

    def pad(self, top: int, bottom: int, left: int, right: int) -> int:
        """PAD with the zero point."""
        height, width, channels = self.shape
        return self._layer(
            OperatorKind.PAD,
            (height + top + bottom, width + left + right, channels),
            self._quantization(self.last),
            (
                (
                    "padding",
                    np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32),
                    None,
                ),
            ),
        )

    def reshape(self, shape: tuple[int, ...]) -> int:
        """RESHAPE; `shape` is without the batch dimension."""
        new_shape = (1, *shape)
        return self._layer(
            OperatorKind.RESHAPE,
            shape,
            self._quantization(self.last),
            (("shape", np.array(new_shape, np.int32), None),),
            ReshapeOptions(new_shape),
        )

    def softmax(self, beta: float = 1.0) -> int:
        """SOFTMAX."""
        options = SoftmaxOptions(beta)
        return self._layer(OperatorKind.SOFTMAX, self.shape, (1 / 256, -128), options=options)


def _affine(scale: ArrayLike, zero_point: ArrayLike, axis: int = 0) -> Quantization:
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, np.int64), axis)
