"""Compile a model for the board found at a port, send it, and verify it by the board's own CRC.

With --flash, the model is written into the board's flash, where it outlasts a loss of power; until
that is done, the model that was there before can still run. Networks whose weights do not fit into
the board's memory stream them from the flash.
"""

from __future__ import annotations

import argparse
import time

from .common import Outcome, add_port_arguments, load_model, open_board, progress

HELP = "compile a model for the board at a port, and upload it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .tflite file, or patterns, digits, mnist")
    parser.add_argument(
        "--flash", action="store_true", help="write it into the board's flash, where it stays"
    )
    add_port_arguments(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    graph = load_model(arguments.model)
    start = time.monotonic()
    with open_board(arguments) as board:
        how = "Writing" if arguments.flash else "Sending"
        with progress(f"{how} {graph.name}", "bytes") as show:
            compiled = board.load(graph, show, flash=arguments.flash)
        name = board.info.board
    seconds = time.monotonic() - start
    image, stream = len(compiled.image), len(compiled.stream)
    data = {
        "model": graph.name,
        "board": name,
        "bytes": image + stream,
        "streamed_bytes": stream,
        "flash": arguments.flash,
        "seconds": seconds,
    }
    if not arguments.flash:
        text = f"{graph.name} is on the {name}: {image} bytes, CRC checked by the board."
    else:
        text = (
            f"{graph.name} is in the {name}'s flash and runs, also after power-up: {image} bytes "
            f"in memory, {stream} that stream; CRC checked by the board."
        )
    return Outcome(data, text)
