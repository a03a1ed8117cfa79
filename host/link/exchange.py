"""Which request goes next and what its answer means for the others: no port, no clock.

The board answers in order, each request once, and drops what is damaged. So a reply that arrives
before its predecessor's proves a loss; otherwise a time-out does. Sending a request again must
never change an answer. That holds for each of them, and for a series from where the first loss
happened, with one exception: after a RUN memory is no longer what it was. Therefore requests form
**transactions** (write the input, run, read the result), and where it cannot be excluded that a
RUN was carried out after the loss, the whole transaction is repeated, once the engine is idle.

A RUN that changes state is an :class:`.OnceRequest`: to repeat it would be wrong, and so would be
to run on what was not all written. It is sent when everything before it is answered; and after a
loss, once the engine is idle, the board's memory tells whether it has been carried out.

How much is in flight follows the line, as TCP does it: more with each answer, half of it after a
loss. How fast it goes, so that the board's buffer has room, is :mod:`.pacing`'s business.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gateware.interface.protocol import Opcode, Status

from .framing import OnceRequest, Reply, Request
from .pacing import Pacer
from .timing import ANSWER_BYTES, Timing, frame_bytes

__all__ = ["WINDOW_BYTES", "Exchange"]

#: Bytes that may be in flight at first and after losses, and requests at most: sequence numbers
#: must tell them apart.
WINDOW_BYTES = 600
_WINDOW_FRAMES = 250
#: Seconds of the line's time that may be in flight: enough to bridge 16 ms of USB latency each way.
_WINDOW_SECONDS = 0.04
#: Longest time that is filled with delimiters; who would need more waits for answers.
_PADDING_SECONDS = 0.05


@dataclass(eq=False)
class _Transaction:
    """Requests that are carried out in order and together; replies so far."""

    requests: Sequence[Request]
    sent: int = 0
    replies: list[Reply] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.replies) == len(self.requests)

    @property
    def next_request(self) -> Request | None:
        return self.requests[self.sent] if self.sent < len(self.requests) else None

    def rewind(self, to_start: bool) -> None:
        """Forget what was sent but not answered, or everything."""
        if to_start:
            self.replies.clear()
        self.sent = len(self.replies)

    @property
    def once(self) -> tuple[int, OnceRequest] | None:
        """The request that must be carried out once, if it was sent, and its place."""
        for place, request in enumerate(self.requests[: self.sent]):
            if isinstance(request, OnceRequest):
                return place, request
        return None

    def rewind_behind_once(self) -> None:
        """Forget all answers to what was sent behind that request: it has been carried out."""
        assert self.once is not None
        place, request = self.once
        done = Reply(0, request.opcode, Status.OK, b"")
        self.replies = [*self.replies[:place], done]
        self.sent = len(self.replies)


@dataclass(frozen=True)
class _Outstanding:
    """A request that was sent and not answered."""

    request: Request
    sequence: int
    transaction: _Transaction


@dataclass(frozen=True)
class _Next:
    """A request to send now, behind so many delimiters."""

    padding: int
    request: Request
    transaction: _Transaction


class Exchange:
    """Transactions under way, several requests in flight.

    Whoever drives it sends what :meth:`next_request` gives and says so with :meth:`sent`, until
    that gives None; takes what :meth:`completed` gives; and hands each reply to :meth:`accept`. If
    that is not the one that was due, or none comes in time, it lets the engine come to rest between
    :meth:`lose` and :meth:`recover`.

    Parameters
    ----------
    transactions : iterable of sequence of Request
        Taken as they are needed. A RUN must be the only one in its transaction and come after
        the writes and before the reads that belong to it.
    free_after : int or None
        Cycles of a run after which the next transaction's WRITEs change nothing that is still to
        be read: so they are sent between RUN and RESULT. None: they are sent afterwards.
    window : float
        Bytes that may be in flight, as an earlier exchange left it.

    Attributes
    ----------
    failures : int
        Losses since the last answer.
    """

    def __init__(
        self,
        transactions: Iterable[Sequence[Request]],
        *,
        free_after: int | None = None,
        window: float = WINDOW_BYTES,
    ) -> None:
        self.failures = 0
        self.window = window
        self._source = iter(transactions)
        self._free_after = free_after
        self._active: deque[_Transaction] = deque()
        self._outstanding: deque[_Outstanding] = deque()
        #: After a loss, until the transaction that it hit is complete: one thing at a time.
        self._cautious = False
        self._pacer = Pacer()
        #: Whether the last request that was sent is a RUN, and where the next WRITE may end.
        self._behind_run = False
        self._free_place = 0.0

    # What is to be done.

    @property
    def is_over(self) -> bool:
        """Whether all transactions are complete and taken, where nothing more is to be sent."""
        return not self._active

    @property
    def awaited(self) -> Request | None:
        """The request whose answer comes next; None if all are answered."""
        return self._outstanding[0].request if self._outstanding else None

    def completed(self) -> Iterator[list[Reply]]:
        """Replies of the transactions that are complete, oldest first; each is given once."""
        while self._active and self._active[0].complete:
            yield self._active.popleft().replies

    # Sending.

    def next_request(self, timing: Timing) -> _Next | None:
        """What may be sent now; None if an answer must come first, or there is nothing more."""
        current = self._next_transaction(timing)
        if current is None or current.complete:
            return None
        request = current.next_request
        assert request is not None
        padding = self._pacer.padding
        if request.opcode == Opcode.WRITE and not self._behind_run:
            padding = max(padding, self._free_place - self._pacer.sent - frame_bytes(request))
        if self._outstanding and (
            isinstance(request, OnceRequest) or not self._may_follow(request, padding, timing)
        ):
            return None
        return _Next(max(0, math.ceil(padding)), request, current)

    def sent(self, what: _Next, sequence: int, timing: Timing) -> None:
        """It has been written to the port, under that sequence number."""
        request = what.request
        if what.padding:
            self._pacer.pad(what.padding)
        begin = self._pacer.sent
        self._pacer.send(
            frame_bytes(request),
            *timing.work(request),
            ANSWER_BYTES + request.reply_bytes,
            run=timing.run_time if request.opcode == Opcode.RUN else None,
            waits=request.opcode == Opcode.RESULT,
        )
        self._outstanding.append(_Outstanding(request, sequence, what.transaction))
        what.transaction.sent += 1
        if self._behind_run and self._free_after is not None:
            self._free_place = begin + timing.since_run(self._free_after)
        self._behind_run = request.opcode == Opcode.RUN

    def _unsent(self, after: _Transaction | None = None) -> _Transaction | None:
        """The next transaction of which something is to be sent, later than ``after``."""
        begin = 0 if after is None else self._active.index(after) + 1
        for each in list(self._active)[begin:]:
            if each.next_request or each.complete:
                return each
        following = next(self._source, None)
        if following is None:
            return None
        self._active.append(_Transaction(following))
        return self._active[-1]

    def _next_transaction(self, timing: Timing) -> _Transaction | None:
        """The one whose turn it is: a WRITE of the next input may come before a RESULT."""
        current = self._unsent()
        if current is None or current.complete or self._free_after is None or self._cautious:
            return current
        request = current.next_request
        if request and request.opcode == Opcode.RESULT:
            ahead = self._unsent(current)
            write = ahead.next_request if ahead is not None else None
            if write is not None and write.opcode == Opcode.WRITE:
                if not self._behind_run or timing.covers(write, self._free_after):
                    return ahead
        return current

    def _may_follow(self, request: Request, padding: float, timing: Timing) -> bool:
        """Whether ``request`` may be sent before those that are outstanding are answered."""
        if padding > timing.bytes_in_seconds(_PADDING_SECONDS):
            return False
        if len(self._outstanding) >= _WINDOW_FRAMES:
            return False
        if self._pacer.in_flight + padding > self.window:
            return False
        if self._cautious:
            kinds = {each.request.opcode for each in self._outstanding}
            if request.opcode == Opcode.RUN or Opcode.RUN in kinds:
                return False
            return request.opcode != Opcode.WRITE or kinds == {Opcode.WRITE}
        return True

    # Answers.

    def knows(self, reply: Reply) -> bool:
        """Whether it answers one of the outstanding requests, and not an attempt given up."""
        return any(each.sequence == reply.sequence for each in self._outstanding)

    def accept(self, reply: Reply, timing: Timing, unsent: float) -> bool:
        """Take the answer to the oldest request; False if it is another one, or says BUSY.

        Parameters
        ----------
        reply : Reply
        timing : Timing
        unsent : float
            Bytes, of those given to the port, that cannot have left yet.
        """
        oldest = self._outstanding[0]
        if (
            reply.sequence != oldest.sequence
            or reply.opcode != oldest.request.opcode
            or reply.status == Status.BUSY
        ):
            return False
        self._outstanding.popleft()
        self._pacer.answered(unsent)
        oldest.transaction.replies.append(reply)
        if oldest.transaction.complete:
            self._cautious = False
        self.failures = 0
        most = timing.bytes_in_seconds(_WINDOW_SECONDS + timing.run_cycles / timing.clock_hz)
        self.window = min(max(most, WINDOW_BYTES), self.window + frame_bytes(oldest.request))
        return True

    # Losses.

    def lose(self) -> None:
        """Something was lost: go on with care, once :meth:`recover` is called."""
        self.failures += 1
        self._cautious = True
        self.window = max(WINDOW_BYTES, self.window / 2)

    @property
    def doubtful(self) -> OnceRequest | None:
        """What may have been carried out and must not be twice; None if nothing was sent."""
        once = self._active[0].once if self._active else None
        return None if once is None else once[1]

    def recover(self, was_lost: bool, carried_out: bool = False) -> None:
        """Take back what was not answered, now that the board has nothing more to do.

        Parameters
        ----------
        was_lost : bool
            The board had to be found anew: it may have been reset.
        carried_out : bool
            What is :attr:`doubtful` has been carried out.
        """
        self._pacer.rest()
        doubtful = self.doubtful is not None
        # WRITEs of a later transaction may have come before this one's data had been read.
        to_start = was_lost or any(
            each.request.opcode == Opcode.RUN
            or (each.request.opcode == Opcode.WRITE and each.transaction is not self._active[0])
            for each in self._outstanding
        )
        for index, transaction in enumerate(self._active):
            if index == 0 and carried_out:
                transaction.rewind_behind_once()
            else:
                transaction.rewind(to_start or index > 0 or doubtful)
        self._outstanding.clear()
        self._behind_run, self._free_place = False, 0.0
