"""The board: upload a model, run it, read what it holds."""

from .board import Board
from .flash import BoardFlash
from .flash_slots import FlashError, Slot
from .inference import Classification, Inference, LayerRun
from .memory import BoardMemory

__all__ = [
    "Board",
    "BoardFlash",
    "BoardMemory",
    "Classification",
    "FlashError",
    "Inference",
    "LayerRun",
    "Slot",
]
