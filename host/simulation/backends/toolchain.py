"""The C++ compiler of this machine, how it is run, and where its results are kept."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...errors import EyespotError
from ..cache import Lock, cache_directory, write_atomically

__all__ = ["FLAGS", "CompileError", "clean", "compiled_once", "find_compiler", "run", "say"]

_POLL_SECONDS = 0.2
#: What the cache keeps: what was used in the last month, up to a size. A board takes 1 to 4 MB.
_KEEP_SECONDS = 30 * 24 * 3600
_KEEP_BYTES = 200_000_000

#: Of every file that becomes part of a shared library.
FLAGS = ("-std=c++17", "-fPIC", "-w")


class CompileError(EyespotError):
    """The compiled simulator cannot be made here."""


def find_compiler() -> list[str] | None:
    """``$CXX``, or a C++ compiler that is there, PyPI's ``ziglang`` included; None without one."""
    if chosen := os.environ.get("CXX"):
        command = shlex.split(chosen)
        return command if command and shutil.which(command[0]) else None
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    """The line that says what went wrong, of all that a command printed."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines()]
    # YoWASP announces itself before it works.
    lines = [line for line in lines if line and not line.startswith("Preparing to run ")]
    if not lines:
        return f"exit status {result.returncode}"
    if lines[0].startswith("Traceback "):
        return lines[-1]
    return next((line for line in lines if "error" in line.lower()), lines[0])


def run(command: list[str], directory: Path) -> None:
    """Run a command in a directory; raise CompileError with its first line if it fails."""
    try:
        result = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise CompileError(f"{command[0]} does not run: {error}") from error
    if result.returncode:
        raise CompileError(f"{Path(command[0]).name} failed: {_reason(result)}")


def say(text: str) -> None:
    """A line on standard error, where progress goes."""
    print(text, file=sys.stderr, flush=True)


def compiled_once(name: str, make: Callable[[Path], Path]) -> Path:
    """A compiled library from the cache, or made now, by one program at a time.

    Parameters
    ----------
    name : str
        Names all that it is made of.
    make : callable
        Makes it in an empty directory, and gives the file.

    Raises
    ------
    CompileError
        If it cannot be made, or there is no place to keep it: then nothing is tried.
    """
    folder = cache_directory() / "simulators"
    library = folder / f"{name}.so"
    if _is_there(library):
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CompileError(
            f"the cache {folder} cannot be written: {error.strerror or error} (XDG_CACHE_HOME "
            "names another place)"
        ) from error
    lock = _wait_for(folder / f"{name}.lock")
    try:
        if not _is_there(library):
            with tempfile.TemporaryDirectory(prefix="eyespot-") as scratch:
                made = make(Path(scratch)).read_bytes()
            try:
                write_atomically(library, made)
            except OSError as error:
                raise CompileError(
                    f"the cache {folder} cannot be written: {error.strerror or error}"
                ) from error
            clean(folder, keep=library)
    finally:
        if lock is not None:
            lock.remove()
    return library


def _wait_for(path: Path) -> Lock | None:
    """The lock, once no other program holds it; None where files cannot be locked."""
    waits = False
    while True:
        try:
            return Lock(path)
        except BlockingIOError:
            if not waits:
                say("Waiting for another program, which compiles the same simulated board ...")
            waits = True
            time.sleep(_POLL_SECONDS)
        except OSError:
            return None


def _is_there(library: Path) -> bool:
    """Whether it is in the cache; its time says when it was last used."""
    try:
        os.utime(library)
    except FileNotFoundError:
        return False
    except OSError:
        return library.exists()  # of another user, who may read it
    return True


def clean(folder: Path, keep: Path) -> None:
    """Delete what was not used for long, and the oldest where it is too much together."""
    entries = []
    for file in folder.iterdir():
        with suppress(OSError):
            status = file.stat()
            entries.append((status.st_mtime, status.st_size, file))
    oldest = time.time() - _KEEP_SECONDS
    total = 0
    for used, size, file in sorted(entries, reverse=True):
        total += size
        if file != keep and (used < oldest or total > _KEEP_BYTES):
            with suppress(OSError):
                file.unlink()
