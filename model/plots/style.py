"""The common style of all plots: Matplotlib without a window, and colours that everyone can tell
apart.

Matplotlib is imported on the first plot only, for it takes a second.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "FADED",
    "GREEN",
    "ORANGE",
    "VERMILION",
    "figure",
    "heat_map",
    "image_grid",
    "plain",
    "save",
]

# Okabe and Ito, "Color Universal Design" (2008): told apart with any colour vision.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILION = "#D55E00"
FADED = "#888888"

_DPI = 120
_LARGEST_ANNOTATED = 16
"""Most rows or columns for which a heat map contains its numbers."""


def figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, in inches, with a title over all.

    Raises
    ------
    OutputError
        If Matplotlib is not there.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OutputError(
            f"plots need Matplotlib ({error}): python -m pip install matplotlib"
        ) from error
    made = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    made.suptitle(title, fontsize=12, fontweight="bold")
    return made


def save(made: Figure, path: Path) -> Path:
    """Write a figure as a .png file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        # A class name in a script that the font lacks is drawn as boxes, and no reason to warn.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")
            made.savefig(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def plain(text: str) -> str:
    """Text without formulas: Matplotlib would take text between dollar signs for one."""
    return text.replace("$", r"\$")


def heat_map(
    axes: Axes,
    values: npt.NDArray[Any],
    *,
    low: float,
    high: float,
    digits: int | None = 2,
    colours: str = "cividis",
) -> Any:
    """Values as coloured squares, with the numbers in them where there is room; for a colour bar.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
    low, high : float
        Values of the first and the last colour.
    digits : int or None
        Behind the point. None: no numbers.
    colours : str
        A Matplotlib colour map that gets brighter from end to end.
    """
    shown = axes.imshow(values, cmap=colours, vmin=low, vmax=high)
    axes.set_xticks(range(values.shape[1]))
    axes.set_yticks(range(values.shape[0]))
    axes.tick_params(length=0)
    if digits is not None and max(values.shape) <= _LARGEST_ANNOTATED:
        size = 9 if max(values.shape) <= 8 else 7
        for (row, column), value in np.ndenumerate(values):
            red, green, blue, _ = shown.cmap(shown.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            ink = "white" if dark else "black"
            text = f"{value:.{digits}f}"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)
    return shown


def image_grid(count: int, widest: int = 8) -> tuple[int, int]:
    """Rows and columns for so many tiles, with few places left empty."""
    columns = min(
        range(1, min(count, widest) + 1),
        key=lambda each: (-(-count // each) * each - count, abs(each - 1.5 * -(-count // each))),
    )
    return -(-count // columns), columns
