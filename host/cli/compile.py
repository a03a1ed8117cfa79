"""Compile a model for a board: where memory goes, and what each layer costs.

A model that does not fit is an error; with --json its object then says `"fits": false`, and how
many bytes are `needed` and `available`.
"""

from __future__ import annotations

import argparse
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .boards import outcomes
from .common import Outcome, check_writable, load_model, table, write

if TYPE_CHECKING:
    from model.int8.graph import Graph

    from ..compiler import CompiledModel, LayerReport

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
        return Outcome(data, "", failure=f"{error}{_help(graph, description.name, error)}")
    except compiler.CompileError as error:
        raise compiler.CompileError(f"{error}{_help(graph, description.name, error)}") from None
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
            "state": compiled.card.state_bytes,
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
        "host": {"operators": _host_operators(compiled), "share": _host_share(compiled)},
    }
    return Outcome(data, _text(compiled, description.name, rate, description.clock_hz))


def _help(graph: Graph, board: str, error: Exception) -> str:
    """On which boards a model runs that this one cannot run."""
    from boards.catalog import BOARDS

    from .. import compiler

    found = [
        each.name
        for each, outcome in zip(BOARDS, outcomes(graph, BOARDS))
        if not isinstance(outcome, Exception)
    ]
    if not found:
        # Of an operator that no engine has, the reason says all.
        sizes = compiler.DoesNotFitError, compiler.AccumulatorError
        return "; it runs on no board" if isinstance(error, sizes) else ""
    flash = ""
    if f"{board}-flash" in found:
        flash = f"; from its flash it runs: --board {board}-flash, and upload-weights --flash"
        found.remove(f"{board}-flash")
    return f"{flash}; it runs on {', '.join(found)}" if found else flash


def _text(compiled: CompiledModel, board: str, rate: float, clock_hz: int) -> str:
    operators: dict[tuple[str, str], list[LayerReport]] = {}
    for each in compiled.layers:
        operators.setdefault((each.name, each.op), []).append(each)
    multipliers = compiled.configuration.lanes * compiled.configuration.pixels
    rows = []
    for (name, op), parts in operators.items():
        macs, cycles = (sum(getattr(part, what) for part in parts) for what in ("macs", "cycles"))
        rows.append(
            (
                _shortened(name) + (f" in {len(parts)} layers" if len(parts) > 1 else ""),
                op,
                f"{macs:,}",
                f"{cycles:,}",
                f"{macs / (cycles * multipliers):.1%}",
                max(parts, key=lambda part: part.cycles).bound,
                f"{sum(part.tape_bytes for part in parts):,}",
                " and ".join(sorted({"flash" if part.streams else "memory" for part in parts})),
            )
        )
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
    host = ", ".join(_host_operators(compiled))
    of_host = f" The host computes {host}: {_host_share(compiled):.2%} of the work." if host else ""
    kept = compiled.card.state_bytes
    state = f" It keeps {kept:,} bytes of state from run to run." if kept else ""
    return "\n".join(
        [
            table(headings, [*rows, total]),
            "",
            table(("address", "bytes", "what"), blocks, left=3),
            "",
            f"{compiled.card.name} fits the {board}: up to byte {used:,} of {available:,}, "
            f"predicted {rate:,.0f} inferences/s at {clock_hz / 1e6:g} MHz."
            f"{of_host}{streams}{state}",
        ]
    )


def _host_operators(compiled: CompiledModel) -> list[str]:
    """What the host computes before and behind the board."""
    card = compiled.card
    return [
        f"{step.kind} of {_shortened(tensor.name)}"
        for tensor in (*card.inputs, *card.outputs)
        for step in tensor.steps
    ]


def _host_share(compiled: CompiledModel) -> float:
    """The host's part of the work: a step counts as much for each of its values as a
    multiplication, or as a value that the board makes without any."""
    card = compiled.card
    steps = [step for tensor in (*card.inputs, *card.outputs) for step in tensor.steps]
    host = sum(prod(step.tensor.shape) for step in steps)
    return host / (host + max(compiled.macs, compiled.cycles))


def _shortened(name: str) -> str:
    """Converters join the names of all that they folded into a tensor."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
