"""A board in plain Python: speaks the protocol, with a function for an engine and faults at will.

Time is virtual: it passes while the host waits, so a test of time-outs takes no time.
"""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import (
    CRC_BYTES,
    MAX_PAYLOAD,
    MAX_READ,
    REPLY_FLAG,
    REQUEST_HEADER_BYTES,
    RESET_BAUD,
    EngineError,
    Info,
    Opcode,
    Result,
    State,
    Status,
)
from host.link.framing import decode_cobs, encode_cobs

Engine = Callable[[bytearray, int], tuple[EngineError, int, int]]
"""(memory, layers) to (error, best, cycles); changes memory."""


def no_engine(memory: bytearray, layers: int) -> tuple[EngineError, int, int]:
    return EngineError.NONE, 0, 100


@dataclass
class Faults:
    """Chance of each byte being changed, in each direction."""

    to_board: float = 0.0
    to_host: float = 0.0
    seed: int = 1


class FakeBoard:
    """The board's side: bytes in, bytes out."""

    def __init__(
        self,
        configuration: EngineConfiguration | None = None,
        *,
        clock_hz: int = 36_000_000,
        engine: Engine = no_engine,
        board: str = "icebreaker",
    ) -> None:
        configuration = configuration or EngineConfiguration()
        self.configuration = configuration
        self.memory = bytearray(configuration.memory_bytes)
        self.engine = engine
        self.clock_hz = clock_hz
        self.bit_cycles = round(clock_hz / RESET_BAUD)
        self.result = Result(EngineError.NONE, 0, 0, 0)
        #: Seconds, in the port's time, until which the engine is busy.
        self.busy_until = 0.0
        self.runs = 0
        self.requests: list[Opcode] = []
        self._partial = bytearray()
        self.info = Info.of(configuration, clock_hz=clock_hz, source_hash=0x1234, board=board)

    @property
    def baud(self) -> float:
        return self.clock_hz / self.bit_cycles

    def reset_baud(self) -> None:
        self.bit_cycles = round(self.clock_hz / RESET_BAUD)

    def receive(self, byte: int, now: float) -> tuple[bytes, float] | None:
        """Take a byte; a complete request gives its reply and the time at which it is ready."""
        if byte:
            self._partial.append(byte)
            return None
        frame, self._partial = bytes(self._partial), bytearray()
        try:
            body = decode_cobs(frame)
        except ValueError:
            return None
        if not REQUEST_HEADER_BYTES + CRC_BYTES <= len(body) <= MAX_PAYLOAD + 9:
            return None
        if zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            return None
        sequence, opcode = body[:2]
        address = int.from_bytes(body[2:5], "little")
        ready = now
        if opcode == Opcode.RESULT:
            ready = max(now, self.busy_until)
        status, payload = self._execute(opcode, address, body[5:-4], ready)
        reply = bytes([sequence, opcode | REPLY_FLAG, status]) + payload
        return encode_cobs(reply + zlib.crc32(reply).to_bytes(4, "little")) + b"\0", ready

    def _execute(
        self, opcode: int, address: int, payload: bytes, now: float
    ) -> tuple[Status, bytes]:
        if opcode not in list(Opcode):
            return Status.BAD_OPCODE, b""
        self.requests.append(Opcode(opcode))
        busy = now < self.busy_until
        valid = State.VALID in self.info.state
        if opcode == Opcode.INFO:
            state = (self.info.state & State.VALID) | (State.BUSY if busy else State(0))
            return Status.OK, replace(self.info, state=state).pack()
        if opcode == Opcode.WRITE:
            if not payload:
                return Status.BAD_LENGTH, b""
            if address + len(payload) > len(self.memory):
                return Status.BAD_ADDRESS, b""
            if valid and address < self.info.image_bytes:
                if busy:
                    return Status.BUSY, b""
                self.info = replace(self.info, state=State(0), image_bytes=0)
            self.memory[address : address + len(payload)] = payload
            return Status.OK, b""
        if opcode in (Opcode.READ, Opcode.RESULT):
            if len(payload) != 1 or not 1 <= payload[0] <= MAX_READ:
                return Status.BAD_LENGTH, b""
            if address + payload[0] > len(self.memory):
                return Status.BAD_ADDRESS, b""
            data = bytes(self.memory[address : address + payload[0]])
            return Status.OK, self.result.pack() + data if opcode == Opcode.RESULT else data
        if opcode == Opcode.CHECK:
            if busy:
                return Status.BUSY, b""
            image = bytes(self.memory[:address])
            if zlib.crc32(image[:-4]) != int.from_bytes(image[-4:], "little"):
                return Status.CRC_MISMATCH, b""
            self.info = replace(self.info, state=State.VALID, image_bytes=address)
            return Status.OK, b""
        if opcode == Opcode.RUN:
            if len(payload) != 2:
                return Status.BAD_LENGTH, b""
            if busy:
                return Status.BUSY, b""
            if not valid:
                return Status.NO_MODEL, b""
            self.runs += 1
            error, best, cycles = self.engine(self.memory, payload[0])
            self.result = Result(error, best, cycles, 0)
            self.busy_until = now + cycles / self.clock_hz
            return Status.OK, b""
        assert opcode == Opcode.BAUD
        self._next_bit_cycles = address
        return Status.OK, b""

    _next_bit_cycles: int | None = None

    def replied(self) -> None:
        """The reply has gone out: now a new rate holds."""
        if self._next_bit_cycles is not None:
            self.bit_cycles, self._next_bit_cycles = self._next_bit_cycles, None


