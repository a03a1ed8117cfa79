"""The model card: what an image's metadata says about the model in it.

The compiler writes it into the image; the host reads it back from the board, so that ``host
classify`` needs no model file. It comes from a device, so :meth:`ModelCard.from_dict` believes
nothing: every value has its type and its range checked before anything is computed with it.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import MAX_RUN_CYCLES, MAX_RUN_LAYERS

from .card_values import (
    MAX_RANK,
    MAX_TEXT,
    array,
    integer,
    layout_of,
    mapping,
    positive_real,
    shape_of,
    text,
)

__all__ = [
    "HOST_KINDS",
    "MAX_TEXT",
    "TICKET_BYTES",
    "HostStep",
    "HostTensor",
    "ModelCard",
    "StateCard",
    "TensorCard",
    "Ticket",
]

#: Bytes of the number of a run, little-endian.
TICKET_BYTES = 8
_MAX_VARIABLES = 256
_MAX_LABELS = 4096
_MAX_ENDS = 64
_MAX_STEPS = 16
_MAX_ELEMENTS = 1 << 24
_TYPES = ("int8", "uint8", "int16", "int32", "float32")

#: What the host may do at the network's ends. RESHAPE stands for all that only change the shape.
HOST_KINDS = (
    "ARG_MAX",
    "ARG_MIN",
    "DEQUANTIZE",
    "LOGISTIC",
    "LOG_SOFTMAX",
    "QUANTIZE",
    "RESHAPE",
    "SOFTMAX",
    "TANH",
)


@dataclass(frozen=True)
class HostTensor:
    """A tensor that the host alone has.

    Attributes
    ----------
    type : str
        NumPy's name: int8, uint8, int16, int32 or float32.
    shape : tuple of int
        Without the batch dimension.
    scale : float
        0 where the tensor is not quantised.
    zero_point : int
    """

    type: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "shape": list(self.shape),
            "scale": self.scale,
            "zero_point": self.zero_point,
        }

    @classmethod
    def from_dict(cls, value: Any, what: str) -> HostTensor:
        """Raise ValueError where ``value`` is no tensor."""
        value = mapping(value, what)
        if value.get("type") not in _TYPES:
            raise ValueError(f"{what}.type must be one of {', '.join(_TYPES)}")
        scale = value.get("scale")
        return cls(
            type=value["type"],
            shape=shape_of(value.get("shape"), f"{what}.shape", _MAX_ELEMENTS),
            scale=0.0 if scale == 0 else positive_real(scale, f"{what}.scale"),
            zero_point=integer(value.get("zero_point"), f"{what}.zero_point", -(1 << 31), 1 << 31),
        )


@dataclass(frozen=True)
class HostStep:
    """An operator that the host computes, exactly as the reference does.

    Attributes
    ----------
    kind : str
        One of :data:`HOST_KINDS`.
    tensor : HostTensor
        Its other tensor, seen from the board: of an output's step what it gives, of an input's what
        it takes.
    parameter : float
        SOFTMAX: the beta; ARG_MAX and ARG_MIN: the axis, the batch dimension not counted.
    """

    kind: str
    tensor: HostTensor
    parameter: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "parameter": self.parameter, **self.tensor.to_dict()}

    @classmethod
    def from_dict(cls, value: Any, what: str) -> HostStep:
        """Raise ValueError where ``value`` is no step."""
        value = mapping(value, what)
        kind, parameter = value.get("kind"), value.get("parameter")
        if kind not in HOST_KINDS:
            raise ValueError(f"{what}.kind must be one of {', '.join(HOST_KINDS)}")
        if kind in ("ARG_MAX", "ARG_MIN"):
            parameter = integer(parameter, f"{what}.parameter", 0, MAX_RANK)
        elif kind == "SOFTMAX":
            parameter = positive_real(parameter, f"{what}.parameter")
        elif parameter != 0:
            raise ValueError(f"{what}.parameter must be 0, not {parameter!r}")
        return cls(kind, HostTensor.from_dict(value, what), parameter)


@dataclass(frozen=True)
class TensorCard:
    """An input or an output of the model, and the tensor that host and board exchange for it.

    Attributes
    ----------
    shape : tuple of int
        Of the board's tensor, without the batch dimension. In memory a pixel may have more channels
        than here; what lies in them is never used.
    scale : float
        ``real = scale * (stored - zero_point)``; a float32 value.
    zero_point : int
        -128 to 127.
    layout : TensorLayout
        Where and how it lies in the board's memory.
    name : str
        The model's name for it.
    steps : tuple of HostStep
        What the host does: before an input is written, or after an output has been read.
    """

    shape: tuple[int, ...]
    scale: float
    zero_point: int
    layout: TensorLayout
    name: str = ""
    steps: tuple[HostStep, ...] = ()

    @property
    def board(self) -> HostTensor:
        """The board's tensor."""
        return HostTensor("int8", self.shape, self.scale, self.zero_point)

    @property
    def before(self) -> HostTensor:
        """Of an input: what the model takes."""
        return self.steps[0].tensor if self.steps else self.board

    @property
    def behind(self) -> HostTensor:
        """Of an output: what the model gives."""
        return self.steps[-1].tensor if self.steps else self.board

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
            **({"name": self.name} if self.name else {}),
            **({"steps": [step.to_dict() for step in self.steps]} if self.steps else {}),
        }

    @classmethod
    def from_dict(cls, value: Any, what: str, memory_bytes: int) -> TensorCard:
        """Raise ValueError where ``value`` is no tensor within ``memory_bytes``."""
        value = mapping(value, what)
        shape = shape_of(value.get("shape"), f"{what}.shape", memory_bytes)
        layout = layout_of(value.get("layout"), shape, what, memory_bytes)
        return cls(
            shape=shape,
            scale=positive_real(value.get("scale"), f"{what}.scale"),
            zero_point=integer(value.get("zero_point"), f"{what}.zero_point", -128, 127),
            layout=layout,
            name=text(value.get("name", ""), f"{what}.name"),
            steps=tuple(
                HostStep.from_dict(step, f"{what}.steps")
                for step in array(value.get("steps", []), f"{what}.steps", _MAX_STEPS)
            ),
        )


