"""Requests and replies over a serial port: several in flight, lost ones sent again.

The board answers in order, each request once, and drops what is damaged. So a reply that arrives
before its predecessor's proves a loss; otherwise a time-out does. Sending a request again must
never change an answer. That holds for each of them, and for a series from where the first loss
happened, with one exception: after a RUN memory is no longer what it was. Therefore requests form
**transactions** (write the input, run, read the result), and where it cannot be excluded that a
RUN was carried out after the loss, the whole transaction is repeated, once the engine is idle.

How much is in flight follows the line, as TCP does it: more with each answer, half of it after a
loss. How fast it goes, so that the board's buffer has room, is :mod:`.pacing`'s business. A board
that has fallen back to the rate after reset (a break on the line does that) is found again there.

Time-outs count the port's own time if it has one (a method ``now``), as the simulated board has.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import serial

from gateware.interface.protocol import (
    CRC_BYTES,
    MAX_PAYLOAD,
    MAX_RUN_CYCLES,
    PROTOCOL_VERSION,
    REPLY_HEADER_BYTES,
    REQUEST_HEADER_BYTES,
    RESET_BAUD,
    Info,
    Opcode,
    Result,
    Status,
)

from ..errors import LinkError, PortError
from .framing import Reply, ReplyDecoder, Request
from .pacing import Pacer

__all__ = ["BAUD_RATES", "Link", "Port", "Reply", "Request", "bit_cycles"]

#: Rates that are tried, fastest first; 3 Mbaud is what every better USB adapter can do.
BAUD_RATES = (3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 460_800, 230_400, 115_200)
#: How far a rate made by whole clock cycles may be off.
BAUD_TOLERANCE = 0.02
#: Fewest clock cycles a bit that the board's receiver can sample.
MIN_BIT_CYCLES = 4

#: Seconds of the line's time that may be in flight: enough to bridge 16 ms of USB latency each way.
_WINDOW_SECONDS = 0.04
#: Bytes that may be in flight at first and after losses, and requests at most: sequence numbers
#: must tell them apart.
_WINDOW_BYTES = 600
_WINDOW_FRAMES = 250
#: Clock cycles that the board takes at most to carry out a request: for each byte of a WRITE (15
#: measured, and a few for meetings in memory), for a READ while the engine has the memory (800
#: measured, for a byte), and besides.
_WRITE_CYCLES, _READ_CYCLES, _REQUEST_CYCLES = 18, 1000, 250
#: The same of a RESULT, once the engine is idle.
_RESULT_CYCLES = 20
#: And then to make the answer: for each byte of its payload (zeros take longest, 57 measured), and
#: besides.
_REPLY_CYCLES, _ANSWER_CYCLES = 58, 300
#: Clock cycles from when RUN is taken from the buffer to when the engine runs, at most. (A RESULT
#: of zeros, from the end of a run to the begin of the next: 25 less than these together.)
_START_CYCLES = 100
#: An inference takes as long as the one before, but for meetings in memory.
_RUN_TOLERANCE = 1.001
#: The adapter's clock and the board's are as far apart as a line can bear, and more.
_CLOCK_TOLERANCE = 1.05
#: Bytes of a request that may have come before one of them needs a place in the board's buffer.
_UNNOTICED_BYTES = 3
#: Longest time that is filled with delimiters; who would need more waits for answers.
_PADDING_SECONDS = 0.05
#: A time-out is this many times the time that an inference took.
_RUN_MARGIN = 4
#: Seconds that an inference may take where nothing is known yet; doubled with each failure.
_FIRST_RUN_SECONDS = 0.5
#: Time-outs grow up to this many times.
_PATIENCE = 8
#: Attempts before the board is looked for at the rate after reset.
_ATTEMPTS_AT_RATE = 4
#: Repeated attempts without any progress, then the link is given up.
_ATTEMPTS = 10
#: Seconds that adapter, driver and operating system may add to an answer.
_LATENCY = 0.25
_BITS_PER_BYTE = 10
#: Most bytes taken from the port at once.
_READ_BYTES = 4096
#: Clocks that a board may say to have.
_CLOCKS_HZ = range(100_000, 2_000_000_000)
#: Bytes of a frame on the wire besides its payload, at most: header, CRC, COBS code, delimiter.
_FRAME_BYTES = REQUEST_HEADER_BYTES + CRC_BYTES + 2
_ANSWER_BYTES = REPLY_HEADER_BYTES + CRC_BYTES + 2
#: Most bytes that a board sends in answer to what it holds: two requests, and an answer under way.
_OWED_BYTES = 3 * (_ANSWER_BYTES + MAX_PAYLOAD)
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


@dataclass(frozen=True)
class _Outstanding:
    """A request that was sent and not answered."""

    request: Request
    sequence: int
    transaction: _Transaction


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
    bytes_sent : int
        Of requests, on the line.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.info: Info | None = None
        self.repeats = 0
        self.bytes_sent = 0
        #: Clock cycles of the longest inference of this model so far, or predicted; 0 if unknown.
        self.run_cycles = 0
        #: Seconds, in the port's own time if it has one.
        self.now: Callable[[], float] = getattr(port, "now", time.monotonic)
        self._latency = float(getattr(port, "latency", _LATENCY))
        self._reset_baud = int(getattr(port, "reset_baud", RESET_BAUD))
        self._sequence = 0
        self._ran = False
        #: When all that was written will have left.
        self._line_free = 0.0
        self._window = float(_WINDOW_BYTES)
        self._pacer = Pacer()
        self._decoder = ReplyDecoder()
        self._arrived: deque[Reply] = deque()
        port.timeout = min(_POLL, self._latency)

    @property
    def bytes_received(self) -> int:
        """Bytes that came since the last :meth:`connect`."""
        return self._decoder.received

    # The port, its exceptions translated.

    def _write(self, data: bytes) -> None:
        begin = self.now()
        try:
            self.port.write(data)
        except (serial.SerialException, OSError) as error:
            raise PortError(f"the port failed: {error}") from error
        seconds = len(data) * _BITS_PER_BYTE / self.port.baudrate
        self._line_free = max(begin, self._line_free) + seconds

    def _unsent(self) -> float:
        """Bytes that were written and cannot have left yet, whatever driver and adapter did."""
        seconds = max(0.0, self._line_free - self.now())
        return seconds * self.port.baudrate / _BITS_PER_BYTE / _CLOCK_TOLERANCE

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
                    data += self.port.read(min(self.port.in_waiting, _READ_BYTES))
            except (serial.SerialException, OSError) as error:
                raise PortError(f"the port failed: {error}") from error
            self._arrived.extend(self._decoder.feed(data))
        return self._arrived.popleft()

    def _send(self, request: Request) -> int:
        self._ran |= request.opcode == Opcode.RUN
        self._sequence = (self._sequence + 1) & 0xFF
        frame = request.encode(self._sequence)
        self._write(frame)
        self.bytes_sent += len(frame)
        return self._sequence

    # Time.

    @property
    def _clock_hz(self) -> int:
        return self.info.clock_hz if self.info else 1_000_000

    def _deadline(self, requests: Sequence[Request], failures: int = 0) -> float:
        """When to give up waiting for the next answer while ``requests`` are outstanding."""
        answers = sum(_FRAME_BYTES + request.reply_bytes for request in requests)
        seconds = self._latency + 1.5 * answers * _BITS_PER_BYTE / self.port.baudrate
        clock_hz = self._clock_hz
        # CHECK reads all that it checks; a byte takes a few cycles.
        checked = sum(each.address for each in requests if each.opcode == Opcode.CHECK)
        seconds += 16 * checked / clock_hz
        if self._ran and any(request.opcode == Opcode.RESULT for request in requests):
            run = _RUN_MARGIN * self.run_cycles / clock_hz or _FIRST_RUN_SECONDS * 2**failures
            seconds += min(run, MAX_RUN_CYCLES / clock_hz)
        return max(self.now(), self._line_free) + seconds * min(1 << failures, _PATIENCE)

    def _bytes_in(self, cycles: float) -> float:
        """How much of the line passes in so many of the board's clock cycles."""
        return cycles / self._clock_hz * self.port.baudrate / _BITS_PER_BYTE

    def _work(self, request: Request) -> tuple[float, float]:
        """How long the board needs at most to carry it out, and then to make the answer.

        In bytes of the line; infinite if that is unknown.
        """
        cycles = _REQUEST_CYCLES + _WRITE_CYCLES * len(request.payload)
        if request.opcode == Opcode.READ:
            cycles += _READ_CYCLES
        if request.opcode == Opcode.RESULT:
            cycles = _RESULT_CYCLES
        answer = _ANSWER_CYCLES + _REPLY_CYCLES * request.reply_bytes
        unknown = math.inf if request.opcode == Opcode.CHECK else 0.0
        return self._bytes_in(cycles) + unknown, self._bytes_in(answer)

    def _run_time(self) -> float:
        """How long the engine runs at most, in bytes of the line; infinite if that is unknown."""
        if not self.run_cycles:
            return math.inf
        return self._bytes_in(_START_CYCLES + _RUN_TOLERANCE * self.run_cycles)

    def _since_run(self, cycles: int) -> float:
        """Bytes from the begin of the request behind RUN until ``cycles`` of it are over.

        That request needs a place in the board's buffer, which RUN must have left; were it not so,
        it would be dropped, which the host notices.
        """
        return _UNNOTICED_BYTES + _CLOCK_TOLERANCE * self._bytes_in(_START_CYCLES + cycles)

    def covers(self, request: Request, cycles: int) -> bool:
        """Whether so many cycles of a run are over when a request right behind RUN has come."""
        return _frame_bytes(request) >= self._since_run(cycles)

    def _learn(self, reply: Reply) -> None:
        """From a RESULT: how long an inference takes."""
        if reply.opcode == Opcode.RESULT and reply.status == Status.OK and self._ran:
            try:
                cycles = Result.unpack(reply.payload[: Result.BYTES]).cycles
            except ValueError:
                return
            self.run_cycles = min(MAX_RUN_CYCLES, max(self.run_cycles, cycles))

    # One request.

    def request(self, request: Request, attempts: int = _ATTEMPTS) -> Reply:
        """Ask one thing, again if need be.

        Raises
        ------
        LinkError
            If no answer comes.
        """
        for attempt in range(attempts):
            sequence = self._send(request)
            deadline = self._deadline([request], attempt)
            while (reply := self._receive(deadline)) is not None:
                if reply.sequence == sequence and reply.opcode == request.opcode:
                    self._learn(reply)
                    return reply
            self.repeats += 1
            self._write(b"\0")  # ends whatever the board's receiver is in the middle of
        raise LinkError("the board does not answer any more")

    # Many requests.

    def exchange(
        self, transactions: Iterable[Sequence[Request]], *, free_after: int | None = None
    ) -> Iterator[list[Reply]]:
        """Carry out transactions in order, several requests in flight.

        Parameters
        ----------
        transactions : iterable of sequence of Request
            Taken as they are needed. A RUN must be the only one in its transaction and come after
            the writes and before the reads that belong to it.
        free_after : int or None
            Cycles of a run after which the next transaction's WRITEs change nothing that is still
            to be read: so they are sent between RUN and RESULT. None: they are sent afterwards.

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
        outstanding: deque[_Outstanding] = deque()
        cautious = False
        failures = 0
        deadline = 0.0
        self._pacer.rest()
        #: Whether the last request that was sent is a RUN, and where the next WRITE may end.
        behind_run = False
        free_place = 0.0

        def unsent(after: _Transaction | None = None) -> _Transaction | None:
            """The next transaction of which something is to be sent, later than ``after``."""
            begin = 0 if after is None else active.index(after) + 1
            for each in list(active)[begin:]:
                if each.next_request or each.complete:
                    return each
            following = next(source, None)
            if following is not None:
                active.append(_Transaction(following))
                return active[-1]
            return None

        def next_one() -> _Transaction | None:
            current = unsent()
            if current is None or current.complete or free_after is None or cautious:
                return current
            request = current.next_request
            if request and request.opcode == Opcode.RESULT:
                ahead = unsent(current)
                if ahead is not None and ahead.next_request:
                    write = ahead.next_request
                    if write.opcode == Opcode.WRITE:
                        if not behind_run or self.covers(write, free_after):
                            return ahead
            return current

        def fill() -> bool:
            """Send what may be sent; whether that was anything."""
            nonlocal behind_run, free_place
            any_sent = False
            while (current := next_one()) is not None and not current.complete:
                request = current.next_request
                assert request is not None
                waiting = [each.request for each in outstanding] if cautious else []
                padding = self._pacer.padding
                if request.opcode == Opcode.WRITE and not behind_run:
                    end = self._pacer.sent + _frame_bytes(request)
                    padding = max(padding, free_place - end)
                if outstanding and not self._may_follow(
                    request, len(outstanding), waiting, padding
                ):
                    break
                sequence = self._send_paced(request, padding)
                outstanding.append(_Outstanding(request, sequence, current))
                current.sent += 1
                any_sent = True
                if behind_run and free_after is not None:
                    begin = self._pacer.sent - _frame_bytes(request)
                    free_place = begin + self._since_run(free_after)
                behind_run = request.opcode == Opcode.RUN
            return any_sent

        while True:
            if fill():
                deadline = self._deadline([outstanding[0].request], failures)
            while active and active[0].complete:
                yield active.popleft().replies
            if not active:
                return
            if not outstanding:
                continue
            reply = self._receive(deadline)
            oldest = outstanding[0]
            if reply is not None and reply.sequence not in (each.sequence for each in outstanding):
                continue  # of an attempt that was given up
            if (
                reply is not None
                and reply.sequence == oldest.sequence
                and reply.opcode == oldest.request.opcode
                and reply.status != Status.BUSY
            ):
                outstanding.popleft()
                self._pacer.answered(self._unsent())
                self._learn(reply)
                transaction = oldest.transaction
                transaction.replies.append(reply)
                if transaction.complete:
                    cautious = False
                seconds = _WINDOW_SECONDS + self.run_cycles / self._clock_hz
                most = seconds * self.port.baudrate / _BITS_PER_BYTE
                self._window = min(
                    max(most, _WINDOW_BYTES), self._window + _frame_bytes(oldest.request)
                )
                failures = 0
                if outstanding:
                    deadline = self._deadline([outstanding[0].request])
                continue
            failures += 1
            self.repeats += 1
            if failures > _ATTEMPTS:
                raise LinkError(
                    "the board stays busy"
                    if reply is not None and reply.status == Status.BUSY
                    else "the board does not answer any more"
                )
            cautious = True
            self._window = max(_WINDOW_BYTES, self._window / 2)
            was_lost = self._wait_until_idle()
            # WRITEs of a later transaction may have come before this one's data had been read.
            to_start = was_lost or any(
                each.request.opcode == Opcode.RUN
                or (each.request.opcode == Opcode.WRITE and each.transaction is not active[0])
                for each in outstanding
            )
            for index, transaction in enumerate(active):
                transaction.rewind(to_start or index > 0)
            outstanding.clear()
            behind_run, free_place = False, 0.0

    def _may_follow(
        self, request: Request, count: int, waiting: Sequence[Request], padding: float
    ) -> bool:
        """Whether ``request`` may be sent now.

        Parameters
        ----------
        request : Request
        count : int
            Requests that are not answered.
        waiting : sequence of Request
            These, where a loss has just happened: then more care is taken.
        padding : float
            Bytes that must pass before it.
        """
        if padding > _PADDING_SECONDS * self.port.baudrate / _BITS_PER_BYTE:
            return False
        if count >= _WINDOW_FRAMES or self._pacer.in_flight + padding > self._window:
            return False
        if waiting:
            kinds = {each.opcode for each in waiting}
            if request.opcode == Opcode.RUN or Opcode.RUN in kinds:
                return False
            return request.opcode != Opcode.WRITE or kinds == {Opcode.WRITE}
        return True

    def _send_paced(self, request: Request, padding: float) -> int:
        """Send so many delimiters, and the request; gives the sequence number."""
        if padding > 0:
            self._write(bytes(math.ceil(padding)))
            self._pacer.pad(math.ceil(padding))
        sequence = self._send(request)
        self._pacer.send(
            _frame_bytes(request),
            *self._work(request),
            _ANSWER_BYTES + request.reply_bytes,
            run=self._run_time() if request.opcode == Opcode.RUN else None,
            waits=request.opcode == Opcode.RESULT,
        )
        return sequence

    def _wait_until_idle(self) -> bool:
        """Until all that was sent has been carried out, and the engine has come to rest.

        Returns
        -------
        bool
            Whether the board had to be found anew: it may have been reset.
        """
        request = Request(Opcode.RESULT, 0, b"\1", Result.BYTES + 1)
        self._write(b"\0")
        was_lost = False
        baud = self.port.baudrate
        try:
            self.request(request, _ATTEMPTS if baud == self._reset_baud else _ATTEMPTS_AT_RATE)
        except LinkError:
            if baud == self._reset_baud:
                raise
            was_lost = True
            try:
                self.connect(baud)
            except LinkError as error:
                raise LinkError("the board does not answer any more") from error
            self.request(request)
        self._pacer.rest()
        return was_lost

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
            self._let_pass()
        if self._decoder.received:
            raise LinkError("what is connected there answers, but is no Eyespot board")
        raise LinkError("no answer: is the board connected, and programmed with Eyespot?")

    def _let_pass(self) -> None:
        """What the board owes to a host that died, to be answered before us, at the reset rate."""
        end = self.now() + _OWED_BYTES * _BITS_PER_BYTE / self.port.baudrate
        while self.now() < end:
            before = self._decoder.received
            reply = self._receive(min(end, self.now() + self._latency))
            if reply is None and self._decoder.received == before:
                return

    def _ask_info(self, attempts: int) -> Info | None:
        request = Request(Opcode.INFO, reply_bytes=Info.BYTES)
        try:
            reply = self.request(request, attempts)
        except LinkError:
            return None
        if reply.status == Status.OK and reply.payload[:1] not in (b"", bytes([PROTOCOL_VERSION])):
            raise LinkError(
                f"the board speaks protocol {reply.payload[0]}, this program {PROTOCOL_VERSION}: "
                f"install the version that fits, or build the board's bitstream anew"
            )
        try:
            info = Info.unpack(reply.payload)
            if info.clock_hz not in _CLOCKS_HZ:
                raise ValueError(f"a clock of {info.clock_hz} Hz")
        except ValueError as error:
            raise LinkError(f"the board's answer makes no sense: {error}") from error
        return info

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
            # Two answers prove it, before two are lost.
            proofs = [0, 0]
            while max(proofs) < 2:
                proofs[self._ask_info(attempts=1) is not None] += 1
            if proofs[True] == 2:
                return True
        except PortError:
            pass
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
