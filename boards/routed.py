"""``python -m boards.NAME simulate``: the routed netlist, verified as a board would be.

The port that it opens is ``sim://NAME?netlist=DIRECTORY``, which every verb of ``host`` takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

__all__ = ["add_verb", "verify"]


def add_verb(verbs: Any) -> argparse.ArgumentParser:
    """Add ``simulate`` to a board's command line."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        "simulate", help="verify a model on the routed netlist; builds if there is none"
    )
    verb.add_argument(
        "--model", default="digits", help="a .tflite, or one that comes along [digits]"
    )
    verb.add_argument("--data", help="as `host verify` takes it [the model's name]")
    verb.add_argument("--count", type=int, default=5, metavar="N", help="inferences [5]")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return verb


def verify(board: str, directory: Path, options: argparse.Namespace) -> int:
    """``host verify`` on the netlist in a build's directory; returns the exit status.

    ``options`` are those of :func:`add_verb`, and ``debug``.
    """
    from host.cli import main

    port = f"sim://{board}?{urlencode({'netlist': directory, 'memory': 'fresh'})}"
    arguments = ["verify", options.model, "--port", port]
    arguments += ["--data", options.data or options.model, "--count", str(options.count)]
    arguments += [flag for flag in ("--json", "--debug") if getattr(options, flag[2:])]
    return main(arguments)
