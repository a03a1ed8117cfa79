"""Where things that can be made again are kept, and how they get there whole."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Lock", "cache_directory", "hash_files", "state_directory", "write_atomically"]


def _directory(variable: str, unix: str, mac: str) -> Path:
    if chosen := os.environ.get(variable):
        base = Path(chosen)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / mac
    else:
        base = Path.home() / unix
    return base / "eyespot"


def cache_directory() -> Path:
    """Compiled simulators: ``XDG_CACHE_HOME`` or what the system has in its place."""
    return _directory("XDG_CACHE_HOME", ".cache", "Library/Caches")


def state_directory() -> Path:
    """Memories of simulated boards: ``XDG_STATE_HOME`` or what the system has in its place."""
    return _directory("XDG_STATE_HOME", ".local/state", "Library/Application Support")


def hash_files(paths: Iterable[Path], *more: str) -> str:
    """A name for the content of files and for ``more``."""
    digest = hashlib.sha256()
    for text in more:
        digest.update(text.encode() + b"\0")
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


class Lock:
    """A file that one holder has at a time; the system takes it back when a program ends.

    Raises
    ------
    BlockingIOError
        If another program, or another part of this one, holds it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            self._take()
        except OSError:
            self._file.close()
            raise BlockingIOError(f"{path} is locked") from None

    def _take(self) -> None:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        self._file.close()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that others see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
