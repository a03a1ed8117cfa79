"""Why a network cannot be compiled, as one line that names layer, limit and amount."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.errors import ModelError

if TYPE_CHECKING:
    from .layers import Axis


class CompileError(ModelError):
    """The engine cannot run this network."""


class AccumulatorError(CompileError):
    """A sum needs more bits than the engine's accumulators have."""


class TooLargeError(CompileError):
    """A layer is beyond a limit of the engine's; smaller parts of it may not be.

    Attributes
    ----------
    axis : Axis or None
        Along which it would have to be cut; None for the channels.
    """

    def __init__(self, message: str, axis: Axis | None) -> None:
        super().__init__(message)
        self.axis = axis


class ReshapeError(CompileError):
    """A layer reads a tensor in a shape in which its bytes do not lie without gaps.

    Attributes
    ----------
    tensor : int
    """

    def __init__(self, message: str, tensor: int) -> None:
        super().__init__(message)
        self.tensor = tensor


class DoesNotFitError(CompileError):
    """The network needs more memory than the board has.

    Attributes
    ----------
    needed, available : int
        Bytes.
    image : int
        Of those needed, the ones of the image.
    """

    def __init__(self, message: str, needed: int, available: int, image: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.available = available
        self.image = image
