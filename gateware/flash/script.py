"""What the controller says to the flash: a table of bytes, one after the other.

Command numbers are those that the datasheets of W25Q128JV and IS25LP128F share.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ..interface.flash import FlashPart

__all__ = ["Kind", "Script", "Step", "flash_script"]

RELEASE_POWER_DOWN = 0xAB
READ_JEDEC_ID = 0x9F
READ_STATUS = 0x05
READ_STATUS_2 = 0x35
VOLATILE_WRITE_ENABLE = 0x50
WRITE_STATUS_2 = 0x31
WRITE_ENABLE = 0x06
ERASE_SECTOR = 0x20
PROGRAM_PAGE = 0x02
READ_QUAD_IO = 0xEB
#: Eight clocks of ones: not a command, and after a quad read in continuous mode the end of it.
LEAVE_CONTINUOUS = 0xFF
#: Mode bits after a quad address: the next read comes without a command, or it does not.
STAY_CONTINUOUS, NOT_CONTINUOUS = 0xA0, 0xF0

WRITE_ENABLED = 0x02
QUAD_ENABLED_2 = 0x02
QUAD_ENABLED = 0x40


class Kind(IntEnum):
    """What happens in a step."""

    SEND = 0  # the step's byte
    ADDRESS_HIGH = 1
    ADDRESS_LOW = 2
    DATA = 3  # a page of bytes from the stream
    OPCODE = 4  # of an erasure or of programming
    EXPECT = 5  # a byte comes, which must have the step's ones, or equal it
    POLL = 6  # status bytes come until the flash is ready; all ones are no flash
    WAIT = 7  # 512 cycles
    STREAM = 8  # words come until the next command


@dataclass(frozen=True)
class Step:
    """A byte to or from the flash.

    Attributes
    ----------
    kind : Kind
    byte : int
    exact : bool
        The byte that comes must have the zeros, too.
    quad : bool
        Four bits a clock instead of one.
    silent : bool
        No line is driven: the flash needs the clocks, not the bits.
    end : bool
        The flash is deselected afterwards.
    last : bool
        And the command is done.
    """

    kind: Kind
    byte: int = 0
    exact: bool = False
    quad: bool = False
    silent: bool = False
    end: bool = False
    last: bool = False


@dataclass(frozen=True)
class Script:
    """All steps, the wake-up's first, and where each command's begin.

    Erasing and programming share theirs, but for the opcode, and DATA, which an erasure skips.
    """

    steps: tuple[Step, ...]
    write: int
    read: int
    read_again: int


def flash_script(part: FlashPart, *, continuous: bool) -> Script:
    """The steps for a part.

    Parameters
    ----------
    part : FlashPart
    continuous : bool
        The flash stays in continuous mode between reads: ``read_again`` begins with the address.
    """

    def send(byte: int, **how: bool) -> Step:
        return Step(Kind.SEND, byte, **how)

    # The loader of the FPGA may have left the flash in power-down, a reset within an erasure or in
    # continuous mode; in none of these does it answer anything else. Busy, it ignores the rest.
    wake = [send(LEAVE_CONTINUOUS, end=True), send(RELEASE_POWER_DOWN, end=True), Step(Kind.WAIT)]
    ready = [send(READ_STATUS), Step(Kind.POLL, end=True)]
    wake += [*ready, send(READ_JEDEC_ID)]
    wake += [
        Step(Kind.EXPECT, byte, exact=True, end=at == 2) for at, byte in enumerate(part.jedec_id)
    ]
    if part.quad_by_volatile_register:
        wake += [send(VOLATILE_WRITE_ENABLE, end=True), send(WRITE_STATUS_2)]
        wake += [send(QUAD_ENABLED_2, end=True), send(READ_STATUS_2)]
        wake += [Step(Kind.EXPECT, QUAD_ENABLED_2, end=True, last=True)]
    else:
        wake += [send(READ_STATUS)]
        wake += [Step(Kind.EXPECT, QUAD_ENABLED, end=True, last=True)]

    address = [Step(Kind.ADDRESS_HIGH), Step(Kind.ADDRESS_LOW)]
    write = [send(LEAVE_CONTINUOUS, end=True)] if continuous else []
    write += [send(WRITE_ENABLE, end=True), send(READ_STATUS)]
    write += [Step(Kind.EXPECT, WRITE_ENABLED, end=True)]
    write += [Step(Kind.OPCODE), *address, send(0), Step(Kind.DATA, end=True)]
    write += [send(READ_STATUS), Step(Kind.POLL, end=True, last=True)]

    read_again = [Step(step.kind, quad=True) for step in address]
    read_again += [send(0, quad=True)]
    read_again += [send(STAY_CONTINUOUS if continuous else NOT_CONTINUOUS, quad=True)]
    read_again += [send(0, quad=True, silent=True)] * 2
    read_again += [Step(Kind.STREAM, silent=True, quad=True)]

    steps = [*wake, *write, send(READ_QUAD_IO), *read_again]
    read = len(wake) + len(write)
    return Script(
        steps=tuple(steps),
        write=len(wake),
        read=read,
        read_again=read + 1 if continuous else read,
    )
