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
    reply: float


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
        #: Where the board is free, and the reply to it has left, of the last one that is answered.
        self._free = self._replied = 0.0
        #: The same of the last one that was sent, and where that one is taken from the buffer.
        self._last = (0.0, 0.0, 0.0)

    @property
    def in_flight(self) -> float:
        """Bytes put on the line since the oldest request without an answer, itself included."""
        return self.sent - self._outstanding[0].begin if self._outstanding else 0.0

    def rest(self) -> None:
        """Nothing is under way any more."""
        self._outstanding.clear()
        self._free = self._replied = self.sent
        self._last = (self.sent, self.sent, self.sent)

    def pad(self, size: int) -> None:
        """Delimiters were sent."""
        self.sent += size

    def send(self, size: int, work: float, reply: float) -> None:
        """A request was sent.

        Parameters
        ----------
        size, reply : int
            Bytes on the line, of the request and of the answer to it.
        work : float
            How long the board needs at most, in bytes of the line; infinite if that is not known.
        """
        request = _Sent(self.sent, self.sent + size, work, reply)
        self.sent += size
        self._outstanding.append(request)
        self._last = self._after(request, self._last)

    @staticmethod
    def _after(request: _Sent, before: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where it is taken, where the board is free after it, and where its reply has left."""
        _, free, replied = before
        taken = max(request.end, free)
        # The board makes a reply only when the one before has left.
        answered = max(taken, replied) + request.work
        return taken, answered, answered + request.reply

    def answered(self) -> None:
        """The answer to the oldest request has come: what is sent now comes later than that."""
        request = self._outstanding.popleft()
        _, free, replied = self._after(request, (0.0, self._free, self._replied))
        self._free, self._replied = min(free, self.sent), min(replied, self.sent)
        if free > self.sent or not self._outstanding:
            self._last = (min(self._last[0], self._free), self._free, self._replied)
            for request in self._outstanding:
                self._last = self._after(request, self._last)

    @property
    def padding(self) -> float:
        """Bytes that must pass before the next request may come; may be infinite."""
        return max(0.0, self._last[0] - self.sent)
