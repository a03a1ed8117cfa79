"""List the models in a board's flash, erase them, or let the newest run.

There are two slots; `host upload-weights --flash` writes the one that is not in use.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import BoardError
from .common import Outcome, add_port_arguments, open_board, table

if TYPE_CHECKING:
    from ..board import Board

HELP = "list, erase or boot the models in a board's flash"

_ACTIONS = {
    "list": "show what the slots hold",
    "erase": "erase all models; one that runs from memory alone keeps running",
    "boot": "run the newest model, as after power-up",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    explained = "; ".join(f"{name}: {text}" for name, text in _ACTIONS.items())
    parser.add_argument("action", choices=_ACTIONS, help=explained)
    add_port_arguments(parser)


def slots(board: Board) -> list[dict[str, Any]]:
    """What the flash holds, the one to run after power-up first."""
    assert board.flash is not None
    running = board.flash.running_slot()
    found = []
    for slot in board.flash.slots.headers():
        card = board.flash.card(slot)
        found.append(
            {
                "slot": slot.number,
                "model": None if card is None else card.name,
                "sequence": slot.header.sequence,
                "image_bytes": slot.header.image_length,
                "streamed_bytes": slot.header.stream_length,
                "running": running is not None and running.number == slot.number,
            }
        )
    return found


def run(arguments: argparse.Namespace) -> Outcome:
    with open_board(arguments) as board:
        if board.flash is None:
            raise BoardError(f"the {board.info.board} was built without models in its flash")
        board.flash.require()
        if arguments.action == "erase":
            for number in range(2):
                board.flash.slots.erase(number)
        booted = board.boot_flash() if arguments.action == "boot" else None
        if arguments.action == "list":
            _ = board.model  # after power-up this boots
        found = slots(board)
    data = {"slots": found}
    if arguments.action == "boot" and booted is None:
        return Outcome(data, "", failure="there is no whole model in the flash")
    if not found:
        return Outcome(data, "There is no model in the flash.")
    rows = [
        (
            str(each["slot"]),
            each["model"] or "damaged",
            f"{each['image_bytes']:,}",
            f"{each['streamed_bytes']:,}",
            "running" if each["running"] else "",
        )
        for each in found
    ]
    return Outcome(data, table(("slot", "model", "in memory", "streams", ""), rows))
