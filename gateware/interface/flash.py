"""The configuration flash of the boards: what both sides must know about the parts.

The bitstream lies in the lower half; the upper half is the **model area**. Whatever is erased or
programmed has the top bit of its address wired to one, so the lower half cannot be meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

__all__ = [
    "IS25LP128F",
    "PAGE_BYTES",
    "REQUEST_BYTES",
    "SECTOR_BYTES",
    "SECTOR_PAGES",
    "SLOT_PAGES",
    "STREAM_PAGE",
    "W25Q128JV",
    "WINDOW_BYTES",
    "FlashCommand",
    "FlashOperation",
    "FlashPart",
    "FlashStatus",
    "pack_request",
]

#: What one command programs.
PAGE_BYTES = 256
#: What one command erases.
SECTOR_BYTES = 4096
SECTOR_PAGES = SECTOR_BYTES // PAGE_BYTES


class FlashCommand(IntEnum):
    """What the controller is asked to do with a page of the model area."""

    #: As in :class:`FlashOperation`, where READ is called SEEK.
    READ = 0
    ERASE = 1
    PROGRAM = 2


@dataclass(frozen=True)
class FlashPart:
    """A flash that the controller knows.

    Attributes
    ----------
    name : str
    jedec_id : tuple of int
        Three bytes, as command 9Fh gives them.
    size_bytes : int
        A power of two. More than 16 MiB would need addresses of four bytes.
    quad_by_volatile_register : bool
        Quad transfers are enabled by a volatile write of status register 2 (50h, 31h). Otherwise
        bit 6 of the status register, which is not volatile, must have been set by whoever
        programmed the board: the controller writes no register that outlives power.

    Raises
    ------
    ValueError
        If the size is none that three address bytes can name, or the ID has not three bytes.
    """

    name: str
    jedec_id: tuple[int, int, int]
    size_bytes: int
    quad_by_volatile_register: bool

    def __post_init__(self) -> None:
        if len(self.jedec_id) != 3 or not all(0 <= byte < 256 for byte in self.jedec_id):
            raise ValueError(f"A JEDEC ID is three bytes, not {self.jedec_id!r}")
        size = self.size_bytes
        if size & (size - 1) or not 1 << 17 <= size <= 1 << 24:
            raise ValueError(
                f"A flash has 128 KiB to 16 MiB, a power of two, because addresses are three "
                f"bytes, not {size!r} bytes"
            )

    @property
    def area_address(self) -> int:
        """Where the model area begins."""
        return self.size_bytes // 2

    @property
    def page_bits(self) -> int:
        """Bits that name a page within the model area."""
        return (self.area_address // PAGE_BYTES).bit_length() - 1


#: iCEBreaker; the variant whose quad mode is off after power-up (IM, JM). Where it is always on
#: (IQ, JQ), the ID's second byte is 40h.
W25Q128JV = FlashPart("W25Q128JV", (0xEF, 0x70, 0x18), 1 << 24, True)
#: ULX3S.
IS25LP128F = FlashPart("IS25LP128F", (0x9D, 0x60, 0x18), 1 << 24, False)


# What the link sees of the flash: a window of :data:`WINDOW_BYTES` behind the memory's last byte.
# A request is written to it whole, from its first byte on, with WRITE; READ of any of its bytes
# gives :class:`FlashStatus`.

#: Addresses behind the memory.
WINDOW_BYTES = 8
#: A request: argument u24, operation and tag u8; most significant byte first.
REQUEST_BYTES = 4
#: Pages of a slot, half of the model area of a flash of 16 MiB.
SLOT_PAGES = 1 << 14
#: Page of a slot from which the tape streams.
STREAM_PAGE = SECTOR_PAGES


class FlashOperation(IntEnum):
    """What a request asks for.

    It is carried out if its tag is not that of the request before (zero after reset), so that it
    may be sent again, and if no run and no operation is under way. Then the tag in the status is
    that of the request.
    """

    #: The flash stands at the page's first byte. Argument: a page.
    SEEK = 0
    #: The page's sector; its first page is then the one to program. The selected slot's sectors
    #: make the image in memory invalid, as it may stream from there. Argument: a page.
    ERASE = 1
    #: The page that is to be programmed gets the memory's bytes from an address on, which is the
    #: argument, a multiple of PAGE_BYTES.
    PROGRAM = 2
    #: The page's slot is the one from which the tape streams; the image becomes invalid. Argument:
    #: a page.
    SELECT = 3
    #: Bytes from where the flash stands into memory, from an address on, which is the argument, up
    #: to a multiple of SECTOR_BYTES; then the flash stands behind them. After anything but SEEK and
    #: READ it fails.
    READ = 4


class FlashStatus(IntFlag):
    """Bits of a byte read from the window."""

    #: There is a flash, and it is the part that the gateware expects.
    PRESENT = 1
    #: The operation, or the wake-up after reset, is not finished.
    BUSY = 2
    #: The last operation was not carried out.
    FAILED = 4
    #: Tag of the last request that was accepted.
    TAG = 8
    #: The selected slot.
    SLOT = 16


def pack_request(operation: FlashOperation, tag: int, argument: int = 0) -> bytes:
    """A request as it is written to the window."""
    return argument.to_bytes(3, "big") + bytes([operation | (tag & 1) << 3])
