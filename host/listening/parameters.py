"""What must be known of a network that listens, besides its weights.

ESPHome ships each wake word with a JSON file of the model's name, in which ``micro`` has the cutoff
and the window (https://esphome.io/components/micro_wake_word). The file may be named instead of the
model: it says where that is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import DataError

__all__ = ["Parameters", "model_of", "read_parameters", "usual"]

#: Of the first version of microWakeWord, whose networks take one row of features a run, and of
#: micro_speech, whose networks take those of a second.
_SLOW_STEP_MS, _SECOND = 20, range(45, 51)
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Parameters:
    """How scores become events.

    Attributes
    ----------
    word : str
        What is said, if the network knows one word; empty for one that has classes.
    cutoff : float
        The mean of the last scores must be above this; 0 to 1.
    window : int
        Runs over which the mean is taken.
    step_ms : int
        From one row of features to the next, a multiple of 10.
    """

    word: str = ""
    cutoff: float = 0.5
    window: int = 5
    step_ms: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.cutoff < 1:
            raise DataError(f"the cutoff must be between 0 and 1, not {self.cutoff}")
        if not 1 <= self.window <= 1000:
            raise DataError(f"the window must have 1 to 1,000 runs, not {self.window}")
        if self.step_ms % 10 or not 10 <= self.step_ms <= 100:
            raise DataError(f"the step must be 10, 20, … 100 ms, not {self.step_ms}")


def usual(rows: int) -> Parameters:
    """What is usual for a network that takes so many rows of features in a run."""
    slow = rows == 1 or rows in _SECOND
    return Parameters(step_ms=_SLOW_STEP_MS if slow else Parameters.step_ms)


def model_of(path: str) -> str:
    """The model that ``path`` names: itself, or that of which it is the JSON file.

    Raises
    ------
    DataError
        If it is no such file.
    """
    if not path.endswith(".json"):
        return path
    name = _read(Path(path)).get("model")
    if not isinstance(name, str) or not name:
        raise DataError(f"{path}: does not name its `model`")
    return str(Path(path).parent / name)


def read_parameters(path: str, rows: int) -> Parameters:
    """What the JSON file beside a model says; what is usual where there is none.

    Parameters
    ----------
    path : str
        The model's file, or the JSON file.
    rows : int
        Rows of features that the network takes in a run.

    Raises
    ------
    DataError
        If there is such a file and it is damaged.
    """
    file = Path(path).with_suffix(".json")
    if not file.is_file():
        return usual(rows)
    data = _read(file)
    micro = data.get("micro", {})
    if not isinstance(micro, dict):
        raise DataError(f"{file}: `micro` is no object")
    word = data.get("wake_word", "")
    window = micro.get("sliding_window_size", micro.get("sliding_window_average_size"))
    try:
        return Parameters(
            word=word if isinstance(word, str) else "",
            cutoff=float(micro.get("probability_cutoff", Parameters.cutoff)),
            window=int(Parameters.window if window is None else window),
            step_ms=int(micro.get("feature_step_size", usual(rows).step_ms)),
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: {error}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: is too long to be a model's JSON file")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: is no object")
    return data
