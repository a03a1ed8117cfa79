"""What a bitstream was made of: how it and the host tell whether they belong together."""

from __future__ import annotations

import zlib
from pathlib import Path

__all__ = ["source_hash"]


def source_hash() -> int:
    """CRC-32 over the gateware's sources: bitstream and simulation tell which they are made of."""
    root = Path(__file__).parents[1]
    value = 0
    for path in sorted(root.rglob("*.py")):
        value = zlib.crc32(path.relative_to(root).as_posix().encode(), value)
        value = zlib.crc32(path.read_bytes(), value)
    return value
