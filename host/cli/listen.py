"""Listen for a word: sound goes through a network on the board, run after run.

The sound is that of a WAV file or of a microphone. How scores become detections is what the JSON
file beside the model says, as ESPHome ships it, unless --cutoff, --window and --step do. A line is
printed for each detection; with --json one JSON object for each, and one at the end for all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .common import (
    Outcome,
    add_port_arguments,
    check_writable,
    load_model,
    open_board,
    positive,
    progress,
)

if TYPE_CHECKING:
    from ..board import Board
    from ..listening import Listener, Parameters, Step

HELP = "listen for a word, in a WAV file or with a microphone"

_BAR = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a .tflite file, or the .json file that goes with it, to upload (default: what the "
        "board holds)",
    )
    add_port_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--wav", metavar="FILE", type=Path, help="listen to a WAV file")
    source.add_argument("--microphone", action="store_true", help="listen until Ctrl-C")
    parser.add_argument("--device", metavar="NAME", help="which microphone (default: the system's)")
    parser.add_argument("--cutoff", type=float, metavar="P", help="mean score that is a detection")
    parser.add_argument("--window", type=positive, metavar="N", help="runs of which the mean is")
    parser.add_argument("--step", type=positive, metavar="MS", help="of a row of features")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="draw spectrogram and scores")


def run(arguments: argparse.Namespace) -> Outcome:
    from ..errors import BoardError
    from ..listening import Listener, read_parameters
    from ..listening.listener import rows_of
    from ..listening.parameters import model_of, usual
    from ..listening.sound import from_file, from_microphone

    if arguments.plot is not None:
        check_writable(arguments.plot, arguments.model, arguments.wav)
    if arguments.wav is not None:
        blocks = from_file(arguments.wav)
    else:
        device = arguments.device
        blocks = from_microphone(int(device) if device and device.isdigit() else device)
    graph = None if arguments.model is None else load_model(model_of(arguments.model))
    with open_board(arguments) as board:
        if graph is not None:
            with progress(f"Sending {graph.name}", "bytes") as show:
                board.load(graph, show, flash=None)
        card = board.model
        if card is None:
            raise BoardError("the board holds no model: --model names one to upload")
        rows = rows_of(card)
        given = {
            name: value
            for name, value in (
                ("cutoff", arguments.cutoff),
                ("window", arguments.window),
                ("step_ms", arguments.step),
            )
            if value is not None
        }
        path = arguments.model or ""
        parameters = replace(read_parameters(path, rows) if path else usual(rows), **given)
        if card.variables:
            board.reset_state()
        counted = _Counted(board)
        listener = Listener(counted.run, card, parameters)
        steps, events = [], []
        try:
            for step in listener.steps(blocks):
                if arguments.plot is not None:
                    steps.append(step)
                if step.event is not None:
                    events.append(asdict(step.event))
                _tell(step, listener, arguments.json)
        except KeyboardInterrupt:
            if arguments.wav is not None:
                raise
        _clear()
        clock_hz = board.info.clock_hz
    if arguments.plot is not None:
        from model.plots import listening

        listening.plot(arguments.plot, *_curves(steps, listener), parameters.cutoff)
    return _outcome(card.name, parameters, listener, counted, events, clock_hz)


class _Counted:
    """Runs on a board, their cycles and how long they took the host."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.cycles: list[int] = []
        self.seconds: list[float] = []

    def run(self, x: Any) -> Any:
        start = time.monotonic()
        inference = self._board.run(x)
        self.seconds.append(time.monotonic() - start)
        self.cycles.append(inference.cycles)
        return inference.output


def _tell(step: Step, listener: Listener, as_json: bool) -> None:
    """A line for an event, and the bar."""
    best = int(step.means.argmax())
    if step.event is not None:
        _clear()
        line = f"{step.event.time:8.2f} s  {step.event.label}  {step.event.score:.2f}"
        print(json.dumps(asdict(step.event)) if as_json else line, flush=True)
    if sys.stderr.isatty():
        length = round(_BAR * float(step.means[best]))
        bar = "█" * length + "·" * (_BAR - length)
        sys.stderr.write(f"\r{step.time:8.2f} s  {bar}  {listener.label(best)[:20]:20}")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


def _curves(steps: list[Step], listener: Listener) -> tuple[Any, Any, dict[str, Any], list[float]]:
    """Times of the runs, rows of features, means by label, and the events' times."""
    import numpy as np

    if not steps:
        return np.zeros(0), np.zeros((0, 40)), {}, []
    rows = np.concatenate([step.rows for step in steps])
    means = np.stack([step.means for step in steps])
    curves = {listener.label(index): means[:, index] for index in range(means.shape[1])}
    times = np.array([step.time for step in steps])
    return times, rows, curves, [step.event.time for step in steps if step.event]


def _outcome(
    name: str,
    parameters: Parameters,
    listener: Listener,
    counted: _Counted,
    events: list[dict[str, Any]],
    clock_hz: int,
) -> Outcome:
    cycles = max(counted.cycles, default=0)
    period = listener.new_rows * parameters.step_ms / 1000
    latency = median(counted.seconds) if counted.seconds else 0.0
    data = {
        "model": name,
        "events": events,
        "runs": len(counted.cycles),
        "cycles": cycles,
        "engine_share": cycles / clock_hz / period,
        "seconds_per_run": latency,
        "cutoff": parameters.cutoff,
        "window": parameters.window,
        "step_ms": parameters.step_ms,
    }
    plural = "" if len(events) == 1 else "s"
    text = (
        f"{len(events)} detection{plural} in {len(counted.cycles)} runs; each takes the engine "
        f"{cycles:,} cycles, {1e3 * cycles / clock_hz:.2f} ms of {1e3 * period:.0f} "
        f"({cycles / clock_hz / period:.1%})"
    )
    return Outcome(data, text)
