"""What every operator's builder method stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from model.int8.graph import Graph, Operator, OperatorKind, Options, Quantization, Tensor, Variable
from model.int8.operators.window import window

__all__ = ["Input", "LayerBuilder", "weight_constants"]


Constant = tuple[str, np.ndarray, Quantization | None]
"""What a constant is for, its elements, and their quantisation."""

Input = int | Constant
"""An input of an operator: a tensor's number, or a constant."""


class LayerBuilder:
    """A graph in the making; see `model.int8.builder.GraphBuilder`."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        scale: float = 1 / 255,
        zero_point: int = -128,
        dtype: str = "int8",
    ) -> None:
        self._name = name
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._inputs: list[int] = []
        self._variables: dict[int, Variable] = {}
        self._seen: Counter[OperatorKind] = Counter()
        self.last = self.input(shape, scale, zero_point, dtype)

    def input(
        self,
        shape: tuple[int, ...],
        scale: float = 1 / 255,
        zero_point: int = -128,
        dtype: str = "int8",
    ) -> int:
        """One more input of the graph; it becomes `last`."""
        name = f"input{len(self._inputs) + 1}" if self._inputs else "input"
        self.last = self._activation(name, (1, *shape), (scale, zero_point), dtype)
        self._inputs.append(self.last)
        return self.last

    def constant(self, data: np.ndarray, scale: float | None = None, zero_point: int = 0) -> int:
        """A constant for operators that combine two tensors; returns its tensor's number."""
        quantization = None if scale is None else _affine([scale], [zero_point])
        return self._constant(f"constant{len(self._tensors)}", data, quantization)

    def variable(
        self,
        shape: tuple[int, ...],
        scale: float = 1 / 255,
        zero_point: int = -128,
        initial: np.ndarray | None = None,
    ) -> int:
        """State that one run leaves to the next: the tensor that a run finds becomes `last`.

        It begins with `initial`, or its zero point, and stays so unless :meth:`assign` is called.
        """
        name = f"state{len(self._variables) + 1}"
        self.last = self._activation(name, (1, *shape), (scale, zero_point))
        values = np.full(shape, zero_point) if initial is None else initial
        first = np.asarray(values, np.int8).reshape(1, *shape)
        self._variables[self.last] = Variable(name, self.last, self.last, first)
        return self.last

    def assign(self, variable: int, tensor: int | None = None) -> None:
        """Let the next run find `tensor`, or `last`, in `variable`."""
        left = self.last if tensor is None else tensor
        self._variables[variable] = replace(self._variables[variable], next=left)

    def build(self, labels: tuple[str, ...] = (), outputs: tuple[int, ...] = ()) -> Graph:
        """The graph so far; its output is `last`, unless `outputs` names tensors."""
        return Graph(
            name=self._name,
            tensors=tuple(self._tensors),
            operators=tuple(self._operators),
            inputs=tuple(self._inputs),
            outputs=outputs or (self.last,),
            labels=labels,
            variables=tuple(self._variables.values()),
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

    def _activation(
        self,
        name: str,
        shape: tuple[int, ...],
        quantization: tuple[float, int] | None,
        dtype: str = "int8",
    ) -> int:
        affine = None
        if quantization is not None and np.issubdtype(dtype, np.integer):
            affine = _affine([quantization[0]], [quantization[1]])
        return self._add(Tensor(name, shape, dtype, affine))

    def _constant(
        self, name: str, data: np.ndarray, quantization: Quantization | None = None
    ) -> int:
        return self._add(Tensor(name, data.shape, data.dtype.name, quantization, data))

    def _append(
        self,
        kind: OperatorKind,
        inputs: Sequence[Input],
        outputs: Sequence[tuple[tuple[int, ...], tuple[float, int] | None]],
        options: Options | None = None,
        dtype: str = "int8",
    ) -> tuple[int, ...]:
        """Append an operator; the first output becomes `last`.

        Parameters
        ----------
        inputs : sequence
            Each a tensor's number, or a constant: its role, data and quantisation.
        outputs : sequence
            Each a whole shape, and scale and zero point.
        """
        self._seen[kind] += 1
        name = f"{kind.stem}{self._seen[kind]}"
        numbers = tuple(
            each if isinstance(each, int) else self._constant(f"{name}/{each[0]}", *each[1:])
            for each in inputs
        )
        made = tuple(
            self._activation(name if not index else f"{name}:{index}", shape, quantization, dtype)
            for index, (shape, quantization) in enumerate(outputs)
        )
        self._operators.append(Operator(kind, name, numbers, made, options))
        self.last = made[0]
        return made

    def _layer(
        self,
        kind: OperatorKind,
        shape: tuple[int, ...],
        quantization: tuple[float, int] | None,
        constants: tuple[Constant, ...] = (),
        options: Options | None = None,
        others: tuple[int, ...] = (),
        dtype: str = "int8",
        whole: bool = False,
    ) -> int:
        """Append an operator on `last`, `others` and `constants` (role, data, quantisation).

        `shape` is without the batch dimension, unless it is the `whole` shape.
        """
        output = (shape if whole else (1, *shape), quantization)
        inputs: list[Input] = [self.last, *others, *constants]
        return self._append(kind, inputs, [output], options, dtype)[0]

    @property
    def _dtype(self) -> str:
        """Type of `last`."""
        return self._tensors[self.last].dtype

    def _same(self, tensor: int) -> tuple[float, int] | None:
        """The quantisation of `tensor`, for an operator that keeps it; None if it has none."""
        return None if self._tensors[tensor].quantization is None else self._quantization(tensor)

    def _weighted(
        self,
        kind: OperatorKind,
        shape: tuple[int, ...],
        quantization: tuple[float, int],
        weights: tuple[np.ndarray, ArrayLike, int],
        bias: np.ndarray | None,
        options: Options,
    ) -> int:
        constants = weight_constants(weights, bias, self.scale)
        return self._layer(kind, shape, quantization, constants, options)

    def _quantization(self, tensor: int) -> tuple[float, int]:
        quantization = self._tensors[tensor].quantization
        assert quantization is not None
        return float(quantization.scale[0]), int(quantization.zero_point[0])

    def _pixels(self, kind: OperatorKind, options: Options) -> tuple[int, int]:
        """Output rows and columns of a window on `last`."""
        geometry = window(self.build(), Operator(kind, "window", (self.last,), (), options))
        return geometry.output_h, geometry.output_w


def weight_constants(
    weights: tuple[np.ndarray, ArrayLike, int], bias: np.ndarray | None, input_scale: float
) -> tuple[Constant, ...]:
    """Weights, and the bias if there is one, as an operator's constants.

    `weights` are the numbers, their scale or scales, and the dimension of the output channels.
    """
    data, weight_scale, axis = weights
    scale = np.atleast_1d(np.asarray(weight_scale, np.float32))
    affine = _affine(scale, np.zeros(len(scale)), axis)
    if bias is None:
        return (("weights", data.astype(np.int8), affine),)
    with np.errstate(over="ignore"):  # nobody reads a bias's scale
        bias_affine = _affine(np.float32(input_scale) * scale, np.zeros(len(scale)))
    return (
        ("weights", data.astype(np.int8), affine),
        ("bias", bias.astype(np.int32), bias_affine),
    )


def _affine(scale: ArrayLike, zero_point: ArrayLike, axis: int = 0) -> Quantization:
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, np.int64), axis)
