"""How long the board and the line take at most, in bytes of the line.

Bounds, measured in the gateware's simulation with some reserve: the account that :mod:`.pacing`
keeps is safe as long as the board is not slower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateware.interface.protocol import (
    CRC_BYTES,
    REPLY_HEADER_BYTES,
    REQUEST_HEADER_BYTES,
    Opcode,
)

from .framing import BITS_PER_BYTE, Request

__all__ = ["ANSWER_BYTES", "CLOCK_TOLERANCE", "FRAME_BYTES", "Timing", "frame_bytes"]

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
CLOCK_TOLERANCE = 1.05
#: Bytes of a request that may have come before one of them needs a place in the board's buffer.
_UNNOTICED_BYTES = 3
#: Bytes of a frame on the wire besides its payload, at most: header, CRC, COBS code, delimiter.
FRAME_BYTES = REQUEST_HEADER_BYTES + CRC_BYTES + 2
ANSWER_BYTES = REPLY_HEADER_BYTES + CRC_BYTES + 2


def frame_bytes(request: Request) -> int:
    """Bytes of a request on the wire, at most."""
    return FRAME_BYTES + len(request.payload)


@dataclass(frozen=True)
class Timing:
    """The speeds of a board, its line, and the model that it runs.

    Attributes
    ----------
    clock_hz : int
        Of the board.
    baud : int
        Of the line.
    run_cycles : int
        Clock cycles of the longest inference so far, or predicted; 0 if unknown.
    """

    clock_hz: int
    baud: int
    run_cycles: int = 0

    def bytes_in_seconds(self, seconds: float) -> float:
        """How much of the line passes in a time."""
        return seconds * self.baud / BITS_PER_BYTE

    def bytes_in(self, cycles: float) -> float:
        """How much of the line passes in so many of the board's clock cycles."""
        return self.bytes_in_seconds(cycles / self.clock_hz)

    def work(self, request: Request) -> tuple[float, float]:
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
        return self.bytes_in(cycles) + unknown, self.bytes_in(answer)

    @property
    def run_time(self) -> float:
        """How long the engine runs at most, in bytes of the line; infinite if that is unknown."""
        if not self.run_cycles:
            return math.inf
        return self.bytes_in(_START_CYCLES + _RUN_TOLERANCE * self.run_cycles)

    def since_run(self, cycles: int) -> float:
        """Bytes from the begin of the request behind RUN until ``cycles`` of it are over.

        That request needs a place in the board's buffer, which RUN must have left; were it not so,
        it would be dropped, which the host notices.
        """
        return _UNNOTICED_BYTES + CLOCK_TOLERANCE * self.bytes_in(_START_CYCLES + cycles)

    def covers(self, request: Request, cycles: int) -> bool:
        """Whether so many cycles of a run are over when a request right behind RUN has come."""
        return frame_bytes(request) >= self.since_run(cycles)
