"""The boards' table in docs/boards.md, from the reports of real builds.

``python -m docs.boards_table`` writes it from what lies in ``build/``; with ``--build`` all boards,
or those named, are built first, which takes some minutes each. A board without a build keeps its
row, which says when it was built, or that it was not. Rates are the compiler's predictions at the
clock that was built.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from boards.build.board import Board
from boards.build.builder import build
from boards.build.cli import positive
from boards.build.report import BuildError, BuildReport
from boards.catalog import BOARDS, BoardDescription
from boards.catalog import board as find_board
from host.cli.boards import rate
from model import zoo
from model.errors import EyespotError
from model.int8.graph import Graph

DOCUMENT = Path("docs/boards.md")
BEGIN, END = "<!-- python -m docs.boards_table -->", "<!-- end -->"

_NOT_BUILT = "not built"
#: Behind a model's name, in the heading of its rates.
_RATE = "/s"

#: Columns of cells: heading, names in nextpnr's log.
_CELLS = {
    "logic": ("ICESTORM_LC", "TRELLIS_COMB"),
    "registers": ("TRELLIS_FF",),
    "block RAM": ("ICESTORM_RAM", "DP16KD"),
    "DSP": ("ICESTORM_DSP", "MULT18X18D"),
}


def declared(name: str) -> Board:
    """The declaration of a board of the catalogue, from its file."""
    stem, _, size = name.partition("-")
    module = importlib.import_module(f"boards.{stem}")
    declaration = module.BOARDS[size.upper()] if size else module.BOARD
    assert isinstance(declaration, Board)
    return declaration


def _rate(graph: Graph, description: BoardDescription, frequency_mhz: float) -> str:
    predicted = rate(graph, description)
    if predicted is None:
        return "does not fit"
    return f"{predicted * frequency_mhz * 1e6 / description.clock_hz:,.0f}"


def line(description: BoardDescription, directory: Path, graphs: Sequence[Graph]) -> list[str]:
    """A board's cells; what is of a build stays empty without one."""
    configuration = description.configuration
    cells = [
        f"`{description.name}`",
        description.device,
        f"{configuration.lanes * configuration.pixels} "
        f"({configuration.lanes}×{configuration.pixels}, R {configuration.requantizers})",
        f"{configuration.memory_bytes // 1024} KiB",
    ]
    try:
        report = BuildReport.load(directory / description.name)
    except BuildError:
        frequency_mhz = description.clock_hz / 1e6
        cells += [_NOT_BUILT] + [""] * (len(_CELLS) + 2)
    else:
        # What misses its clock runs at what it reaches.
        frequency_mhz = min(report.frequency_mhz, report.fmax_mhz)
        verdict = "" if report.timing_met else " (missed)"
        cells.append(f"{report.fmax_mhz:.1f} of {report.frequency_mhz:g} MHz{verdict}")
        for names in _CELLS.values():
            used = [report.resources[name] for name in names if name in report.resources]
            cells.append(f"{used[0][0]:,} of {used[0][1]:,}" if used else "")
        tools = " ".join(report.tools.values())
        seeds = f" ({report.describe_seeds()})" if len(report.tried) > 1 else ""
        cells += [f"{report.seed}{seeds}", f"{report.date}, {tools}, `{report.source_hash}`"]
    return cells + [_rate(graph, description, frequency_mhz) for graph in graphs]


def table(directory: Path, graphs: Sequence[Graph], before: str = "") -> str:
    """The table in Markdown; a board without a build in ``directory`` keeps its row of ``before``.

    A kept row has no rate for a model that ``before`` has no column for.
    """
    headings = ["board", "device", "multipliers", "memory", "Fmax", *_CELLS, "seed", "built"]
    headings += [_rate_heading(graph) for graph in graphs]
    old_rows = {row["board"]: row for row in _rows(before)}
    rows = []
    for each in BOARDS:
        cells = line(each, directory, graphs)
        old = old_rows.get(cells[0])
        if old is not None and _NOT_BUILT in cells and _NOT_BUILT not in old.values():
            cells = [old.get(heading, "") for heading in headings]
        rows.append(cells)
    return "\n".join(map(_row, [headings, ["---"] * len(headings), *rows]))


def _rate_heading(graph: Graph) -> str:
    return f"{graph.name}{_RATE}"


def _rows(text: str) -> list[dict[str, str]]:
    """The rows of a table in Markdown, each cell by its heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [dict(zip(cells[0], row)) for row in cells[2:]]


def _check_models(graphs: Sequence[Graph], before: str) -> None:
    """Raise an EyespotError if ``before`` has rates of a model that is none of ``graphs``."""
    given = {_rate_heading(graph) for graph in graphs}
    known = {heading for row in _rows(before) for heading in row if heading.endswith(_RATE)}
    if others := sorted(heading.removesuffix(_RATE) for heading in known - given):
        raise EyespotError(
            f"{DOCUMENT} also has rates of {', '.join(others)}: name all its models with --model"
        )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _build(description: BoardDescription, directory: Path, options: argparse.Namespace) -> bool:
    """Whether it came to a bitstream that meets its clock; if not, the others are built still."""

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        report = build(
            declared(description.name),
            output=directory / description.name,
            seeds=range(1, options.seeds + 1) if options.seeds else None,
            jobs=options.jobs,
            scheduler=options.scheduler,
            progress=say,
        )
    except EyespotError as error:
        say(f"docs.boards_table: error: {description.name}: {error}")
        return False
    print(report.describe(), flush=True)
    return report.timing_met


def main(arguments: Sequence[str] | None = None) -> int:
    count = positive(int)
    parser = argparse.ArgumentParser(prog="python -m docs.boards_table", description=__doc__)
    parser.add_argument("boards", metavar="BOARD", nargs="*", help="to build [all]")
    parser.add_argument("--build", action="store_true", help="build them first")
    parser.add_argument("--seeds", type=count, metavar="N", help="of each [until one meets]")
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="seeds at once [1]")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="whose workers try the seeds")
    parser.add_argument("--model", metavar="MODEL", action="append", help="rates for it [mnist]")
    options = parser.parse_args(arguments)
    directory = Path("build")
    try:
        graphs = [zoo.load(name) for name in options.model or ["mnist"]]
        chosen = [find_board(name) for name in options.boards] or BOARDS
        _, old, _ = _document()
        if options.model is None:
            _check_models(graphs, old)
        failed = 0
        for each in chosen if options.build else ():
            failed += not _build(each, directory, options)
        # Builds take long, and the page may have changed in the meantime.
        before, old, after = _document()
    except EyespotError as error:
        print(f"docs.boards_table: error: {error}", file=sys.stderr)
        return 1
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(directory, graphs, old)}\n{END}{after}")
    return 1 if failed else 0


def _document() -> tuple[str, str, str]:
    """The page before the table, the table, and the page behind it."""
    try:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        old, after = rest.split(END)
    except (OSError, ValueError) as error:
        raise EyespotError(f"{DOCUMENT}: no table to replace: {error}") from error
    return before, old, after


if __name__ == "__main__":
    sys.exit(main())
