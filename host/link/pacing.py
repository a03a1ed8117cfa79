"""When the board's buffer for requests has room, known without waiting for an answer.

The board holds two requests, the one that it carries out and the next. A third one is dropped if
any byte of it comes before the second is taken. Waiting for answers keeps to that, but costs an
adapter's latency each time. So the host keeps account: it knows how long the board needs at most
for each request, and that bytes take their time on the line however late an adapter passes them
on. Where the board needs longer, the host sends delimiters, which mean nothing to the board, and
so keeps the line at its rate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Pacer"]


@dataclass(frozen=True)
class _Sent:
    begin: float
    end: float
    work: float
    answer: float
    reply: float
    run: float | None
    waits: bool


@dataclass(frozen=True)
class _State:
    """Places on the line, at the latest.

    Attributes
    ----------
    taken : float
        Where the last request is taken from the buffer.
    free : float
        Where the board is free after it.
    replied : float
        Where the reply to it has left.
    idle : float
        Where the engine is idle.
    """

    taken: float
    free: float
    replied: float
    idle: float

    def after(self, request: _Sent) -> _State:
        """When one more request was carried out."""
        taken = max(request.end, self.free)
        idle = self.idle if request.run is None else taken + request.run
        begin = max(taken, self.idle) if request.waits else taken
        # The board makes a reply only when the one before has left.
        free = max(begin + request.work, self.replied) + request.answer
        return _State(taken, free, free + request.reply, idle)

    def bounded(self, request: _Sent, place: float) -> _State:
        """The same, as the answer to that request had come when ``place`` bytes were sent."""
        idle = self.idle
        if request.run is not None:
            idle = min(idle, place + request.run)
        elif request.waits:
            idle = min(idle, place)
        return _State(min(self.taken, place), min(self.free, place), min(self.replied, place), idle)


class Pacer:
    """The state of the board's buffer, in bytes of the line.

    Places on the line count bytes sent, never time: a pause between them may vanish on the way.

    Attributes
    ----------
    sent : float
        Bytes put on the line so far.
    """

    def __init__(self) -> None:
        self.sent = 0.0
        self._outstanding: deque[_Sent] = deque()
        #: After the last request that is answered, and after the last one that was sent.
        self._answered = self._last = _State(0.0, 0.0, 0.0, 0.0)

    @property
    def in_flight(self) -> float:
        """Bytes put on the line since the oldest request without an answer, itself included."""
        return self.sent - self._outstanding[0].begin if self._outstanding else 0.0

    def rest(self) -> None:
        """Nothing is under way any more."""
        self._outstanding.clear()
        self._answered = self._last = _State(self.sent, self.sent, self.sent, self.sent)

    def pad(self, size: int) -> None:
        """Delimiters were sent."""
        self.sent += size

    def send(
        self,
        size: int,
        work: float,
        answer: float,
        reply: float,
        *,
        run: float | None = None,
        waits: bool = False,
    ) -> None:
        """A request was sent.

        Parameters
        ----------
        size, reply : int
            Bytes on the line, of the request and of the answer to it.
        work, answer : float
            How long the board needs at most, to carry it out and then to make the answer, in bytes
            of the line; infinite if that is not known.
        run : float or None
            It starts the engine, which is idle again so long after it was taken from the buffer;
            infinite if that is not known.
        waits : bool
            The board waits with it until the engine is idle.
        """
        request = _Sent(self.sent, self.sent + size, work, answer, reply, run, waits)
        self.sent += size
        self._outstanding.append(request)
        self._last = self._last.after(request)

    def answered(self, unsent: float = 0.0) -> None:
        """The answer to the oldest request has come: what has not left yet comes later than that.

        Parameters
        ----------
        unsent : float
            Bytes, of those put on the line, that have not left.
        """
        request = self._outstanding.popleft()
        thought = self._answered.after(request)
        self._answered = thought.bounded(request, self.sent - unsent)
        if self._answered != thought:
            self._last = self._answered
            for request in self._outstanding:
                self._last = self._last.after(request)

    @property
    def padding(self) -> float:
        """Bytes that must pass before the next request may come; may be infinite."""
        return max(0.0, self._last.taken - self.sent)
