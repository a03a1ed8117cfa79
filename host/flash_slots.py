"""Two slots for models in the flash's model area, of which one is valid at any moment.

A slot is half of the area: a sector with the header, then the image. The header is written last,
so a slot whose update was cut off has none, or one that its own CRC refuses, and the other slot is
untouched.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateware.interface.flash import PAGE_BYTES, SECTOR_BYTES, SECTOR_PAGES, FlashPart

from .errors import EyespotError

__all__ = ["FlashDevice", "FlashError", "Slot", "SlotHeader", "Slots"]

_MAGIC = b"EYSL"


class FlashError(EyespotError):
    """The flash does not hold what was written, or cannot hold it."""


class FlashDevice(Protocol):
    """What the controller does, in pages of the model area."""

    def erase(self, page: int) -> None:
        """Erase the page's sector. Its first page is then the one to program."""

    def program(self, data: bytes) -> None:
        """Program the next page, ``PAGE_BYTES`` bytes; after an erasure, in its sector only."""

    def read(self, page: int, count: int) -> bytes:
        """Bytes from a page on."""


@dataclass(frozen=True)
class SlotHeader:
    """First bytes of a slot; numbers are little-endian, 32 bits each.

    Attributes
    ----------
    sequence : int
        One more than the other slot's, modulo 2³², when this was written.
    length : int
        Of the image, in bytes.
    crc : int
        CRC-32 of the image.
    """

    sequence: int
    length: int
    crc: int

    _FORMAT = struct.Struct("<4sIII")
    BYTES = _FORMAT.size + 4

    def pack(self) -> bytes:
        """With its own CRC-32 behind it."""
        data = self._FORMAT.pack(_MAGIC, self.sequence, self.length, self.crc)
        return data + zlib.crc32(data).to_bytes(4, "little")

    @classmethod
    def unpack(cls, data: bytes) -> SlotHeader | None:
        """None where there is none, or a damaged one."""
        fields, crc = data[: cls._FORMAT.size], data[cls._FORMAT.size : cls.BYTES]
        if len(crc) < 4 or zlib.crc32(fields) != int.from_bytes(crc, "little"):
            return None
        magic, *numbers = cls._FORMAT.unpack(fields)
        return cls(*numbers) if magic == _MAGIC else None


@dataclass(frozen=True)
class Slot:
    """A slot that holds a whole image."""

    number: int
    header: SlotHeader


class Slots:
    """The two slots of a flash.

    Parameters
    ----------
    device : FlashDevice
    part : FlashPart
    """

    def __init__(self, device: FlashDevice, part: FlashPart) -> None:
        self._device = device
        self._pages = (1 << part.page_bits) // 2

    @property
    def capacity(self) -> int:
        """Bytes of the longest image."""
        return self._pages * PAGE_BYTES - SECTOR_BYTES

    def valid(self) -> list[Slot]:
        """Slots with a whole image, the one to run first: the newer."""
        slots = []
        for number in range(2):
            header = SlotHeader.unpack(self._device.read(number * self._pages, SlotHeader.BYTES))
            if header is None or not 0 < header.length <= self.capacity:
                continue
            if zlib.crc32(self.image(Slot(number, header))) == header.crc:
                slots.append(Slot(number, header))
        if len(slots) == 2:
            ahead = (slots[1].header.sequence - slots[0].header.sequence) % (1 << 32)
            if 0 < ahead < 1 << 31:
                slots.reverse()
        return slots

    def image(self, slot: Slot) -> bytes:
        """What the slot holds."""
        return self._device.read(slot.number * self._pages + SECTOR_PAGES, slot.header.length)

    def update(self, image: bytes, progress: Callable[[int], None] = lambda written: None) -> Slot:
        """Write an image into the slot that is not to run now; from then on it is.

        Parameters
        ----------
        image : bytes
        progress : callable
            Told how many bytes are written.

        Raises
        ------
        FlashError
            If the image is empty or too long, or the flash does not give back what was written;
            the other slot is still there.
        """
        if not 0 < len(image) <= self.capacity:
            raise FlashError(f"a slot takes 1 to {self.capacity:,} bytes, not {len(image):,}")
        running = self.valid()[:1]
        number = 1 - running[0].number if running else 0
        sequence = (running[0].header.sequence + 1) % (1 << 32) if running else 0
        slot = Slot(number, SlotHeader(sequence, len(image), zlib.crc32(image)))
        first = number * self._pages
        # Without its header the slot is not valid, whatever happens to the image.
        self._device.erase(first)
        for at in range(0, len(image), PAGE_BYTES):
            if at % SECTOR_BYTES == 0:
                self._device.erase(first + SECTOR_PAGES + at // PAGE_BYTES)
            self._device.program(image[at : at + PAGE_BYTES].ljust(PAGE_BYTES, b"\xff"))
            progress(min(at + PAGE_BYTES, len(image)))
        if self.image(slot) != image:
            raise FlashError("the flash does not hold what was written: write-protected, or worn")
        self._device.erase(first)
        self._device.program(slot.header.pack().ljust(PAGE_BYTES, b"\xff"))
        if SlotHeader.unpack(self._device.read(first, SlotHeader.BYTES)) != slot.header:
            raise FlashError("the flash does not hold the header: write-protected, or worn")
        return slot
