"""The learning rate in the course of training."""

from __future__ import annotations

from enum import Enum

import numpy as np

__all__ = ["Schedule"]


class Schedule(Enum):
    """The share of the full learning rate that each step uses.

    All but CONSTANT begin with a linear rise, the warm-up, because Adam's estimates are poor at
    first
    (Goyal et al., "Accurate, Large Minibatch SGD" (2017), section 2.2).

    Attributes
    ----------
    COSINE
        Half a cosine from 1 to 0: Loshchilov, Hutter, "SGDR" (2017), equation 5, without restarts.
    STEPS
        1, then 1/10 after half of the steps and 1/100 after three quarters: He et al., "Deep
        Residual Learning" (2016), section 4.2.
    CONSTANT
        1 throughout.
    """

    COSINE = "cosine"
    STEPS = "steps"
    CONSTANT = "constant"

    def share(self, step: int, steps: int, warm_up: int = 0) -> float:
        """The share at `step` (from 0) of `steps`, of which the first `warm_up` rise."""
        if self is Schedule.CONSTANT:
            return 1.0
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        if self is Schedule.STEPS:
            return 1.0 if 2 * step < steps else 0.1 if 4 * step < 3 * steps else 0.01
        phase = (step - warm_up) / max(1, steps - warm_up)
        return float(0.5 * (1 + np.cos(np.pi * min(1.0, phase))))
