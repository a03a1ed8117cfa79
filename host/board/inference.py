"""Inferences on a board that holds a model: inputs written, the engine run, outputs read.

An inference is a transaction: WRITEs of the input, RUN, RESULT with the output's first bytes and
READs of the rest. While the engine computes, the next input is on its way where the model allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import EngineError, Opcode, Result, StallCause

from ..errors import BoardError, LinkError
from ..host_steps import finish, prepare
from ..link.framing import OnceRequest, Reply, Request
from ..link.link import Link
from ..model_card import TICKET_BYTES, ModelCard
from .memory import checked, payload_of, read_request, read_requests, write_requests

__all__ = ["Inference", "Int8Array", "LayerRun", "Progress", "Runner"]

Int8Array = npt.NDArray[np.int8]
Example = npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]
"""A model's inputs: the only one; or all, in their order or by name."""
Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is to do."""

#: The counters, and a byte for which nobody asks.
_RESULT = read_request(Opcode.RESULT, 0, 1)
#: Behind RUN, where what follows must not come at once.
_FILLER = read_request(Opcode.READ, 0, 1)
_WAS_RESET = "the board was reset meanwhile: what it held is lost"


@dataclass(frozen=True, eq=False)
class Inference:
    """What the board computed for one example.

    Attributes
    ----------
    tensors : tuple of ndarray of int8
        What the board gave for each of the model's outputs, in their order.
    outputs : tuple of ndarray
        The model's outputs: those tensors, or what the host makes of them.
    cycles, stalls : int
        Clock cycles of the engine, and those in which it waited for the chosen cause: 0 where the
        board does not count them.
    best : int
        Index of the greatest of ``logits``, found by the board where its card says so.
    """

    tensors: tuple[Int8Array, ...]
    outputs: tuple[npt.NDArray[Any], ...]
    cycles: int
    stalls: int
    best: int

    @property
    def logits(self) -> Int8Array:
        """What the board gave for the first output."""
        return self.tensors[0]

    @property
    def output(self) -> npt.NDArray[Any]:
        """The first output."""
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What a layer left in memory, and the cycles from the start to its end."""

    data: bytes
    cycles: int


