"""Baud rates: which there are, and how board and host agree on one.

A board listens at the rate after reset, or at a higher one that an earlier program agreed on; a
zero byte at the rate after reset is a break for such a board and brings it back.
"""

from __future__ import annotations

from gateware.interface.protocol import MAX_PAYLOAD, PROTOCOL_VERSION, Info, Opcode, Status
from gateware.interface.timing import MIN_BIT_CYCLES

from ..errors import LinkError, PortError
from .framing import BITS_PER_BYTE, Request
from .line import Line
from .timing import ANSWER_BYTES

__all__ = ["BAUD_RATES", "agree", "ask_info", "bit_cycles"]

#: Rates that are tried, fastest first; 3 Mbaud is what every better USB adapter can do.
BAUD_RATES = (3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 460_800, 230_400, 115_200)
#: How far a rate made by whole clock cycles may be off.
_BAUD_TOLERANCE = 0.02
#: Clocks that a board may say to have.
_CLOCKS_HZ = range(100_000, 2_000_000_000)
#: Most bytes that a board sends in answer to what it holds: two requests, and an answer under way.
_OWED_BYTES = 3 * (ANSWER_BYTES + MAX_PAYLOAD)


def bit_cycles(clock_hz: int, baud: int) -> int | None:
    """Clock cycles a bit for ``baud``; None where the clock cannot make it well enough."""
    cycles = round(clock_hz / baud)
    if cycles < MIN_BIT_CYCLES or abs(clock_hz / cycles / baud - 1) > _BAUD_TOLERANCE:
        return None
    return cycles


def agree(line: Line, baud: int | None = None) -> None:
    """Find the board and agree on a rate; ``line.info`` is then what the board says of itself.

    Parameters
    ----------
    line : Line
    baud : int or None
        The rate to use; None for the fastest that works.

    Raises
    ------
    LinkError
        If what is at the port's other end is no board, or speaks another protocol, or ``baud`` does
        not work.
    """
    if line.has_fixed_rate and baud not in (None, line.reset_baud):
        raise LinkError(
            f"{baud} baud cannot be set from here: a socket:// port stays at {line.reset_baud} "
            "(rfc2217:// can change its rate)"
        )
    line.info = _find_board(line)
    if line.has_fixed_rate:
        return
    for rate in BAUD_RATES if baud is None else (baud,):
        if rate <= line.reset_baud and baud is None:
            return
        if rate == line.reset_baud or _try_baud(line, line.info, rate):
            return
    if baud is not None:
        raise LinkError(f"{baud} baud does not work with this board and port")


def _find_board(line: Line) -> Info:
    """INFO at the rate after reset; a board left at a higher rate is called back first."""
    line.set_baud(line.reset_baud)
    line.forget_received()
    for _ in range(3):
        line.write(b"\0\0")  # a break, or the end of a frame
        info = ask_info(line, attempts=1)
        if info is not None:
            return info
        _let_pass(line)
    if line.bytes_received:
        raise LinkError("what is connected there answers, but is no Eyespot board")
    raise LinkError("no answer: is the board connected, and programmed with Eyespot?")


def _let_pass(line: Line) -> None:
    """What the board owes to a host that died, to be answered before us, at the reset rate."""
    end = line.now() + _OWED_BYTES * BITS_PER_BYTE / line.port.baudrate
    while line.now() < end:
        before = line.bytes_received
        reply = line.receive(min(end, line.now() + line.latency))
        if reply is None and line.bytes_received == before:
            return


def ask_info(line: Line, attempts: int) -> Info | None:
    """What the board says of itself now; None if it does not answer.

    Raises
    ------
    LinkError
        If it speaks another protocol, or the answer makes no sense.
    """
    request = Request(Opcode.INFO, reply_bytes=Info.BYTES)
    try:
        reply = line.request(request, attempts)
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


def _try_baud(line: Line, info: Info, baud: int) -> bool:
    """Change both ends to ``baud``; where that fails, back to the reset rate."""
    cycles = bit_cycles(info.clock_hz, baud)
    if cycles is None:
        return False
    try:
        if line.request(Request(Opcode.BAUD, address=cycles)).status != Status.OK:
            return False
        # The board changes over when its answer's last stop bit has ended.
        line.receive(line.now() + 2 * BITS_PER_BYTE / line.port.baudrate)
        line.set_baud(baud)
        # Two answers prove it, before two are lost.
        proofs = [0, 0]
        while max(proofs) < 2:
            proofs[ask_info(line, attempts=1) is not None] += 1
        if proofs[True] == 2:
            return True
    except PortError:
        pass
    line.info = _find_board(line)
    return False
