"""The port's owner: one thread that has the board, runs what comes, and finds the board again.

Pictures come faster than a board may answer. Only the latest waits, so an answer is never old;
what it replaces is counted as dropped. A model that was chosen is sent again whenever the board was
away, because nobody knows what it holds afterwards.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from serial import SerialException

from model.errors import EyespotError, reason
from model.int8 import reference
from model.int8.graph import Graph

from ..board import Board, Classification
from ..board.classes import classification
from ..errors import BoardError, LinkError, PortError
from ..evaluation.trace import LayerTrace, trace
from ..host_steps import of_type, prepare
from ..pictures import to_input
from .preparing import prepare_board

if TYPE_CHECKING:
    from PIL.Image import Image

    from gateware.interface.protocol import Info

    from ..compiler import CompiledModel

__all__ = ["Answer", "Choice", "Looked", "Picture", "Session", "Status"]

Event = Mapping[str, Any]

#: Seconds between attempts to open a port.
_RETRY = 1.0
#: Seconds without work after which the board is asked whether it is there.
_IDLE = 2.0
#: Answers over which the rate is measured, and the seconds that they may be old.
_RATE_ANSWERS = 30
_RATE_SECONDS = 3.0
#: Seconds between two reports of progress.
_PROGRESS = 0.05


@dataclass(frozen=True, eq=False)
class Choice:
    """A model to run, and where it comes from: ``bundled``, ``file`` or ``trained``."""

    graph: Graph
    origin: str
    data: bytes = b""


@dataclass(frozen=True, eq=False)
class Picture:
    """Something to classify.

    Attributes
    ----------
    content : Image, ndarray of uint8 or int8
        A picture; int8 is an input as it is.
    source : str
        ``drawing``, ``camera``, ``picture`` or ``test``.
    number : int
        Whoever sent it knows it by that.
    client : str
        Who sent it.
    invert : bool or None
        Whether to exchange bright and dark; see :func:`host.pictures.to_input`.
    truth : str or None
        Its class, where that is known.
    """

    content: Image | npt.NDArray[Any]
    source: str = "picture"
    number: int = 0
    client: str = ""
    invert: bool | None = None
    truth: str | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What the board said to a picture.

    Attributes
    ----------
    picture : Picture
    x : ndarray
        The model's input.
    seen : ndarray of int8
        What was written to the board for it.
    classification : Classification
    equal : bool
        Every byte of every output is the reference's.
    rate : float
        Answers a second, of late.
    dropped : int
        Pictures so far that newer ones replaced.
    """

    picture: Picture
    x: npt.NDArray[Any]
    seen: npt.NDArray[np.int8]
    classification: Classification
    equal: bool
    rate: float
    dropped: int


