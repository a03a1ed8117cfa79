"""The numbers of the paper's experiment, as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import OutputError
from model.paper import Record, forward

__all__ = ["write_paper"]


def write_paper(record: Record, folder: Path) -> list[Path]:
    """Write the numbers of an experiment into a folder.

    ``iterations.csv`` has a line for each iteration: the error before it, the wanted class's
    output, and minimum, maximum and average of the filters that it used and of the weights that it
    left. Filters have a line for each filter, row and column; weights one for each node.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    filters, weights = record.filters_used, record.weights_left
    return [
        _iterations(record, folder / "iterations.csv"),
        _filters(record.filters[0], folder / "filters_initial.csv"),
        _filters(record.filters[-1], folder / "filters_final.csv"),
        _filters(filters.min(axis=0), folder / "filters_minimum.csv"),
        _filters(filters.max(axis=0), folder / "filters_maximum.csv"),
        _weights(record.weights[0], folder / "weights_initial.csv"),
        _weights(record.weights[-1], folder / "weights_final.csv"),
        _weights(weights.min(axis=0), folder / "weights_minimum.csv"),
        _weights(weights.max(axis=0), folder / "weights_maximum.csv"),
    ]


def _write(path: Path, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    try:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(headings)
            for row in rows:
                # Nine digits: more than any number format of an FPGA, fewer than rounding leaves.
                writer.writerow(
                    [f"{each:.9g}" if isinstance(each, float) else each for each in row]
                )
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def _iterations(record: Record, path: Path) -> Path:
    headings = (
        *("iteration", "picture", "error", "wanted_output"),
        *("filter_minimum", "filter_maximum", "filter_average"),
        *("weight_minimum", "weight_maximum", "weight_average"),
    )

    def row(index: int) -> tuple[object, ...]:
        picture = index % len(record.examples)
        example = record.examples[picture]
        outputs = forward(example.image, record.after(index)).outputs
        filters, weights = record.filters_used[index], record.weights_left[index]
        statistics = [
            float(reduced)
            for values in (filters, weights)
            for reduced in (values.min(), values.max(), values.mean())
        ]
        wanted = float(outputs[example.label])
        return (index + 1, picture, float(record.errors[index]), wanted, *statistics)

    return _write(path, headings, map(row, range(record.iterations)))


def _filters(values: npt.NDArray[np.float64], path: Path) -> Path:
    rows = (
        (depth, row, column, float(values[row, column, depth]))
        for depth, row, column in np.ndindex(values.transpose(2, 0, 1).shape)
    )
    return _write(path, ("filter", "row", "column", "value"), rows)


def _weights(values: npt.NDArray[np.float64], path: Path) -> Path:
    headings = ("node", *(f"class_{index}" for index in range(values.shape[1])))
    return _write(path, headings, ((node, *map(float, row)) for node, row in enumerate(values)))
