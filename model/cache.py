"""The directories of files that can be made or downloaded again, and atomic writing."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from model.errors import EyespotError

__all__ = ["cache_directory", "state_directory", "write_atomically"]


def _directory(variable: str, unix: str, mac: str) -> Path:
    if chosen := os.environ.get(variable):
        base = Path(chosen)
    elif sys.platform == "win32" and (chosen := os.environ.get("LOCALAPPDATA")):
        base = Path(chosen)
    else:
        below = {"win32": "AppData/Local", "darwin": mac}.get(sys.platform, unix)
        try:
            base = Path.home() / below
        except RuntimeError as error:  # as in a container with a user that it does not know
            raise EyespotError(
                "there is no home directory to keep files in: set the environment variable HOME, "
                f"or {variable}"
            ) from error
    return base / "eyespot"


def cache_directory() -> Path:
    """The directory of compiled simulators and data sets: ``XDG_CACHE_HOME`` or the system's
    equivalent."""
    return _directory("XDG_CACHE_HOME", ".cache", "Library/Caches")


def state_directory() -> Path:
    """The directory of simulated boards' memories: ``XDG_STATE_HOME`` or the system's
    equivalent."""
    return _directory("XDG_STATE_HOME", ".local/state", "Library/Application Support")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file atomically: others see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
