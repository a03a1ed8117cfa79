"""Where simulators and simulated boards are kept, and by what name."""

from __future__ import annotations

import errno
import hashlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from model.cache import cache_directory, state_directory, write_atomically

__all__ = ["Lock", "cache_directory", "hash_files", "state_directory", "write_atomically"]


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
    OSError
        If there can be no such file, or none that is locked.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b")
        try:
            self._take()
        except OSError as error:
            self._file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise
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

    def remove(self) -> None:
        """Release it, and delete the file: for a lock that will not be needed again."""
        with suppress(OSError):  # Windows does not delete what is open elsewhere
            self._path.unlink()
        self.release()
