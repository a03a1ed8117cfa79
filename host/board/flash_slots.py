"""Two slots for models in the flash's model area, of which one is valid at any moment.

A slot is half of the area: a sector with the header, then what streams, then the image, each from a
sector's beginning. The header is written last. A slot whose update was cut off therefore has none,
or one that fails its own CRC, and the other slot is untouched.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateware.interface.flash import (
    PAGE_BYTES,
    SECTOR_BYTES,
    SECTOR_PAGES,
    SLOT_PAGES,
    STREAM_PAGE,
)

from ..errors import EyespotError

__all__ = ["CHUNK_BYTES", "FlashDevice", "FlashError", "Slot", "SlotHeader", "Slots"]

_MAGIC = b"EYSL"
#: Bytes of what streams that have a CRC of their own; they fit the memory of every board, which
#: checks them.
CHUNK_BYTES = 1 << 16


class FlashError(EyespotError):
    """The flash does not hold what was written, or cannot hold it."""


class FlashDevice(Protocol):
    """The commands of the flash controller, in pages of the model area."""

    def erase(self, page: int) -> None:
        """Erase the page's sector. Its first page is then the next one to program."""

    def program(self, data: bytes) -> None:
        """Program the next page, ``PAGE_BYTES`` bytes; after an erasure, in its sector only."""

    def read(self, page: int, count: int) -> bytes:
        """Read bytes from the beginning of a page on."""


def chunks(stream: bytes) -> list[bytes]:
    """Cut what streams into the pieces that have a CRC each."""
    return [stream[at : at + CHUNK_BYTES] for at in range(0, len(stream), CHUNK_BYTES)]


