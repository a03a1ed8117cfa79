"""Where things that can be made or fetched again are kept, and how they get there whole."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

__all__ = ["cache_directory", "state_directory", "write_atomically"]


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
    """Compiled simulators, data sets: ``XDG_CACHE_HOME`` or what the system has in its place."""
    return _directory("XDG_CACHE_HOME", ".cache", "Library/Caches")


def state_directory() -> Path:
    """Memories of simulated boards: ``XDG_STATE_HOME`` or what the system has in its place."""
    return _directory("XDG_STATE_HOME", ".local/state", "Library/Application Support")


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
