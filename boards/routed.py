"""``python -m boards.NAME simulate``: the routed netlist, verified as a board would be.

The port that it opens is ``sim://NAME?netlist=DIRECTORY``, which every verb of ``host`` takes.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gateware.primitives import Technology

from .catalog import ROUTED_NETLIST

__all__ = ["add_verb", "run"]


def add_verb(verbs: Any) -> None:
    """Add ``simulate`` to a board's command line."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        "simulate", help="verify a model on the routed netlist; builds if there is none"
    )
    verb.add_argument(
        "--output", type=Path, metavar="DIR", help="where the build is, or goes [build/NAME]"
    )
    verb.add_argument(
        "--model", default="digits", help="a .tflite, or one that comes along [digits]"
    )
    verb.add_argument("--data", help="as `host verify` takes it [the model's name]")
    verb.add_argument("--count", type=int, default=5, metavar="N", help="inferences [5]")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")
    verb.add_argument("--debug", action="store_true", help="tracebacks of errors")


def run(
    name: str,
    technology: Technology,
    options: argparse.Namespace,
    build: Callable[[Sequence[str]], int],
) -> int:
    """``host verify`` on the routed netlist; returns the exit status.

    Parameters
    ----------
    name : str
    technology : Technology
    options : Namespace
        Of the verb that :func:`add_verb` adds.
    build : callable
        The board's command line; called only if there is no netlist yet.
    """
    from host.cli import main

    if technology is not Technology.ICE40:
        print(
            f"boards.{name}: error: only routed netlists of iCE40 can be simulated", file=sys.stderr
        )
        return 1
    output = options.output or Path("build") / name
    if not (output / ROUTED_NETLIST).exists():
        with contextlib.redirect_stdout(sys.stderr):
            status = build(["build", "--output", str(output)])
        if status:
            return status
    port = f"sim://{name}?{urlencode({'netlist': output, 'memory': 'fresh'})}"
    arguments = ["verify", options.model, "--port", port]
    arguments += ["--data", options.data or options.model, "--count", str(options.count)]
    arguments += [flag for flag in ("--json", "--debug") if getattr(options, flag[2:])]
    return main(arguments)
