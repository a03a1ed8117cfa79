"""Verification on several simulated boards at once: a process each, and its share of the inputs."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import numpy.typing as npt

from gateware.interface.protocol import Info
from model.int8.graph import Graph

from ..board import Board
from ..compiler import CompiledModel
from ..errors import BoardError, EyespotError
from ..simulation.address import fresh_board
from .verify import Arrays, Verification, merge, verify

__all__ = ["ParallelVerification", "verify_in_parallel"]

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


@dataclass(frozen=True, eq=False)
class _Task:
    """What a process is to do."""

    port: str
    baud: int | None
    graph: Graph
    compiled: CompiledModel
    x: Arrays
    y: Classes | None
    layers: bool


@dataclass(frozen=True, eq=False)
class _Result:
    report: Verification
    repeats: int


@dataclass(frozen=True)
class _Failure:
    """An error of a process; exceptions themselves do not all survive the way between two."""

    text: str
    trace: str


def _work(task: _Task, connection: Connection) -> None:
    """A process: sends (done, to do) after each comparison, then a _Result or a _Failure."""
    from threadpoolctl import threadpool_limits

    # Ctrl-C reaches all of a terminal's processes; the parent ends this one.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with closing(connection):
        try:
            with threadpool_limits(1), Board.open(task.port, task.baud) as board:
                board.load(task.compiled, flash=None)
                report = verify(
                    board,
                    task.graph,
                    task.compiled,
                    task.x,
                    task.y,
                    layers=task.layers,
                    progress=lambda done, total: connection.send((done, total)),
                )
                repeats = board.link.repeats
            connection.send(_Result(report, repeats))
        except EyespotError as error:
            connection.send(_Failure(str(error), traceback.format_exc()))


@contextmanager
def _ctrl_c_is_ignored() -> Iterator[None]:
    """Processes started meanwhile ignore it from their first moment, where that is inherited."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _processes(tasks: Sequence[_Task]) -> Iterator[list[Connection]]:
    """A process for each task; ended, whatever happens, with the block."""
    # Not fork: the numeric libraries have threads.
    context = multiprocessing.get_context("spawn")
    processes = []
    connections: list[Connection] = []
    try:
        with _ctrl_c_is_ignored():
            for task in tasks:
                ours, theirs = context.Pipe(duplex=False)
                connections.append(ours)
                with closing(theirs):
                    process = context.Process(target=_work, args=(task, theirs), daemon=True)
                    process.start()
                    processes.append(process)
        yield connections
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
            process.close()
        for connection in connections:
            connection.close()


def _gather(connections: Sequence[Connection], total: int, progress: Progress) -> list[_Result]:
    """The processes' results, in their order."""
    done = [0] * len(connections)
    results: list[_Result | None] = [None] * len(connections)
    while None in results:
        open_ones = [each for each, result in zip(connections, results) if result is None]
        for ready in wait(open_ones):
            place = next(index for index, each in enumerate(connections) if each is ready)
            try:
                message: Any = connections[place].recv()
            except (EOFError, OSError) as error:
                raise BoardError("the process of a simulated board ended unexpectedly") from error
            if isinstance(message, _Failure):
                raise BoardError(message.text) from RuntimeError(message.trace)
            if isinstance(message, _Result):
                results[place] = message
            else:
                done[place] = message[0]
                progress(sum(done), total)
    return [result for result in results if result is not None]


def verify_in_parallel(
    port: str,
    baud: int | None,
    graph: Graph,
    x: npt.NDArray[Any] | Arrays,
    y: Classes | None = None,
    *,
    jobs: int,
    layers: bool = False,
    progress: Progress | None = None,
) -> ParallelVerification:
    """Run the reference, and simulated boards that have just been switched on, on the same inputs.

    Parameters
    ----------
    port : str
        ``sim`` or ``sim://BOARD``; boards keep nothing, whatever it says.
    baud : int or None
        As :meth:`.Board.open`.
    graph : Graph
    x : ndarray of shape (n, ...), or a tuple of one for each input
    y : ndarray of int, shape (n,), or None
    jobs : int
        Boards at once, at most one an input.
    layers : bool
        Compare what every layer leaves in memory, too.
    progress : callable, optional
        Called with comparisons done and to do, of all boards together.

    Raises
    ------
    PortError
        If the port is a real one: there is one board at it.
    BoardError
        If a board fails.
    """
    from .. import compiler

    if jobs < 1:
        raise ValueError(f"There must be at least one job, not {jobs!r}")
    # The first board has the simulator compiled, so that its copies find it in the cache.
    with Board.open(fresh_board(port), baud) as board:
        info = board.info
        compiled = compiler.compile(graph, board.configuration)
        backend = getattr(board.link.port, "backend", None)
    copies = fresh_board(port, backend)
    inputs = x if isinstance(x, tuple) else (x,)
    count = len(inputs[0])
    tasks = [
        _Task(
            copies,
            baud,
            graph,
            compiled,
            tuple(each[share] for each in inputs),
            None if y is None else y[share],
            layers,
        )
        for share in np.array_split(np.arange(count), min(jobs, count))
    ]
    with _processes(tasks) as connections:
        total = count * (2 if layers else 1)
        results = _gather(connections, total, progress or (lambda done, total: None))
    return ParallelVerification(
        report=merge([each.report for each in results]),
        compiled=compiled,
        info=info,
        repeats=sum(each.repeats for each in results),
    )
