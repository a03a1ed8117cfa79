"""Measures of a network's accuracy, class by class."""

from __future__ import annotations

import numpy as np

__all__ = ["confusion_matrix", "mean_recall", "most_confused", "recalls"]


def confusion_matrix(scores: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """Count the answers for the pictures of each class.

    Parameters
    ----------
    scores : ndarray, shape (n, classes)
        The answer is the largest entry of a row; among equals, the first.
    y : ndarray of int, shape (n,)
        True classes.
    classes : int

    Returns
    -------
    ndarray of int64, shape (classes, classes)
        Entry [i, j] is the number of pictures of class i that were taken for class j.
    """
    answers = scores.reshape(len(y), -1).argmax(axis=1)
    counts = np.bincount(y * classes + answers, minlength=classes * classes)
    return counts.reshape(classes, classes)


def recalls(matrix: np.ndarray) -> np.ndarray:
    """Share of each class's pictures that were right; NaN for a class without any."""
    totals = matrix.sum(axis=1)
    return np.where(totals, np.diag(matrix) / np.maximum(totals, 1), np.nan)


def mean_recall(matrix: np.ndarray) -> float:
    """Mean of `recalls`, or balanced accuracy: the accuracy if all classes had the same size."""
    return float(np.nanmean(recalls(matrix)))


def most_confused(matrix: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """The most frequent mistakes, at most `count`: class, answer, number of times."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [divmod(int(index), len(matrix)) for index in order]
    return [(i, j, int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
