"""Train a network on a data set, quantise it to int8, and write it as a .tflite file.

DATASET is `patterns`, `digits`, `mnist`, a folder with one subfolder of pictures for each class, or
an .npz file with `x` (uint8 pixels) and `y`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import OutputError
from .common import Outcome, check_writable, positive

HELP = "train a network and write it as an int8 .tflite file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="what to learn; see above")
    parser.add_argument("-o", "--output", metavar="F.tflite", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="same seed, same network (default: 0)")
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help="times that every picture is seen"
    )
    parser.add_argument("--rate", type=_rate, metavar="R", help="largest learning rate")
    parser.add_argument(
        "--schedule",
        choices=("cosine", "steps", "constant"),
        help="how the learning rate goes (default: cosine)",
    )
    parser.add_argument(
        "--patience",
        type=positive,
        metavar="N",
        help="hold out a tenth of the pictures; stop after N epochs without improvement on them",
    )
    parser.add_argument(
        "--checkpoint", metavar="F.npz", type=Path, help="save where training stands, every epoch"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint, as if never interrupted"
    )


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def run(arguments: argparse.Namespace) -> Outcome:
    check_writable(arguments.output)
    if arguments.resume and arguments.checkpoint is None:
        raise OutputError("--resume needs --checkpoint F.npz: the file to go on from")
    if arguments.checkpoint is not None:
        check_writable(arguments.checkpoint)
    from model import recipes, tflite
    from model.progress import progress_bar
    from model.schedule import Schedule

    try:
        with progress_bar(f"Training on {arguments.dataset}") as show:
            graph, report, history, _ = recipes.train(
                arguments.dataset,
                seed=arguments.seed,
                epochs=arguments.epochs,
                rate=arguments.rate,
                schedule=None if arguments.schedule is None else Schedule(arguments.schedule),
                patience=arguments.patience,
                progress=show,
                checkpoint=arguments.checkpoint,
                resume=arguments.resume,
            )
    except KeyboardInterrupt as interrupt:
        if arguments.checkpoint is None or not arguments.checkpoint.exists():
            raise
        raise KeyboardInterrupt(
            f"{arguments.checkpoint} has all whole epochs; the same command with --resume goes on"
        ) from interrupt
    tflite.save(graph, arguments.output)
    text = (
        f"{arguments.output}: {report['parameters']} parameters, {report['macs']} MACs\n"
        f"test accuracy {report['float_accuracy']:.2%} in float, {report['int8_accuracy']:.2%} "
        f"in int8; {len(history.epochs)} epochs, {report['seconds']:.1f} s"
    )
    data = {"output": str(arguments.output), "epochs": len(history.epochs), **report}
    return Outcome(data, text)
