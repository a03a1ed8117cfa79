"""`host train paper`: the paper's experiment, with all that it records, in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import OutputError

from .common import Outcome, make_folder, table

if TYPE_CHECKING:
    from model.paper import Record, Step

__all__ = ["add_arguments", "run"]

_ITERATIONS = 1000
#: Iterations whose step is compared with the gradient.
_COMPARED = (1, 2, 3, 10, 100, 1000, 10_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("only with `paper`")
    group.add_argument(
        "--rule",
        choices=("paper", "gradient", "fixed"),
        help="the paper's rule (default), gradient descent, or filters that stay",
    )
    group.add_argument(
        "--shapes",
        action="store_true",
        default=None,
        help="teach ten shapes of four classes in turn, not the one picture",
    )


def run(arguments: argparse.Namespace) -> Outcome:
    folder: Path = arguments.output
    if folder.suffix == ".tflite":
        raise OutputError(f"{folder}: the paper's experiment writes a folder, and no model")
    make_folder(folder)
    from model import paper
    from model.plots.paper import draw_paper
    from model.plots.paper_csv import write_paper

    examples = paper.clean_shapes() if arguments.shapes else (paper.CROSS,)
    rule = paper.Rule(arguments.rule or "paper")
    record = paper.run(rule, arguments.epochs or _ITERATIONS, examples)
    files = [*write_paper(record, folder), *draw_paper(record, folder)]
    steps = [paper.compare(record, each) for each in _COMPARED if each <= record.iterations]
    data = _data(record, steps)
    data |= {"output": str(folder), "files": [file.name for file in files]}
    return Outcome(data, _text(data, record, folder))


def _extremes(values: Any) -> dict[str, float]:
    return {
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "average": float(values.mean()),
    }


def _data(record: Record, steps: list[Step]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "rule": record.rule.value,
        "iterations": record.iterations,
        "pictures": len(record.examples),
        "right": record.right,
        "error": {"first": float(record.errors[0]), "last": float(record.errors[-1])},
        "filters": _extremes(record.filters),
        "weights": _extremes(record.weights),
        "steps": [asdict(step) for step in steps],
    }


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _text(data: dict[str, Any], record: Record, folder: Path) -> str:
    rows = [
        (
            f"{each['iteration']:,}",
            f"{each['error']:.2e}",
            f"{each['filter_step']:.1e}",
            f"{each['filter_slope']:.1e}",
            _cosine(each["filter_cosine"]),
            f"{each['filter_effect']:+.1e}",
            _cosine(each["weight_cosine"]),
        )
        for each in data["steps"]
    ]
    headings = (
        *("iteration", "error", "filters move", "gradient", "downhill", "alone change the error"),
        "weights downhill",
    )
    pictures = f"{data['pictures']} picture{'s' if data['pictures'] > 1 else ''}"
    return "\n".join(
        [
            table(headings, rows, left=0),
            "downhill: cosine of the angle between a step and the gradient's opposite; "
            "1 is straight down, -1 straight up",
            "",
            f"{record.iterations:,} iterations by rule '{data['rule']}': {data['right']} of "
            f"{pictures} right, squared error {data['error']['first']:.4f} before, "
            f"{data['error']['last']:.2e} after",
            *(
                f"{name} on the way: {data[name]['minimum']:.3f} to {data[name]['maximum']:.3f}"
                for name in ("filters", "weights")
            ),
            f"{len(data['files'])} files in {folder}",
        ]
    )