class Runner:
    """Runs the model that a board holds.

    Parameters
    ----------
    link : Link
        To the board.
    card : ModelCard
        Of the model that its memory holds as long as this is used.
    diagnostics : bool
        Whether the board counts stalls and finds the greatest output.
    """

    def __init__(self, link: Link, card: ModelCard, *, diagnostics: bool = True) -> None:
        self.card = card
        self._link = link
        self._diagnostics = diagnostics
        #: Number of the last run; None where the board's state is not that of any.
        self._number: int | None = None
        self._state_is_lost = False
        #: Clock cycles after which the engine has read the input; None: not known yet.
        self._input_cycles: int | None = None

    def run_many(
        self, inputs: Iterable[Example], stall_cause: StallCause = StallCause.PIXELS
    ) -> Iterator[Inference]:
        """Run the model on one example after the other; the next is sent while one is awaited.

        Parameters
        ----------
        inputs : iterable of ndarray, of tuple of ndarray, or of dict of str to ndarray
            The model's input, or all of them in their order or by name; taken as they are needed.
            Of the type and shape of the model's input, or int8 as the board takes it.
        stall_cause : StallCause
            What :attr:`Inference.stalls` counts.

        Raises
        ------
        BoardError
            If the board does not run the model, or the engine stops with an error.
        ValueError
            If an input does not fit the model.
        """
        card = self.card
        if card.ticket is not None:
            for x in inputs:
                yield self._run_once(x, stall_cause)
            return
        reads = self._reads()
        source = iter(inputs)
        first = list(islice(source, 2))
        free_after = self._measure_input() if len(first) > 1 else None

        def transactions() -> Iterator[list[Request]]:
            for x in chain(first, source):
                writes = self._writes_of(x)
                timing = self._link.timing
                filler = free_after is not None and not timing.covers(writes[0], free_after)
                run = Request(Opcode.RUN, 0, bytes([0, stall_cause]))
                yield [*writes, run, *([_FILLER] if filler else []), *reads]
            yield [_RESULT]

        # What was read after a reset of the board is not what it computed. A RUN that follows, or
        # the counters at the end, prove that there was none: so an answer waits for that.
        unproven: Inference | None = None
        for replies in self._link.exchange(transactions(), free_after=free_after):
            wanted = reads if len(replies) > 1 else [_RESULT]
            result, data = self._answer(replies, wanted)
            if unproven is not None:
                if len(replies) == 1 and result.cycles != unproven.cycles:
                    raise BoardError(_WAS_RESET)
                yield unproven
            if len(replies) == 1:
                return
            unproven = self._inference(result, data)

    def _inference(self, result: Result, data: bytes) -> Inference:
        tensors = _unpack(self.card, data)
        on_board = self._diagnostics and self.card.finds_best
        return Inference(
            tensors=tensors,
            outputs=_finish(self.card, tensors),
            cycles=result.cycles,
            stalls=result.stalls if self._diagnostics else 0,
            best=result.best if on_board else int(tensors[0].argmax()),
        )

    # State.

    def reset_state(self) -> None:
        """Let the next run find what the first one did; nothing without variables.

        Raises
        ------
        BoardError
            If the board does not take it.
        """
        self._number = None
        for (reply,) in self._link.exchange([each] for each in self._state_writes()):
            checked(reply, "the state could not be set")
        self._number, self._state_is_lost = 0, False

    def _state_writes(self) -> list[Request]:
        requests = []
        for each in self.card.variables:
            requests += write_requests(each.layout.address, each.pack())
        if self.card.ticket is not None:
            requests += write_requests(self.card.ticket.left, bytes(TICKET_BYTES))
        return requests

    def _run_once(self, x: Example, stall_cause: StallCause) -> Inference:
        """A run that changes state: it is carried out once, or an error says that it may not be.

        The run's number goes with the input, and the last layer of the run leaves it behind all
        that it changed: so what is there tells which run was the last.
        """
        ticket = self.card.ticket
        assert ticket is not None
        if self._state_is_lost:
            raise BoardError("the state was lost with a run that failed: reset it to begin anew")
        writes = self._writes_of(x)
        if self._number is None:
            self.reset_state()
        assert self._number is not None
        number, self._number = self._number + 1, None
        self._state_is_lost = True
        mark = number.to_bytes(TICKET_BYTES, "little")
        run = OnceRequest(
            Opcode.RUN,
            payload=bytes([0, stall_cause]),
            witness=read_request(Opcode.READ, ticket.left, TICKET_BYTES),
            mark=mark,
        )
        reads = self._reads()
        requests = [*writes, *write_requests(ticket.given, mark), run, *reads, _RESULT]
        *replies, last = next(self._link.exchange([requests]))
        result, data = self._answer(replies, reads)
        proof, _ = self._answer([last], [_RESULT])
        if proof.cycles != result.cycles:
            raise BoardError(_WAS_RESET)
        self._number, self._state_is_lost = number, False
        return self._inference(result, data)

    def _reads(self) -> list[Request]:
        """All outputs, the first with the counters."""
        return [
            request
            for index, each in enumerate(self.card.outputs)
            for request in read_requests(each.layout, Opcode.READ if index else Opcode.RESULT)
        ]

    def _measure_input(self) -> int | None:
        """Clock cycles of a run after which the next input may be written.

        None if only after the output has been read. Measured by the board, once for a model: a
        wrong figure would mean a wrong answer.
        """
        if not self.card.input_layers:
            return None
        if self._input_cycles is None:
            runs = (
                [Request(Opcode.RUN, 0, bytes([layers, StallCause.PIXELS])), _RESULT]
                for layers in (self.card.input_layers, 0)
            )
            # The second RUN proves that the board was not reset after the first.
            read, whole = (
                self._answer(replies, [_RESULT])[0].cycles for replies in self._link.exchange(runs)
            )
            self._link.run_cycles = whole
            self._input_cycles = read
        return self._input_cycles

    def run_layers(
        self, x: Example, layouts: Sequence[TensorLayout], progress: Progress | None = None
    ) -> list[LayerRun]:
        """Run the model once for each of its layers, up to that layer, and read what it left.

        Each run of a model with state is a first one, and so is the next one that follows.

        Parameters
        ----------
        x : ndarray, tuple of ndarray, or dict of str to ndarray
            The model's inputs.
        layouts : sequence of TensorLayout
            Where each layer's output lies, in running order.
        progress : callable, optional
            Called with the layers that were run and how many there are.
        """
        runs = []
        self._number, self._state_is_lost = None, False
        for count, layout in enumerate(layouts, start=1):
            run = Request(Opcode.RUN, 0, bytes([count, StallCause.PIXELS]))
            reads = read_requests(layout, Opcode.RESULT)
            requests = [*self._state_writes(), *self._writes_of(x), run, *reads, _RESULT]
            *replies, proof = next(self._link.exchange([requests]))
            result, data = self._answer(replies, reads)
            if self._answer([proof], [_RESULT])[0].cycles != result.cycles:
                raise BoardError(_WAS_RESET)
            runs.append(LayerRun(data, result.cycles))
            if progress is not None:
                progress(count, len(layouts))
        return runs

    def _writes_of(self, x: Example) -> list[Request]:
        requests = []
        for card, values in zip(self.card.inputs, _by_input(self.card, x)):
            data = card.pack(prepare(card, values))
            requests += write_requests(card.layout.address, data)
        return requests

    @staticmethod
    def _answer(replies: Sequence[Reply], reads: Sequence[Request]) -> tuple[Result, bytes]:
        """The engine's result and the memory that ``reads``, the last requests, ask for."""
        before = len(replies) - len(reads)
        for reply in replies[:before]:
            checked(reply, "the run failed")
        data = b"".join(payload_of(*pair) for pair in zip(replies[before:], reads))
        try:
            result = Result.unpack(data[: Result.BYTES])
        except ValueError as error:
            raise LinkError(f"the board's answer makes no sense: {error}") from error
        if result.error != EngineError.NONE:
            raise BoardError(f"the engine stopped: {result.error.name}")
        if not result.cycles:  # no run takes none: a reset has cleared the counter
            raise BoardError(_WAS_RESET)
        return result, data[Result.BYTES :]


def _by_input(card: ModelCard, x: Example) -> list[npt.NDArray[Any]]:
    """The inputs in the model's order."""
    names = [each.name for each in card.inputs]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise ValueError(f"The model's inputs are {', '.join(names)}, not {', '.join(x)}")
        return [np.asarray(x[name]) for name in names]
    if len(names) == 1 and not isinstance(x, (tuple, list)):
        return [np.asarray(x)]
    values = [np.asarray(each) for each in x]  # type: ignore[union-attr]
    if len(values) != len(names):
        raise ValueError(f"The model has {len(names)} inputs, not {len(values)}")
    return values


def _unpack(card: ModelCard, data: bytes) -> tuple[Int8Array, ...]:
    tensors, begin = [], 0
    for each in card.outputs:
        tensors.append(each.unpack(data[begin : begin + each.layout.size]))
        begin += each.layout.size
    return tuple(tensors)


def _finish(card: ModelCard, tensors: tuple[Int8Array, ...]) -> tuple[npt.NDArray[Any], ...]:
    """What the host makes of the board's tensors, exactly as the reference does."""
    try:
        return tuple(finish(*each) for each in zip(card.outputs, tensors))
    except ValueError as error:
        raise BoardError(f"the board's model cannot be used: {error}") from error
