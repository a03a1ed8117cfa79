"""Where coverage does not look.

Coverage traces every line that Python runs, whose ever it is, and what runs millions of lines takes
three times as long. Amaranth's simulator and its conversion to RTLIL run no line of ours but
testbenches, and the interpreter of tapes is a test's.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["leave_untraced", "traced", "untraced"]

_kept_on = 0


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Nothing is traced in here."""
    trace = sys.gettrace()
    if _kept_on:
        trace = None
    else:
        sys.settrace(None)
    try:
        yield
    finally:
        if trace is not None:
            sys.settrace(trace)


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Here it is, for testbenches that are ours."""
    global _kept_on
    _kept_on += 1
    try:
        yield
    finally:
        _kept_on -= 1


def leave_untraced(owner: Any, *names: str) -> None:
    """Replace functions of a module or class by themselves without tracing."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            with untraced():
                return function(*arguments, **options)

        return run

    for name in names:
        setattr(owner, name, wrap(getattr(owner, name)))
