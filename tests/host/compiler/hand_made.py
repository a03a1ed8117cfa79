"""Layers made by hand, without a graph: their tape and their tensors in a memory of garbage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import TAPE_ADDRESS
from gateware.interface.layout import TensorLayout
from host.compiler.cycles import Sharing, Work
from host.compiler.layers import Layer, View
from host.compiler.loops import Loops
from host.compiler.placement import bank_shares, meeting
from host.compiler.schedule import schedule
from host.compiler.tape_writer import Addresses, write_layer
from tests.tape_interpreter import execute

Bytes = npt.NDArray[np.int8]
#: Of the memory, for the tape.
_TAPE_PART = 0.25


class HandMade:
    """Memory with tensors at random places."""

    def __init__(self, rng: np.random.Generator, configuration: EngineConfiguration) -> None:
        self.rng = rng
        self.configuration = configuration
        size = configuration.memory_bytes
        self.memory = rng.integers(-128, 128, size).astype(np.int8)
        self.addresses: list[int] = []
        self._ends: list[int] = []

    def place(self, view: View, bank: int | None = None) -> View:
        """``view`` of a new tensor, which begins with it; anywhere, or in a bank."""
        size, word = view.size, self.configuration.word_bytes
        begin, end = int(_TAPE_PART * len(self.memory)), len(self.memory)
        if bank is not None:
            begin, end = (n * self.configuration.bank_bytes for n in (bank, bank + 1))
        while True:
            address = word * int(self.rng.integers(begin // word, (end - size) // word + 1))
            taken = zip(self.addresses, self._ends)
            if all(address + size <= other or last <= address for other, last in taken):
                break
        self.addresses.append(address)
        self._ends.append(address + size)
        return replace(view, tensor=len(self.addresses) - 1)

    def _layout(self, view: View) -> TensorLayout:
        address = self.addresses[view.tensor] + view.offset
        return TensorLayout(address, view.height, view.width, view.pixel_pitch, view.row_pitch)

    def write(self, view: View, values: Bytes) -> None:
        """Put ``values``, shape (height, width, channels), into memory: only the pixels."""
        layout = self._layout(view)
        part = self.memory[layout.address :][: view.size]
        pixels = layout.unpack(part.tobytes())
        pixels[:, :, : view.channels] = values
        rows = part.reshape(view.height, view.row_pitch)
        rows[:, : view.row_bytes] = pixels.reshape(view.height, view.row_bytes)

    def read(self, view: View, memory: Bytes) -> Bytes:
        layout = self._layout(view)
        data = memory[layout.address :][: view.size].tobytes()
        return layout.unpack(data)[:, :, : view.channels]

    def load(self, layers: Sequence[Layer]) -> list[Layer]:
        """Put the tape of ``layers`` into memory; as the engine will run them."""
        configuration = self.configuration
        parts = [part for layer in layers for part in schedule(layer, configuration)]
        tape = b"".join(
            write_layer(
                part,
                Loops.of(part, configuration),
                Addresses(
                    tuple(self.addresses[view.tensor] + view.offset for view in part.sources),
                    self.addresses[part.target.tensor],
                ),
                configuration,
                last=part is parts[-1],
            )
            for part in parts
        )
        assert TAPE_ADDRESS + len(tape) <= _TAPE_PART * len(self.memory), "the tape is too long"
        self.memory[TAPE_ADDRESS : TAPE_ADDRESS + len(tape)] = np.frombuffer(tape, np.int8)
        return parts

    def work(self, layer: Layer) -> Work:
        """For the cycle model: who meets whom in which bank."""
        configuration = self.configuration
        target, *sources = (
            bank_shares(self.addresses[tensor], self._ends[tensor], configuration)
            for tensor in (layer.target.tensor, *(view.tensor for view in layer.sources))
        )
        tape = bank_shares(TAPE_ADDRESS, TAPE_ADDRESS + 1, configuration)
        return Work(
            layer,
            Loops.of(layer, configuration),
            configuration,
            Sharing(
                source_target=prod(meeting(source, target) for source in sources),
                tape_source=float(np.mean([meeting(tape, source) for source in sources])),
                tape_target=meeting(tape, target),
            ),
        )

    def run(self) -> Bytes:
        """Memory after the tape ran. What belongs to no tensor stays as it was."""
        memory = self.memory.copy()
        execute(self.configuration, memory)
        changed = np.flatnonzero(memory != self.memory)
        inside = np.zeros(len(memory), bool)
        for begin, end in zip(self.addresses, self._ends):
            inside[begin:end] = True
        assert inside[changed].all()
        return memory
