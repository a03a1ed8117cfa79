"""Measure how well line and engine are used while pictures stream through the board.

With --model, the command uploads that model first; otherwise it uses the one that the board holds.
The inputs are random. Times are simulated if the board is. The use of the line is that of its
busier direction; delimiters that only pass the time do not count.
"""

from __future__ import annotations

import argparse

from .common import Outcome, add_port_arguments, load_model, open_board, positive, progress

HELP = "measure the use of the serial line and of the engine"

_COUNT = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port_arguments(parser)
    parser.add_argument(
        "--model", metavar="MODEL", help="a .tflite file, or patterns, digits, mnist, to upload"
    )
    parser.add_argument(
        "--count",
        type=positive,
        default=_COUNT,
        metavar="N",
        help=f"inferences to measure, with as many before and after (default: {_COUNT})",
    )


def run(arguments: argparse.Namespace) -> Outcome:
    from ..evaluation.benchmark import benchmark

    graph = None if arguments.model is None else load_model(arguments.model)
    with open_board(arguments) as board:
        if graph is not None:
            with progress(f"Sending {graph.name}", "bytes") as show:
                board.load(graph, show, flash=None)
        report = benchmark(board, arguments.count)
        info, card = board.info, board.model
    data = {
        "board": info.board,
        "model": card.name if card else None,
        "baud": report.baud,
        "count": report.count,
        "seconds": report.seconds,
        "images_per_second": report.images_per_second,
        "line_utilisation": report.line_utilisation,
        "engine_utilisation": report.engine_utilisation,
        "bytes_per_image": report.bytes_to_board / report.count,
        "cycles": report.cycles,
        "repeats": report.repeats,
    }
    text = (
        f"{data['model']} on {info.board} at {report.baud} baud: "
        f"{report.images_per_second:,.0f} images/s\n"
        f"line used {report.line_utilisation:.1%}, engine {report.engine_utilisation:.1%}"
    )
    return Outcome(data, text)
