"""The model card: what an image's metadata says about the model in it.

The compiler writes it into the image; the host reads it back from the board, so that ``host
classify`` needs no model file. It comes from a device, so :meth:`ModelCard.from_dict` believes
nothing: every value has its type and its range checked before anything is computed with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import MAX_RUN_CYCLES, MAX_RUN_LAYERS

__all__ = ["ModelCard", "SoftmaxCard", "TensorCard"]

_MAX_RANK = 4
_MAX_TEXT = 256
_MAX_LABELS = 4096


def _integer(value: Any, what: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{what} must be an integer from {low} to {high}, not {value!r}")
    return value


def _real(value: Any, what: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{what} must be a number, not {value!r}")
    if not 0 < value < 1e30:
        raise ValueError(f"{what} must be positive and finite, not {value!r}")
    return float(value)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError(f"{what} must be a text of at most {_MAX_TEXT} characters")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)


def _list(value: Any, what: str, longest: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > longest:
        raise ValueError(f"{what} must be a list of at most {longest}")
    return value


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object, not {value!r}")
    return value


@dataclass(frozen=True)
class TensorCard:
    """A tensor that host and board exchange.

    Attributes
    ----------
    shape : tuple of int
        As in the model, without the batch dimension. In memory a pixel may have more channels than
        here; what lies in them is never used.
    scale : float
        ``real = scale * (stored - zero_point)``; a float32 value.
    zero_point : int
        -128 to 127.
    layout : TensorLayout
        Where and how it lies in the board's memory.
    """

    shape: tuple[int, ...]
    scale: float
    zero_point: int
    layout: TensorLayout

    @property
    def channels(self) -> int:
        """Channels of a pixel in memory that are the tensor's."""
        return math.prod(self.shape) // (self.layout.height * self.layout.width)

    def pack(self, values: npt.NDArray[np.int8]) -> bytes:
        """Bytes as they lie in memory, for ``values`` of ``shape``."""
        layout = self.layout
        pixels = np.zeros((layout.height, layout.width, layout.channels), np.int8)
        pixels[:, :, : self.channels] = values.reshape(layout.height, layout.width, -1)
        return layout.pack(pixels, self.zero_point)

    def unpack(self, data: bytes) -> npt.NDArray[np.int8]:
        """Inverse of :meth:`pack`."""
        return self.layout.unpack(data)[:, :, : self.channels].reshape(self.shape)

    def to_dict(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "shape": list(self.shape),
            "scale": self.scale,
            "zero_point": self.zero_point,
            "layout": [
                layout.address,
                layout.height,
                layout.width,
                layout.channels,
                layout.row_pitch,
                *((layout.left,) if layout.left else ()),
            ],
        }

    @classmethod
    def from_dict(cls, value: Any, what: str, memory_bytes: int) -> TensorCard:
        """Raise ValueError where ``value`` is no tensor within ``memory_bytes``."""
        value = _object(value, what)
        shape = tuple(
            _integer(size, f"{what}.shape", 1, memory_bytes)
            for size in _list(value.get("shape"), f"{what}.shape", _MAX_RANK)
        )
        numbers = _list(value.get("layout"), f"{what}.layout", 6)
        if len(numbers) < 5:
            raise ValueError(f"{what}.layout must have 5 or 6 numbers, not {len(numbers)}")
        layout = TensorLayout(
            *(_integer(number, f"{what}.layout", 0, memory_bytes) for number in numbers)
        )
        used = layout.left * layout.channels + layout.row_bytes
        if layout.row_pitch < used or layout.address + layout.size > memory_bytes:
            raise ValueError(f"{what} does not lie within the memory")
        pixels = layout.height * layout.width
        if not pixels or math.prod(shape) % pixels or math.prod(shape) > pixels * layout.channels:
            raise ValueError(f"{what}.shape does not fit {what}.layout")
        return cls(
            shape=shape,
            scale=_real(value.get("scale"), f"{what}.scale"),
            zero_point=_integer(value.get("zero_point"), f"{what}.zero_point", -128, 127),
            layout=layout,
        )


@dataclass(frozen=True)
class SoftmaxCard:
    """The softmax that the host computes, exactly, of what the board gives.

    Attributes
    ----------
    beta : float
        ``softmax(beta * x)``.
    """

    beta: float = 1.0


@dataclass(frozen=True)
class ModelCard:
    """What one must know to use the model on a board.

    Attributes
    ----------
    name : str
    input : TensorCard
        Where the picture goes.
    output : TensorCard
        What the board computes: the logits if a softmax follows.
    softmax : SoftmaxCard or None
        None where the board's output is the model's.
    labels : tuple of str
        Class names; empty if the model has none.
    cycles : int
        How long the compiler expects an inference to take; 0 if it does not say. Time-outs only.
    input_layers : int
        After so many layers the input is read no more, and nothing else ever lies where it lies:
        the next one may be written. 0: not before the output has been read.
    """

    name: str
    input: TensorCard
    output: TensorCard
    softmax: SoftmaxCard | None = None
    labels: tuple[str, ...] = ()
    cycles: int = 0
    input_layers: int = 0

    def label(self, index: int) -> str:
        """Name of class ``index``; its number where the model has no name for it."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "name": self.name,
            "input": self.input.to_dict(),
            "output": self.output.to_dict(),
            "softmax": None if self.softmax is None else {"beta": self.softmax.beta},
            "labels": list(self.labels),
            "cycles": self.cycles,
            "input_layers": self.input_layers,
        }

    @classmethod
    def from_dict(cls, value: Any, memory_bytes: int) -> ModelCard:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        value : Any
            Parsed JSON; may be anything.
        memory_bytes : int
            Size of the board's memory: no tensor reaches beyond it.

        Raises
        ------
        ValueError
            Where a value is missing, of the wrong type, or out of range; the text names it.
        """
        value = _object(value, "metadata")
        softmax = value.get("softmax")
        return cls(
            name=_text(value.get("name"), "name"),
            input=TensorCard.from_dict(value.get("input"), "input", memory_bytes),
            output=TensorCard.from_dict(value.get("output"), "output", memory_bytes),
            softmax=None
            if softmax is None
            else SoftmaxCard(_real(_object(softmax, "softmax").get("beta"), "softmax.beta")),
            labels=tuple(
                _text(label, "labels")
                for label in _list(value.get("labels", []), "labels", _MAX_LABELS)
            ),
            cycles=_integer(value.get("cycles", 0), "cycles", 0, MAX_RUN_CYCLES),
            input_layers=_integer(value.get("input_layers", 0), "input_layers", 0, MAX_RUN_LAYERS),
        )
