"""Work in pieces, on the processes of this machine or on the workers of a cluster.

Engines for this exist, behind one interface, :class:`concurrent.futures.Executor`: here
:class:`~concurrent.futures.ProcessPoolExecutor`, and for a cluster Dask's. What they leave open is
here: what becomes of a piece whose worker died, and when to give up.

- :func:`cut` makes pieces small enough that a lost one costs little and progress shows, and smaller
  towards the end, so that all workers end together. It does not ask how many workers there are: so
  the pieces, and what is put together of them, are the same on one machine and on many.
- :func:`compute` gives results as they come, each piece's exactly once. A piece whose worker died
  is done again; a queue that fails three times without a result in between is given up, and its
  pieces go to the others. Without another one the run ends with a :class:`WorkerError`.
- :class:`Processes` and :class:`Threads` are queues that stand on an executor of this machine,
  and :class:`.Cluster` is one on a scheduler's workers.

A function that is given to :func:`compute` is a module's own, as :mod:`pickle` wants it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from model.errors import EyespotError

__all__ = ["Processes", "Queue", "Threads", "WorkerError", "compute", "cut"]

_LARGEST, _SMALLEST = 64, 4
#: Of what is left, the part that the next piece takes.
_SHARE = 16

#: How often running a queue may fail.
_ATTEMPTS = 3
#: Seconds between looks at whether there still are workers.
_PERIOD = 2.0
_Q = TypeVar("_Q", bound="Queue")
Note = Callable[[str], None]
"""Told in a line what went wrong, and is mended."""


class WorkerError(EyespotError):
    """Work that was given to others and cannot be done: the text says why."""


@dataclass(frozen=True)
class _Failure:
    """An error that a piece met; exceptions themselves do not all survive the way."""

    text: str
    trace: str


def cut(count: int) -> list[slice]:
    """Pieces of ``count`` examples, in their order: at most 64 each, the last ones few.

    >>> [piece.stop - piece.start for piece in cut(200)][:4]
    [12, 11, 11, 10]
    """
    least = max(1, min(_SMALLEST, count // 8))
    pieces, begin = [], 0
    # From the first one the rate is taken, for which two or three are too few.
    size = min(_SMALLEST, count // 2)
    while begin < count:
        size = max(size, least, min(_LARGEST, (count - begin) // _SHARE))
        pieces.append(slice(begin, min(begin + size, count)))
        begin, size = begin + size, 0
    return pieces


class Queue(ABC):
    """Pieces that wait for the workers of one executor.

    Attributes
    ----------
    name : str
    arguments : tuple
        What each call gets first: of a queue for one board, its port.
    is_board : bool
        A failure of a piece is one of this queue, and another queue may do better.
    limit : int or None
        Pieces in the queue at once; None: any number.
    """

    limit: int | None = None

    def __init__(self, name: str, arguments: Sequence[Any] = (), *, is_board: bool = False) -> None:
        self.name = name
        self.arguments = tuple(arguments)
        self.is_board = is_board
        self._executor: Executor | None = None

    @abstractmethod
    def _open(self) -> Executor:
        """A new executor."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self._executor is None:
            self._executor = self._open()
        return self._executor.submit(_call, function, (*self.arguments, *arguments))

    def check(self) -> None:  # noqa: B027  most executors know by themselves
        """Raise WorkerError if nobody is left to do anything."""

    def explain(self, error: Exception) -> WorkerError:
        """What an error says that no function of ours raised; raise it if it is a mistake here."""
        raise error

    def renew(self) -> None:
        """Begin anew, after workers died."""
        self.close(at_once=True)

    def close(self, at_once: bool = False) -> None:
        """End the workers, at once or once they are idle."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=at_once)
            self._executor = None

    def __enter__(self: _Q) -> _Q:
        self._executor = self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(at_once=kind is not None)


class Threads(Queue):
    """Threads of this process, for work that other programs do."""

    def __init__(self, count: int, name: str = "this machine", *more: Any, **options: Any) -> None:
        super().__init__(name, *more, **options)
        self.limit = count

    def _open(self) -> Executor:
        return ThreadPoolExecutor(self.limit)


class Processes(Queue):
    """Processes of this machine, with one numeric thread each.

    They leave Ctrl-C to the process that started them, and end with it, whatever happens to it.
    """

    def __init__(self, count: int, name: str = "this machine", *more: Any, **options: Any) -> None:
        super().__init__(name, *more, **options)
        self._count = count
        # One that is done finds the next there.
        self.limit = 2 * count
        self._lifeline: Connection | None = None

    def _open(self) -> Executor:
        # Not fork: the numeric libraries have threads.
        context = multiprocessing.get_context("spawn")
        theirs, self._lifeline = context.Pipe(duplex=False)
        return ProcessPoolExecutor(
            self._count, context, initializer=_begin_process, initargs=(theirs,)
        )

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        with _ctrl_c_is_ignored():  # a process may be started now
            return super().submit(function, *arguments)

    def close(self, at_once: bool = False) -> None:
        if at_once and self._lifeline is not None:
            self._lifeline.close()
        super().close(at_once)
        if self._lifeline is not None:
            self._lifeline.close()


def _begin_process(lifeline: Connection) -> None:
    from threadpoolctl import threadpool_limits

    # Ctrl-C reaches all of a terminal's processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import numpy  # noqa: F401  its threads are to be limited

    threadpool_limits(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """End this process when the other end is closed, by whatever there was at it."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)


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


