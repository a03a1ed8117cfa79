"""Train a network on a data set, quantise it to int8, and write it as a .tflite file.

DATASET is `patterns`, `digits`, `mnist-5k`, `mnist` (downloaded once, 11 MB), a folder with one
subfolder of pictures for each class (or with two such folders, `train` and `test`), or an .npz file
with `x` (uint8 pixels) and `y`.

`host train paper -o DIR` repeats the experiment of the paper behind this project, and writes what
it records to a folder, as CSV files and plots; see docs/paper.md. There, --epochs are iterations.

`host train DATASET -o F.tflite --search N --board BOARD` trains networks of several sizes and shows
their accuracy against their cycles on that board; see docs/training.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import EyespotError, OutputError

from . import class_report, paper, search
from .common import Outcome, check_writable, loading, make_folder, natural, positive, say

if TYPE_CHECKING:
    from model.datasets.datasets import Dataset
    from model.training.recipes import Trained

#: Options of training that the paper's experiment knows nothing of.
_NOT_OF_THE_PAPER = (
    *("seed", "plots", "rate", "schedule", "patience", "checkpoint", "resume"),
    *search.OPTIONS,
)

HELP = "train a network and write it as an int8 .tflite file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="what to learn; see above")
    parser.add_argument(
        "-o", "--output", metavar="F.tflite", type=Path, required=True, help="file to write"
    )
    parser.add_argument(
        "--seed",
        type=natural,
        metavar="N",
        help="seed: the same one gives the same network (default: 0)",
    )
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help="how many times every picture is seen"
    )
    parser.add_argument("--rate", type=_rate, metavar="R", help="largest learning rate")
    parser.add_argument(
        "--schedule",
        choices=("cosine", "steps", "constant"),
        help="how the learning rate falls (default: cosine)",
    )
    parser.add_argument(
        "--patience",
        type=positive,
        metavar="N",
        help="hold out a tenth of the pictures; stop after N epochs without improvement on them",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="F.npz",
        type=Path,
        help="save the state of the training after every epoch",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="continue from the checkpoint, as if never interrupted",
    )
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="folder for plots of the training and its result"
    )
    search.add_arguments(parser)
    paper.add_arguments(parser)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def run(arguments: argparse.Namespace) -> Outcome:
    if arguments.dataset == "paper":
        _refuse(arguments, "paper", *_NOT_OF_THE_PAPER)
        return paper.run(arguments)
    _refuse(arguments, arguments.dataset, "rule", "shapes")
    if arguments.search is not None:
        _refuse(arguments, f"{arguments.dataset} --search", *search.NOT_OF_A_SEARCH)
        return search.run(arguments)
    _refuse(arguments, arguments.dataset, *search.OPTIONS)
    check_writable(arguments.output, arguments.dataset, arguments.checkpoint)
    if arguments.resume and arguments.checkpoint is None:
        raise OutputError("--resume needs --checkpoint F.npz: the file to go on from")
    if arguments.checkpoint is not None:
        check_writable(arguments.checkpoint, arguments.dataset)
    if arguments.plots is not None:
        make_folder(arguments.plots)
    from model.datasets import datasets
    from model.int8 import tflite
    from model.training import recipes
    from model.training.evaluation import confusion_matrix
    from model.training.progress import progress_bar
    from model.training.schedule import Schedule

    with loading() as show_loading:
        dataset = datasets.load(arguments.dataset, show_loading)
    for note in dataset.notes:
        say(f"note: {note}")
    try:
        with progress_bar(f"Training on {arguments.dataset}") as show:
            trained = recipes.train(
                dataset,
                seed=arguments.seed or 0,
                epochs=arguments.epochs,
                rate=arguments.rate,
                schedule=None if arguments.schedule is None else Schedule(arguments.schedule),
                patience=arguments.patience,
                progress=show,
                checkpoint=arguments.checkpoint,
                resume=bool(arguments.resume),
            )
    except KeyboardInterrupt as interrupt:
        if arguments.checkpoint is None or not arguments.checkpoint.exists():
            raise
        raise KeyboardInterrupt(
            f"{arguments.checkpoint} has all whole epochs; the same command with --resume goes on"
        ) from interrupt
    report, epochs = trained.report, len(trained.history.epochs)
    tflite.save(trained.graph, arguments.output)
    matrix = confusion_matrix(trained.scores, dataset.y_test, len(dataset.labels))
    classes = class_report.as_data(dataset, matrix)
    plots = _draw(dataset, trained, arguments.plots) if arguments.plots is not None else []
    text = (
        f"{class_report.as_text(classes)}\n\n"
        f"{arguments.output}: {report['parameters']} parameters, {report['macs']} MACs\n"
        f"test accuracy {report['float_accuracy']:.2%} in float, {report['int8_accuracy']:.2%} "
        f"in int8; {epochs} epochs, {report['seconds']:.1f} s"
    )
    if plots:
        text += f"\n{len(plots)} plots in {arguments.plots}"
    data = {"output": str(arguments.output), "epochs": epochs, **report, **classes, "plots": plots}
    return Outcome(data, text)


def _draw(dataset: Dataset, trained: Trained, folder: Path) -> list[str]:
    from model.plots.training import draw_training

    return [path.name for path in draw_training(dataset, trained, folder)]


def _refuse(arguments: argparse.Namespace, dataset: str, *options: str) -> None:
    for option in options:
        if getattr(arguments, option) is not None:
            raise EyespotError(f"--{option} means nothing to `host train {dataset}`")
