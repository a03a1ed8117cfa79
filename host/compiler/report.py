"""The compiler's result: the image, and a report about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.layout import TensorLayout
from host.model_card import ModelCard


@dataclass(frozen=True)
class LayerReport:
    """One layer as the engine runs it.

    Attributes
    ----------
    name : str
    op : str
        Operators that it computes, such as ``CONV_2D+LOGISTIC``.
    macs : int
        Multiplications of the network.
    cycles : int
        Predicted.
    utilisation : float
        Part of the multipliers' cycles that the network asks for, 0 to 1.
    bound : str
        The resource that limits it: ``multipliers``, ``port``, ``requantiser`` or ``tape``.
    tensor : int
        Index in the graph of the tensor that is in memory after the layer; None for a copy that
        only the compiler knows, for all but the last of the layers that one operator takes, and
        where memory holds a band of the tensor's rows at a time.
    output : TensorLayout
        Layout of the tensor in memory. It may have more channels than the tensor: see
        :meth:`unpack`.
    channels : int
        Channels of the tensor.
    tape_bytes : int
    streams : bool
        Whether its part of the tape comes from flash.
    """

    name: str
    op: str
    macs: int
    cycles: int
    utilisation: float
    bound: str
    tensor: int | None
    output: TensorLayout
    channels: int
    tape_bytes: int
    streams: bool = False

    def unpack(self, data: bytes) -> npt.NDArray[np.int8]:
        """The tensor, shape (height, width, channels), from the bytes at ``output``."""
        return self.output.unpack(data)[:, :, : self.channels]


@dataclass(frozen=True)
class MemoryBlock:
    """A piece of memory, and its use.

    ``first`` and ``last`` are the layers between which it is in use, both included; -1 and the
    number of layers stand for the host.
    """

    name: str
    address: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class CompiledModel:
    """A network, ready for one board.

    Attributes
    ----------
    image : bytes
        The bytes to write to address 0.
    card : ModelCard
        The image's metadata.
    layers : tuple of LayerReport
        Layers in running order, as many as the image's header says.
    memory : tuple of MemoryBlock
        Blocks by address. Blocks that are used at different times may overlap.
    configuration : EngineConfiguration
        The engine for which it was compiled.
    stream : bytes
        The bytes that stream from flash.
    """

    image: bytes
    card: ModelCard
    layers: tuple[LayerReport, ...]
    memory: tuple[MemoryBlock, ...]
    configuration: EngineConfiguration
    stream: bytes = b""

    @property
    def input(self) -> TensorLayout:
        """Location of the picture."""
        return self.card.input.layout

    @property
    def output(self) -> TensorLayout:
        """Location of the answer."""
        return self.card.output.layout

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def cycles(self) -> int:
        """Predicted cycles of an inference."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Part of the multipliers' cycles that the network asks for, 0 to 1."""
        multipliers = self.configuration.lanes * self.configuration.pixels
        return self.macs / (self.cycles * multipliers)

    @property
    def memory_bytes(self) -> int:
        """Bytes from address 0 to the end of the last block."""
        return max(block.address + block.size for block in self.memory)
