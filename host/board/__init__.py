"""The board: upload a model, run it, read what it holds."""

from .board import Board

__all__ = ["Board"]
