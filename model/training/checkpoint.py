"""Checkpoints: files with the state of a training, which continue an interrupted one exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.datasets.npz_files import is_sound
from model.errors import TrainingError
from model.file_kinds import refusal

__all__ = ["Checkpoint", "Snapshot"]

_FACTS = "facts"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of one phase of training, after an epoch.

    Attributes
    ----------
    arrays : dict of str to sequence of ndarray
        Weights and all other arrays, by kind.
    facts : dict
        Everything else, as JSON values; floats keep every bit.
    """

    arrays: Mapping[str, Sequence[np.ndarray]]
    facts: dict[str, Any]


class Checkpoint:
    """A file with the latest snapshot of each phase of one training run.

    A snapshot is written to a file beside it, which is then renamed, so the file is complete at any
    time.

    Parameters
    ----------
    path : Path
        An ``.npz`` file.
    run : dict
        The facts that identify the run, as JSON values: seed, settings, data.
    resume : bool
        Whether to read an existing file. Otherwise there must be none.

    Raises
    ------
    TrainingError
        If there is a file and should be none, or none and should be one; if it cannot be read; or
        if another run wrote it.
    """

    def __init__(self, path: Path, run: dict[str, Any], resume: bool) -> None:
        self.path = path
        self._run = json.loads(json.dumps(run))
        self._phases: dict[str, Snapshot] = {}
        if resume:
            self._read()
        elif path.exists():
            raise TrainingError(f"{path}: is there already; resume it, or take it away")

    def load(self, phase: str) -> Snapshot | None:
        """The latest snapshot of a phase, if there is one."""
        return self._phases.get(phase)

    def save(self, phase: str, snapshot: Snapshot) -> None:
        """Write a phase's snapshot, together with the latest ones of all other phases."""
        self._phases[phase] = snapshot
        arrays = {
            f"{name}/{kind}/{index}": array
            for name, each in self._phases.items()
            for kind, sequence in each.arrays.items()
            for index, array in enumerate(sequence)
        }
        facts = {name: each.facts for name, each in self._phases.items()}
        text = json.dumps({"version": _VERSION, "run": self._run, "phases": facts})
        unfinished = self.path.with_name(self.path.name + ".part")
        try:
            with unfinished.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **{_FACTS: np.array(text)}, **arrays)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(unfinished, self.path)
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"{self.path}: cannot be written: {reason}") from error
        finally:
            unfinished.unlink(missing_ok=True)

    def _read(self) -> None:
        try:
            arrays, version, run, phases = _contents(self.path)
        except FileNotFoundError as error:
            raise TrainingError(f"{self.path}: there is no checkpoint to resume") from error
        except Exception as error:  # what NumPy and the decompressors raise is in no list
            why = refusal(self.path, error, "is no checkpoint that can be read", ".npz")
            raise TrainingError(f"{self.path}: {why}") from error
        if version != _VERSION:
            raise TrainingError(f"{self.path}: checkpoint of version {version}, not {_VERSION}")
        for name in sorted(self._run.keys() | run.keys()):
            there, here = run.get(name), self._run.get(name)
            if there != here:
                raise TrainingError(
                    f"{self.path}: of another run: {name} is {there} there, {here} here"
                )
        self._phases = {
            name: Snapshot(arrays.get(name, {}), facts) for name, facts in phases.items()
        }


_Arrays = dict[str, list[np.ndarray]]


def _contents(path: Path) -> tuple[dict[str, _Arrays], int, dict[str, Any], dict[str, Any]]:
    """A file's arrays, by phase and kind, its version, its run, and the facts of its phases.

    Raises
    ------
    Exception
        Any exception, if the file is something else.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    if not is_sound(found[_FACTS]):
        raise ValueError("its facts are no text")
    facts = json.loads(str(found.pop(_FACTS)))
    version, run, phases = facts["version"], facts["run"], facts["phases"]
    if not (isinstance(run, dict) and isinstance(phases, dict)):
        raise ValueError("its facts are damaged")
    groups: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for key, array in found.items():
        phase, kind, index = key.split("/")
        groups.setdefault(phase, {}).setdefault(kind, {})[int(index)] = array
    arrays = {
        phase: {kind: [group[index] for index in sorted(group)] for kind, group in kinds.items()}
        for phase, kinds in groups.items()
    }
    return arrays, version, run, phases