@dataclass(frozen=True, eq=False)
class StateCard:
    """A variable: what a run leaves in the board's memory for the next one.

    Attributes
    ----------
    shape : tuple of int
        Without the batch dimension.
    layout : TensorLayout
        Where and how it lies in the board's memory; nothing else ever lies there.
    initial : ndarray of int8, of ``shape``
        What the first run finds.
    """

    shape: tuple[int, ...]
    layout: TensorLayout
    initial: npt.NDArray[np.int8]

    def pack(self) -> bytes:
        """The first value, as it lies in memory."""
        layout = self.layout
        pixels = np.zeros((layout.height, layout.width, layout.channels), np.int8)
        channels = math.prod(self.shape) // (layout.height * layout.width)
        pixels[:, :, :channels] = self.initial.reshape(layout.height, layout.width, channels)
        return layout.pack(pixels)

    def to_dict(self) -> dict[str, Any]:
        values = np.unique(self.initial)
        initial: int | str = int(values[0])
        if len(values) > 1:
            initial = base64.b64encode(zlib.compress(self.initial.tobytes(), 9)).decode()
        layout = self.layout
        return {
            "shape": list(self.shape),
            "layout": [
                layout.address,
                layout.height,
                layout.width,
                layout.channels,
                layout.row_pitch,
            ],
            "initial": initial,
        }

    @classmethod
    def from_dict(cls, value: Any, memory_bytes: int) -> StateCard:
        """Raise ValueError where ``value`` is no variable within ``memory_bytes``."""
        what = "variables"
        value = mapping(value, what)
        shape = shape_of(value.get("shape"), f"{what}.shape", memory_bytes)
        layout = layout_of(value.get("layout"), shape, what, memory_bytes)
        initial, count = value.get("initial"), math.prod(shape)
        if isinstance(initial, str):
            try:
                inflater = zlib.decompressobj()
                data = inflater.decompress(base64.b64decode(initial, validate=True), count + 1)
            except (ValueError, zlib.error) as error:
                raise ValueError(f"{what}.initial is damaged: {error}") from None
            if len(data) != count:
                raise ValueError(f"{what}.initial has {len(data)} bytes or more, not {count}")
            values = np.frombuffer(data, np.int8)
        else:
            values = np.full(count, integer(initial, f"{what}.initial", -128, 127), np.int8)
        return cls(shape, layout, values.reshape(shape))