def _call(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """In the worker: what the function gives, or a _Failure."""
    try:
        return function(*arguments)
    except EyespotError as error:
        return _Failure(str(error), traceback.format_exc())


class _Loss(NamedTuple):
    """Why a piece has no result."""

    error: WorkerError
    #: Whether the queue's executor is of no use any more.
    is_broken: bool


_DEATH = _Loss(WorkerError("its process ended unexpectedly"), True)


def _outcome(queue: Queue, future: Future[Any]) -> Any:
    """What a piece gave; a _Loss if it was lost."""
    try:
        result = future.result()
    except BrokenExecutor:
        return _DEATH
    except CancelledError:
        return _Loss(WorkerError("the connection is lost"), True)
    except Exception as error:
        return _Loss(queue.explain(error), False)
    if isinstance(result, _Failure):
        told = WorkerError(result.text)
        told.__cause__ = RuntimeError(result.trace)
        return _Loss(told, False)
    return result


def compute(
    queues: Sequence[Queue],
    function: Callable[..., Any],
    pieces: Sequence[Sequence[Any]],
    note: Note = lambda text: None,
) -> Iterator[tuple[int, Any]]:
    """Call a function for each piece, on whichever worker is free.

    Parameters
    ----------
    queues : sequence of Queue
        Open, and left open.
    function : callable
    pieces : sequence of sequence
        The arguments of each call.
    note : callable, optional
        Told in a line what went wrong, and is mended.

    Yields
    ------
    int, object
        Place of a piece and what the function gave for it, as they come; each piece once. Who has
        enough may stop: what is still to be done is then given up.

    Raises
    ------
    WorkerError
        If a piece fails, or workers die again and again.
    """
    to_do = deque(range(len(pieces)))
    able = list(queues)
    strikes = dict.fromkeys(able, 0)
    #: Each with its queue, how often that had been renewed, and its piece.
    running: dict[Future[Any], tuple[Queue, int, int]] = {}
    renewals = dict.fromkeys(able, 0)
    last = WorkerError("there is nobody to do the work")

    def give_up(queue: Queue) -> None:
        able.remove(queue)
        for future, (its, _, place) in [*running.items()]:
            # Not waited for: an executor may never say that it cancelled something.
            if its is queue and future.cancel():
                del running[future]
                to_do.appendleft(place)
        if able:
            note(f"{last}; its work goes to the others")

    def lose(queue: Queue, loss: _Loss) -> None:
        nonlocal last
        if not queue.is_board and not loss.is_broken:
            raise loss.error
        last = _named(queue, loss.error)
        strikes[queue] += 1
        if loss.is_broken:
            renewals[queue] += 1
            queue.renew()
        if strikes[queue] < _ATTEMPTS:
            note(f"{last}; once more")
        else:
            give_up(queue)

    try:
        while to_do or running:
            for queue in list(able):
                used = sum(each is queue for each, _, _ in running.values())
                limit = len(pieces) if queue.limit is None else queue.limit
                for _ in range(min(len(to_do), limit - used)):
                    try:
                        future = queue.submit(function, *pieces[to_do[0]])
                    except BrokenExecutor:
                        mine = (queue, renewals[queue])
                        # Those that run say so, too.
                        if not any(each[:2] == mine for each in running.values()):
                            lose(queue, _DEATH)
                        break
                    running[future] = (queue, renewals[queue], to_do.popleft())
            if not running:
                if not able:
                    raise last
                continue
            done, _ = wait(running, _PERIOD, FIRST_COMPLETED)
            for queue in () if done else list(able):
                try:
                    queue.check()
                except WorkerError as gone:
                    last = _named(queue, gone)
                    give_up(queue)
            for future in [each for each in running if each in done]:
                if future not in running:  # given up since
                    continue
                queue, renewal, place = running.pop(future)
                outcome = _outcome(queue, future)
                if not isinstance(outcome, _Loss):
                    strikes[queue] = 0
                    yield place, outcome
                    continue
                to_do.appendleft(place)
                # All that an executor had fails with it, which is one failure.
                if queue in able and renewal == renewals[queue]:
                    lose(queue, outcome)
    finally:
        for future in running:
            future.cancel()


def _named(queue: Queue, error: WorkerError) -> WorkerError:
    text = str(error)
    named = WorkerError(text if text.startswith(queue.name) else f"{queue.name}: {text}")
    named.__cause__ = error.__cause__
    return named
