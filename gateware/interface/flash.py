"""The configuration flash of the boards: what both sides must know about the parts.

The bitstream lies in the lower half; the upper half is the **model area**. Whatever is erased or
programmed has the top bit of its address wired to one, so the lower half cannot be meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "IS25LP128F",
    "PAGE_BYTES",
    "SECTOR_BYTES",
    "SECTOR_PAGES",
    "W25Q128JV",
    "FlashCommand",
    "FlashPart",
]

#: What one command programs.
PAGE_BYTES = 256
#: What one command erases.
SECTOR_BYTES = 4096
SECTOR_PAGES = SECTOR_BYTES // PAGE_BYTES


class FlashCommand(IntEnum):
    """What the controller is asked to do with a page of the model area."""

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
