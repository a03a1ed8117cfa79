"""Training in a process of its own, watched and ended from here.

The process reads the folder of pictures, trains as `host train` does, and sends what it reports
through a pipe. It may be ended at any moment: what it works with are copies.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from model.datasets import datasets
from model.datasets.datasets import Dataset
from model.errors import EyespotError, TrainingError
from model.int8 import tflite, tflite_writer
from model.training import recipes
from model.training.evaluation import confusion_matrix
from model.training.fit import Progress
from model.training.history import Epoch

from .session import Choice

__all__ = ["Trainer", "Wishes"]

#: Seconds between two reports of a training's steps.
_PAUSE = 0.1
#: Wrong answers that are shown.
_MOST_WRONG = 60
_NICE = 5

_SIDES = (16, 24, 32, 48)
_CHANNELS = {"auto": None, "grey": 1, "colour": 3}
_MOST_EPOCHS = 1000


@dataclass(frozen=True)
class Wishes:
    """How to train.

    Attributes
    ----------
    side : int
        Height and width to which pictures are scaled.
    channels : int or None
        1 for grey, 3 for colours; None: as the pictures are.
    epochs : int or None
        Passes over the pictures; None: as many as `host train` takes.
    seed : int
    """

    side: int = 32
    channels: int | None = None
    epochs: int | None = None
    seed: int = 0

    @classmethod
    def of(cls, values: dict[str, str]) -> Wishes:
        """From what a page says.

        Raises
        ------
        TrainingError
            If that makes no sense.
        """
        side, epochs = values.get("side", "32"), values.get("epochs", "")
        channels = values.get("channels", "auto")
        if side not in map(str, _SIDES) or channels not in _CHANNELS:
            raise TrainingError(f"pictures of {side!r}, {channels!r}: that is not offered")
        if epochs and not (epochs.isdecimal() and 1 <= int(epochs) <= _MOST_EPOCHS):
            raise TrainingError(f"epochs are 1 to {_MOST_EPOCHS}, not {epochs!r}")
        return cls(int(side), _CHANNELS[channels], int(epochs) if epochs else None)


class Trainer:
    """At most one training at a time, and what came of the last one.

    Parameters
    ----------
    tell : callable
        Called with the state whenever it has changed; in a thread of its own.

    Attributes
    ----------
    choice : Choice or None
        The last trained model.
    tested : Dataset or None
        What it was tested on: its test part.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._process: Any = None
        self._watcher: threading.Thread | None = None
        self._cancelled = False
        self.choice: Choice | None = None
        self.tested: Dataset | None = None
        self.state: dict[str, Any] = {"phase": "idle"}

    def start(self, folder: Path, wishes: Wishes) -> None:
        """Begin to train on a folder's pictures.

        Raises
        ------
        TrainingError
            If a training is going on.
        """
        with self._lock:
            if self._process is not None:
                raise TrainingError("a training is going on; cancel it first")
            # A new process, not a copy of this one with its threads and its port.
            context = multiprocessing.get_context("spawn")
            receive, send = context.Pipe(duplex=False)
            process = context.Process(
                target=_train, args=(send, folder, wishes), name="training", daemon=True
            )
            self._cancelled = False
            self._process = process
        self._set(phase="starting", epochs=[], began=time.time())
        process.start()
        send.close()
        self._watcher = threading.Thread(target=self._watch, args=(process, receive), daemon=True)
        self._watcher.start()

    def cancel(self) -> None:
        """End the training; nothing that was collected is touched."""
        with self._lock:
            process, self._cancelled = self._process, True
        if process is not None:
            process.terminate()

    def stop(self) -> None:
        """Cancel, and wait for it."""
        self.cancel()
        if self._watcher is not None:
            self._watcher.join(5)

    def _set(self, **changes: Any) -> None:
        self.state = {**self.state, **changes}
        self._tell(self.state)

    def _watch(self, process: Any, receive: Connection) -> None:
        try:
            while True:
                kind, what = receive.recv()
                if kind == "step":
                    self._set(phase="training", **what)
                elif kind == "epoch":
                    self._set(epochs=[*self.state["epochs"], what])
                elif kind == "loading":
                    self._set(phase="loading", **what)
                elif kind == "failed":
                    self._finish(process, phase="failed", line=what)
                    return
                elif kind == "done":
                    self._take(process, *what)
                    return
        except (EOFError, OSError):
            phase = "cancelled" if self._cancelled else "failed"
            self._finish(process, phase=phase, line="the training has ended early")
        finally:
            receive.close()

    def _take(self, process: Any, data: bytes, tested: Dataset, result: dict[str, Any]) -> None:
        graph = tflite.decode(data, "taught")
        self.choice, self.tested = Choice(graph, "trained", data), tested
        self._finish(process, phase="done", result=result)

    def _finish(self, process: Any, **changes: Any) -> None:
        process.join(5)
        with self._lock:
            self._process = None
        self._set(**changes)


