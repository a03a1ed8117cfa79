"""Compare the hardware with the software reference, byte for byte.

Uploads the model, runs it on pictures of a data set, and compares every output tensor; with
--layers also what every layer leaves in memory. DATA is a data set's name (its test part), or an
.npz file with `x` and, for the accuracy, `y`. With --jobs several simulated boards, which keep
nothing, share the pictures; so do real ones at several ports, with commas between them, and the
workers of a --scheduler, where a real board is HOST:PORT (see docs/cluster.md). The exit status is
1 if anything differs; --json then still prints its object.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EyespotError
from .common import (
    Outcome,
    add_port_arguments,
    add_worker_arguments,
    check_writable,
    load_model,
    loading,
    open_board,
    positive,
    progress,
    say,
    table,
)

if TYPE_CHECKING:
    from ..evaluation.verify import Verification

HELP = "compare the hardware with the software reference, byte for byte"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .tflite file, or patterns, digits, mnist")
    add_port_arguments(parser)
    parser.add_argument(
        "--data", required=True, metavar="DATA", help="what to run it on; see above"
    )
    parser.add_argument(
        "--count", type=positive, metavar="N", help="pictures to take (default: all)"
    )
    parser.add_argument("--layers", action="store_true", help="compare every layer's activations")
    add_worker_arguments(parser, "simulated boards at once, each with a part of the pictures")
    parser.add_argument(
        "--save", type=Path, metavar="F.npz", help="write both sides' output tensors there"
    )


def run(arguments: argparse.Namespace) -> Outcome:
    import numpy as np

    from ..evaluation.parallel import open_queues, verify_in_parallel
    from ..evaluation.verify import load_samples, verify
    from ..link.ports import split_ports

    if arguments.save is not None:
        check_writable(arguments.save, arguments.model, arguments.data)
    graph = load_model(arguments.model)
    jobs = arguments.jobs or 1
    is_shared = jobs > 1 or len(split_ports(arguments.port)) > 1 or arguments.scheduler is not None
    if graph.variables and is_shared:
        raise EyespotError(
            f"{graph.name}: keeps state from run to run, so --jobs must be 1, and one board do it"
        )
    with loading() as show:
        x, y = load_samples(arguments.data, graph, arguments.count, show)
    started = time.monotonic()
    if is_shared:
        where = arguments.port, arguments.baud, jobs, arguments.scheduler
        with (
            open_queues(*where) as queues,
            progress("Comparing", "comparisons") as show,
        ):
            several = verify_in_parallel(
                queues, graph, x, y, layers=arguments.layers, progress=show, note=say
            )
        report, compiled = several.report, several.compiled
        info, repeats = several.info, several.repeats
    else:
        with open_board(arguments) as board:
            with progress(f"Sending {graph.name}", "bytes") as show:
                compiled = board.load(graph, show, flash=None)
            with progress("Comparing", "comparisons") as show:
                report = verify(
                    board, graph, compiled, x, y, layers=arguments.layers, progress=show
                )
            info, repeats = board.info, board.link.repeats
    if arguments.save is not None:
        try:
            with arguments.save.open("wb") as file:
                np.savez_compressed(file, **_outputs(report))
        except OSError as error:
            raise EyespotError(f"{arguments.save}: {error.strerror or error}") from error
    data: dict[str, Any] = {
        "model": graph.name,
        "board": info.board,
        "count": report.count,
        "mismatches": report.mismatches,
        "mismatching_bytes": report.mismatching_bytes,
        "accuracy": report.accuracy,
        "cycles": report.cycles,
        "predicted_cycles": compiled.cycles,
        "utilisation": compiled.macs / (report.cycles * info.lanes * info.pixels),
        "images_per_second": report.images_per_second,
        "engine_images_per_second": info.clock_hz / report.cycles,
        "repeats": repeats,
        "seconds": time.monotonic() - started,
    }
    if arguments.layers:
        data["layers"] = [
            {
                "name": each.name,
                "op": each.op,
                "macs": each.macs,
                "mismatches": each.mismatches,
                "compared": each.compared,
                "cycles": each.cycles,
                "predicted_cycles": each.predicted,
            }
            for each in report.layers
        ]
    failure = None
    if report.mismatches:
        failure = f"{report.mismatches} of {report.count} inferences differ from the reference"
    return Outcome(data, _text(data), failure)


def _outputs(report: Verification) -> dict[str, Any]:
    """Both sides' output tensors: ``hardware``, and of a second output ``hardware_1``, ..."""
    sides = {"hardware": report.hardware, "reference": report.reference}
    return {
        f"{side}_{index}" if index else side: values
        for side, every in sides.items()
        for index, values in enumerate(every)
    }


def _text(data: dict[str, Any]) -> str:
    lines = []
    if "layers" in data:
        rows = [
            (
                each["name"],
                each["op"],
                f"{each['mismatches']:,}" if each["compared"] else "inner",
                f"{each['cycles']:,}",
                f"{each['predicted_cycles']:,}",
                f"{each['predicted_cycles'] / max(1, each['cycles']) - 1:+.1%}",
            )
            for each in data["layers"]
        ]
        headings = ("layer", "operators", "mismatches", "cycles", "predicted", "off by")
        lines += [table(headings, rows), ""]
    accuracy = "" if data["accuracy"] is None else f", accuracy {data['accuracy']:.2%}"
    lines += [
        f"{data['model']} on {data['board']}: {data['mismatches']} mismatches in {data['count']} "
        f"inferences{accuracy}",
        f"{data['cycles']:,} cycles each (predicted {data['predicted_cycles']:,}), multipliers "
        f"used {data['utilisation']:.1%}",
        f"{data['images_per_second']:,.0f} images/s over the line, the engine alone "
        f"{data['engine_images_per_second']:,.0f}",
    ]
    return "\n".join(lines)
