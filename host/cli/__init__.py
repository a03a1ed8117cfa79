"""The command line: one file a verb.

A verb's module has ``HELP``, ``add_arguments`` and ``run``; it imports what it needs in ``run``, so
that ``host --help`` is quick. With ``--json``, standard output holds one JSON object and nothing
else; where a verb fails, the object has the line of the error as ``error``, beside what the verb
found out before (see ``host compile``, ``host verify`` and ``host trace``). Progress and errors go
to standard error. The exit status is 0, 1 for an error, 2 for a command line that makes no sense,
130 after Ctrl-C.

A verb gets this from `main`, whatever it does: it returns an `Outcome` or raises an `EyespotError`.
Texts may hold names out of files, boards and folders as they are; `main` makes them harmless.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from model.errors import EyespotError, reason

from .common import Outcome, printable, say

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
    "listen": "listen",
    "studio": "studio",
    "info": "info",
    "ports": "ports",
    "boards": "boards",
}

#: `host` is also the name of a DNS tool on many systems.
_NAMES = ("host", "eyespot")
_INTERRUPTED = 130


def _program() -> str:
    """The name under which the command was called, of its two."""
    name = Path(sys.argv[0]).stem
    return name if name in _NAMES else _NAMES[0]


class _UsageError(Exception):
    """A command line that makes no sense; the text is one line."""


class _Parser(argparse.ArgumentParser):
    """A parser that leaves it to `main` to tell an error."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise _UsageError(f"{message} (see `{self.prog} --help`)")


def _parser() -> argparse.ArgumentParser:
    name = _program()
    parser = _Parser(
        prog=name,
        description="Small neural networks on small FPGA boards: train, compile, upload, classify.",
        epilog=f"`{name} demo` shows it on a simulated board; `{name} VERB --help` explains.",
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
    raise _UsageError(f"there is no verb {verb!r}: {hint}")


def _prepare_streams() -> None:
    """What a terminal cannot show becomes a question mark; a stream that is closed takes all."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # What libraries log is for their developers: without a handler, Python prints it.
    logging.getLogger().addHandler(logging.NullHandler())


class _OutputError(Exception):
    """Standard output cannot be written; the text says why, and is empty for a broken pipe."""


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as error:
        # What is still to be written goes nowhere, or Python would try once more, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Whoever read from a broken pipe has seen enough.
        raise _OutputError("" if isinstance(error, BrokenPipeError) else reason(error)) from error


def _as_json(data: dict[str, Any]) -> str:
    """As JSON, which has no numbers that are infinite, or none: they become null."""
    try:
        return json.dumps(data, allow_nan=False)
    except ValueError:
        # Python reads back what it wrote, with the words for such numbers.
        return json.dumps(json.loads(json.dumps(data), parse_constant=lambda word: None))


def _tell(data: dict[str, Any], as_json: bool, error: str, status: int = 1) -> int:
    """Print an error, on both streams as the command line wants it; give the exit status."""
    line = " ".join(printable(error).split())
    if as_json:
        _print(_as_json({**data, "error": line}))
    say(f"{_program()}: {line}" if status == _INTERRUPTED else f"{_program()}: error: {line}")
    return status


def _work(parsed: argparse.Namespace) -> Outcome | str:
    """What a verb found out, or the line of the error that ended it."""
    try:
        outcome: Outcome = parsed.run(parsed)
        return outcome
    except Exception as error:
        if parsed.debug:
            raise
        if isinstance(error, EyespotError):
            return str(error)
        if isinstance(error, OSError):
            where = "" if error.filename is None else f"{error.filename}: "
            return f"{where}{reason(error)}"
        if isinstance(error, MemoryError):
            return "there is not enough memory"
        kind = type(error).__name__
        return (
            f"a fault in Eyespot, please report it: {kind}: {reason(error)} (--debug shows where)"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; give its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    _prepare_streams()
    try:
        return _run(words)
    except _OutputError as error:
        if str(error):
            say(f"{_program()}: error: the output cannot be written: {error}")
        return 1


def _run(words: Sequence[str]) -> int:
    try:
        _check_verb(words)
        parsed = _parser().parse_args(words)
    except _UsageError as error:
        return _tell({}, "--json" in words, str(error), status=2)
    except SystemExit:  # --help
        return 0
    try:
        outcome = _work(parsed)
    except KeyboardInterrupt as interrupt:
        line = ": ".join(["interrupted", *map(str, interrupt.args)])
        return _tell({}, parsed.json, line, _INTERRUPTED)
    if isinstance(outcome, str):
        return _tell({}, parsed.json, outcome)
    if outcome.failure and parsed.json:
        return _tell(outcome.data, True, outcome.failure)
    if parsed.json:
        _print(_as_json(outcome.data))
    elif outcome.drawing or outcome.text:
        _print("\n".join(filter(None, [outcome.drawing, printable(outcome.text)])))
    return _tell({}, False, outcome.failure) if outcome.failure else 0
