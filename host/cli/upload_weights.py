"""Compile a model for the board found at a port, send it, and verify it by the board's own CRC."""

from __future__ import annotations

import argparse
import time

from .common import Outcome, add_port_arguments, open_board, progress

HELP = "compile a model for the board at a port, send and verify it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .tflite file, or patterns, digits, mnist")
    add_port_arguments(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    from ..models import load_model

    graph = load_model(arguments.model)
    start = time.monotonic()
    with open_board(arguments) as board, progress(f"Sending {graph.name}", "bytes") as show:
        compiled = board.load(graph, show)
        name = board.info.board
    seconds = time.monotonic() - start
    size = len(compiled.image)
    data = {"model": graph.name, "board": name, "bytes": size, "seconds": seconds}
    return Outcome(data, f"{graph.name} is on the {name}: {size} bytes, CRC checked by the board.")
