"""A bad line between host and simulated board: what cables, hubs and adapters do to bytes.

::

    faults=flip:1e-3,lose:1e-4,latency:16ms,seed:7

``flip``, ``lose``, ``duplicate``, ``insert``
    Chance of each byte, in each direction, that a bit of it changes, that it is lost, comes twice,
    or that a random byte comes before it.
``burst``
    Chance that up to ``BURST_BYTES`` random bytes take the place of as many, from this one on.
``stall``
    Chance that this byte and all behind it come up to ``STALL_SECONDS`` later.
``latency``
    Time that each byte needs, in each direction, besides that on the wire: ``16ms``, ``250us``.
``reset``
    Time, from the opening of the port on, at which the board is reset. May be given several times.
``disconnect``
    Time at which the cable is pulled: from then on the port fails.
``seed``
    Of all that is random (default 1): the same faults hit the same bytes again.
"""

from __future__ import annotations

import heapq
import random
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from serial.serialutil import SerialException

from ..errors import PortError
from .backends.backend import Backend

__all__ = ["BURST_BYTES", "STALL_SECONDS", "FaultyLine", "Faults"]

#: Longest burst, in bytes.
BURST_BYTES = 32
#: Longest stall, in seconds.
STALL_SECONDS = 0.02

_CHANCES = ("flip", "lose", "duplicate", "insert", "burst", "stall")
_TIMES = ("latency", "reset", "disconnect")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(s|ms|us)")


