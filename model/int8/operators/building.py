"""What every operator's builder method stands on."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike

from model.int8.graph import Graph, Operator, OperatorKind, Options, Quantization, Tensor
from model.int8.operators.window import window

__all__ = ["LayerBuilder"]


class LayerBuilder:
    """A graph in the making; see `model.int8.builder.GraphBuilder`."""

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
        options: Options | None = None,
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

    def _pixels(self, kind: OperatorKind, options: Options) -> tuple[int, int]:
        """Output rows and columns of a window on `last`."""
        geometry = window(self.build(), Operator(kind, "window", (self.last,), (), options))
        return geometry.output_h, geometry.output_w


def _affine(scale: ArrayLike, zero_point: ArrayLike, axis: int = 0) -> Quantization:
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, np.int64), axis)
