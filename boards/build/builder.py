"""One builder for all boards: synthesis, place and route, programming."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from gateware.interface.sources import source_hash
from gateware.primitives import Technology
from model.cluster import Cluster
from model.executor import Queue, Threads, compute

from ..catalog import ROUTED_NETLIST
from .board import Board
from .report import BuildError, BuildReport, PlacementError, first_error, parse_log
from .tools import TOOLS, find_tools, versions
from .top import Top

__all__ = ["SEEDS", "Netlist", "build", "place", "plan", "program", "synthesize"]

#: Without this, yosys adds logic to every memory for reads that meet a write to the same address;
#: the gateware never uses what such a read gives.
_AFTER_READ = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2"

#: A clock enable of one or two registers would keep others out of their tile: where enables are
#: many and tiles few, the placer finds no place.
_SYNTHESIS = {Technology.ICE40: "-device u -dffe_min_ce_use 3", Technology.ECP5: ""}

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
SEEDS = (1, 2, 3, 4)
_SEED_VARIABLE = "EYESPOT_SEED"

Progress = Callable[[str], None]


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

    @property
    def files(self) -> tuple[str, ...]:
        """What placement takes, in ``output``."""
        return self.script, "eyespot.json", _CONSTRAINTS[self.board.technology]

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
    environment = find_tools(board.technology)
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
        tools=versions(board.technology, environment),
    )
    # The script runs all tools one after the other: here the ones after synthesis do nothing.
    others = {variable: "true" for variable in TOOLS[board.technology] if variable != "YOSYS"}
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
    for name in netlist.files:
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


def _try(netlist: Netlist, seed: int) -> BuildReport | PlacementError:
    try:
        return place(netlist, seed)
    except PlacementError as error:
        return error


def _try_elsewhere(
    netlist: Netlist, files: Mapping[str, bytes], seed: int
) -> tuple[BuildReport | PlacementError, dict[str, bytes]]:
    """In a worker: place with tools of the same versions, and give what they wrote."""
    technology = netlist.board.technology
    environment = find_tools(technology)
    if (found := versions(technology, environment)) != netlist.tools:
        here, there = (", ".join(map(" ".join, each.items())) for each in (netlist.tools, found))
        raise BuildError(f"a worker has other tools ({there}) than this machine ({here})")
    # The tools' WebAssembly has a /tmp of its own.
    with tempfile.TemporaryDirectory(prefix="placement-", dir=Path.cwd()) as folder:
        output = Path(folder)
        for name, content in files.items():
            (output / name).write_bytes(content)
        outcome = _try(replace(netlist, output=output, environment=environment), seed)
        made = (output / f"seed-{seed}").iterdir()
        return outcome, {path.name: path.read_bytes() for path in made}


def _placements(
    netlist: Netlist, seeds: Sequence[int], queue: Queue, progress: Progress
) -> Iterator[tuple[int, BuildReport | PlacementError]]:
    """Each seed and what came of it, as they come."""
    outcomes: Iterator[tuple[int, Any]]
    if isinstance(queue, Cluster):
        files = {name: (netlist.output / name).read_bytes() for name in netlist.files}
        pieces = [(netlist, files, seed) for seed in seeds]
        outcomes = compute([queue], _try_elsewhere, pieces, progress)
    else:
        outcomes = compute([queue], _try, [(netlist, seed) for seed in seeds], progress)
    for index, outcome in outcomes:
        seed = seeds[index]
        if isinstance(queue, Cluster):
            outcome, made = outcome
            directory = netlist.output / f"seed-{seed}"
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            for name, content in made.items():
                (directory / name).write_bytes(content)
        found = isinstance(outcome, BuildReport)
        progress(f"Seed {seed}: {f'{outcome.fmax_mhz:.2f} MHz' if found else 'found no placement'}")
        yield seed, outcome


def build(
    board: Board,
    *,
    output: Path,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
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
    scheduler : str, optional
        Whose workers try seeds instead, as many at once as they are; see :class:`.Cluster`.
    frequency_mhz, progress
        As in :func:`synthesize`.

    Raises
    ------
    BuildError, ClockError, WorkerError
    """
    with Threads(jobs) if scheduler is None else Cluster(scheduler) as queue:
        return _build(board, output, seeds, queue, frequency_mhz, progress)


def _build(
    board: Board,
    output: Path,
    seeds: Sequence[int] | None,
    queue: Queue,
    frequency_mhz: float | None,
    progress: Progress,
) -> BuildReport:
    began = time.monotonic()
    for old in ("report.json", _BITSTREAMS[board.technology]):
        (output / old).unlink(missing_ok=True)
    netlist = synthesize(board, output=output, frequency_mhz=frequency_mhz, progress=progress)
    progress("Placement and routing (some minutes for the larger boards)")
    outcomes: dict[int, BuildReport | PlacementError] = {}
    candidates = SEEDS if seeds is None else seeds
    for seed, outcome in _placements(netlist, candidates, queue, progress):
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
        raise BuildError(f"{bitstream} missed timing: {report.missed}")
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
