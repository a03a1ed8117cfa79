"""Show everything on a simulated board: train, quantise, compile, upload, classify, check.

The demo trains a small network on handwritten digits, uploads it over the simulated board's serial
port, lets the simulated gateware classify test pictures, and compares every answer with the
reference.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .common import Outcome, natural, positive, progress, say

if TYPE_CHECKING:
    from ..board import Board

HELP = "train, upload and classify, all on a simulated board"

_EPOCHS = 60
#: Pictures: the whole test part where the simulator is compiled, else as many as take a minute.
_COUNT = {"cxxrtl": None, "amaranth": 10}
_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", default="sim", metavar="PORT", help="serial port (default: sim)")
    parser.add_argument("--baud", type=positive, metavar="N", help="baud rate")
    parser.add_argument(
        "--count", type=positive, metavar="N", help="test pictures (default: as many as are quick)"
    )
    parser.add_argument(
        "--seed", type=natural, metavar="N", default=0, help="seed of the training (default: 0)"
    )


def run(arguments: argparse.Namespace) -> Outcome:
    with _Opening(arguments.port, arguments.baud) as opening:
        return _run(arguments, opening)


def _run(arguments: argparse.Namespace, opening: _Opening) -> Outcome:
    import numpy as np

    from model.datasets import datasets
    from model.training import recipes
    from model.training.progress import progress_bar

    from ..evaluation.verify import verify

    started = time.monotonic()
    if not arguments.port.startswith("sim"):
        opening.board()  # what is wrong with a real port is found out before the training
    say("1. Training a network on 8x8 pictures of handwritten digits")
    dataset = datasets.load("digits")
    with progress_bar("   training") as show_training:
        graph, trained, *_ = recipes.train(
            dataset, seed=arguments.seed, epochs=_EPOCHS, progress=show_training
        )
    say(
        f"   {trained['parameters']} parameters; right on {trained['float_accuracy']:.1%} of the "
        f"test pictures in float, on {trained['int8_accuracy']:.1%} in int8"
    )
    say("2. Starting the board")
    with opening.board() as board:
        backend = getattr(board.link.port, "backend", None)
        how = f", simulated by {backend}" if backend else ""
        say(
            f"   {board.info.board}: {board.info.lanes}x{board.info.pixels} multipliers, "
            f"{board.info.clock_hz / 1e6:g} MHz, {board.baud} baud{how}"
        )
        say("3. Compiling the network and sending it over the serial port")
        with progress("   sending", "bytes") as show:
            compiled = board.load(graph, show)
        say(f"   {len(compiled.image)} bytes, checked by the board")
        count = arguments.count or _COUNT.get(backend or "")
        x = datasets.to_int8(dataset.x_test)[:count]
        y = dataset.y_test[:count]
        say(f"4. Classifying {len(x)} test pictures on the board, checking each answer")
        with progress("   classifying", "pictures") as show:
            report = verify(board, graph, compiled, x, y, progress=show)
        clock_hz = board.info.clock_hz
    seconds = time.monotonic() - started
    data: dict[str, Any] = {
        "count": report.count,
        "mismatches": report.mismatches,
        "accuracy": report.accuracy,
        "cycles": report.cycles,
        "images_per_second": report.images_per_second,
        "backend": backend,
        "seconds": seconds,
    }
    answers = report.hardware[0].reshape(report.count, -1).argmax(axis=1)
    shown = np.linspace(0, report.count - 1, min(_SHOWN, report.count)).astype(int)
    drawing = _draw(dataset.x_test[shown], [graph.labels[answers[index]] for index in shown])
    lines = [
        f"{report.count} digits classified by the simulated gateware, {report.accuracy:.1%} right;"
        if backend
        else f"{report.count} digits classified by the board, {report.accuracy:.1%} right;",
        f"{report.mismatches} answers differ from the exact reference.",
        f"{report.cycles:,} clock cycles each: {report.cycles / clock_hz * 1e3:.3f} ms at "
        f"{clock_hz / 1e6:g} MHz. All of this took {seconds:.0f} s.",
    ]
    failure = None
    if report.mismatches:
        failure = f"{report.mismatches} of {report.count} answers differ from the reference"
    return Outcome(data, "\n".join(lines), failure, drawing="\n".join([*drawing, ""]))


class _Opening:
    """Opens a board while something else is done: a simulated one may have to be compiled first."""

    def __init__(self, port: str, baud: int | None) -> None:
        self._result: Board | BaseException
        # Ctrl-C does not wait for it.
        self._thread = threading.Thread(target=self._open, args=(port, baud), daemon=True)
        self._thread.start()

    def _open(self, port: str, baud: int | None) -> None:
        from ..board import Board

        try:
            self._result = Board.open(port, baud)
        except BaseException as error:
            self._result = error

    def __enter__(self) -> _Opening:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._thread.is_alive() and not isinstance(self._result, BaseException):
            self._result.close()

    def board(self) -> Board:
        """The board, once it is open; raises what went wrong."""
        self._thread.join()
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


def _draw(pictures: Any, labels: list[str]) -> list[str]:
    from .terminal_pictures import draw, side_by_side

    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    drawings = [draw(picture, unicode=unicode, colour=_has_colours()) for picture in pictures]
    width = pictures.shape[2] * (1 if unicode else 2)
    return side_by_side(drawings, [f"it's a {label}"[:width] for label in labels], width)


def _has_colours() -> bool:
    import os

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.name != "nt"
