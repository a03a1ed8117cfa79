"""A compiled network run after run, whatever runs it: as the host does it, without a link."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import numpy.typing as npt

from host.compiler import CompiledModel
from host.host_steps import finish, of_type, prepare
from host.model_card import TICKET_BYTES
from model.int8.graph import Graph
from tests.tape_interpreter import execute

__all__ = ["Stream", "interpreted"]


class Stream:
    """State and inputs are written, the engine runs, the first output is read.

    Parameters
    ----------
    graph : Graph
    compiled : CompiledModel
        Of ``graph``; its image is in memory.
    write, read : callable
        ``write(address, bytes)`` and ``read(address, count)``.
    run : callable
        Runs the engine, and gives its cycles.
    """

    def __init__(
        self,
        graph: Graph,
        compiled: CompiledModel,
        write: Callable[[int, bytes], None],
        read: Callable[[int, int], bytes],
        run: Callable[[], int],
    ) -> None:
        self.graph, self.card = graph, compiled.card
        self._write, self._read, self._run = write, read, run
        self.cycles = 0
        self._number = 0
        self.reset_state()

    def reset_state(self) -> None:
        for each in self.card.variables:
            self._write(each.layout.address, each.pack())

    def state(self) -> list[npt.NDArray[np.int8]]:
        """What each variable holds."""
        found = []
        for each in self.card.variables:
            layout = each.layout
            pixels = layout.unpack(self._read(layout.address, layout.size))
            channels = prod(each.shape) // (layout.height * layout.width)
            found.append(pixels[:, :, :channels].reshape(each.shape))
        return found

    def step(self, x: npt.NDArray[np.int8]) -> npt.NDArray[np.generic]:
        """One run; it must leave the ticket, which is its number."""
        card, ticket = self.card, self.card.ticket
        tensor = self.graph.input
        values = of_type(tensor.dtype, x, card.input.scale, card.input.zero_point)
        self._write(card.input.layout.address, card.input.pack(prepare(card.input, values)))
        if ticket is not None:
            self._number += 1
            number = self._number.to_bytes(TICKET_BYTES, "little")
            self._write(ticket.given, number)
        self.cycles = self._run()
        if ticket is not None:
            assert self._read(ticket.left, TICKET_BYTES) == number
        output = card.output
        data = self._read(output.layout.address, output.layout.size)
        return np.asarray(finish(output, output.unpack(data)))


def interpreted(graph: Graph, compiled: CompiledModel, seed: int = 0) -> Stream:
    """By the interpreter of tapes, in a memory that holds garbage at first."""
    rng = np.random.default_rng(seed)
    size = compiled.configuration.memory_bytes
    memory = rng.integers(-128, 128, size).astype(np.int8)

    def write(address: int, data: bytes) -> None:
        memory[address : address + len(data)] = np.frombuffer(data, np.int8)

    def read(address: int, count: int) -> bytes:
        return memory[address : address + count].tobytes()

    def run() -> int:
        execute(compiled.configuration, memory)
        assert read(0, len(compiled.image)) == compiled.image
        return compiled.cycles

    write(0, compiled.image)
    return Stream(graph, compiled, write, read, run)