class FakePort:
    """The port to which the board is connected, in virtual time.

    Parameters
    ----------
    board : FakeBoard or None
        None: nothing is connected.
    faults : Faults or None
    latency : float
        Seconds that the adapter adds to what the board sends.
    fastest : int
        Rate beyond which the cable passes on nothing.
    """

    def __init__(
        self,
        board: FakeBoard | None,
        faults: Faults | None = None,
        *,
        latency: float = 0.001,
        fastest: int = 12_000_000,
    ) -> None:
        self.board = board
        self.faults = faults or Faults()
        self.fastest = fastest
        self.baudrate = RESET_BAUD
        self.timeout: float | None = 0.05
        self.latency = 0.02 + 2 * latency
        self.is_open = True
        self._random = random.Random(self.faults.seed)
        self._time = 0.0
        self._line_free = 0.0
        self._delay = latency
        self._incoming: deque[tuple[float, int]] = deque()
        self.sent = 0
        #: Bytes after which the port goes dead, as if the cable were pulled.
        self.dies_after: int | None = None

    def now(self) -> float:
        return self._time

    def _spoil(self, byte: int, chance: float) -> int:
        return byte ^ self._random.randrange(1, 256) if self._random.random() < chance else byte

    def write(self, data: bytes) -> int:
        at = max(self._time, self._line_free)
        for byte in bytes(data):
            at += 10 / self.baudrate
            self.sent += 1
            if self.board is None or (self.dies_after is not None and self.sent > self.dies_after):
                continue
            ratio = self.baudrate / self.board.baud
            if ratio < 0.9 and byte == 0:
                self.board.reset_baud()
                continue
            if not 0.95 < ratio < 1.05 or self.baudrate > self.fastest:
                continue
            answer = self.board.receive(self._spoil(byte, self.faults.to_board), at)
            if answer is None:
                continue
            reply, ready = answer
            if self._incoming:
                ready = max(ready, self._incoming[-1][0] - self._delay)
            for out in reply:
                ready += 10 / self.baudrate
                self._incoming.append((ready + self._delay, self._spoil(out, self.faults.to_host)))
            self.board.replied()
        self._line_free = at
        return len(data)

    @property
    def in_waiting(self) -> int:
        return sum(at <= self._time for at, _ in self._incoming)

    def read(self, size: int = 1) -> bytes:
        deadline = self._time + (self.timeout or 0.0)
        data = bytearray()
        while len(data) < size:
            if not self._incoming or self._incoming[0][0] > max(deadline, self._time):
                self._time = max(deadline, self._time)
                break
            at, byte = self._incoming.popleft()
            self._time = max(self._time, at)
            data.append(byte)
        return bytes(data)

    def flush(self) -> None:
        self._time = max(self._time, self._line_free)

    def close(self) -> None:
        self.is_open = False
