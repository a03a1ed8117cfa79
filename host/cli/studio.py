"""Open a page in the browser: run a network, look into it, collect pictures, train.

The page is served on this machine alone, at 127.0.0.1, and its address holds a token, so that
other sites cannot reach it. It needs no network. With `--port sim`, the default, the board is
simulated. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from model.errors import EyespotError

from .common import Outcome, natural, say

HELP = "a page in the browser: run, look inside, collect and train"

_MISSING = "host studio needs Starlette and uvicorn: pip install 'eyespot[studio]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        default="sim",
        metavar="PORT",
        help="serial port: a device, a pyserial URL, `sim` or `sim://BOARD` (default: sim)",
    )
    parser.add_argument(
        "--model",
        default="digits",
        metavar="MODEL",
        help="model to begin with: a .tflite file, or patterns, digits, mnist (default: digits)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="folder for collected pictures (default: one of the studio's own)",
    )
    parser.add_argument(
        "--page-port", type=natural, default=0, metavar="N", help="port of the page (default: any)"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, and open no browser"
    )


def run(arguments: argparse.Namespace) -> Outcome:
    try:
        from ..studio.server import Bench
        from ..studio.serving import Serving
    except ModuleNotFoundError as error:
        raise EyespotError(_MISSING) from error
    from model import zoo

    zoo.load(arguments.model)  # what cannot be read is refused before anything is shown
    serving = Serving(Bench(arguments.port, arguments.folder), arguments.model, arguments.page_port)

    def ready() -> None:
        say(f"Eyespot's page: {serving.address}")
        say("Ctrl-C ends it.")
        if not arguments.no_browser:
            serving.open_browser()

    serving.run(ready)
    return Outcome({"address": serving.address, "port": arguments.port}, "")
