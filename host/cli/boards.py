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
    from gateware.interface.configuration import EngineConfiguration
    from model.int8.graph import Graph

    from ..compiler import CompileError

HELP = "the boards, and what a model would reach on each"


def rate(graph: Graph, description: BoardDescription) -> float | None:
    """Inferences a second on that board; None if the model does not run on it."""
    (outcome,) = outcomes(graph, [description])
    return None if isinstance(outcome, Exception) else outcome


def outcomes(graph: Graph, boards: Sequence[BoardDescription]) -> list[float | CompileError]:
    """Inferences a second on each board, or why there are none.

    What is compiled depends on the engine alone, and few boards have one of their own.
    """
    from .. import compiler

    cycles: dict[EngineConfiguration, int | CompileError] = {}
    for description in boards:
        configuration = description.configuration
        if configuration not in cycles:
            try:
                cycles[configuration] = compiler.compile(graph, configuration).cycles
            except compiler.CompileError as error:
                cycles[configuration] = error
    found = [cycles[each.configuration] for each in boards]
    return [
        value if isinstance(value, Exception) else description.clock_hz / value
        for value, description in zip(found, boards)
    ]


def _describe(
    description: BoardDescription, results: dict[str, float | CompileError]
) -> dict[str, Any]:
    """A board's line; the results are those of each model, by its name."""
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
        "inferences_per_second": {
            name: None if isinstance(value, Exception) else value for name, value in results.items()
        },
        "refusals": {
            name: str(value) for name, value in results.items() if isinstance(value, Exception)
        },
    }


def _text(
    boards: Sequence[dict[str, Any]], results: list[tuple[str, list[float | CompileError]]]
) -> str:
    from .. import compiler

    headings = [
        "board",
        "device",
        "multipliers",
        "KiB",
        "MHz",
        *(f"{name}/s" for name, _ in results),
    ]
    rows = []
    reasons: dict[str, None] = {}
    for index, each in enumerate(boards):
        cells = []
        for name, values in results:
            value = values[index]
            if isinstance(value, compiler.DoesNotFitError):
                cells.append("does not fit")
            elif isinstance(value, Exception):
                cells.append("cannot run")
                reasons[f"{name} cannot run: {value}"] = None
            else:
                cells.append(f"{value:,.0f}")
        rows.append(
            [
                each["board"],
                each["device"],
                f"{each['multipliers']} ({each['lanes']}x{each['pixels']})",
                f"{each['memory_bytes'] // 1024}",
                f"{each['clock_hz'] / 1e6:g}",
                *cells,
            ]
        )
    return "\n".join([table(headings, rows), *([""] if reasons else []), *reasons])


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
    results = [(graph.name, outcomes(graph, chosen)) for graph in graphs]
    rows = [
        _describe(each, {name: values[index] for name, values in results})
        for index, each in enumerate(chosen)
    ]
    return Outcome({"boards": rows}, _text(rows, results))
