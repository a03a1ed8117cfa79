"""List the serial ports that may be boards."""

from __future__ import annotations

import argparse

from .common import Outcome, table

HELP = "list the serial ports that may be boards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> Outcome:
    from ..link.ports import list_ports

    ports = list_ports()
    data = {
        "ports": [
            {"device": each.device, "description": each.description, "likely": each.likely}
            for each in ports
        ]
    }
    if not ports:
        return Outcome(data, "No serial ports. `sim` is a simulated board.")
    return Outcome(
        data, table(("port", "what"), [(each.device, each.description) for each in ports])
    )
