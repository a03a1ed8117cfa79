"""The loss that training minimises."""

from __future__ import annotations

import numpy as np

__all__ = ["softmax", "softmax_cross_entropy"]


def softmax(z: np.ndarray) -> np.ndarray:
    """Probabilities p[k] = exp(z[k]) / sum of exp(z), along the last axis.

    The largest logit is subtracted first, which changes nothing but keeps exp from overflowing.
    """
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_cross_entropy(
    z: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Cross-entropy of the softmax of logits against the true classes, and its gradient.

    The loss is the sum over the batch of -log p[label]. Its gradient by z is simply p - 1[label],
    because the logarithm undoes the exponential (Goodfellow et al., "Deep Learning", 6.2.2.3).
    Class weights multiply both by weights[label].

    Parameters
    ----------
    z : ndarray of float, shape (n, classes)
    labels : ndarray of int, shape (n,)
        In 0 .. classes - 1.
    weights : ndarray of float, shape (classes,), optional
        Weight of a picture of each class; 1 by default.

    Returns
    -------
    loss : float
        Sum over the batch.
    gradient : ndarray of float, shape (n, classes)
    """
    p = softmax(z)
    rows = np.arange(len(labels))
    losses = -np.log(np.maximum(p[rows, labels], np.finfo(p.dtype).tiny))
    p[rows, labels] -= 1
    if weights is not None:
        chosen = weights[labels].astype(p.dtype)
        losses *= chosen
        p *= chosen[:, np.newaxis]
    return float(losses.sum()), p
