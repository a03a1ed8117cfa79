"""Follow one picture through the network, layer by layer, on the board and in the reference.

Uploads the model, runs it up to each layer, and writes what every layer computed to a folder: one
.npz file a layer with the arrays `board` and `reference`, and a .png picture of its feature maps.
IMAGE is a picture of any size and kind, or an .npy file with the input tensor. The exit status is 1
if anything differs; --json then still prints its object.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from model.errors import OutputError

from .common import (
    Outcome,
    add_invert_arguments,
    add_port_arguments,
    load_model,
    make_folder,
    open_board,
    progress,
    table,
)

HELP = "write every layer's activations, of board and reference, as arrays and pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .tflite file, or patterns, digits, mnist")
    parser.add_argument("image", metavar="IMAGE", help="a picture, or an .npy file")
    add_port_arguments(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", type=Path, help="folder to write to"
    )
    add_invert_arguments(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    from .. import compiler
    from ..evaluation.trace import first_difference, read_array, read_input, save_layer, trace
    from ..pictures import read_picture

    graph = load_model(arguments.model)
    folder: Path = arguments.output
    # What cannot be read is refused before anything is done.
    (read_array if Path(arguments.image).suffix == ".npy" else read_picture)(arguments.image)
    make_folder(folder)
    with open_board(arguments) as board:
        compiled = compiler.compile(graph, board.configuration)
        x = read_input(arguments.image, compiled.card, arguments.invert)
        with progress(f"Sending {graph.name}", "bytes") as show:
            board.load(compiled, show, flash=None)
        layers = trace(board, graph, compiled, x)
        name = board.info.board
    try:
        files = [save_layer(folder, *each) for each in enumerate(layers, start=1)]
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    first = first_difference(layers)
    data: dict[str, Any] = {
        "model": graph.name,
        "board": name,
        "image": arguments.image,
        "folder": str(folder),
        "cycles": sum(each.cycles for each in layers),
        "layers": [
            {
                "name": each.name,
                "op": each.op,
                "shape": each.board.shape,
                "mismatches": each.mismatches,
                "compared": each.reference is not None,
                "cycles": each.cycles,
                "predicted_cycles": each.predicted,
                "arrays": arrays.name,
                "picture": picture.name,
            }
            for each, (arrays, picture) in zip(layers, files)
        ],
        "first_difference": None,
    }
    failure = None
    if first is not None:
        data["first_difference"] = {
            "layer": first.layer,
            "position": first.position,
            "board": first.board,
            "reference": first.reference,
        }
        failure = (
            f"board and reference differ first in layer {first.layer}, at {list(first.position)}: "
            f"{first.board}, where the reference has {first.reference}"
        )
    return Outcome(data, _text(data), failure)


def _text(data: dict[str, Any]) -> str:
    rows = [
        (
            each["name"],
            each["op"],
            each["picture"],
            "x".join(map(str, each["shape"])),
            f"{each['mismatches']:,}" if each["compared"] else "inner",
            f"{each['cycles']:,}",
        )
        for each in data["layers"]
    ]
    headings = ("layer", "operators", "picture", "shape", "mismatches", "cycles")
    mismatches = sum(each["mismatches"] for each in data["layers"])
    compared = sum(each["compared"] for each in data["layers"])
    return "\n".join(
        [
            table(headings, rows, left=3),
            "",
            f"{data['model']} on {data['board']}: {mismatches:,} mismatches in "
            f"{compared} layers compared, {data['cycles']:,} cycles; saved in {data['folder']}",
        ]
    )
