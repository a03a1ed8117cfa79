"""The image: a compiled model as it lies in the board's memory from address 0.

``header (64 bytes) | tape | metadata (UTF-8 JSON) | zero padding | CRC-32 of all before (u32)``

The board runs the tape at :data:`TAPE_ADDRESS`; the host reads header and metadata to learn what
the board holds. The image is a whole number of pages (:data:`.protocol.IMAGE_PAGE_BYTES`).
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from .configuration import EngineConfiguration
from .protocol import CRC_BYTES, IMAGE_PAGE_BYTES

MAGIC = b"EYES"
IMAGE_VERSION = 2
HEADER_BYTES = 64
#: Address from which the engine reads.
TAPE_ADDRESS = HEADER_BYTES


@dataclass(frozen=True)
class ImageHeader:
    """First 64 bytes of an image; sizes and addresses in bytes."""

    lanes: int
    pixels: int
    image_bytes: int
    tape_bytes: int
    metadata_address: int
    metadata_bytes: int
    layers: int

    _FORMAT = struct.Struct("<4s H BB IIIII 36x")

    def pack(self) -> bytes:
        return self._FORMAT.pack(
            MAGIC,
            IMAGE_VERSION,
            self.lanes,
            self.pixels,
            self.image_bytes,
            self.tape_bytes,
            self.metadata_address,
            self.metadata_bytes,
            self.layers,
        )

    @classmethod
    def unpack(cls, data: bytes) -> ImageHeader:
        """Read a header; raise ValueError if ``data`` does not begin with one of this version."""
        if len(data) < HEADER_BYTES:
            raise ValueError(f"An image header has {HEADER_BYTES} bytes, not {len(data)}")
        magic, version, *rest = cls._FORMAT.unpack(data[:HEADER_BYTES])
        if magic != MAGIC:
            raise ValueError(f"Not an image: it begins with {magic!r}")
        if version != IMAGE_VERSION:
            raise ValueError(f"Image version {version} is not {IMAGE_VERSION}")
        header = cls(*rest)
        end = header.metadata_address + header.metadata_bytes + CRC_BYTES
        if not HEADER_BYTES + header.tape_bytes <= header.metadata_address <= end:
            raise ValueError("The image header contradicts itself")
        if end > header.image_bytes:
            raise ValueError("The image header contradicts itself")
        return header


def build_image(
    configuration: EngineConfiguration, tape: bytes, metadata: dict[str, Any], layers: int
) -> bytes:
    """Header, tape, metadata and CRC as one block of whole pages."""
    text = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False).encode()
    metadata_address = HEADER_BYTES + len(tape)
    pages = -(-(metadata_address + len(text) + CRC_BYTES) // IMAGE_PAGE_BYTES)
    header = ImageHeader(
        lanes=configuration.lanes,
        pixels=configuration.pixels,
        image_bytes=pages * IMAGE_PAGE_BYTES,
        tape_bytes=len(tape),
        metadata_address=metadata_address,
        metadata_bytes=len(text),
        layers=layers,
    )
    body = (header.pack() + tape + text).ljust(header.image_bytes - CRC_BYTES, b"\0")
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def read_metadata(header: ImageHeader, metadata: bytes) -> dict[str, Any]:
    """Parse the metadata that ``header`` locates; raise ValueError where it is damaged."""
    try:
        value = json.loads(metadata[: header.metadata_bytes].decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The image's metadata is damaged: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("The image's metadata is damaged: not an object")
    return value