# In the process.


def _train(send: Connection, folder: Path, wishes: Wishes) -> None:
    with suppress(OSError, AttributeError):
        os.nice(_NICE)  # the board and the page come first
    try:
        send.send(("done", _trained(send, folder, wishes)))
    except EyespotError as error:
        send.send(("failed", str(error)))
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # whoever asked has gone
    except MemoryError:
        send.send(("failed", "there is not enough memory"))
    except Exception as error:
        send.send(("failed", f"a fault in Eyespot: {type(error).__name__}: {error}"))


def _trained(
    send: Connection, folder: Path, wishes: Wishes
) -> tuple[bytes, Dataset, dict[str, Any]]:
    last = 0.0

    def now_and_then(kind: str, what: dict[str, Any], is_last: bool) -> None:
        nonlocal last
        if is_last or time.monotonic() - last > _PAUSE:
            last = time.monotonic()
            send.send((kind, what))

    def loading(what: str, done: int, total: int) -> None:
        now_and_then("loading", {"doing": what, "done": done, "total": total}, done == total)

    def step(progress: Progress) -> None:
        told = {
            "done": progress.step,
            "total": progress.steps,
            "epoch": progress.epoch,
            "of": progress.epochs,
        }
        now_and_then("step", told, progress.step == progress.steps)

    def epoch(phase: str, recorded: Epoch) -> None:
        told = {
            "phase": phase,
            "loss": recorded.loss,
            "accuracy": recorded.accuracy,
            "test": recorded.test_accuracy,
        }
        send.send(("epoch", told))

    dataset = datasets.load(folder, loading, (wishes.side, wishes.side), wishes.channels)
    trained = recipes.train(
        dataset, seed=wishes.seed, epochs=wishes.epochs, progress=step, on_epoch=epoch
    )
    tested = Dataset(
        "collected", dataset.x_test, dataset.y_test, dataset.x_test, dataset.y_test, dataset.labels
    )
    return tflite_writer.encode(trained.graph), tested, _result(dataset, trained)


def _result(dataset: Dataset, trained: recipes.Trained) -> dict[str, Any]:
    from .view import encoded

    answers = trained.scores.argmax(axis=1)
    wrong = np.flatnonzero(answers != dataset.y_test)[:_MOST_WRONG]
    return {
        **trained.report,
        "labels": list(dataset.labels),
        "notes": list(dataset.notes),
        "train": dataset.class_counts.tolist(),
        "test": dataset.test_counts.tolist(),
        "confusion": confusion_matrix(trained.scores, dataset.y_test, len(dataset.labels)).tolist(),
        "shape": list(dataset.shape),
        "wrong": [
            {
                "bytes": encoded(datasets.to_int8(dataset.x_test[index])),
                "truth": dataset.labels[dataset.y_test[index]],
                "answer": dataset.labels[answers[index]],
            }
            for index in wrong
        ],
    }
