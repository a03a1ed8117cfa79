"""What verbs share: arguments, progress, tables, and files that can be written."""

from __future__ import annotations

import argparse
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import OutputError, reason

if TYPE_CHECKING:
    from model.int8.graph import Graph

    from ..board import Board

__all__ = [
    "Outcome",
    "add_invert_arguments",
    "add_port_arguments",
    "add_worker_arguments",
    "check_writable",
    "load_model",
    "loading",
    "make_folder",
    "natural",
    "open_board",
    "positive",
    "printable",
    "progress",
    "say",
    "table",
    "write",
]


@dataclass(frozen=True)
class Outcome:
    """What a verb found out.

    Attributes
    ----------
    data : dict
        The JSON object.
    text : str
        The same for people.
    failure : str or None
        One line if it was not what it should be: the exit status is then 1.
    drawing : str
        Printed as it is, above the text: it may move and colour the terminal, so nothing that comes
        from outside is in it.
    """

    data: dict[str, Any]
    text: str
    failure: str | None = None
    drawing: str = ""


#: Joiners that words of several scripts, and emoji, are made with.
_JOINERS = "\u200c\u200d"
#: Control, formatting (of which some turn the direction), half characters, separators of lines.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """Text that does nothing to a terminal: what would is written out, as ``\\x1b``.

    Line breaks stay, so that a text of several lines can be given as a whole.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        character
        if character == "\n"
        or character in _JOINERS
        or unicodedata.category(character) not in _UNPRINTABLE
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def positive(text: str) -> int:
    """An argument that is a whole number from 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return value


def natural(text: str) -> int:
    """An argument that is a whole number from 0."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0, not {text!r}")
    return int(text)


def add_port_arguments(parser: argparse.ArgumentParser) -> None:
    """``--port`` and ``--baud``."""
    parser.add_argument(
        "--port",
        required=True,
        metavar="PORT",
        help="serial port: a device, a pyserial URL, `sim` (a simulated iCEBreaker) or `sim://BOARD`",
    )
    parser.add_argument(
        "--baud", type=positive, metavar="N", help="baud rate (default: the fastest that works)"
    )


def add_worker_arguments(parser: argparse._ActionsContainer, jobs: str, default: str = "1") -> None:
    """``--jobs``, which is None if it is not given, and ``--scheduler``."""
    parser.add_argument("--jobs", type=positive, metavar="N", help=f"{jobs} (default: {default})")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use a cluster's workers instead: tcp://HOST:PORT of a Dask scheduler, or tls://",
    )


def add_invert_arguments(parser: argparse.ArgumentParser) -> None:
    """``--invert`` and ``--no-invert``; None without either."""
    invert = parser.add_mutually_exclusive_group()
    invert.add_argument(
        "--invert",
        action="store_true",
        default=None,
        help="exchange bright and dark (default: where a model of digits sees a bright border)",
    )
    invert.add_argument(
        "--no-invert", dest="invert", action="store_false", help="take the picture as it is"
    )


@contextmanager
def open_board(arguments: argparse.Namespace) -> Iterator[Board]:
    """The board that ``--port`` names."""
    from ..board import Board

    with Board.open(arguments.port, arguments.baud) as board:
        yield board


def say(text: str) -> None:
    """A line on standard error, where progress goes."""
    print(printable(text), file=sys.stderr, flush=True)


def load_model(name_or_path: str) -> Graph:
    """Read a bundled model or a ``.tflite`` file, and say what of it was left out.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be used.
    """
    from model import zoo

    graph = zoo.load(name_or_path)
    for note in graph.notes:
        say(f"{graph.name}: {note}")
    return graph


@contextmanager
def progress(title: str, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal.

    Yields
    ------
    callable
        To be called with how much is done and how much there is to do.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        # A name may have brackets in it, which would be markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        Remaining(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(printable(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def loading() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for what `model.datasets` tells: drawn when, and if, there is something to tell."""
    with ExitStack() as bars:
        shown: dict[str, Callable[[int, int], None]] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = bars.enter_context(progress(what))
            shown[what](done, total)

        yield show


def check_writable(path: Path, *sources: str | Path | None) -> None:
    """Raise OutputError now if ``path`` cannot be written later, or is one of the ``sources``."""
    for source in sources:
        if source is not None and _is_same(path, source):
            raise OutputError(f"{path}: is read here, and would be lost if it were written")
    if path.is_dir():
        raise OutputError(f"{path}: cannot be written: it is a folder")
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    if not existed:
        path.unlink()


def _is_same(path: Path, source: str | Path) -> bool:
    try:
        return path.samefile(source)
    except (OSError, ValueError):
        return False


def write(path: Path, data: bytes) -> None:
    """Write a file; raise OutputError if that fails."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {reason(error)}") from error


def make_folder(path: Path) -> None:
    """Make a folder if there is none; raise OutputError if files in it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError as error:
        raise OutputError(f"{path}: cannot be written: it is no folder") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> str:
    """Columns of text, the first ``left`` of them to the left, the others to the right."""
    # A cell is one line, and as wide as it will be printed.
    rows = [[printable(cell).replace("\n", r"\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *rows)]

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths))
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(headings), *map(line, rows)])
