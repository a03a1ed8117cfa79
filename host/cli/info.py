"""Show what a board is and what it holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from boards.catalog import BOARDS
from gateware.interface.protocol import Info
from gateware.interface.sources import source_hash

from .common import Outcome, add_port_arguments, open_board
from .flash import slots

if TYPE_CHECKING:
    from ..model_card import HostTensor, ModelCard

HELP = "show what a board is and what it holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port_arguments(parser)


def differences(info: Info) -> list[str]:
    """How the board's bitstream differs from what these sources would build, a line each."""
    found = []
    here = source_hash()
    if info.source_hash != here:
        found.append(f"its sources are {info.source_hash:08x}, those here are {here:08x}")
    for description in BOARDS:
        configuration = description.configuration
        if description.name != info.board:
            continue
        for name, there, wanted in (
            ("lanes", info.lanes, configuration.lanes),
            ("pixels", info.pixels, configuration.pixels),
            ("bytes of memory", info.memory_bytes, configuration.memory_bytes),
        ):
            if there != wanted:
                found.append(f"it has {there} {name}, and is built with {wanted} here")
    return found


def _flash_text(flash: dict[str, Any]) -> str:
    if flash["problem"]:
        return str(flash["problem"])
    models = [
        f"{each['model'] or 'a damaged model'} in slot {each['slot']}"
        + (", which runs" if each["running"] else "")
        for each in flash["slots"]
    ]
    return "; ".join(models) or "no models"


def _end(name: str, tensor: HostTensor) -> dict[str, Any]:
    """An input or an output, as the model has it."""
    return {"name": name, "type": tensor.type, "shape": list(tensor.shape)}


def model_text(card: ModelCard) -> str:
    """What the model takes and gives: types other than int8, and names where there are several."""

    def text(ends: list[tuple[str, HostTensor]]) -> str:
        found = []
        for name, tensor in ends:
            size = "x".join(map(str, tensor.shape)) or "1"
            kind = "" if tensor.type == "int8" else f" {tensor.type}"
            found.append(f"{size}{kind}" + (f" ({name})" if len(ends) > 1 else ""))
        return ", ".join(found)

    inputs = text([(each.name, each.before) for each in card.inputs])
    outputs = text([(each.name, each.behind) for each in card.outputs])
    classes = f", classes: {', '.join(card.labels)}" if card.labels else ""
    kept = f", {card.state_bytes:,} bytes of state" if card.variables else ""
    return f"{card.name}, {inputs} to {outputs}{classes}{kept}"


def run(arguments: argparse.Namespace) -> Outcome:
    from ..board.flash_slots import FlashError

    with open_board(arguments) as board:
        info, card, problem = board.info, None, None
        try:
            card = board.model
        except FlashError as error:
            problem = str(error)
        flash = None
        if board.flash is not None:
            flash = {"problem": problem, "slots": [] if problem else slots(board)}
        baud = board.baud
    model = None
    if card is not None:
        model = {
            "name": card.name,
            "inputs": [_end(each.name, each.before) for each in card.inputs],
            "outputs": [_end(each.name, each.behind) for each in card.outputs],
            "labels": list(card.labels),
            "state": card.state_bytes,
        }
    different = differences(info)
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
        "differences": different,
        "baud": baud,
        "model": model,
        "flash": flash,
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
        lines.append(f"model     {model_text(card)}")
    if flash is not None:
        lines.append(f"flash     {_flash_text(flash)}")
    if different:
        lines.append(f"MISMATCH  {'; '.join(different)}: build the bitstream again and program it")
    return Outcome(data, "\n".join(lines))
