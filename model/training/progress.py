"""A progress bar of training, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from model.training.fit import Progress

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback for `model.training.fit` that draws a bar with loss and accuracy.

    Drawn on stderr, and only where that is a terminal.
    """
    console = Console(stderr=True)
    columns = (
        # A path may contain brackets, which would be markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("epoch"),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:6.2%}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, loss=float("nan"), accuracy=0.0)

        def show(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.epochs,
                completed=progress.step * progress.epochs // progress.steps,
                loss=progress.loss,
                accuracy=progress.accuracy,
            )

        yield show
