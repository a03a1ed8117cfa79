"""Names from files, for messages."""

from __future__ import annotations

from typing import Final

__all__ = ["printable"]

_MAX_NAME: Final = 100


def printable(text: str) -> str:
    """A name from a file, fit for one line of a message."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:_MAX_NAME])
    return shown + ("…" if len(text) > _MAX_NAME else "")