@dataclass(frozen=True, eq=False)
class Looked:
    """A picture's way through the network, layer by layer; ``values`` is of `reference.replay`."""

    number: int
    choice: Choice
    compiled: CompiledModel
    answer: Answer
    layers: tuple[LayerTrace, ...]
    values: Mapping[int, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Status:
    """How things stand.

    Attributes
    ----------
    phase : str
        ``opening``, ``lost`` (with ``problem``), ``loading`` or ``ready``.
    problem : str
        Why there is no board, in a line.
    doing : str
        What takes time just now.
    done, total : int
        How much of it; 0 of 0 where nobody knows.
    since : float
        When it began, by :func:`time.monotonic`.
    info, baud
        Of the board, while there is one.
    choice, compiled
        The model that runs.
    looked : int
        Number of the last look inside; 0 before the first.
    """

    phase: str = "opening"
    problem: str = ""
    doing: str = "Starting the board"
    done: int = 0
    total: int = 0
    since: float = field(default_factory=time.monotonic)
    info: Info | None = None
    baud: int = 0
    choice: Choice | None = None
    compiled: CompiledModel | None = None
    looked: int = 0


class Session:
    """One board, and whoever wants something of it.

    Parameters
    ----------
    port : str
        As :meth:`.Board.open` takes it.
    tell : callable
        Called with ``("status", Status)``, ``("answer", Answer)`` or ``("problem", (line,
        Picture or None))``; from the session's thread, so it must be quick.
    open_board : callable, optional
        Opens the board at ``port``.
    """

    def __init__(
        self,
        port: str,
        tell: Callable[[str, Any], None],
        open_board: Callable[[str], Board] = Board.open,
    ) -> None:
        self.port = port
        self._tell = tell
        self._open_board = open_board
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)
        # Shared with the callers, under the condition.
        self._stopping = False
        self._wanted: Choice | None = None
        self._frame: Picture | None = None
        self._wants_look = False
        self._dropped = 0
        # The thread's own.
        self._board: Board | None = None
        self._loaded: Choice | None = None
        self._compiled: CompiledModel | None = None
        self._last: Answer | None = None
        self._times: deque[float] = deque(maxlen=_RATE_ANSWERS)
        self._reported = 0.0
        # Replaced as a whole, so that anyone may read them.
        self.status = Status()
        self.looked: Looked | None = None

    # What others ask for; none of this waits.

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """Give the board back; a board that is still being opened is left to the system."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(patience)

    def choose(self, choice: Choice) -> None:
        """Run another model from now on, as soon as the board has it."""
        with self._condition:
            self._wanted = choice
            self._frame = None
            self._condition.notify()

    def show(self, picture: Picture) -> None:
        """Classify a picture, unless a newer one comes first."""
        with self._condition:
            if self._frame is not None:
                self._dropped += 1
            self._frame = picture
            self._condition.notify()

    def look(self) -> None:
        """Follow the last picture through the network."""
        with self._condition:
            self._wants_look = True
            self._condition.notify()

    # The thread.

    def _run(self) -> None:
        try:
            while not self._stopping:
                if self._board is None and not self._open():
                    self._wait(_RETRY, lambda: False)
                    continue
                try:
                    self._step()
                except (PortError, LinkError, SerialException, OSError) as error:
                    self._lose(str(error) if isinstance(error, EyespotError) else reason(error))
                except EyespotError as error:
                    # The board answers, and refuses: it may have been reset, and hold nothing.
                    self._loaded = None
                    self._say_problem(str(error))
                except Exception as error:
                    self._say_problem(f"a fault in Eyespot: {type(error).__name__}: {error}")
        finally:
            self._close()

    def _wait(self, seconds: float, ready: Callable[[], bool]) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or ready(), seconds)

    def _has_work(self) -> bool:
        return (
            self._wanted is not self._loaded
            or self._frame is not None
            or (self._wants_look and self._last is not None)
        )

    def _step(self) -> None:
        """Do one thing; or nothing for a while, and see whether the board is still there."""
        self._wait(_IDLE, self._has_work)
        with self._condition:
            wanted, frame, look = self._wanted, self._frame, self._wants_look
            if wanted is self._loaded:
                self._frame = None if frame is not None else self._frame
                self._wants_look = False if frame is None else look
        if self._stopping:
            return
        assert self._board is not None
        if wanted is not None and wanted is not self._loaded:
            self._load(wanted)
        elif frame is not None:
            self._classify(frame)
        elif look and self._last is not None:
            self._look()
        else:
            self._board.link.read_info()

    def _open(self) -> bool:
        if self.status.phase != "lost":
            self._report(phase="opening", doing="Starting the board")
        try:
            prepare_board(self.port)
            self._board = self._open_board(self.port)
        except (EyespotError, SerialException, OSError) as error:
            line = str(error) if isinstance(error, EyespotError) else reason(error)
            if (self.status.phase, self.status.problem) != ("lost", line):
                self._report(phase="lost", problem=line, doing="Looking for the board")
            return False
        self._loaded = None
        phase = "ready" if self._wanted is None else "loading"
        self._report(phase=phase, info=self._board.info, baud=self._board.baud)
        return True

    def _lose(self, line: str) -> None:
        self._close()
        self._report(phase="lost", problem=line, doing="Looking for the board")

    def _close(self) -> None:
        board, self._board, self._loaded = self._board, None, None
        if board is not None:
            with suppress(Exception):  # a port that is gone says so in many ways
                board.close()

    def _load(self, choice: Choice) -> None:
        """Compile and send a model; one that does not run leaves the one before."""
        from .. import compiler

        board = self._board
        assert board is not None
        self._report(phase="loading", doing=f"Compiling {choice.graph.name}")
        try:
            compiled = compiler.compile(choice.graph, board.configuration)
        except EyespotError as error:
            with self._condition:
                if self._wanted is choice:
                    self._wanted = self._loaded
            self._report(phase="ready")
            self._say_problem(f"{choice.graph.name} does not run on this board: {error}")
            return

        def show(done: int, total: int) -> None:
            if done == total or time.monotonic() - self._reported > _PROGRESS:
                doing = f"Sending {choice.graph.name}"
                self._report(phase="loading", doing=doing, done=done, total=total)

        try:
            board.load(compiled, show, flash=None)
        except BoardError as error:
            with self._condition:
                if self._wanted is choice:
                    self._wanted = None
            self._loaded, self._compiled, self._last = None, None, None
            self._report(phase="ready", choice=None, compiled=None)
            self._say_problem(str(error))
            return
        again = self._compiled is not None and self.status.choice is choice
        self._loaded, self._compiled = choice, compiled
        if not again:
            self._last = None
            self._times.clear()
        self._report(phase="ready", choice=choice, compiled=compiled)

    def _input(self, picture: Picture) -> npt.NDArray[Any]:
        assert self._compiled is not None
        card = self._compiled.card
        end = card.input
        content = picture.content
        if not (isinstance(content, np.ndarray) and content.dtype == np.int8):
            content = to_input(content, card, picture.invert)
        x = of_type(end.before.type, content, end.scale, end.zero_point)
        return x.reshape(end.before.shape)

    def _classify(self, picture: Picture) -> None:
        if self._compiled is None or self._loaded is None:
            return
        assert self._board is not None
        card = self._compiled.card
        try:
            if len(card.inputs) > 1:
                raise EyespotError(f"{card.name} takes {len(card.inputs)} inputs, not one picture")
            x = self._input(picture)
            seen = prepare(card.input, x)
        except (EyespotError, ValueError) as error:
            self._say_problem(str(error), picture)
            return
        if card.variables:
            self._board.reset_state()  # each picture is a first one
        inference = self._board.run(x)
        graph = self._loaded.graph
        expected = reference.outputs(graph, x[np.newaxis])
        names = [graph.tensors[index].name for index in graph.outputs]
        equal = all(
            np.array_equal(expected[name][0].reshape(-1), output.reshape(-1))
            for name, output in zip(names, inference.outputs)
        )
        now = time.monotonic()
        self._times.append(now)
        while now - self._times[0] > _RATE_SECONDS:
            self._times.popleft()
        span = now - self._times[0]
        rate = (len(self._times) - 1) / span if span else 0.0
        answer = classification(card, inference)
        self._last = Answer(picture, x, seen, answer, equal, rate, self._dropped)
        self._tell("answer", self._last)

    def _look(self) -> None:
        assert self._board is not None and self._last is not None
        choice, compiled, answer = self._loaded, self._compiled, self._last
        if choice is None or compiled is None:
            return
        count = len(compiled.layers)
        self._report(doing="Running up to each layer", done=0, total=count)

        def show(done: int, total: int) -> None:
            self._report(doing="Running up to each layer", done=done, total=total)

        layers = trace(self._board, choice.graph, compiled, answer.x, show)
        stored = {
            layer.tensor: each.board
            for layer, each in zip(compiled.layers, layers)
            if layer.tensor is not None
        }
        values = reference.replay(choice.graph, answer.x, stored)
        number = self.status.looked + 1
        self.looked = Looked(number, choice, compiled, answer, tuple(layers), values)
        self._report(phase="ready", looked=number)

    # Telling.

    def _report(self, **changes: Any) -> None:
        """A new status: what is not given stays, but for what is being done and what was wrong."""
        before = self.status
        doing = changes.get("doing", "")
        gone = changes.get("phase", before.phase) in ("opening", "lost")
        kept = {
            "phase": before.phase,
            "info": None if gone else before.info,
            "baud": 0 if gone else before.baud,
            "choice": before.choice,
            "compiled": before.compiled,
            "looked": before.looked,
            "since": before.since if doing == before.doing else time.monotonic(),
        }
        self.status = Status(**{**kept, "doing": doing, **changes})
        self._reported = time.monotonic()
        self._tell("status", self.status)

    def _say_problem(self, line: str, picture: Picture | None = None) -> None:
        self._tell("problem", (line, picture))
