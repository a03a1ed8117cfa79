"""What `host train` says of a data set's classes, and of how they were told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .common import table

if TYPE_CHECKING:
    import numpy as np

    from model.datasets.datasets import Dataset

__all__ = ["as_data", "as_text"]

#: Classes up to which the confusion matrix is printed; beyond, only the most frequent mistakes.
_WIDEST_MATRIX = 20
_MISTAKES = 10
_LONGEST_HEADING = 8


def as_data(dataset: Dataset, matrix: np.ndarray) -> dict[str, Any]:
    """The JSON object's part.

    Parameters
    ----------
    dataset : Dataset
    matrix : ndarray of int
        From :func:`model.training.evaluation.confusion_matrix`.
    """
    from model.training.evaluation import mean_recall, recalls

    weights = dataset.class_weights
    rows = zip(dataset.labels, dataset.class_counts, dataset.test_counts, recalls(matrix))
    return {
        "notes": list(dataset.notes),
        "classes": [
            {
                "label": label,
                "train": int(train),
                "test": int(test),
                "right": float(right) if test else None,
            }
            for label, train, test, right in rows
        ],
        "class_weights": None if weights is None else [float(weight) for weight in weights],
        "mean_class_accuracy": mean_recall(matrix),
        "confusion": matrix.tolist(),
    }


def as_text(data: dict[str, Any]) -> str:
    """The same for people: one line a class."""
    from model.training.evaluation import most_confused

    classes, confusion = data["classes"], data["confusion"]
    labels = [each["label"] for each in classes]
    with_matrix = len(labels) <= _WIDEST_MATRIX
    headings = ["class", "to learn", "to test", "right"]
    if with_matrix:
        headings += ["  taken for:", *(_shortened(label) for label in labels)]
    rows = []
    for each, counts in zip(classes, confusion):
        right = "-" if each["right"] is None else f"{each['right']:.1%}"
        row = [each["label"], f"{each['train']:,}", f"{each['test']:,}", right]
        if with_matrix:
            row += ["", *(str(count) if count else "." for count in counts)]
        rows.append(row)
    lines = [table(headings, rows, left=1)]
    if not with_matrix:
        import numpy as np

        mistakes = most_confused(np.array(confusion), _MISTAKES)
        lines += [
            f"{labels[true]} taken for {labels[answer]}: {count} times"
            for true, answer, count in mistakes
        ]
    if data["class_weights"]:
        least, most = min(data["class_weights"]), max(data["class_weights"])
        lines.append(
            f"classes differ in size: in training a picture counted {least:.2f} to {most:.2f} "
            f"times, so that all classes count the same\n"
            f"mean over the classes: {data['mean_class_accuracy']:.2%} right"
        )
    return "\n".join(lines)


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_HEADING else label[: _LONGEST_HEADING - 1] + "…"
