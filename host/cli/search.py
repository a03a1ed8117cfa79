"""`host train DATASET --search N`: networks of several sizes, for a board."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import EyespotError, ModelError

from .common import (
    Outcome,
    add_worker_arguments,
    check_writable,
    loading,
    make_folder,
    positive,
    progress,
    say,
    table,
    write,
)

if TYPE_CHECKING:
    from boards.catalog import BoardDescription
    from model.datasets.datasets import Dataset
    from model.training.search import Candidate, Entry, Folder

__all__ = ["NOT_OF_A_SEARCH", "OPTIONS", "add_arguments", "run"]

#: Options that only a search has, and those that it has not.
OPTIONS = ("search", "board", "jobs", "scheduler")
NOT_OF_A_SEARCH = ("plots", "checkpoint")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a search for the size that a board is best used with")
    group.add_argument(
        "--search",
        type=positive,
        metavar="N",
        help="train N networks of several sizes, and save the one that is most often right; all of "
        "them, a table and a picture go to F.search. --resume goes on with what is there",
    )
    group.add_argument("--board", metavar="BOARD", help="on which they are to run")
    add_worker_arguments(group, "trainings at once", "as many as cores")


def run(arguments: argparse.Namespace) -> Outcome:
    from boards.catalog import board as find_board
    from model.datasets import datasets
    from model.training.schedule import Schedule
    from model.training.search import Folder, candidates

    if arguments.board is None:
        raise EyespotError("--search needs --board NAME (`host boards` lists them)")
    board = find_board(arguments.board)
    check_writable(arguments.output, arguments.dataset)
    path = arguments.output.with_suffix(".search")
    make_folder(path)
    with loading() as show:
        dataset = datasets.load(arguments.dataset, show)
    for note in dataset.notes:
        say(f"note: {note}")
    options = {
        "epochs": arguments.epochs,
        "rate": arguments.rate,
        "schedule": None if arguments.schedule is None else Schedule(arguments.schedule),
        "patience": arguments.patience,
    }
    folder = Folder(path, dataset, options)
    tried = candidates(arguments.search, arguments.seed or 0)
    found = {each: folder.load(each) for each in tried} if arguments.resume else {}
    missing = [each for each in tried if found.get(each) is None]
    try:
        _train(arguments, dataset, folder, missing, len(tried), options)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f"{path} has what is done; the same command with --resume goes on"
        ) from interrupt
    entries = {each: folder.load(each) for each in tried}
    whole = {each: entry for each, entry in entries.items() if entry is not None}
    return _choose(arguments.output, path, dataset, board, whole)


def _train(
    arguments: argparse.Namespace,
    dataset: Dataset,
    folder: Folder,
    missing: list[Candidate],
    total: int,
    options: dict[str, Any],
) -> None:
    from model.cluster import Cluster
    from model.datasets import datasets
    from model.executor import Processes, Queue, compute
    from model.training.search import train_candidate

    if not missing:
        return
    # What every machine has need not be sent.
    data = arguments.dataset if arguments.dataset in datasets.NAMES else dataset
    jobs = min(arguments.jobs or os.cpu_count() or 1, len(missing))
    queue: Queue = Processes(jobs) if arguments.scheduler is None else Cluster(arguments.scheduler)
    done = total - len(missing)
    with queue, progress("Training", "networks") as show:
        show(done, total)
        pieces = [(data, each, options) for each in missing]
        for place, (model, report) in compute([queue], train_candidate, pieces, say):
            folder.save(missing[place], model, report)
            done += 1
            show(done, total)


def _choose(
    output: Path,
    path: Path,
    dataset: Dataset,
    board: BoardDescription,
    entries: dict[Candidate, Entry],
) -> Outcome:
    from model.plots.front import draw_front
    from model.training.search import front

    from .. import compiler

    lines: list[dict[str, Any]] = []
    for candidate, (graph, _, report) in entries.items():
        line = {"name": candidate.name, "seed": candidate.seed, **candidate.size._asdict()}
        try:
            cycles = compiler.compile(graph, board.configuration).cycles
            line |= {"cycles": cycles, "images_per_second": board.clock_hz / cycles}
        except ModelError as error:
            line |= {"cycles": None, "images_per_second": None, "reason": str(error)}
        lines.append({**line, **report, "front": False})
    fitting = [line for line in lines if line["cycles"] is not None]
    if not fitting:
        raise EyespotError(f"none of {len(lines)} networks runs on {board.name}: {line['reason']}")
    cycles_of = [line["cycles"] for line in fitting]
    accuracies = [line["validation_accuracy"] for line in fitting]
    best_ones = front(list(zip(cycles_of, accuracies)))
    for place in best_ones:
        fitting[place]["front"] = True
    best = fitting[best_ones[-1]]
    write(output, next(entry.data for each, entry in entries.items() if each.name == best["name"]))
    picture = path / "front.png"
    draw_front(picture, f"{dataset.name} on {board.name}", cycles_of, accuracies, best_ones)
    lines.sort(key=lambda line: (line["cycles"] is None, line["cycles"]))
    data = {
        "output": str(output),
        "board": board.name,
        "best": best["name"],
        "picture": str(picture),
        **{name: best[name] for name in ("parameters", "macs", "cycles", "images_per_second")},
        **{name: best[name] for name in ("validation_accuracy", "float_accuracy", "int8_accuracy")},
        "seconds": sum(line["seconds"] for line in lines),
        "networks": lines,
    }
    text = (
        f"{_table(lines)}\n\n* no other one is quicker and as often right\n"
        f"{output}: {best['name']}, {best['int8_accuracy']:.2%} right on the test part, "
        f"{best['images_per_second']:,.0f}/s on {board.name}\n{picture}: cycles and accuracy"
    )
    return Outcome(data, text)


def _table(lines: list[dict[str, Any]]) -> str:
    headings = ("network", "", "parameters", "cycles", "images/s", "held out", "test")
    return table(
        headings,
        [
            (
                line["name"],
                "*" if line["front"] else "",
                f"{line['parameters']:,}",
                "does not fit" if line["cycles"] is None else f"{line['cycles']:,}",
                "" if line["cycles"] is None else f"{line['images_per_second']:,.0f}",
                f"{line['validation_accuracy']:.2%}",
                f"{line['int8_accuracy']:.2%}",
            )
            for line in lines
        ],
    )
