"""The boards' table in docs/boards.md, from the reports of real builds.

``python -m boards.table`` writes it from what lies in ``build/``; with ``--build`` all boards, or
those named, are built first, which takes some minutes each. A board without a build keeps a line
that says so. Rates are the compiler's predictions at the clock that was built.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from host.models import load_model
from model.errors import EyespotError
from model.graph import Graph

from .__main__ import rate
from .builder import Board, build
from .catalog import BOARDS, BoardDescription
from .catalog import board as find_board
from .report import BuildError, BuildReport

DOCUMENT = Path("docs/boards.md")
BEGIN, END = "<!-- python -m boards.table -->", "<!-- end -->"

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
        cells += ["not built"] + [""] * (len(_CELLS) + 2)
    else:
        # What misses its clock runs at what it reaches.
        frequency_mhz = min(report.frequency_mhz, report.fmax_mhz)
        verdict = "" if report.timing_met else " (missed)"
        cells.append(f"{report.fmax_mhz:.1f} of {report.frequency_mhz:g} MHz{verdict}")
        for names in _CELLS.values():
            used = [report.resources[name] for name in names if name in report.resources]
            cells.append(f"{used[0][0]:,} of {used[0][1]:,}" if used else "")
        tools = " ".join(report.tools.values())
        cells += [f"{report.seed}", f"{report.date}, {tools}, `{report.source_hash}`"]
    return cells + [_rate(graph, description, frequency_mhz) for graph in graphs]


def table(directory: Path, graphs: Sequence[Graph]) -> str:
    """Markdown."""
    headings = ["board", "device", "multipliers", "memory", "Fmax", *_CELLS, "seed", "built"]
    headings += [f"{graph.name}/s" for graph in graphs]
    rows = [headings, ["---"] * len(headings)]
    rows += [line(each, directory, graphs) for each in BOARDS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m boards.table", description=__doc__)
    parser.add_argument("boards", metavar="BOARD", nargs="*", help="to build [all]")
    parser.add_argument("--build", action="store_true", help="build them first")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="of each build [1]")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="seeds at once [1]")
    parser.add_argument("--model", metavar="MODEL", action="append", help="rates for it [mnist]")
    options = parser.parse_args(arguments)
    directory = Path("build")
    try:
        graphs = [load_model(name) for name in options.model or ["mnist"]]
        chosen = [find_board(name) for name in options.boards] or BOARDS
        for each in chosen if options.build else ():
            report = build(
                declared(each.name),
                output=directory / each.name,
                seeds=range(1, options.seeds + 1),
                jobs=options.jobs,
                progress=lambda text: print(text, file=sys.stderr, flush=True),
            )
            print(report.describe(), flush=True)
        text = DOCUMENT.read_text()
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
    except EyespotError as error:
        print(f"boards.table: error: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError, IndexError) as error:
        print(f"boards.table: error: {DOCUMENT}: no table to replace: {error}", file=sys.stderr)
        return 1
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(directory, graphs)}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
