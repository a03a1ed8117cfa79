"""Train a network on a data set, quantise it to int8, and write it as a .tflite file.

DATASET is `patterns`, `digits`, `mnist-5k`, `mnist` (downloaded once, 11 MB), a folder with one
subfolder of pictures for each class, or an .npz file with `x` (uint8 pixels) and `y`.

`host train paper -o DIR` repeats the experiment of the paper behind this project, and writes what
it records to a folder, as CSV files and plots; see docs/paper.md. There, --epochs are iterations.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EyespotError
from . import class_report, paper
from .common import Outcome, check_writable, loading, make_folder, natural, positive, say

if TYPE_CHECKING:
    from model.recipes import Trained

HELP = "train a network and write it as an int8 .tflite file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="what to learn; see above")
    parser.add_argument(
        "-o", "--output", metavar="F.tflite", type=Path, required=True, help="file to write"
    )
    parser.add_argument(
        "--seed", type=natural, metavar="N", help="same seed, same network (default: 0)"
    )
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help="times that every picture is seen"
    )
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="folder for plots of the training and its outcome"
    )
    paper.add_arguments(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    if arguments.dataset == "paper":
        _refuse(arguments, "paper", "seed", "plots")
        return paper.run(arguments)
    _refuse(arguments, arguments.dataset, "rule", "shapes")
    check_writable(arguments.output)
    if arguments.plots is not None:
        make_folder(arguments.plots)
    from model import datasets, recipes, tflite
    from model.evaluation import confusion_matrix
    from model.progress import progress_bar

    with loading() as show_loading:
        dataset = datasets.load(arguments.dataset, show_loading)
    for note in dataset.notes:
        say(f"note: {note}")
    trained: list[recipes.Trained] = []
    with progress_bar(f"Training on {arguments.dataset}") as show:
        graph, report = recipes.train(
            dataset,
            seed=arguments.seed or 0,
            epochs=arguments.epochs,
            progress=show,
            inspect=trained.append,
        )
    tflite.save(graph, arguments.output)
    matrix = confusion_matrix(trained[0].scores, dataset.y_test, len(dataset.labels))
    classes = class_report.as_data(dataset, matrix)
    plots = _draw(trained[0], arguments.plots) if arguments.plots is not None else []
    text = (
        f"{class_report.as_text(classes)}\n\n"
        f"{arguments.output}: {report['parameters']} parameters, {report['macs']} MACs\n"
        f"test accuracy {report['float_accuracy']:.2%} in float, {report['int8_accuracy']:.2%} "
        f"in int8; {report['seconds']:.1f} s"
    )
    if plots:
        text += f"\n{len(plots)} plots in {arguments.plots}"
    data = {"output": str(arguments.output), **report, **classes, "plots": plots}
    return Outcome(data, text)


def _draw(trained: Trained, folder: Path) -> list[str]:
    from ..training_plots import draw_training

    return [path.name for path in draw_training(trained, folder)]


def _refuse(arguments: argparse.Namespace, dataset: str, *options: str) -> None:
    for option in options:
        if getattr(arguments, option) is not None:
            raise EyespotError(f"--{option} means nothing to `host train {dataset}`")
