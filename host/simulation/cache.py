"""Where simulators and simulated boards are kept, and by what name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from model.cache import cache_directory, state_directory, write_atomically

__all__ = ["cache_directory", "hash_files", "state_directory", "write_atomically"]


def hash_files(paths: Iterable[Path], *more: str) -> str:
    """A name for the content of files and for ``more``."""
    digest = hashlib.sha256()
    for text in more:
        digest.update(text.encode() + b"\0")
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]
