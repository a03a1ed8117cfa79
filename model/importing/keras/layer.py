"""A Keras layer, as its configuration has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from model.errors import ModelError
from model.importing.channels_last import ours, padded_window
from model.importing.float_graph import Clamp, FloatGraph
from model.importing.float_operators import FloatOperator, Reshape, Shape, Window
from model.importing.float_operators.definition import as_picture
from model.int8.graph import Padding
from model.int8.operators.examined import written

__all__ = ["KerasTensor", "Layer"]


@dataclass(frozen=True)
class KerasTensor:
    """One of our tensors with the shape that Keras knows it by, without the batch."""

    number: int
    shape: Shape


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer as its configuration has it.

    Attributes
    ----------
    graph : FloatGraph
        Gets its nodes.
    kind : str
        Keras's name of the class.
    name : str
        For messages.
    config : dict
    variables : list of ndarray
        Weights, in the order in which Keras makes them.
    """

    graph: FloatGraph
    kind: str
    name: str
    config: dict[str, Any]
    variables: list[np.ndarray]

    def error(self, reason: str) -> ModelError:
        """An error that names the layer."""
        return ModelError(f"layer {self.name} ({self.kind}): {reason}")

    def append(
        self, operator: FloatOperator, inputs: Sequence[KerasTensor], clamp: Clamp | None = None
    ) -> KerasTensor:
        """A node, whose output Keras knows by a shape of as many axes as the first input's."""
        number = self.graph.append(operator, [each.number for each in inputs], self.name, clamp)
        shape = self.graph.shapes[number]
        if len(inputs[0].shape) == 2 and len(shape) == 3 and shape[0] == 1:
            return KerasTensor(number, shape[1:])
        return KerasTensor(number, shape)

    def reshaped(self, tensor: KerasTensor, shape: Shape) -> KerasTensor:
        """The same elements under another shape of Keras's."""
        if prod(shape) != prod(tensor.shape) or not 1 <= len(shape) <= 3:
            raise self.error(f"{written(tensor.shape)} to {written(shape)} is not supported")
        wanted = ours(shape)
        if self.graph.shapes[tensor.number] == wanted:
            return KerasTensor(tensor.number, shape)
        number = self.graph.append(Reshape(wanted), [tensor.number], self.name)
        return KerasTensor(number, shape)

    def variable(self, place: int) -> np.ndarray:
        """A weight array, by its number."""
        if place >= len(self.variables):
            raise self.error(f"has {len(self.variables)} variables only")
        return self.variables[place]

    def pair(self, key: str, default: int = 1) -> tuple[int, int]:
        """A size along rows and columns; of a sequence along its steps alone."""
        value = self.config.get(key)
        sizes = [default] if value is None else np.ravel(value).tolist()
        if not 1 <= len(sizes) <= 2 or not all(isinstance(each, int) for each in sizes):
            raise self.error(f"{key} of {value!r}")
        if "1D" in self.kind:
            return 1, sizes[0]
        return sizes[0], sizes[-1]

    def bias(self, place: int, channels: int) -> np.ndarray:
        """The variable at `place`, or zeros where the layer has no bias."""
        if not self.config.get("use_bias", True):
            return np.zeros(channels)
        return self.variable(place)

    def kernel(self, place: int = 0) -> np.ndarray:
        """Weights of four axes, rows and columns first; those of a sequence with one row."""
        kernel = self.variable(place)
        kernel = kernel[np.newaxis] if kernel.ndim == 3 else kernel
        if kernel.ndim != 4:
            raise self.error(f"a kernel of shape {written(kernel.shape)}")
        return kernel

    def check_format(self) -> None:
        """Refuse channels first."""
        if self.config.get("data_format") not in (None, "channels_last"):
            raise self.error("channels first is not supported")

    def window(
        self, tensor: KerasTensor, kernel: tuple[int, int], stride: tuple[int, int]
    ) -> Window:
        self.check_format()
        dilation = self.pair("dilation_rate")
        name = self.config.get("padding", "valid")
        if name not in ("same", "valid", "causal"):
            raise self.error(f"padding {name!r} is not supported")
        if min(*kernel, *stride, *dilation) < 1:
            raise self.error(f"kernel {kernel}, strides {stride}, dilation {dilation}")
        shape = as_picture(self.graph.shapes[tensor.number])
        if name == "causal":
            before = (kernel[1] - 1) * dilation[1]
            return Window(kernel, stride, dilation, (0, before, 0, 0))
        padding = Padding.SAME if name == "same" else Padding.VALID
        return padded_window(shape, kernel, stride, dilation, padding)
