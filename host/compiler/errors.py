"""Why a network cannot be compiled, as one line that names layer, limit and amount."""

from __future__ import annotations

from model.errors import ModelError


class CompileError(ModelError):
    """The engine cannot run this network."""


class AccumulatorError(CompileError):
    """A sum needs more bits than the engine's accumulators have."""


class DoesNotFitError(CompileError):
    """The network needs more memory than the board has.

    Attributes
    ----------
    needed, available : int
        Bytes.
    """

    def __init__(self, message: str, needed: int, available: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.available = available
