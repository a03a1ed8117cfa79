"""The port with frames on it: one request, its reply, and how long to wait for that.

Time-outs count the port's own time if it has one (a method ``now``), as the simulated board has.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import serial

from gateware.interface.protocol import MAX_RUN_CYCLES, RESET_BAUD, Info, Opcode, Result, Status

from ..errors import LinkError, PortError
from .framing import BITS_PER_BYTE, Reply, ReplyDecoder, Request
from .timing import CLOCK_TOLERANCE, FRAME_BYTES, Timing

__all__ = ["ATTEMPTS", "Line", "Port"]

#: A time-out is this many times the time that an inference took.
_RUN_MARGIN = 4
#: Seconds that an inference may take where nothing is known yet; doubled with each failure.
_FIRST_RUN_SECONDS = 0.5
#: Time-outs grow up to this many times.
_PATIENCE = 8
#: Repeated attempts without any progress, then the line is given up.
ATTEMPTS = 10
#: Seconds that adapter, driver and operating system may add to an answer.
_LATENCY = 0.25
#: Most bytes taken from the port at once.
_READ_BYTES = 4096
#: A board's clock before it is known.
_SLOWEST_HZ = 1_000_000
#: Longest wait in one read, in seconds: how fast Ctrl-C and time-outs take effect.
_POLL = 0.05


class Port(Protocol):
    """The part of :class:`serial.Serial` that is used here."""

    baudrate: int
    timeout: float | None

    @property
    def in_waiting(self) -> int: ...
    def read(self, size: int = 1) -> bytes: ...
    def write(self, data: Any, /) -> int | None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Line:
    """A board's end of a serial port.

    Parameters
    ----------
    port : Port
        Open.

    Attributes
    ----------
    info : Info or None
        What the board said of itself, once it has been asked.
    repeats : int
        How often something had to be sent again.
    bytes_sent : int
        Of requests, on the line.
    run_cycles : int
        Clock cycles of the longest inference of this model so far, or predicted; 0 if unknown.
    reset_baud : int
        The rate at which a board listens after reset.
    has_fixed_rate : bool
        The port stays at that rate: it is the other end of a network connection without control.
    latency : float
        Seconds that adapter, driver and operating system may add to an answer.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.info: Info | None = None
        self.repeats = 0
        self.bytes_sent = 0
        self.run_cycles = 0
        #: Seconds, in the port's own time if it has one.
        self.now: Callable[[], float] = getattr(port, "now", time.monotonic)
        self.latency = float(getattr(port, "latency", _LATENCY))
        self.reset_baud = int(getattr(port, "reset_baud", RESET_BAUD))
        self.has_fixed_rate = bool(getattr(port, "has_fixed_rate", False))
        self._sequence = 0
        self._ran = False
        #: When all that was written will have left.
        self._line_free = 0.0
        self._decoder = ReplyDecoder()
        self._arrived: deque[Reply] = deque()
        port.timeout = min(_POLL, self.latency)

    @property
    def timing(self) -> Timing:
        """The speeds of board and line, as far as they are known."""
        clock_hz = self.info.clock_hz if self.info else _SLOWEST_HZ
        return Timing(clock_hz, self.port.baudrate, self.run_cycles)

    @property
    def bytes_received(self) -> int:
        """Bytes that came since the board was last looked for."""
        return self._decoder.received

    # The port, its exceptions translated.

    def write(self, data: bytes) -> None:
        """Put bytes on the line; raise PortError if the port fails."""
        begin = self.now()
        try:
            self.port.write(data)
        except (serial.SerialException, OSError) as error:
            raise PortError(f"the port failed: {error}") from error
        seconds = len(data) * BITS_PER_BYTE / self.port.baudrate
        self._line_free = max(begin, self._line_free) + seconds

    @property
    def unsent(self) -> float:
        """Bytes that were written and cannot have left yet, whatever driver and adapter did."""
        seconds = max(0.0, self._line_free - self.now())
        return self.timing.bytes_in_seconds(seconds) / CLOCK_TOLERANCE

    def set_baud(self, baud: int) -> None:
        """Change the port's rate, once all that was written has left.

        Raises
        ------
        PortError
            If the port cannot do it.
        """
        try:
            self.port.flush()
            self.port.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise PortError(f"the port cannot do {baud} baud: {error}") from error

    def forget_received(self) -> None:
        """Begin to count and to decode anew: what comes next has nothing to do with before."""
        self._decoder = ReplyDecoder()

    def receive(self, deadline: float) -> Reply | None:
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

    def send(self, request: Request) -> int:
        """Put a request on the line; gives its sequence number."""
        self._ran |= request.opcode == Opcode.RUN
        self._sequence = (self._sequence + 1) & 0xFF
        frame = request.encode(self._sequence)
        self.write(frame)
        self.bytes_sent += len(frame)
        return self._sequence

    # Waiting.

    def deadline(self, requests: Sequence[Request], failures: int = 0) -> float:
        """When to give up waiting for the next answer while ``requests`` are outstanding."""
        timing = self.timing
        answers = sum(FRAME_BYTES + request.reply_bytes for request in requests)
        seconds = self.latency + 1.5 * answers * BITS_PER_BYTE / timing.baud
        # CHECK reads all that it checks; a byte takes a few cycles.
        checked = sum(each.address for each in requests if each.opcode == Opcode.CHECK)
        seconds += 16 * checked / timing.clock_hz
        if self._ran and any(request.opcode == Opcode.RESULT for request in requests):
            run = _RUN_MARGIN * timing.run_cycles / timing.clock_hz
            run = run or _FIRST_RUN_SECONDS * 2**failures
            seconds += min(run, MAX_RUN_CYCLES / timing.clock_hz)
        return max(self.now(), self._line_free) + seconds * min(1 << failures, _PATIENCE)

    def learn(self, reply: Reply) -> None:
        """From a RESULT: how long an inference takes."""
        if reply.opcode == Opcode.RESULT and reply.status == Status.OK and self._ran:
            try:
                cycles = Result.unpack(reply.payload[: Result.BYTES]).cycles
            except ValueError:
                return
            self.run_cycles = min(MAX_RUN_CYCLES, max(self.run_cycles, cycles))

    def request(self, request: Request, attempts: int = ATTEMPTS) -> Reply:
        """Ask one thing, again if need be.

        Raises
        ------
        LinkError
            If no answer comes.
        """
        for attempt in range(attempts):
            sequence = self.send(request)
            deadline = self.deadline([request], attempt)
            while (reply := self.receive(deadline)) is not None:
                if reply.sequence == sequence and reply.opcode == request.opcode:
                    self.learn(reply)
                    return reply
            self.repeats += 1
            self.write(b"\0")  # ends whatever the board's receiver is in the middle of
        raise LinkError("the board does not answer any more")