def _chance(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise PortError(f"faults: {name} is a chance from 0 to 1, not {text!r}")
    return value


def _seconds(name: str, text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise PortError(f"faults: {name} is a time, as 16ms or 2s, not {text!r}")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True)
class Faults:
    """What happens on the line; chances are per byte and direction, times in seconds.

    Attributes
    ----------
    flip, lose, duplicate, insert, burst, stall : float
    latency : float
    reset : tuple of float
    disconnect : float or None
    seed : int
    """

    flip: float = 0.0
    lose: float = 0.0
    duplicate: float = 0.0
    insert: float = 0.0
    burst: float = 0.0
    stall: float = 0.0
    latency: float = 0.0
    reset: tuple[float, ...] = ()
    disconnect: float | None = None
    seed: int = 1

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read ``name:value,name:value``; raise PortError where it makes no sense."""
        values: dict[str, float | int] = {}
        resets: list[float] = []
        for part in text.split(","):
            name, colon, value = (each.strip() for each in part.partition(":"))
            if name not in (*_CHANCES, *_TIMES, "seed"):
                known = ", ".join((*_CHANCES, *_TIMES, "seed"))
                raise PortError(f"faults: there is no {name!r}; there are {known}")
            if not colon or not value:
                raise PortError(f"faults: {name} needs a value, as {name}:{_example(name)}")
            if name in values:
                raise PortError(f"faults: {name} is given twice")
            if name == "reset":
                resets.append(_seconds(name, value))
            elif name in _CHANCES:
                values[name] = _chance(name, value)
            elif name in _TIMES:
                values[name] = _seconds(name, value)
            elif value.isascii() and value.isdecimal() and len(value) <= 18:
                values[name] = int(value)
            else:
                raise PortError(f"faults: seed is a whole number, not {value!r}")
        return cls(reset=tuple(sorted(resets)), **values)  # type: ignore[arg-type]


def _example(name: str) -> str:
    return "1e-3" if name in _CHANCES else "7" if name == "seed" else "16ms"


class _Direction:
    """One wire's faults. Chunks of bytes, each with the cycle from which on it is there."""

    def __init__(self, faults: Faults, clock_hz: int, seed: str) -> None:
        self._faults = faults
        self._clock_hz = clock_hz
        self._random = random.Random(seed)
        self._any = sum(getattr(faults, name) for name in _CHANCES)
        self._latency = round(faults.latency * clock_hz)
        self._burst_left = 0
        self._last = 0
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.bytes_waiting = 0

    def put(self, data: bytes, now: int) -> None:
        for stall, chunk in self._spoil(data):
            self._last = max(self._last, now + self._latency) + stall
            self.waiting.append((self._last, chunk))
            self.bytes_waiting += len(chunk)

    def take(self, now: int) -> bytes:
        taken = bytearray()
        while self.waiting and self.waiting[0][0] <= now:
            taken += self.waiting.popleft()[1]
        self.bytes_waiting -= len(taken)
        return bytes(taken)

    def clear(self) -> None:
        self.waiting.clear()
        self.bytes_waiting = 0

    def _spoil(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Cycles of stall, and what comes after them."""
        if not self._any:
            yield 0, data
            return
        chance = self._random.random
        chunk = bytearray()
        stall = 0
        for byte in data:
            if self._burst_left:
                self._burst_left -= 1
                chunk.append(self._random.randrange(256))
                continue
            draw = chance()
            if draw >= self._any:
                chunk.append(byte)
                continue
            for name in _CHANCES:
                fault = name
                draw -= getattr(self._faults, name)
                if draw < 0:
                    break
            if fault == "flip":
                chunk.append(byte ^ 1 << self._random.randrange(8))
            elif fault == "duplicate":
                chunk += bytes([byte, byte])
            elif fault == "insert":
                chunk += bytes([self._random.randrange(256), byte])
            elif fault == "burst":
                self._burst_left = self._random.randrange(BURST_BYTES)
                chunk.append(self._random.randrange(256))
            elif fault == "stall":
                if chunk:
                    yield stall, bytes(chunk)
                stall = round(chance() * STALL_SECONDS * self._clock_hz)
                chunk = bytearray([byte])
        if chunk:
            yield stall, bytes(chunk)


class FaultyLine:
    """:class:`.Backend` that passes on to another what a bad line lets through.

    Parameters
    ----------
    backend : Backend
        The board, just switched on.
    faults : Faults
    clock_hz : int
        Of the board, in whose cycles all times are counted.
    """

    def __init__(self, backend: Backend, faults: Faults, clock_hz: int) -> None:
        self._backend = backend
        self._clock_hz = clock_hz
        self._switched_on = backend.snapshot()
        self._connected = True
        self._to_board = _Direction(faults, clock_hz, f"{faults.seed} to board")
        self._to_host = _Direction(faults, clock_hz, f"{faults.seed} to host")
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        for seconds in faults.reset:
            self.at(seconds, self.reset)
        if faults.disconnect is not None:
            self.at(faults.disconnect, self.disconnect)
        self.name = backend.name
        self.flash = backend.flash
        self._seed = faults.seed

    # What tests and the address ask for.

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something once the board's clock has run for ``seconds``."""
        cycle = round(seconds * self._clock_hz)
        heapq.heappush(self._actions, (cycle, len(self._actions), action))

    def reset(self) -> None:
        """The power goes and comes: registers and memories are as after switching it on.

        What the flash was erasing or programming is damaged.
        """
        if self.flash is not None:
            self._seed += 1
            self.flash.lose_power(self._seed)
        self._backend.restore(self._switched_on)

    def reload(self) -> None:
        """The FPGA is loaded anew: as :meth:`reset`, but the flash goes on with what it does."""
        state = None
        if self.flash is not None:
            self.flash.lose_master()
            state = self.flash.snapshot()
        self._backend.restore(self._switched_on)
        if self.flash is not None and state is not None:
            self.flash.restore(state)

    def disconnect(self) -> None:
        """Pull the cable: what is under way is lost, and the port fails from now on."""
        self._connected = False
        self._to_board.clear()
        self._to_host.clear()

    def _check_connected(self) -> None:
        if not self._connected:
            raise SerialException("the device was disconnected")

    # Backend.

    @property
    def cycles(self) -> int:
        return self._backend.cycles

    @property
    def pending(self) -> int:
        self._check_connected()
        return self._to_board.bytes_waiting + self._backend.pending

    def set_bit_cycles(self, cycles: float) -> None:
        self._check_connected()
        self._backend.set_bit_cycles(cycles)

    def send(self, data: bytes) -> None:
        self._check_connected()
        self._to_board.put(data, self.cycles)

    def hold_low(self, cycles: int) -> None:
        self._check_connected()
        self._backend.hold_low(cycles)

    def run(self, cycles: int) -> bytes:
        end = self.cycles + cycles
        while True:
            now = self.cycles
            while self._actions and self._actions[0][0] <= now:
                heapq.heappop(self._actions)[2]()
            self._check_connected()
            if due := self._to_board.take(now):
                self._backend.send(due)
            arrived = self._to_host.take(now)
            if arrived or now >= end:
                return arrived
            events = [each[0] for each in (self._to_board.waiting, self._to_host.waiting) if each]
            until = min([end, *(event[0] for event in events)])
            if self._actions:
                until = min(until, self._actions[0][0])
            received = self._backend.run(until - now)
            if received:
                self._to_host.put(received, self.cycles)

    def snapshot(self) -> bytes:
        return self._backend.snapshot()

    def restore(self, state: bytes) -> None:
        self._backend.restore(state)

    def close(self) -> None:
        self._backend.close()
