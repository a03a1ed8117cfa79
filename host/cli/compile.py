"""Compile a model for a board: where memory goes, and what each layer costs.

A model that does not fit is an error; with --json its object then says `"fits": false`, and how
many bytes are `needed` and `available`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .boards import outcomes
from .common import Outcome, check_writable, load_model, table, write

if TYPE_CHECKING:
    from model.int8.graph import Graph

    from ..compiler import CompiledModel

#: Characters of a tensor's name in the table.
_NAME = 60
HELP = "compile a model for a board; show its memory and what each layer costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .tflite file, or patterns, digits, mnist")
    parser.add_argument("--board", required=True, metavar="BOARD", help="such as icebreaker")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write the image there")


def run(arguments: argparse.Namespace) -> Outcome:
    from boards.catalog import board as find_board

    from .. import compiler

    description = find_board(arguments.board)
    graph = load_model(arguments.model)
    if arguments.output is not None:
        check_writable(arguments.output, arguments.model)
    try:
        compiled = compiler.compile(graph, description.configuration)
    except compiler.DoesNotFitError as error:
        data: dict[str, Any] = {"fits": False, "needed": error.needed, "available": error.available}
        return Outcome(data, "", failure=f"{error}{_help(graph, description.name)}")
    except compiler.AccumulatorError as error:
        raise compiler.CompileError(f"{error}{_help(graph, description.name)}") from None
    if arguments.output is not None:
        write(arguments.output, compiled.image)
    rate = description.clock_hz / compiled.cycles
    data = {
        "model": graph.name,
        "board": description.name,
        "fits": True,
        "macs": compiled.macs,
        "cycles": compiled.cycles,
        "utilisation": compiled.utilisation,
        "clock_hz": description.clock_hz,
        "frames_per_second": rate,
        "memory": {
            "used": compiled.memory_bytes,
            "available": description.configuration.memory_bytes,
            "image": len(compiled.image),
            "streamed": len(compiled.stream),
            "blocks": [
                {"name": each.name, "address": each.address, "size": each.size}
                for each in compiled.memory
            ],
        },
        "layers": [
            {
                "name": each.name,
                "op": each.op,
                "macs": each.macs,
                "cycles": each.cycles,
                "utilisation": each.utilisation,
                "bound": each.bound,
                "tape_bytes": each.tape_bytes,
                "streams": each.streams,
            }
            for each in compiled.layers
        ],
    }
    return Outcome(data, _text(compiled, description.name, rate, description.clock_hz))


def _help(graph: Graph, board: str) -> str:
    """On which boards a model runs that this one cannot run."""
    from boards.catalog import BOARDS

    found = [
        each.name
        for each, outcome in zip(BOARDS, outcomes(graph, BOARDS))
        if not isinstance(outcome, Exception)
    ]
    if not found:
        return "; it runs on no board"
    flash = ""
    if f"{board}-flash" in found:
        flash = f"; from its flash it runs: --board {board}-flash, and upload-weights --flash"
        found.remove(f"{board}-flash")
    return f"{flash}; it runs on {', '.join(found)}" if found else flash


def _text(compiled: CompiledModel, board: str, rate: float, clock_hz: int) -> str:
    rows = [
        (
            each.name,
            each.op,
            f"{each.macs:,}",
            f"{each.cycles:,}",
            f"{each.utilisation:.1%}",
            each.bound,
            f"{each.tape_bytes:,}",
            "flash" if each.streams else "memory",
        )
        for each in compiled.layers
    ]
    total = (
        "total",
        "",
        f"{compiled.macs:,}",
        f"{compiled.cycles:,}",
        f"{compiled.utilisation:.1%}",
        "",
        f"{sum(each.tape_bytes for each in compiled.layers):,}",
        "",
    )
    headings = ("layer", "operators", "MACs", "cycles", "use", "bound by", "tape bytes", "in")
    blocks = [
        (f"0x{each.address:05x}", f"{each.size:,}", _shortened(each.name))
        for each in sorted(compiled.memory, key=lambda block: block.address)
    ]
    used, available = compiled.memory_bytes, compiled.configuration.usable_bytes
    streams = (
        f" {len(compiled.stream):,} bytes of its weights stream from flash: "
        "`host upload-weights MODEL --flash` puts them there."
        if compiled.stream
        else ""
    )
    return "\n".join(
        [
            table(headings, [*rows, total]),
            "",
            table(("address", "bytes", "what"), blocks, left=3),
            "",
            f"{compiled.card.name} fits the {board}: up to byte {used:,} of {available:,}, "
            f"predicted {rate:,.0f} inferences/s at {clock_hz / 1e6:g} MHz.{streams}",
        ]
    )


def _shortened(name: str) -> str:
    """Converters join the names of all that they folded into a tensor."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
