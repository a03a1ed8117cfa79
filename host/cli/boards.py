"""List the boards, their engines, and what the compiler predicts for them.

Rates are the predicted cycles of an inference on each board's engine, at its clock.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from boards.catalog import BOARDS, BoardDescription
from boards.catalog import board as find_board

from .common import Outcome, table

if TYPE_CHECKING:
    from model.int8.graph import Graph

HELP = "the boards, and what a model would reach on each"


def rate(graph: Graph, description: BoardDescription) -> float | None:
    """Inferences a second on that board; None if the model does not fit it."""
    from .. import compiler

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("boards", metavar="BOARD", nargs="*", help="such as ulx3s-85f [all]")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        action="append",
        help="a .tflite file, or patterns, digits, mnist; several times for several [mnist]",
    )


def run(arguments: argparse.Namespace) -> Outcome:
    from model import zoo

    chosen = [find_board(name) for name in arguments.boards] or BOARDS
    graphs = [zoo.load(name) for name in arguments.model or ["mnist"]]
    rows = [describe(each, graphs) for each in chosen]
    return Outcome({"boards": rows}, _text(rows, graphs))
