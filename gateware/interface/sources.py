"""The sources of a bitstream: a hash shows whether bitstream and host belong together."""

from __future__ import annotations

import zlib
from pathlib import Path

__all__ = ["source_hash"]


def source_hash() -> int:
    """CRC-32 over the gateware's sources, which bitstream and simulation report."""
    root = Path(__file__).parents[1]
    value = 0
    for path in sorted(root.rglob("*.py")):
        value = zlib.crc32(path.relative_to(root).as_posix().encode(), value)
        value = zlib.crc32(path.read_bytes(), value)
    return value
