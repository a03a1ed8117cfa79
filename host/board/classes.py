"""What an inference says, in the model's classes: one answer, or one for each pixel of the output.

A classifier gives a score for each class. A detector such as FOMO gives that for each of several
pixels, so that its output says where something is: a `Cell` is a pixel whose class is not class 0,
which is the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..model_card import HostTensor, ModelCard
from .inference import Inference

__all__ = ["Cell", "Classification", "classification", "grid"]

#: What makes class numbers of scores.
_CHOICES = ("ARG_MAX", "ARG_MIN")


@dataclass(frozen=True)
class Cell:
    """A pixel of the output whose class is not the background.

    Attributes
    ----------
    position : tuple of int
        Its row and column in the output, from 0 at the top left.
    index : int
        Its class; from 1.
    label : str
        The name of that class.
    score : float
        The real value of the model's output for it.
    """

    position: tuple[int, ...]
    index: int
    label: str
    score: float


@dataclass(frozen=True, eq=False)
class Classification:
    """An inference, told in the model's classes.

    Attributes
    ----------
    index : int
        Of the class with the greatest score; of several pixels, of the cell with the greatest
        score, and 0 where there is no cell.
    label : str
        Its name.
    scores : ndarray of float64
        Real values of the model's output, probabilities if it ends with a softmax: one for each
        class, or in the output's shape if that has several pixels.
    inference : Inference
    cells : tuple of Cell or None
        Of an output of several pixels, those that are not background, in reading order. None for an
        output of one pixel.
    """

    index: int
    label: str
    scores: npt.NDArray[np.float64]
    inference: Inference
    cells: tuple[Cell, ...] | None = None


def grid(card: ModelCard) -> tuple[int, ...] | None:
    """Rows and columns of an output of several pixels; None where there is one answer."""
    shape = _scored(card).shape
    # A score for each class, however it is written: (10), (1, 1, 10), (10, 1, 1).
    if sum(size > 1 for size in shape) <= 1:
        return None
    axis = _class_axis(card)
    return shape[:axis] + shape[axis + 1 :]


def classification(card: ModelCard, inference: Inference) -> Classification:
    """Tell an inference in the model's classes."""
    scored = _scored(card)
    values = inference.output if scored is card.output.behind else inference.logits
    scores = _real(values.reshape(scored.shape), scored)
    pixels = grid(card)
    if pixels is None:
        flat = scores.reshape(-1)
        index = int(inference.output.reshape(-1)[0]) if _chooses(card) else int(flat.argmax())
        return Classification(index, card.label(index), flat, inference)
    last = np.moveaxis(scores, _class_axis(card), -1)
    classes = inference.output.reshape(pixels) if _chooses(card) else last.argmax(axis=-1)
    found = ((place, int(index)) for place, index in np.ndenumerate(classes) if index)
    cells = tuple(
        Cell(place, index, card.label(index), float(last[place][index])) for place, index in found
    )
    best = max(cells, key=lambda cell: cell.score, default=None)
    index = 0 if best is None else best.index
    return Classification(index, card.label(index), scores, inference, cells)


def _chooses(card: ModelCard) -> bool:
    """Whether the output has the numbers of classes, not their scores."""
    return bool(card.output.steps) and card.output.steps[-1].kind in _CHOICES


def _scored(card: ModelCard) -> HostTensor:
    """The tensor with the scores: the output, or what a choice is made of."""
    return card.output.board if _chooses(card) else card.output.behind


def _class_axis(card: ModelCard) -> int:
    if _chooses(card):
        return int(card.output.steps[-1].parameter)
    return len(_scored(card).shape) - 1


def _real(values: npt.NDArray[Any], tensor: HostTensor) -> npt.NDArray[np.float64]:
    real = values.astype(np.float64)
    return (real - tensor.zero_point) * tensor.scale if tensor.scale else real
