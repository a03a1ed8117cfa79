"""The command line: one file a verb.

A verb's module has ``HELP``, ``add_arguments`` and ``run``; it imports what it needs in ``run``, so
that ``host --help`` is quick. With ``--json``, standard output holds one JSON object and nothing
else; where a verb fails it stays empty, but for what it found out before (see ``host compile``,
``host verify`` and ``host trace``). Progress and errors go to standard error. The exit status is 0,
1 for an error, 2 for a command line that makes no sense, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import sys
from collections.abc import Sequence

from model.errors import EyespotError

from .common import Outcome

__all__ = ["VERBS", "main"]

#: Verb to module, in the order in which one needs them.
VERBS = {
    "demo": "demo",
    "train": "train",
    "import": "import_model",
    "compile": "compile",
    "upload-weights": "upload_weights",
    "flash": "flash",
    "classify": "classify",
    "verify": "verify",
    "trace": "trace",
    "bench": "bench",
    "info": "info",
    "ports": "ports",
    "boards": "boards",
}

_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with a suggestion where a verb is misspelt."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"host: error: {message} (see `{self.prog} --help`)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="host",
        description="Small neural networks on small FPGA boards: train, compile, upload, classify.",
        epilog="`host demo` shows everything on a simulated board; `host VERB --help` explains.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, module_name in VERBS.items():
        module = importlib.import_module(f"{__name__}.{module_name}")
        verb_parser = verbs.add_parser(
            verb,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb_parser)
        verb_parser.add_argument(
            "--json", action="store_true", help="print one JSON object and nothing else"
        )
        verb_parser.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )
        verb_parser.set_defaults(run=module.run)
    return parser


def _check_verb(arguments: Sequence[str]) -> None:
    """A better message than argparse's for a verb that there is not."""
    verb = next((each for each in arguments if not each.startswith("-")), None)
    if verb is None or verb in VERBS or (arguments and arguments[0] in ("-h", "--help")):
        return
    close = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the verbs are {', '.join(VERBS)}"
    sys.stderr.write(f"host: error: there is no verb {verb!r}: {hint}\n")
    raise SystemExit(2)


def _use_any_encoding() -> None:
    """What a terminal cannot show becomes a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; give its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    _use_any_encoding()
    try:
        _check_verb(words)
        parsed = _parser().parse_args(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    try:
        outcome: Outcome = parsed.run(parsed)
        if parsed.json:
            print(json.dumps(outcome.data))
        elif outcome.text:
            print(outcome.text)
        sys.stdout.flush()
        if outcome.failure:
            print(f"host: error: {outcome.failure}", file=sys.stderr)
            return 1
        return 0
    except EyespotError as error:
        if parsed.debug:
            raise
        print(f"host: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(": ".join(["host: interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
