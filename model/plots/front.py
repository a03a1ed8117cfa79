"""Networks by their cycles and their accuracy, and the front that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.plots import style

__all__ = ["draw_front"]


def draw_front(
    path: Path, title: str, cycles: Sequence[int], accuracies: Sequence[float], front: Sequence[int]
) -> Path:
    """Draw all networks as points, and a line through those of the front.

    Parameters
    ----------
    path : Path
        Of the picture.
    title : str
    cycles : sequence of int
        Of an inference.
    accuracies : sequence of float
    front : sequence of int
        Places in both, fewest cycles first; the last one is the best.

    Raises
    ------
    OutputError
        If the picture cannot be written.
    """
    figure = style.figure(7, 4.5, style.plain(title))
    axes = figure.subplots()
    axes.plot(cycles, accuracies, "o", color=style.FADED, label="tried")
    x, y = ([values[place] for place in front] for values in (cycles, accuracies))
    axes.step(x, y, where="post", marker="o", color=style.BLUE, label="front")
    axes.plot(x[-1:], y[-1:], "o", color=style.VERMILION, markersize=9, label="saved")
    axes.set_xscale("log")
    axes.set_xlabel("cycles of an inference")
    axes.set_ylabel("accuracy on held-out pictures")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return style.save(figure, path)
