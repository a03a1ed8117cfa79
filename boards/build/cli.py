"""A board's command line: ``python -m boards.NAME build``, and the verbs beside it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gateware.primitives import Technology
from model.errors import EyespotError

from ..catalog import ROUTED_NETLIST
from ..host_process import run_host
from .board import Board
from .builder import SEEDS, build, program
from .report import BuildError, BuildReport

__all__ = ["main", "positive"]


def _run_build(board: Board, output: Path, options: argparse.Namespace) -> int:
    if options.program:
        board.programmer.find()
    seeds = None if options.seeds is None else range(1, options.seeds + 1)
    report = build(
        board,
        output=output,
        seeds=seeds if options.seed is None else (options.seed,),
        jobs=options.jobs or ((os.cpu_count() or 1) if options.seeds else 1),
        scheduler=options.scheduler,
        frequency_mhz=options.frequency,
        progress=_progress,
    )
    print(json.dumps(asdict(report)) if options.json else report.describe())
    if not report.timing_met:
        raise BuildError(f"{board.name}: timing missed: {report.missed}")
    if options.program:
        program(board, output, _progress)
    return 0


def _run_simulate(board: Board, output: Path, options: argparse.Namespace) -> int:
    """Verify what was routed as a board would be: its port is one that ``host`` takes."""
    if board.technology is not Technology.ICE40:
        raise BuildError(f"{board.name}: only routed netlists of iCE40 can be simulated")
    if not (output / ROUTED_NETLIST).exists():
        build(board, output=output, progress=_progress)
    port = f"sim://{board.name}?{urlencode({'netlist': output, 'memory': 'fresh'})}"
    arguments = ["verify", options.model, "--port", port]
    arguments += ["--data", options.data or options.model, "--count", str(options.count)]
    arguments += [flag for flag in ("--json", "--debug") if getattr(options, flag[2:])]
    return run_host(arguments)


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
        help=f"of the placer [the first of 1 to {SEEDS[-1]} that meets timing]",
    )
    seeds.add_argument(
        "--seeds", type=positive(int), metavar="N", help="try 1 to N and keep the fastest"
    )
    verb.add_argument(
        "--jobs", type=positive(int), metavar="N", help="--seeds at once [as many as cores]"
    )
    verb.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster whose workers try the seeds"
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
    verb: argparse.ArgumentParser = verbs.add_parser(
        "simulate", help="verify a model on the routed netlist; builds if there is none"
    )
    verb.add_argument(
        "--model", default="digits", help="a .tflite file, or the name of a bundled one [digits]"
    )
    verb.add_argument("--data", help="as `host verify` takes it [the model's name]")
    verb.add_argument("--count", type=positive(int), default=5, metavar="N", help="inferences [5]")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")
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
