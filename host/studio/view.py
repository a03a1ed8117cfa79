"""What the page is told: models, boards, answers and layers as plain data, ready for JSON."""

from __future__ import annotations

import base64
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from model.datasets import datasets
from model.int8.graph import Graph

from ..compiler import CompiledModel
from ..errors import PictureError
from ..model_card import ModelCard
from ..pictures import picture_shape
from .session import Answer, Choice, Looked, Status

__all__ = ["answer", "board", "looked", "model", "sample_sets", "status"]

#: Data sets whose test pictures a model may be tried on: those that are there without a download.
SAMPLE_SETS = ("digits", "mnist-5k", "patterns")
#: Cells of a detector's answer that are told, the surest first.
_MOST_CELLS = 100


def encoded(values: npt.NDArray[np.int8]) -> str:
    """Bytes of a tensor, in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _picture_shape(card: ModelCard) -> list[int] | None:
    """Height, width and channels; None where the input is no picture."""
    try:
        return list(picture_shape(card)) if len(card.inputs) == 1 else None
    except PictureError:
        return None


def sample_sets(graph: Graph, card: ModelCard) -> list[str]:
    """The data sets whose pictures have the model's shape, and whose classes are its classes."""
    shape = _picture_shape(card)
    names = []
    for name in SAMPLE_SETS if shape is not None else ():
        dataset = datasets.load(name)
        same = set(dataset.labels) == set(graph.labels) if graph.labels else True
        if list(dataset.shape) == shape and same:
            names.append(name)
    return names


def model(choice: Choice, compiled: CompiledModel, clock_hz: int) -> dict[str, Any]:
    """A model, on the board that it was compiled for."""
    graph, card = choice.graph, compiled.card
    configuration = compiled.configuration
    return {
        "name": graph.name,
        "origin": choice.origin,
        "input": list(card.input.before.shape),
        "picture": _picture_shape(card),
        "outputs": [list(each.behind.shape) for each in card.outputs],
        "labels": list(card.labels),
        "notes": list(graph.notes),
        "parameters": graph.parameters,
        "macs": compiled.macs,
        "cycles": compiled.cycles,
        "microseconds": compiled.cycles / clock_hz * 1e6,
        "utilisation": compiled.utilisation,
        "image_bytes": len(compiled.image),
        "stream_bytes": len(compiled.stream),
        "memory_bytes": compiled.memory_bytes,
        "board_memory_bytes": configuration.memory_bytes,
        "multipliers": configuration.lanes * configuration.pixels,
        "samples": sample_sets(graph, card),
        "layers": [
            {
                "name": layer.name,
                "op": layer.op,
                "macs": layer.macs,
                "cycles": layer.cycles,
                "utilisation": layer.utilisation,
                "bound": layer.bound,
                "bytes": layer.tape_bytes,
                "streams": layer.streams,
            }
            for layer in compiled.layers
        ],
    }


def board(now: Status) -> dict[str, Any] | None:
    info = now.info
    if info is None:
        return None
    return {
        "name": info.board,
        "clock_hz": info.clock_hz,
        "lanes": info.lanes,
        "pixels": info.pixels,
        "memory_bytes": info.memory_bytes,
        "baud": now.baud,
    }


def status(now: Status, port: str) -> dict[str, Any]:
    """How things stand; the model is told apart, because it changes seldom."""
    return {
        "port": port,
        "phase": now.phase,
        "problem": now.problem,
        "doing": now.doing,
        "done": now.done,
        "total": now.total,
        "seconds": time.monotonic() - now.since,
        "board": board(now),
        "looked": now.looked,
    }


def answer(said: Answer, clock_hz: int) -> dict[str, Any]:
    """An answer; scores are those of each class, or missing where the output has several pixels."""
    told, picture = said.classification, said.picture
    cells = None
    if told.cells is not None:
        best = sorted(told.cells, key=lambda cell: -cell.score)[:_MOST_CELLS]
        cells = [
            {
                "at": list(each.position),
                "class": each.index,
                "label": each.label,
                "score": each.score,
            }
            for each in best
        ]
    cycles = told.inference.cycles
    return {
        "number": picture.number,
        "client": picture.client,
        "source": picture.source,
        "truth": picture.truth,
        "shape": list(said.seen.shape),
        "seen": encoded(said.seen),
        "class": told.index,
        "label": told.label,
        "scores": _finite(told.scores) if cells is None else None,
        "grid": list(told.scores.shape[:2]) if cells is not None else None,
        "cells": cells,
        "cycles": cycles,
        "microseconds": cycles / clock_hz * 1e6,
        "equal": said.equal,
        "rate": said.rate,
        "dropped": said.dropped,
    }


def _finite(scores: npt.NDArray[np.float64]) -> list[float]:
    return [score if math.isfinite(score) else 0.0 for score in scores.tolist()]


def looked(found: Looked, clock_hz: int) -> dict[str, Any]:
    """Every layer of a look inside, with the bytes that the board stored."""
    graph, compiled = found.choice.graph, found.compiled
    seen = found.answer.seen
    layers = []
    for layer, each in zip(compiled.layers, found.layers):
        differing = np.flatnonzero(each.differs)
        layers.append(
            {
                "name": each.name,
                "op": each.op,
                "tensor": layer.tensor,
                "shape": list(each.board.shape),
                "bytes": encoded(each.board),
                "compared": each.reference is not None,
                "mismatches": each.mismatches,
                "differing": differing[:1000].tolist(),
                "cycles": each.cycles,
                "predicted": each.predicted,
                "microseconds": each.cycles / clock_hz * 1e6,
                "macs": layer.macs,
                "utilisation": layer.macs
                / max(each.cycles, 1)
                / (compiled.configuration.lanes * compiled.configuration.pixels),
                "bound": layer.bound,
            }
        )
    return {
        "number": found.number,
        "model": graph.name,
        "input": {"shape": list(seen.shape), "bytes": encoded(seen), "tensor": graph.inputs[0]},
        "answer": {
            "label": found.answer.classification.label,
            "picture": found.answer.picture.number,
        },
        "layers": layers,
    }
