"""List the boards: ``python -m boards [--model FILE.tflite ...] [BOARD ...]``.

The rates are the compiler's predictions of cycles for each board's engine, at its clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from boards.catalog import BOARDS, BoardDescription
from boards.catalog import board as find_board
from host import compiler
from host.cli.common import table
from model import zoo
from model.errors import EyespotError
from model.int8.graph import Graph


def rate(graph: Graph, description: BoardDescription) -> float | None:
    """Inferences a second on that board; None if the model does not fit it."""
    try:
        compiled = compiler.compile(graph, description.configuration)
    except compiler.CompileError:
        return None
    return description.clock_hz / compiled.cycles


def describe(description: BoardDescription, graphs: Sequence[Graph]) -> dict[str, Any]:
    """A board's line."""
    configuration = description.configuration
    return {
        "board": description.name,
        "device": description.device,
        "multipliers": configuration.lanes * configuration.pixels,
        "lanes": configuration.lanes,
        "pixels": configuration.pixels,
        "requantizers": configuration.requantizers,
        "memory_bytes": configuration.memory_bytes,
        "clock_hz": description.clock_hz,
        "inferences_per_second": {graph.name: rate(graph, description) for graph in graphs},
    }


def _text(boards: Sequence[dict[str, Any]], graphs: Sequence[Graph]) -> str:
    headings = ["board", "device", "multipliers", "KiB", "MHz"]
    headings += [f"{graph.name}/s" for graph in graphs]
    rows = []
    for each in boards:
        rates = each["inferences_per_second"].values()
        rows.append(
            [
                each["board"],
                each["device"],
                f"{each['multipliers']} ({each['lanes']}x{each['pixels']})",
                f"{each['memory_bytes'] // 1024}",
                f"{each['clock_hz'] / 1e6:g}",
                *("does not fit" if value is None else f"{value:,.0f}" for value in rates),
            ]
        )
    return table(headings, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m boards",
        description="Boards, their engines, and what the compiler predicts for them.",
    )
    parser.add_argument("boards", metavar="BOARD", nargs="*", help="such as ulx3s-85f [all]")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        action="append",
        help="a .tflite file, or patterns, digits, mnist; several times for several [mnist]",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--debug", action="store_true", help="tracebacks of errors")
    options = parser.parse_args(arguments)
    try:
        chosen = [find_board(name) for name in options.boards] or BOARDS
        graphs = [zoo.load(name) for name in options.model or ["mnist"]]
        rows = [describe(each, graphs) for each in chosen]
    except EyespotError as error:
        if options.debug:
            raise
        print(f"boards: error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"boards": rows}) if options.json else _text(rows, graphs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
