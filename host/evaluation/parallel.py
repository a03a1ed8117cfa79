"""Verification by several workers: the inputs in pieces, and the results put together in order.

A board stays open in its worker between pieces, with the model that it holds.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from gateware.interface.protocol import Info
from model.cluster import Cluster
from model.executor import Note, Processes, Queue, compute, cut
from model.int8.graph import Graph

from ..board import Board
from ..compiler import CompiledModel
from ..errors import BoardError, PortError
from ..link.ports import split_host, split_ports
from ..simulation.address import fresh_board, is_simulated
from .verify import Arrays, Verification, merge, verify

__all__ = ["ParallelVerification", "open_queues", "verify_in_parallel"]

_MOST_IDLE = 8

Classes = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ParallelVerification:
    """What :func:`verify_in_parallel` found.

    Attributes
    ----------
    report : Verification
        Over all inputs, in their order.
    compiled : CompiledModel
        What every board held.
    info : Info
        What every board is.
    repeats : int
        Requests that were sent again, by all.
    """

    report: Verification
    compiled: CompiledModel
    info: Info
    repeats: int


@dataclass(eq=False)
class _Held:
    """A board that a worker keeps open, and the model in it: as it came, and None before."""

    port: tuple[str, int | None]
    board: Board
    model: bytes | None = None


class _Boards:
    """The boards of this process that are open, and idle: the last ones that were used."""

    def __init__(self) -> None:
        self._idle: list[_Held] = []
        self._lock = Lock()

    @contextmanager
    def use(self, port: str, baud: int | None, model: bytes | None, new: bool) -> Iterator[_Held]:
        """A board at that port, with the model if there is one; closed if anything goes wrong.

        With ``new`` it is one that did nothing before.
        """
        held = self._take((port, baud), model, new) or _Held((port, baud), Board.open(port, baud))
        try:
            yield held
        except BaseException:
            held.board.close()
            raise
        with self._lock:
            self._idle.append(held)
            if len(self._idle) > _MOST_IDLE:
                self._idle.pop(0).board.close()

    def _take(self, port: tuple[str, int | None], model: bytes | None, new: bool) -> _Held | None:
        with self._lock:
            there = [each for each in self._idle if each.port[0] == port[0]]
            able = [each for each in there if each.port == port and not (new and each.model)]
            best = max(able, key=lambda each: each.model == model, default=None)
            # A port is open once; with a board taken, the others are other threads'.
            gone = there if best is None else [best]
            self._idle = [each for each in self._idle if each not in gone]
            for each in there if best is None else ():
                each.board.close()
            return best

    def release(self, port: str) -> None:
        """Close the boards at a port."""
        with self._lock:
            for each in [each for each in self._idle if each.port[0] == port]:
                self._idle.remove(each)
                each.board.close()


#: Made here, and not when they are first asked for: several threads may ask.
_BOARDS = _Boards()


#: Of a model as it comes, which each piece brings along; the last ones are kept.
_unpack = lru_cache(2)(pickle.loads)


def _describe(port: str, baud: int | None) -> Info:
    """In a worker: what the board is."""
    with _BOARDS.use(port, baud, None, False) as held:
        return held.board.info


def _release(port: str, baud: int | None) -> None:
    """In a worker that lives on: let others have the port."""
    _BOARDS.release(port)


def _verify_piece(
    port: str,
    baud: int | None,
    model: bytes,
    x: Arrays,
    y: Classes | None,
    layers: bool,
    new: bool,
) -> tuple[Verification, int]:
    """In a worker: what came of one piece, and how many requests were sent again.

    With ``new`` a simulated board was just switched on, so that the time that passes in it does not
    depend on what it did before.
    """
    graph, compiled = _unpack(model)
    with _BOARDS.use(port, baud, model, new) as held:
        if held.model != model:
            held.board.load(compiled, flash=None)
            held.model = model
        before = held.board.link.repeats
        report = verify(held.board, graph, compiled, x, y, layers=layers)
        return report, held.board.link.repeats - before


@contextmanager
def open_queues(
    port: str, baud: int | None, jobs: int, scheduler: str | None = None
) -> Iterator[list[Queue]]:
    """Queues for boards: one for simulated ones, or one for each real one.

    Parameters
    ----------
    port : str
        ``sim`` or ``sim://BOARD``; boards keep nothing, whatever it says. Or ports of boards, with
        commas between them; those at a scheduler's workers with ``HOST:`` before them.
    baud : int or None
        As :meth:`.Board.open`.
    jobs : int
        Simulated boards at once; of a scheduler as many as it has threads.
    scheduler : str, optional
        Its address, as :class:`.Cluster` takes it.

    Raises
    ------
    PortError
        If several jobs want one real board, or its machine is not named as it must be.
    WorkerError
        If there is no scheduler, or no worker with such a board.
    """
    ports = split_ports(port)
    places = [split_host(each) for each in ports]
    queues: list[Queue]
    if is_simulated(port) and scheduler is not None:
        queues = [Cluster(scheduler, None, (fresh_board(port), baud))]
    elif scheduler is not None:
        for each, (host, _) in zip(ports, places):
            if not host:
                raise PortError(
                    f"{each}: a board at a scheduler's worker is named HOST:PORT, "
                    "as the worker's resource"
                )
        queues = [
            Cluster(scheduler, name, (device, baud), is_board=True, farewell=_release)
            for name, (_, device) in zip(ports, places)
        ]
    elif len(ports) > 1:
        queues = [Processes(1, each, (each, baud), is_board=True) for each in ports]
    else:
        queues = [Processes(jobs, arguments=(fresh_board(port), baud))]
    with ExitStack() as stack:
        yield [stack.enter_context(queue) for queue in queues]


def verify_in_parallel(
    queues: Sequence[Queue],
    graph: Graph,
    x: npt.NDArray[Any] | Arrays,
    y: Classes | None = None,
    *,
    layers: bool = False,
    progress: Progress = lambda done, total: None,
    note: Note = lambda text: None,
) -> ParallelVerification:
    """Run the reference, and boards of one kind, on the same inputs.

    Parameters
    ----------
    queues : sequence of Queue
        As :func:`open_queues` gives them.
    graph : Graph
    x : ndarray of shape (n, ...), or a tuple of one for each input
    y : ndarray of int, shape (n,), or None
    layers : bool
        Compare what every layer leaves in memory, too.
    progress : callable, optional
        Called with comparisons done and to do, of all boards together.
    note : callable, optional
        Told in a line what went wrong, and is mended.

    Raises
    ------
    WorkerError
        If boards or workers fail, and none is left that does not.
    """
    from .. import compiler

    for queue in queues:
        queue.submit(_describe)  # so that all begin at once; the next one asks what came of it
    infos = [info for queue in queues for _, info in compute([queue], _describe, [()], note)]
    for queue, each in zip(queues, infos):
        if each.configuration != infos[0].configuration:
            raise BoardError(f"{queue.name}: is another board than {queues[0].name}")
    compiled = compiler.compile(graph, infos[0].configuration)
    model = pickle.dumps((graph, compiled))
    inputs = x if isinstance(x, tuple) else (x,)
    count = len(inputs[0])
    pieces = [
        (
            model,
            tuple(each[piece] for each in inputs),
            None if y is None else y[piece],
            layers,
            piece.start == 0 and not queues[0].is_board,
        )
        for piece in cut(count)
    ]
    results: list[tuple[Verification, int] | None] = [None] * len(pieces)
    done = 0
    for place, result in compute(queues, _verify_piece, pieces, note):
        results[place] = result
        done += result[0].count
        progress(done * (1 + layers), count * (1 + layers))
    parts = [each for each in results if each is not None]
    return ParallelVerification(
        report=merge([report for report, _ in parts]),
        compiled=compiled,
        info=infos[0],
        repeats=sum(repeats for _, repeats in parts),
    )
