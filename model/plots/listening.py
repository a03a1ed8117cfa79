"""What was heard: the features as a picture, and the scores below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.plots import style

__all__ = ["plot"]


def plot(
    path: Path,
    times: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int8],
    means: Mapping[str, npt.NDArray[np.float64]],
    events: Sequence[float],
    cutoff: float,
) -> None:
    """Draw features and scores over time.

    Parameters
    ----------
    path : Path
        Of the picture.
    times : ndarray of float, shape (runs,)
        Seconds, of each run.
    rows : ndarray of int8, shape (rows, 40)
        Features, evenly spread until the last run.
    means : mapping of str to ndarray of float, shape (runs,)
        By label.
    events : sequence of float
        Times of the detections.
    cutoff : float

    Raises
    ------
    OutputError
        If the picture cannot be written.
    """
    figure = style.figure(9, 5, "What was heard")
    above, below = figure.subplots(2, 1, sharex=True)
    end = float(times[-1]) if len(times) else 1.0
    extent: Any = (0.0, end, 0.0, 40.0)
    above.imshow(
        rows.T if len(rows) else np.zeros((40, 1)),
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="magma",
    )
    above.set_ylabel("mel band")
    colours = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION)
    for index, (label, values) in enumerate(means.items()):
        below.plot(times, values, color=colours[index % len(colours)], label=style.plain(label))
    below.axhline(cutoff, color=style.FADED, linestyle="--", linewidth=1)
    for time in events:
        below.axvline(time, color=style.VERMILION, linewidth=1)
    below.set_ylim(0, 1.02)
    below.set_xlabel("seconds")
    below.set_ylabel("mean score")
    if 0 < len(means) <= len(colours):
        below.legend(loc="upper right", frameon=False)
    style.save(figure, path)
