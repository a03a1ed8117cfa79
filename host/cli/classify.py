"""Classify pictures with the model that the board holds; no model file is needed."""

from __future__ import annotations

import argparse

from .common import Outcome, add_invert_arguments, add_port_arguments, open_board, progress, table

HELP = "classify pictures with the model that the board holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a picture of any size and kind")
    add_port_arguments(parser)
    add_invert_arguments(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    from ..pictures import read_picture

    for image in arguments.images:
        read_picture(image)  # before anything is done with those that can be read
    results = []
    with open_board(arguments) as board, progress("Classifying", "pictures") as show:
        answers = board.classify(arguments.images, arguments.invert)
        for image, answer in zip(arguments.images, answers):
            results.append(
                {
                    "image": image,
                    "label": answer.label,
                    "class": answer.index,
                    "scores": answer.scores.tolist(),
                    "cycles": answer.inference.cycles,
                }
            )
            show(len(results), len(arguments.images))
        clock_hz = board.info.clock_hz
    rows = [
        (
            str(each["image"]),
            str(each["label"]),
            f"{max(each['scores']):.1%}" if board_gives_shares(each["scores"]) else "",
            f"{each['cycles'] / clock_hz * 1e3:.3f} ms",
        )
        for each in results
    ]
    return Outcome({"results": results}, table(("picture", "answer", "score", "engine"), rows))


def board_gives_shares(scores: list[float]) -> bool:
    """Whether scores are probabilities."""
    return all(0 <= score <= 1 for score in scores)
