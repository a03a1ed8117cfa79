"""Requests and replies over a serial port: several in flight, lost ones sent again.

The board answers in order, each request once, and drops what is damaged. So a reply that arrives
before its predecessor's proves a loss; otherwise a time-out does. Sending a request again must
never change an answer. That holds for each of them, and for a series from where the first loss
happened, with one exception: after a RUN memory is no longer what it was. Therefore requests form
**transactions** (write the input, run, read the result), and where it cannot be excluded that a
RUN was carried out after the loss, the whole transaction is repeated, once the engine is idle.

Time-outs count the port's own time if it has one (a method ``now``), as the simulated board has.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import serial

from gateware.interface.protocol import (
    CRC_BYTES,
    MAX_RUN_CYCLES,
    PROTOCOL_VERSION,
    REQUEST_HEADER_BYTES,
    RESET_BAUD,
    Info,
    Opcode,
    Result,
    Status,
)

from .errors import LinkError, PortError
from .framing import Reply, ReplyDecoder, Request

__all__ = ["BAUD_RATES", "Link", "Port", "Reply", "Request", "bit_cycles"]

#: Rates that are tried, fastest first; 3 Mbaud is what every better USB adapter can do.
BAUD_RATES = (3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 460_800, 230_400, 115_200)
#: How far a rate made by whole clock cycles may be off.
BAUD_TOLERANCE = 0.02
#: Fewest clock cycles a bit that the board's receiver can sample.
MIN_BIT_CYCLES = 4

#: Seconds of the line's time that may be in flight: enough to bridge 16 ms of USB latency each way.
_WINDOW_SECONDS = 0.04
#: Bytes and frames that may be in flight: at least and at most.
_WINDOW_BYTES = 600
_WINDOW_FRAMES = 100
#: Frames that may follow one that takes long to answer. The board has two buffers for requests, of
#: which one is being carried out and the other waits.
_LOOKAHEAD = {Opcode.RESULT: 1, Opcode.READ: 1}
#: Clock cycles that the board takes at most to carry out a WRITE: for each byte, and besides.
_WRITE_CYCLES, _REQUEST_CYCLES = 24, 1000
#: Repeated attempts without any progress, then the link is given up.
_ATTEMPTS = 10
#: Seconds that adapter, driver and operating system may add to an answer.
_LATENCY = 0.25
_BITS_PER_BYTE = 10
#: Bytes of a frame on the wire besides its payload, at most: header, CRC, COBS code, delimiter.
_FRAME_BYTES = REQUEST_HEADER_BYTES + CRC_BYTES + 2
#: Longest wait in one read, in seconds: how fast Ctrl-C and time-outs take effect.
_POLL = 0.05


class Port(Protocol):
    """The part of :class:`serial.Serial` that the link uses."""

    baudrate: int
    timeout: float | None

    @property
    def in_waiting(self) -> int: ...
    def read(self, size: int = 1) -> bytes: ...
    def write(self, data: Any, /) -> int | None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def _frame_bytes(request: Request) -> int:
    return _FRAME_BYTES + len(request.payload)


def bit_cycles(clock_hz: int, baud: int) -> int | None:
    """Clock cycles a bit for ``baud``; None where the clock cannot make it well enough."""
    cycles = round(clock_hz / baud)
    if cycles < MIN_BIT_CYCLES or abs(clock_hz / cycles / baud - 1) > BAUD_TOLERANCE:
        return None
    return cycles


@dataclass
class _Transaction:
    """Requests that are carried out in order and together; replies so far."""

    requests: Sequence[Request]
    sequences: list[int] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    @property
    def outstanding(self) -> Sequence[Request]:
        return self.requests[len(self.replies) : len(self.sequences)]

    @property
    def complete(self) -> bool:
        return len(self.replies) == len(self.requests)

    @property
    def next_request(self) -> Request | None:
        sent = len(self.sequences)
        return self.requests[sent] if sent < len(self.requests) else None

    def rewind(self, to_start: bool) -> None:
        """Forget what was sent but not answered, or everything."""
        if to_start:
            self.replies.clear()
        del self.sequences[len(self.replies) :]


class Link:
    """A board's end of a serial port.

    Parameters
    ----------
    port : Port
        Open; its rate must be the one at which the board listens (:meth:`connect` finds it).

    Attributes
    ----------
    info : Info
        What the board said at :meth:`connect`.
    repeats : int
        How often something had to be sent again.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.info: Info | None = None
        self.repeats = 0
        #: Seconds that an inference may take; the longest that the engine allows, if unknown.
        self.run_seconds = 0.0
        #: Seconds, in the port's own time if it has one.
        self.now: Callable[[], float] = getattr(port, "now", time.monotonic)
        self._latency = float(getattr(port, "latency", _LATENCY))
        self._reset_baud = int(getattr(port, "reset_baud", RESET_BAUD))
        self._sequence = 0
        self._ran = False
        #: When all that was written will have left.
        self._line_free = 0.0
        self._decoder = ReplyDecoder()
        self._arrived: deque[Reply] = deque()
        port.timeout = min(_POLL, self._latency)

    # The port, its exceptions translated.

    def _write(self, data: bytes) -> None:
        try:
            self.port.write(data)
        except (serial.SerialException, OSError) as error:
            raise PortError(f"the port failed: {error}") from error
        seconds = len(data) * _BITS_PER_BYTE / self.port.baudrate
        self._line_free = max(self.now(), self._line_free) + seconds

    def _set_baud(self, baud: int) -> None:
        try:
            self.port.flush()
            self.port.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise PortError(f"the port cannot do {baud} baud: {error}") from error

    def _receive(self, deadline: float) -> Reply | None:
        """The next reply; None if there is none before ``deadline``."""
        while not self._arrived:
            if self.now() >= deadline:
                return None
            try:
                data = self.port.read(1)
                if data:
                    data += self.port.read(self.port.in_waiting)
            except (serial.SerialException, OSError) as error:
                raise PortError(f"the port failed: {error}") from error
            self._arrived.extend(self._decoder.feed(data))
        return self._arrived.popleft()

    def _send(self, request: Request) -> int:
        self._ran |= request.opcode == Opcode.RUN
        self._sequence = (self._sequence + 1) & 0xFF
        self._write(request.encode(self._sequence))
        return self._sequence

    # Time.

    def _deadline(self, requests: Sequence[Request]) -> float:
        """When to give up waiting for the next answer while ``requests`` are outstanding."""
        answers = sum(_FRAME_BYTES + request.reply_bytes for request in requests)
        seconds = self._latency + 1.5 * answers * _BITS_PER_BYTE / self.port.baudrate
        clock_hz = self.info.clock_hz if self.info else 1_000_000
        # CHECK reads all that it checks; a byte takes a few cycles.
        checked = sum(each.address for each in requests if each.opcode == Opcode.CHECK)
        seconds += 16 * checked / clock_hz
        if self._ran and any(request.opcode == Opcode.RESULT for request in requests):
            seconds += self.run_seconds or MAX_RUN_CYCLES / clock_hz
        return max(self.now(), self._line_free) + seconds

    # One request.

    def request(self, request: Request, attempts: int = _ATTEMPTS) -> Reply:
        """Ask one thing, again if need be.

        Raises
        ------
        LinkError
            If no answer comes.
        """
        for _ in range(attempts):
            sequence = self._send(request)
            deadline = self._deadline([request])
            while (reply := self._receive(deadline)) is not None:
                if reply.sequence == sequence and reply.opcode == request.opcode:
                    return reply
            self.repeats += 1
            self._write(b"\0")  # ends whatever the board's receiver is in the middle of
        raise LinkError("the board does not answer any more")

    # Many requests.

    def exchange(self, transactions: Iterable[Sequence[Request]]) -> Iterator[list[Reply]]:
        """Carry out transactions in order, several requests in flight.

        Parameters
        ----------
        transactions : iterable of sequence of Request
            Taken as they are needed. A RUN must be the only one in its transaction and come after
            the writes and before the reads that belong to it.

        Yields
        ------
        list of Reply
            One for each request of a transaction; its status may be an error.

        Raises
        ------
        LinkError
            If the board stops to answer.
        """
        source = iter(transactions)
        active: deque[_Transaction] = deque()
        cautious = False
        failures = 0

        def outstanding() -> list[Request]:
            return [request for transaction in active for request in transaction.outstanding]

        def fill() -> None:
            while True:
                current = next((each for each in active if each.next_request), None)
                if current is None:
                    following = next(source, None)
                    if following is None:
                        return
                    current = _Transaction(following)
                    active.append(current)
                    if current.complete:
                        return
                request = current.next_request
                assert request is not None
                if not self._may_follow(request, outstanding(), cautious):
                    return
                current.sequences.append(self._send(request))

        while True:
            fill()
            while active and active[0].complete:
                yield active.popleft().replies
            if not active:
                return
            waiting = outstanding()
            if not waiting:
                continue
            reply = self._receive(self._deadline(waiting))
            expected = [s for each in active for s in each.sequences[len(each.replies) :]]
            if reply is not None and reply.sequence not in expected:
                continue  # of an attempt that was given up
            head = active[0]
            if (
                reply is not None
                and reply.sequence == expected[0]
                and reply.opcode == waiting[0].opcode
                and reply.status != Status.BUSY
            ):
                head.replies.append(reply)
                if head.complete:
                    cautious = False
                failures = 0
                continue
            failures += 1
            self.repeats += 1
            if failures > _ATTEMPTS:
                raise LinkError("the board does not answer any more")
            cautious = True
            self._wait_until_idle()
            opcodes = [request.opcode for request in waiting]
            reread = Opcode.READ in opcodes and Opcode.WRITE in opcodes
            to_start = reread or Opcode.RUN in opcodes
            for index, transaction in enumerate(active):
                transaction.rewind(to_start or index > 0)

    def _may_follow(self, request: Request, waiting: list[Request], cautious: bool) -> bool:
        """Whether ``request`` may be sent while ``waiting`` are not answered."""
        if not waiting:
            return True
        room = max(_WINDOW_BYTES, _WINDOW_SECONDS * self.port.baudrate / _BITS_PER_BYTE)
        if len(waiting) >= _WINDOW_FRAMES or sum(map(_frame_bytes, waiting)) > room:
            return False
        for index, each in enumerate(waiting):
            if len(waiting) - index > _LOOKAHEAD.get(each.opcode, _WINDOW_FRAMES):
                return False
            if not self._has_buffer([*waiting[index:], request]):
                return False
        if cautious:
            kinds = {each.opcode for each in waiting}
            if request.opcode == Opcode.RUN or Opcode.RUN in kinds:
                return False
            return request.opcode != Opcode.WRITE or kinds == {Opcode.WRITE}
        return True

    def _has_buffer(self, requests: Sequence[Request]) -> bool:
        """Whether the first is carried out before the third has come, which needs its buffer."""
        if len(requests) != 3 or requests[0].opcode != Opcode.WRITE:
            return True
        cycles = _WRITE_CYCLES * len(requests[0].payload) + _REQUEST_CYCLES
        clock_hz = self.info.clock_hz if self.info else 1_000_000
        line = sum(map(_frame_bytes, requests[1:])) * _BITS_PER_BYTE / self.port.baudrate
        return line >= cycles / clock_hz

    def _wait_until_idle(self) -> None:
        """Until all that was sent has been carried out, and the engine has come to rest."""
        self._write(b"\0")
        self.request(Request(Opcode.RESULT, reply_bytes=Result.BYTES))

    # Rates.

    def connect(self, baud: int | None = None) -> Info:
        """Find the board and agree on a rate.

        Parameters
        ----------
        baud : int or None
            The rate to use; None for the fastest that works.

        Raises
        ------
        LinkError
            If what is at the port's other end is no board, or speaks another protocol, or
            ``baud`` does not work.
        """
        self.info = self._find_board()
        rates = BAUD_RATES if baud is None else (baud,)
        for rate in rates:
            if rate <= self._reset_baud and baud is None:
                break
            if rate == self._reset_baud or self._try_baud(rate):
                return self.info
        if baud is not None:
            raise LinkError(f"{baud} baud does not work with this board and port")
        return self.info

    def _find_board(self) -> Info:
        """INFO at the rate after reset; a board left at a higher rate is called back first.

        A zero byte at the reset rate is a break for a board that listens at a higher one, and ends
        a frame otherwise.
        """
        self._set_baud(self._reset_baud)
        self._decoder = ReplyDecoder()
        for _ in range(3):
            self._write(b"\0\0")
            info = self._ask_info(attempts=1)
            if info is not None:
                return info
        if self._decoder.received:
            raise LinkError("what is connected there answers, but is no Eyespot board")
        raise LinkError("no answer: is the board connected, and programmed with Eyespot?")

    def _ask_info(self, attempts: int) -> Info | None:
        request = Request(Opcode.INFO, reply_bytes=Info.BYTES)
        try:
            reply = self.request(request, attempts)
        except LinkError:
            return None
        if reply.payload and reply.payload[0] != PROTOCOL_VERSION:
            raise LinkError(
                f"the board speaks protocol {reply.payload[0]}, this program {PROTOCOL_VERSION}: "
                f"install the version that fits, or build the board's bitstream anew"
            )
        try:
            return Info.unpack(reply.payload)
        except ValueError as error:
            raise LinkError(f"the board's answer makes no sense: {error}") from error

    def _try_baud(self, baud: int) -> bool:
        """Change both ends to ``baud``; where that fails, back to the reset rate."""
        assert self.info is not None
        cycles = bit_cycles(self.info.clock_hz, baud)
        if cycles is None:
            return False
        try:
            if self.request(Request(Opcode.BAUD, address=cycles)).status != Status.OK:
                return False
            # The board changes over when its answer's last stop bit has ended.
            self._receive(self.now() + 2 * _BITS_PER_BYTE / self.port.baudrate)
            self._set_baud(baud)
            proofs = [self._ask_info(attempts=1) for _ in range(2)]
        except PortError:
            proofs = []
        if proofs and all(proofs):
            return True
        self.info = self._find_board()
        return False

    # What the rest of the host asks.

    def read_info(self) -> Info:
        """INFO, fresh."""
        info = self._ask_info(_ATTEMPTS)
        if info is None:
            raise LinkError("the board does not answer any more")
        self.info = info
        return info
