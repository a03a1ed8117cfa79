"""Say what a board is and what it holds."""

from __future__ import annotations

import argparse

from .common import Outcome, add_port_arguments, open_board

HELP = "what the board is, what it holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port_arguments(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    with open_board(arguments) as board:
        info, card = board.info, board.model
        baud = board.baud
    model = None
    if card is not None:
        model = {
            "name": card.name,
            "input": list(card.input.shape),
            "output": list(card.output.shape),
            "labels": list(card.labels),
        }
    version = ".".join(map(str, info.gateware))
    data = {
        "board": info.board,
        "gateware": version,
        "protocol": info.protocol,
        "lanes": info.lanes,
        "pixels": info.pixels,
        "memory_bytes": info.memory_bytes,
        "clock_hz": info.clock_hz,
        "source_hash": f"{info.source_hash:08x}",
        "baud": baud,
        "model": model,
    }
    lines = [
        f"board     {info.board}, {info.clock_hz / 1e6:g} MHz, {info.memory_bytes // 1024} KiB",
        f"engine    {info.lanes} lanes x {info.pixels} pixels",
        f"gateware  {version}, protocol {info.protocol}, sources {info.source_hash:08x}",
        f"line      {baud} baud",
    ]
    if card is None:
        lines.append("model     none")
    else:
        size = "x".join(map(str, card.input.shape))
        classes = f": {', '.join(card.labels)}" if card.labels else ""
        lines.append(f"model     {card.name}, {size} to {card.output.shape[-1]} classes{classes}")
    return Outcome(data, "\n".join(lines))
