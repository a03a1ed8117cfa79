"""Classify pictures with the model that the board holds; no model file is needed.

If the model's output has several pixels, as that of a detector has, each of them is an answer: the
command lists the cells whose class is not class 0, the background, with row, column, class and
score, and --plot draws them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import OutputError

from ..errors import PictureError
from .common import (
    Outcome,
    add_invert_arguments,
    add_port_arguments,
    check_writable,
    open_board,
    progress,
    table,
    write,
)

if TYPE_CHECKING:
    from ..board import Cell, Classification

HELP = "classify pictures with the model that the board holds"

#: Cells of a picture that are listed; --json has all.
_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a picture of any size and kind")
    add_port_arguments(parser)
    add_invert_arguments(parser)
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        type=Path,
        help="draw the picture (only one) with the cells in which something was found",
    )


def run(arguments: argparse.Namespace) -> Outcome:
    from ..board.classes import grid
    from ..pictures import read_picture

    if arguments.plot is not None:
        _check_plot(arguments)
    for image in arguments.images:
        read_picture(image)  # before anything is done with those that can be read
    answers: list[Classification] = []
    with open_board(arguments) as board, progress("Classifying", "pictures") as show:
        card = board.model
        pixels = None if card is None else grid(card)
        if arguments.plot is not None and card is not None and (pixels is None or len(pixels) != 2):
            raise PictureError(
                f"--plot: {card.name} gives one answer for a picture, not one for each of its cells"
            )
        for answer in board.classify(arguments.images, arguments.invert):
            answers.append(answer)
            show(len(answers), len(arguments.images))
        clock_hz = board.info.clock_hz
    if arguments.plot is not None:
        assert pixels is not None
        _plot(arguments, (pixels[0], pixels[1]), answers[0])
    results: list[dict[str, Any]] = [
        {
            "image": image,
            "label": answer.label,
            "class": answer.index,
            "scores": answer.scores.tolist(),
            "cells": None if answer.cells is None else [_as_data(each) for each in answer.cells],
            "cycles": answer.inference.cycles,
        }
        for image, answer in zip(arguments.images, answers)
    ]
    rows = [
        (
            image,
            answer.label if answer.cells is None else _found(answer.cells),
            _score(answer, answer.scores.max()) if answer.cells is None else "",
            f"{answer.inference.cycles / clock_hz * 1e3:.3f} ms",
        )
        for image, answer in zip(arguments.images, answers)
    ]
    texts = [table(("picture", "answer", "score", "engine"), rows)]
    texts += [
        _cells(image, answer) for image, answer in zip(arguments.images, answers) if answer.cells
    ]
    if arguments.plot is not None:
        texts.append(f"drawn in {arguments.plot}")
    return Outcome({"results": results}, "\n\n".join(texts))


def _check_plot(arguments: argparse.Namespace) -> None:
    if len(arguments.images) > 1:
        raise OutputError(f"--plot draws one picture, and there are {len(arguments.images)}")
    if arguments.plot.suffix.lower() != ".png":
        raise OutputError(f"{arguments.plot}: cannot be written: the name must end in .png")
    check_writable(arguments.plot, *arguments.images)


def _as_data(cell: Cell) -> dict[str, Any]:
    return {
        "position": list(cell.position),
        "class": cell.index,
        "label": cell.label,
        "score": cell.score,
    }


def _score(answer: Classification, score: float) -> str:
    """As a share, if scores are probabilities."""
    scores = answer.scores
    return f"{score:.1%}" if 0 <= scores.min() and scores.max() <= 1 else ""


def _found(cells: tuple[Cell, ...]) -> str:
    return f"{len(cells)} cell{'s' if len(cells) != 1 else ''}"


def _cells(image: str, answer: Classification) -> str:
    """A table of what was found in a picture, the surest first."""
    cells = sorted(answer.cells or (), key=lambda cell: -cell.score)
    rows = [
        (cell.label, ", ".join(map(str, cell.position)), _score(answer, cell.score))
        for cell in cells[:_LISTED]
    ]
    lines = [f"{image}:", table(("answer", "row, column", "score"), rows, left=1)]
    if len(cells) > _LISTED:
        lines.append(f"and {len(cells) - _LISTED} more, which --json has")
    return "\n".join(lines)


def _plot(arguments: argparse.Namespace, pixels: tuple[int, int], answer: Classification) -> None:
    import io

    from model.plots.cells import draw_cells

    from ..pictures import read_picture

    marks = [
        (*cell.position[:2], cell.index, cell.label, _score(answer, cell.score))
        for cell in answer.cells or ()
    ]
    stream = io.BytesIO()
    draw_cells(read_picture(arguments.images[0]), pixels, marks).save(stream, "PNG")  # type: ignore[arg-type]
    write(arguments.plot, stream.getvalue())
