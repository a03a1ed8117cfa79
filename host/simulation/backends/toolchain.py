"""The C++ compiler of this machine, and how commands are run."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from ...errors import EyespotError

__all__ = ["FLAGS", "CompileError", "find_compiler", "run"]

#: Of every shared library.
FLAGS = ("-std=c++17", "-fPIC", "-shared", "-w")


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


def run(command: list[str], directory: Path) -> None:
    """Run a command in a directory; raise CompileError with its first line if it fails."""
    try:
        result = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise CompileError(f"{command[0]} does not run: {error}") from error
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        raise CompileError(f"{Path(command[0]).name} failed: {lines[0]}")