@dataclass(frozen=True)
class Ticket:
    """Where the host writes the number of a run, and where the run puts it last of all.

    Attributes
    ----------
    given, left : int
        Addresses of :data:`TICKET_BYTES` bytes each.
    """

    given: int
    left: int

    @classmethod
    def from_dict(cls, value: Any, memory_bytes: int) -> Ticket:
        """Raise ValueError where ``value`` is not two addresses within ``memory_bytes``."""
        addresses = array(value, "ticket", 2)
        if len(addresses) != 2:
            raise ValueError("ticket must have two addresses")
        last = memory_bytes - TICKET_BYTES
        return cls(*(integer(address, "ticket", 0, last) for address in addresses))


@dataclass(frozen=True)
class ModelCard:
    """What one must know to use the model on a board.

    Attributes
    ----------
    name : str
    inputs, outputs : tuple of TensorCard
        In the model's order.
    labels : tuple of str
        Class names; empty if the model has none.
    cycles : int
        How long the compiler expects an inference to take; 0 if it does not say. Time-outs only.
    input_layers : int
        After so many layers the inputs are read no more, and nothing else ever lies where they lie:
        the next ones may be written. 0: not before the outputs have been read.
    finds_best : bool
        Whether the engine finds the index of the first output's greatest byte. It does that for an
        answer of one pixel, which the last layer computes alone.
    variables : tuple of StateCard
        What a run leaves to the next; empty for most models.
    ticket : Ticket or None
        How the host sees that a run has been carried out; None without variables.
    """

    name: str
    inputs: tuple[TensorCard, ...]
    outputs: tuple[TensorCard, ...]
    labels: tuple[str, ...] = ()
    cycles: int = 0
    input_layers: int = 0
    finds_best: bool = False
    variables: tuple[StateCard, ...] = ()
    ticket: Ticket | None = None

    @property
    def input(self) -> TensorCard:
        """The first input: where the picture goes."""
        return self.inputs[0]

    @property
    def output(self) -> TensorCard:
        """The first output: the answer."""
        return self.outputs[0]

    @property
    def state_bytes(self) -> int:
        """Bytes that a run leaves to the next."""
        return sum(math.prod(each.shape) for each in self.variables)

    def label(self, index: int) -> str:
        """Name of class ``index``; its number where the model has no name for it."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "name": self.name,
            "inputs": [each.to_dict() for each in self.inputs],
            "outputs": [each.to_dict() for each in self.outputs],
            "labels": list(self.labels),
            "cycles": self.cycles,
            "input_layers": self.input_layers,
            "finds_best": self.finds_best,
            **({"variables": [each.to_dict() for each in self.variables]} if self.ticket else {}),
            **({"ticket": [self.ticket.given, self.ticket.left]} if self.ticket else {}),
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
        value = mapping(value, "metadata")
        ends = {}
        for what in ("input", "output"):
            every = array(value.get(f"{what}s"), f"{what}s", _MAX_ENDS)
            if not every:
                raise ValueError(f"{what}s must not be empty")
            ends[what] = tuple(TensorCard.from_dict(each, what, memory_bytes) for each in every)
        finds_best = value.get("finds_best", False)
        if not isinstance(finds_best, bool):
            raise ValueError(f"finds_best must be true or false, not {finds_best!r}")
        variables = array(value.get("variables", []), "variables", _MAX_VARIABLES)
        if bool(variables) != ("ticket" in value):
            raise ValueError("variables and ticket need one another")
        return cls(
            name=text(value.get("name"), "name"),
            inputs=ends["input"],
            outputs=ends["output"],
            labels=tuple(
                text(label, "labels")
                for label in array(value.get("labels", []), "labels", _MAX_LABELS)
            ),
            cycles=integer(value.get("cycles", 0), "cycles", 0, MAX_RUN_CYCLES),
            input_layers=integer(value.get("input_layers", 0), "input_layers", 0, MAX_RUN_LAYERS),
            finds_best=finds_best,
            variables=tuple(StateCard.from_dict(each, memory_bytes) for each in variables),
            ticket=Ticket.from_dict(value["ticket"], memory_bytes) if variables else None,
        )
