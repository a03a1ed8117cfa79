"""Pictures of the paper's experiment: image, filters, nodes, outputs, and their course."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.datasets import patterns
from model.paper import Record, Rule, forward

from .style import BLUE, FADED, GREEN, ORANGE, VERMILION, figure, heat_map, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_paper"]

_TITLES = {
    Rule.PAPER: "the paper's rule",
    Rule.GRADIENT: "gradient descent",
    Rule.FIXED: "filters left alone",
}


def draw_paper(record: Record, folder: Path) -> list[Path]:
    """Write all pictures of an experiment into a folder.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    return [
        _image(record, folder / "image.png"),
        _filters(record, folder / "filters.png"),
        _nodes(record, folder / "nodes.png"),
        _output(record, folder / "output.png"),
        _statistics(record, folder / "statistics.png"),
    ]


def _how(record: Record) -> str:
    return f"{_TITLES[record.rule]}, {record.iterations:,} iterations"


def _image(record: Record, path: Path) -> Path:
    count = len(record.examples)
    columns = min(count, 5)
    rows = -(-count // columns)
    made = figure(max(3.2, 1.9 * columns), 0.7 + (2.6 if count == 1 else 2.2 * rows), "Input")
    for position, example in enumerate(record.examples):
        axes = made.add_subplot(rows, columns, position + 1)
        heat_map(axes, example.image, low=0, high=1, digits=0, colours="gray")
        axes.set_title(f"class {example.label}: {patterns.LABELS[example.label]}", fontsize=9)
        if count == 1:
            axes.set_xlabel("column")
            axes.set_ylabel("row")
    return save(made, path)


def _before_and_after(
    record: Record, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], title: str
) -> Figure:
    """Maps of three depths, side by side: a row before training, a row after it."""
    made = figure(8, 5.6, title)
    low = min(before.min(), after.min())
    high = max(before.max(), after.max())
    moments = ("before", f"after {record.iterations:,} iterations")
    for row, (maps, moment) in enumerate(zip((before, after), moments)):
        for depth in range(maps.shape[2]):
            axes = made.add_subplot(2, 3, 3 * row + depth + 1)
            shown = heat_map(axes, maps[:, :, depth], low=low, high=high, digits=3)
            axes.set_title(f"filter {depth}, {moment}", fontsize=9)
            axes.set_xlabel("column", fontsize=8)
            axes.set_ylabel("row", fontsize=8)
    made.colorbar(shown, ax=made.axes, shrink=0.8, label="value")
    return made


def _filters(record: Record, path: Path) -> Path:
    title = f"Filters: {_how(record)}"
    return save(_before_and_after(record, record.filters[0], record.filters[-1], title), path)


def _nodes(record: Record, path: Path) -> Path:
    first = record.examples[0].image
    before, after = (forward(first, record.after(each)).nodes for each in (0, -1))
    title = f"Node activations for the first picture: {_how(record)}"
    return save(_before_and_after(record, before, after, title), path)


def _output(record: Record, path: Path) -> Path:
    count = len(record.examples)
    made = figure(6 if count == 1 else 10, 4.2, f"Output: {_how(record)}")
    sides = made.subplots(1, 1 if count == 1 else 2, squeeze=False)[0]
    before, after = (
        np.stack([forward(each.image, record.after(n)).outputs for each in record.examples])
        for n in (0, -1)
    )
    if count == 1:
        (axes,) = sides
        label = record.examples[0].label
        places = np.arange(before.shape[1])
        for values, shift, colour, name in (
            (before[0], -0.2, ORANGE, "before"),
            (after[0], 0.2, BLUE, f"after {record.iterations:,} iterations"),
        ):
            bars = axes.bar(places + shift, values, 0.38, color=colour, label=name)
            axes.bar_label(bars, [f"{value:.3f}" for value in values], fontsize=8, padding=2)
        axes.axhline(1, color=FADED, linewidth=0.8, linestyle=":")
        axes.set_ylim(0, 1.15)
        names = [f"{k}\n(wanted)" if k == label else str(k) for k in places]
        axes.set_xticks(places, names)
        axes.set_xlabel("class")
        axes.set_ylabel("output (softmax)")
        axes.legend(loc="upper right", fontsize=8)
        return save(made, path)
    for axes, values, moment in zip(sides, (before, after), ("before", "after")):
        shown = heat_map(axes, values, low=0, high=1)
        for row, example in enumerate(record.examples):
            column = example.label - 0.5
            frame_rows, frame_columns = _frame(row - 0.5, column)
            axes.plot(frame_columns, frame_rows, color=VERMILION, linewidth=2)
        axes.set_title(f"{moment}; framed: the wanted class", fontsize=9)
        axes.set_xlabel("class")
        axes.set_ylabel("picture")
        axes.set_yticks(
            range(count),
            [f"{k}: {patterns.LABELS[e.label]}" for k, e in enumerate(record.examples)],
        )
        axes.set_aspect("auto")
    made.colorbar(shown, ax=list(sides), label="output (softmax)")
    return save(made, path)


def _frame(top: float, left: float) -> tuple[list[float], list[float]]:
    """Rows and columns of the outline of a square of side 1."""
    return [top, top, top + 1, top + 1, top], [left, left + 1, left + 1, left, left]


def _statistics(record: Record, path: Path) -> Path:
    made = figure(8, 8.4, f"Iteration by iteration: {_how(record)}")
    top, middle, bottom = made.subplots(3, 1, sharex=True)
    iterations = np.arange(1, record.iterations + 1)
    top.plot(np.arange(1, record.iterations + 2), record.errors, color=VERMILION)
    top.set_yscale("log")
    top.set_ylabel("squared error E")
    top.set_title("Error before each iteration, mean over the pictures", fontsize=10)
    for axes, values, title in (
        (middle, record.filters_used, "Filters, as each iteration used them"),
        (bottom, record.weights_left, "Weights, as each iteration left them"),
    ):
        flat = values.reshape(len(values), -1)
        axes.fill_between(iterations, flat.min(1), flat.max(1), color=BLUE, alpha=0.12)
        for reduced, colour, style, name in (
            (flat.max(1), ORANGE, "-", "maximum"),
            (flat.mean(1), BLUE, "-", "average"),
            (flat.min(1), GREEN, "-", "minimum"),
        ):
            axes.plot(iterations, reduced, style, color=colour, label=name)
        axes.set_title(title, fontsize=10)
        axes.set_ylabel("value")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    bottom.set_xscale("log")
    bottom.xaxis.set_major_formatter("{x:,.0f}")
    bottom.set_xlabel("iteration")
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.3)
    return save(made, path)
