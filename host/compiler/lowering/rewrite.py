"""Convolutions that the engine has only in another form, as those that it has.

* A DEPTHWISE_CONV_2D of one input channel is a CONV_2D, whose results come a lane each.
* A CONV_2D in groups is a DEPTHWISE_CONV_2D if each group has one input channel; else its weights
  are zero for the other groups' channels.
* A TRANSPOSE_CONV of stride ``s`` is a CONV_2D with ``s * s`` times the output channels, of which
  each set makes every ``s``-th pixel of every ``s``-th row, and a move that puts them together.

For the last: row ``y`` of everything that the kernels reach gets ``sum(x[i] * k[y - i * s])``. With
``y = q * s + r`` that is ``sum(x[q - t] * k[t * s + r])`` over ``t``: a window of
``ceil(kernel / s)`` rows, for each ``r`` with other weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from model.int8.graph import ABSENT, Graph, Operator, OperatorKind, Padding, Quantization, Tensor
from model.int8.operators.shape import ReshapeOptions
from model.int8.operators.transpose_convolution import TransposeOptions, margins
from model.int8.operators.window import WindowOptions

from ..layers import Layer

__all__ = ["rewrite", "with_macs_of"]


def rewrite(graph: Graph) -> Graph:
    """``graph`` with other operators for those that this module is about.

    Indexes of tensors stay; new ones follow them. Operators keep their names.
    """
    rewriting = _Rewriting(graph)
    return replace(
        graph,
        operators=tuple(new for operator in graph.operators for new in rewriting.of(operator)),
        tensors=tuple(rewriting.tensors),
    )


def with_macs_of(graph: Graph, rewritten: Graph, layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """``layers`` with the multiplications for which the network as it was asks."""
    was, are = (
        sum((Counter({each.name: of.macs(each)}) for each in of.operators), Counter[str]())
        for of in (graph, rewritten)
    )
    return tuple(
        replace(layer, macs=layer.macs * was[layer.name] // are[layer.name])
        if was[layer.name] != are[layer.name]
        else layer
        for layer in layers
    )


class _Rewriting:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.tensors = list(graph.tensors)

    def of(self, operator: Operator) -> list[Operator]:
        """What stands in an operator's place."""
        rewriters: dict[OperatorKind, Callable[[Operator], list[Operator]]] = {
            OperatorKind.DEPTHWISE_CONV_2D: self._depthwise,
            OperatorKind.CONV_2D: self._convolution,
            OperatorKind.TRANSPOSE_CONV: self._transposed,
        }
        rewriter = rewriters.get(operator.kind)
        return [operator] if rewriter is None else rewriter(operator)

    def _depthwise(self, operator: Operator) -> list[Operator]:
        weights = self.tensors[operator.inputs[1]]
        if self._channels(operator) != 1 or weights.data is None:
            return [operator]
        new = self._weights(operator, weights.data.transpose(3, 1, 2, 0), axis=0)
        return [replace(operator, kind=OperatorKind.CONV_2D, inputs=new)]

    def _convolution(self, operator: Operator) -> list[Operator]:
        weights, channels = self.tensors[operator.inputs[1]], self._channels(operator)
        if weights.data is None or weights.shape[3] == channels:
            return [operator]
        outputs, height, width, own = weights.shape
        groups = channels // own
        if own == 1:
            new = self._weights(operator, weights.data.transpose(3, 1, 2, 0), axis=3)
            assert isinstance(operator.options, WindowOptions)
            options = replace(operator.options, depth_multiplier=outputs // groups)
            kind = OperatorKind.DEPTHWISE_CONV_2D
            return [replace(operator, kind=kind, inputs=new, options=options)]
        dense = np.zeros((groups, outputs // groups, height, width, groups, own), np.int8)
        parts = weights.data.reshape(groups, -1, height, width, own)
        for group in range(groups):
            dense[group, :, :, :, group] = parts[group]
        new = self._weights(operator, dense.reshape(outputs, height, width, channels), axis=0)
        return [replace(operator, inputs=new)]

    def _transposed(self, operator: Operator) -> list[Operator]:
        weights, source = (self.tensors[operator.inputs[index]] for index in (1, 2))
        target, options = self.tensors[operator.outputs[0]], operator.options
        assert isinstance(options, TransposeOptions)
        if weights.data is None or source.shape[0] != 1:
            return [operator]
        strides = options.stride_h, options.stride_w
        kernel = [-(-size // stride) for size, stride in zip(weights.shape[1:3], strides)]
        lost = margins(self._graph, operator)
        # Along rows and columns: pixels of padding, windows, and where in their results to begin.
        padding, windows, begins = [], [], []
        for size, made, stride, taps, before in zip(
            source.shape[1:3], target.shape[1:3], strides, kernel, lost
        ):
            first, last = before // stride, (before + made - 1) // stride
            padding.append((taps - 1 - first, max(0, last + 1 - size)))
            windows.append(sum(padding[-1]) + size - taps + 1)
            begins.append(before - first * stride)
        taken = operator.inputs[2]
        new: list[Operator] = []
        if any(map(any, padding)):
            pads = np.array([(0, 0), *padding, (0, 0)], np.int32)
            shape = [size + sum(pad) for size, pad in zip(source.shape, pads.tolist())]
            padded = self._add(replace(source, shape=tuple(shape)))
            new.append(self._operator(operator, OperatorKind.PAD, taken, padded, pads))
            taken = padded
        filters = self._phases(weights.data, strides, kernel)
        bias = operator.inputs[3] if len(operator.inputs) > 3 else ABSENT
        phases = strides[0] * strides[1]
        outputs = target.shape[3]
        convolved = self._add(replace(target, shape=(1, *windows, phases * outputs)))
        window = WindowOptions(
            kernel_h=kernel[0],
            kernel_w=kernel[1],
            padding=Padding.VALID,
            activation=options.activation,
        )
        whole = replace(operator, inputs=(taken, operator.inputs[1], bias))
        inputs = self._weights(whole, filters, axis=0, times=phases)
        if strides == (1, 1) and (1, *windows, outputs) == target.shape:
            convolved = operator.outputs[0]
        new.append(Operator(OperatorKind.CONV_2D, operator.name, inputs, (convolved,), window))
        if convolved == operator.outputs[0]:
            return new
        # Rows, phases of rows, columns, phases of columns; then what of that is the output.
        split = self._add(replace(target, shape=(*windows, *strides, outputs)))
        order = np.array((0, 2, 1, 3, 4), np.int32)
        turned = (windows[0], strides[0], windows[1], strides[1], outputs)
        together = self._add(replace(target, shape=turned))
        whole_shape = (1, windows[0] * strides[0], windows[1] * strides[1], outputs)
        joined = self._add(replace(target, shape=whole_shape))
        start = np.array((0, *begins, 0), np.int32)
        extent = np.array(target.shape, np.int32)
        final = operator.outputs[0]
        return [
            *new,
            self._reshape(operator, convolved, split),
            self._operator(operator, OperatorKind.TRANSPOSE, split, together, order),
            self._reshape(operator, together, joined),
            self._operator(operator, OperatorKind.SLICE, joined, final, start, extent),
        ]

    @staticmethod
    def _phases(
        weights: npt.NDArray[np.int8], strides: tuple[int, int], kernel: list[int]
    ) -> npt.NDArray[np.int8]:
        """Weights of each phase, rows and columns in the order in which a window reads them."""
        outputs, height, width, channels = weights.shape
        padded = np.zeros(
            (outputs, kernel[0] * strides[0], kernel[1] * strides[1], channels), np.int8
        )
        padded[:, :height, :width] = weights
        parts = padded.reshape(outputs, kernel[0], strides[0], kernel[1], strides[1], channels)
        phases = parts[:, ::-1, :, ::-1].transpose(2, 4, 0, 1, 3, 5)
        return phases.reshape(-1, *kernel, channels)

    def _channels(self, operator: Operator) -> int:
        return self.tensors[operator.inputs[0]].shape[-1]

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _weights(
        self, operator: Operator, data: npt.NDArray[np.int8], axis: int, times: int = 1
    ) -> tuple[int, ...]:
        """An operator's inputs with other weights, output channels along ``axis``; ``times``: with
        so many copies of scales and bias."""
        old = self.tensors[operator.inputs[1]]
        quantization = old.quantization
        if quantization is not None and len(quantization.scale) > 1:
            quantization = Quantization(
                np.tile(quantization.scale, times), np.tile(quantization.zero_point, times), axis
            )
        inputs = list(operator.inputs)
        inputs[1] = self._add(
            Tensor(old.name, data.shape, old.dtype, quantization, np.ascontiguousarray(data))
        )
        if times > 1 and len(inputs) > 2 and inputs[2] != ABSENT:
            bias = self.tensors[inputs[2]]
            assert bias.data is not None
            several = np.tile(bias.data, times)
            inputs[2] = self._add(replace(bias, shape=several.shape, data=several))
        return tuple(inputs)

    def _operator(
        self,
        of: Operator,
        kind: OperatorKind,
        source: int,
        target: int,
        *constants: npt.NDArray[np.int32],
    ) -> Operator:
        indexes = [
            self._add(Tensor(of.name, array.shape, "int32", None, array)) for array in constants
        ]
        return Operator(kind, of.name, (source, *indexes), (target,))

    def _reshape(self, of: Operator, source: int, target: int) -> Operator:
        shape = ReshapeOptions(self.tensors[target].shape)
        return Operator(OperatorKind.RESHAPE, of.name, (source,), (target,), shape)
