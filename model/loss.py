"""What training makes small."""

from __future__ import annotations

import numpy as np

__all__ = ["softmax", "softmax_cross_entropy"]


def softmax(z: np.ndarray) -> np.ndarray:
    """Probabilities p[k] = exp(z[k]) / sum of exp(z), along the last axis.

    The largest logit is taken away first, which changes nothing but keeps exp from overflowing.
    """
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_cross_entropy(z: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss of logits against the true classes, and its gradient.

    Summed over the batch, loss = -log p[label]; its gradient by z is simply p - 1[label]: softmax
    and logarithm undo each other (Goodfellow et al., "Deep Learning", 6.2.2.3).

    Parameters
    ----------
    z : ndarray of float, shape (n, classes)
    labels : ndarray of int, shape (n,)
        In 0 .. classes - 1.

    Returns
    -------
    loss : float
        Sum over the batch.
    gradient : ndarray of float, shape (n, classes)
    """
    p = softmax(z)
    rows = np.arange(len(labels))
    loss = -np.log(np.maximum(p[rows, labels], np.finfo(p.dtype).tiny)).sum()
    p[rows, labels] -= 1
    return float(loss), p