@dataclass(frozen=True)
class SlotHeader:
    """First bytes of a slot; numbers are little-endian, 32 bits each.

    Attributes
    ----------
    sequence : int
        One more than the other slot's number, modulo 2³², at the time of writing.
    image_length, image_sum : int
        Length of the image in bytes, and its Adler-32. An image ends with its own CRC-32, so the
        CRC-32 of the whole would be the same for every image.
    stream_length : int
        Length of what streams, in bytes.
    stream_crcs : tuple of int
        CRC-32 of each :data:`CHUNK_BYTES` of it; these follow the other numbers.
    """

    sequence: int
    image_length: int
    image_sum: int
    stream_length: int = 0
    stream_crcs: tuple[int, ...] = ()

    _FORMAT = struct.Struct("<4sIIII")
    #: Of the longest.
    MOST_BYTES = _FORMAT.size + 4 * (SLOT_PAGES * PAGE_BYTES // CHUNK_BYTES) + 4

    @classmethod
    def of(cls, sequence: int, image: bytes, stream: bytes) -> SlotHeader:
        crcs = tuple(zlib.crc32(chunk) for chunk in chunks(stream))
        return cls(sequence, len(image), zlib.adler32(image), len(stream), crcs)

    def is_of(self, image: bytes, stream: bytes) -> bool:
        """Whether this is the header of that model."""
        return self == self.of(self.sequence, image, stream)

    def pack(self) -> bytes:
        """Return the header's bytes, followed by their CRC-32."""
        data = self._FORMAT.pack(
            _MAGIC, self.sequence, self.image_length, self.image_sum, self.stream_length
        )
        data += b"".join(crc.to_bytes(4, "little") for crc in self.stream_crcs)
        return data + zlib.crc32(data).to_bytes(4, "little")

    @classmethod
    def unpack(cls, data: bytes) -> SlotHeader | None:
        """Return the header, or None if there is none, or a damaged one."""
        if len(data) < cls._FORMAT.size:
            return None
        magic, sequence, image, image_sum, stream = cls._FORMAT.unpack(data[: cls._FORMAT.size])
        count = -(-stream // CHUNK_BYTES)
        end = cls._FORMAT.size + 4 * count
        if magic != _MAGIC or end + 4 > len(data):
            return None
        if zlib.crc32(data[:end]) != int.from_bytes(data[end : end + 4], "little"):
            return None
        crcs = struct.unpack_from(f"<{count}I", data, cls._FORMAT.size)
        header = cls(sequence, image, image_sum, stream, crcs)
        return header if 0 < header.image_length and header.end_page <= SLOT_PAGES else None

    @property
    def image_page(self) -> int:
        """Page of the slot at which the image begins."""
        return STREAM_PAGE + -(-self.stream_length // SECTOR_BYTES) * SECTOR_PAGES

    @property
    def end_page(self) -> int:
        return self.image_page + -(-self.image_length // PAGE_BYTES)


@dataclass(frozen=True)
class Slot:
    """A slot with a header.

    Attributes
    ----------
    number : int
        0 or 1.
    header : SlotHeader
    """

    number: int
    header: SlotHeader

    @property
    def first_page(self) -> int:
        return self.number * SLOT_PAGES

    @property
    def stream_page(self) -> int:
        return self.first_page + STREAM_PAGE

    @property
    def image_page(self) -> int:
        return self.first_page + self.header.image_page


class Slots:
    """The two slots of a flash.

    Parameters
    ----------
    device : FlashDevice
    """

    def __init__(self, device: FlashDevice) -> None:
        self._device = device

    def headers(self) -> list[Slot]:
        """Slots with a header, the newer one first, which is the one to run."""
        slots = []
        for number in range(2):
            start = self._device.read(number * SLOT_PAGES, SlotHeader.MOST_BYTES)
            header = SlotHeader.unpack(start)
            if header is not None:
                slots.append(Slot(number, header))
        if len(slots) == 2:
            ahead = (slots[1].header.sequence - slots[0].header.sequence) % (1 << 32)
            if 0 < ahead < 1 << 31:
                slots.reverse()
        return slots

    def content(self, slot: Slot) -> tuple[bytes, bytes] | None:
        """Return image and stream, or None if they are damaged."""
        stream = self._device.read(slot.stream_page, slot.header.stream_length)
        image = self._device.read(slot.image_page, slot.header.image_length)
        return (image, stream) if slot.header.is_of(image, stream) else None

    def erase(self, number: int) -> None:
        """Erase a slot's header; the slot is then empty."""
        self._device.erase(number * SLOT_PAGES)

    def update(
        self,
        image: bytes,
        stream: bytes = b"",
        *,
        keep: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Slot:
        """Write a model into the inactive slot, and make it the one that boots.

        Parameters
        ----------
        image, stream : bytes
        keep : int, optional
            The slot that must not be touched, if that is not the newer one.
        progress : callable
            Called with the number of bytes written, and the total.

        Raises
        ------
        FlashError
            If the image is empty, does not fit, or reads back differently; the other slot is still
            valid.
        """
        headers = self.headers()
        sequence = (headers[0].header.sequence + 1) % (1 << 32) if headers else 0
        if keep is None:
            keep = headers[0].number if headers else 1
        slot = Slot(1 - keep, SlotHeader.of(sequence, image, stream))
        if not image or slot.header.end_page > SLOT_PAGES:
            raise FlashError(
                f"a slot takes 1 to {(SLOT_PAGES - STREAM_PAGE) * PAGE_BYTES:,} bytes, not "
                f"{len(image) + len(stream):,}"
            )
        parts = [(slot.stream_page, stream), (slot.image_page, image)]
        done, total = 0, len(stream) + len(image)
        # Without its header the slot is not valid, whatever happens to the rest.
        self.erase(slot.number)
        for first, data in parts:
            for at in range(0, len(data), SECTOR_BYTES):
                piece = data[at : at + SECTOR_BYTES]
                self._write_sector(first + at // PAGE_BYTES, piece)
                done += len(piece)
                progress(done, total)
        self._write_sector(slot.first_page, slot.header.pack())
        return slot

    def _write_sector(self, page: int, data: bytes) -> None:
        self._device.erase(page)
        for at in range(0, len(data), PAGE_BYTES):
            self._device.program(data[at : at + PAGE_BYTES].ljust(PAGE_BYTES, b"\xff"))
        if self._device.read(page, len(data)) != data:
            raise FlashError(
                "the flash does not hold what was written: it is write-protected or worn, or the "
                "board was reset"
            )
