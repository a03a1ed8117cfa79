"""What can go wrong between a user and a board; every text is one clear line.

All derive from :class:`model.errors.EyespotError`, which the command line catches and prints.
"""

from __future__ import annotations

from model.errors import EyespotError

__all__ = ["BoardError", "EyespotError", "LinkError", "PictureError", "PortError"]


class PortError(EyespotError):
    """A serial port that cannot be opened or used: missing, busy, gone."""


class LinkError(EyespotError):
    """The port works, but what is at its other end does not answer as a board does."""


class BoardError(EyespotError):
    """The board answered, and refuses: no model, wrong model, a run that failed."""


class PictureError(EyespotError):
    """A picture that cannot be read."""
