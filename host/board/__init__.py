"""The board: upload a model, run it, read what it holds."""

from .board import Board
from .classes import Cell, Classification
from .flash import BoardFlash
from .flash_slots import FlashError, Slot
from .inference import Inference, LayerRun
from .memory import BoardMemory

__all__ = [
    "Board",
    "BoardFlash",
    "BoardMemory",
    "Cell",
    "Classification",
    "FlashError",
    "Inference",
    "LayerRun",
    "Slot",
]
