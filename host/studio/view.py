"""What the page is told: models, boards, answers and layers as plain data, ready for JSON."""

from __future__ import annotations

import base64
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.datasets import datasets
from model.int8.explain import explain
from model.int8.explanation import Explanation, Source, Step
from model.int8.graph import Graph, OperatorKind

from ..compiler import CompiledModel
from ..errors import PictureError
from ..model_card import ModelCard
from ..pictures import picture_shape
from .session import Answer, Choice, Looked, Status

__all__ = ["answer", "board", "explained", "looked", "model", "sample_sets", "status"]

#: Data sets whose test pictures a model may be tried on: those that are there without a download.
SAMPLE_SETS = ("digits", "mnist-5k", "patterns")
#: Cells of a detector's answer that are told, the surest first.
_MOST_CELLS = 100
#: Values on the way, which no board stores, that are followed from one that it does.
_MOST_INNER = 12
#: Operators that change nothing but the shape.
_SHAPES = (OperatorKind.RESHAPE, OperatorKind.SQUEEZE, OperatorKind.EXPAND_DIMS)


def encoded(values: npt.NDArray[np.int8]) -> str:
    """Bytes of a tensor, in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _picture_shape(card: ModelCard) -> list[int] | None:
    """Height, width and channels; None where the input is no picture."""
    try:
        return list(picture_shape(card)) if len(card.inputs) == 1 else None
    except PictureError:
        return None


def sample_sets(choice: Choice, card: ModelCard) -> list[str]:
    """The data sets whose pictures have the model's shape, and whose classes are its classes."""
    graph, shape = choice.graph, _picture_shape(card)
    if choice.origin == "trained":
        return ["collected"]
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
        "samples": sample_sets(choice, card),
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


def explained(found: Looked, tensor: int, position: tuple[int, ...]) -> dict[str, Any]:
    """How a value was made; behind it, those on the way to it that the board never stored.

    Raises
    ------
    IndexError
        If there is no such value.
    """
    graph = found.choice.graph
    stored = {layer.tensor for layer in found.compiled.layers} | set(graph.inputs)
    chain: list[dict[str, Any]] = []
    waiting = [(tensor, position)]
    while waiting and len(chain) < _MOST_INNER:
        told = explain(graph, *waiting.pop(0), found.values)
        told = replace(told, sources=tuple(_origin(graph, each, stored) for each in told.sources))
        chain.append(_explanation(found, told, stored))
        waiting += [
            (source.tensor, tuple(int(at) for at in source.positions[which]))
            for source in told.sources
            if source.tensor not in stored and graph.tensors[source.tensor].data is None
            for which in [_deciding(told, source)]
        ]
    return {"number": found.number, "chain": chain}


def _origin(graph: Graph, source: Source, stored: set[int | None]) -> Source:
    """The source as the board stores it: another shape of a tensor is no tensor of its own."""
    while source.tensor not in stored:
        maker = graph.producer(source.tensor)
        if maker is None or graph.operators[maker].kind not in _SHAPES:
            break
        origin = graph.operators[maker].inputs[0]
        shapes = (graph.tensors[each].example_shape for each in (source.tensor, origin))
        before, behind = shapes
        flat = (
            np.ravel_multi_index(tuple(source.positions.T), before) if before else np.zeros(1, int)
        )
        places = np.unravel_index(flat, behind) if behind else ()
        positions = np.stack(places, axis=1) if behind else source.positions[:, :0]
        source = replace(source, tensor=origin, positions=positions)
    return source


def _deciding(told: Explanation, source: Source) -> int:
    """Of the values that were read, the one that matters most."""
    terms = np.where(source.inside, source.terms, 0)
    if told.how == "greatest":
        return int(np.where(source.inside, source.values, -129).argmax())
    if told.how == "least":
        return int(np.where(source.inside, source.values, 128).argmin())
    return int(np.abs(terms).argmax())


def _explanation(found: Looked, told: Explanation, stored: set[int | None]) -> dict[str, Any]:
    graph, operator = found.choice.graph, told.operator
    at_board = None
    if told.tensor in stored:
        shape = graph.tensors[told.tensor].example_shape
        at_board = int(found.values[told.tensor].reshape(shape)[told.position])
    return {
        "tensor": told.tensor,
        "position": list(told.position),
        "layer": operator.name if operator is not None else graph.tensors[told.tensor].name,
        "op": operator.kind.value if operator is not None else None,
        "how": told.how,
        "sources": [_source(graph, source, stored) for source in told.sources],
        "joined": told.joined,
        "steps": [_step(step) for step in told.steps],
        "result": told.result,
        "board": at_board,
        "table": None if told.table is None else told.table.tolist(),
    }


def _source(graph: Graph, source: Source, stored: set[int | None]) -> dict[str, Any]:
    return {
        "tensor": source.tensor,
        "name": graph.tensors[source.tensor].name,
        "stored": source.tensor in stored,
        "constant": graph.tensors[source.tensor].data is not None,
        "shape": list(source.shape),
        "positions": source.positions.tolist(),
        "inside": source.inside.tolist(),
        "values": source.values.tolist(),
        "zero": source.zero_point,
        "weights": None if source.weights is None else source.weights.tolist(),
        "terms": source.terms.tolist(),
        "steps": [_step(step) for step in source.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    return {"what": step.what, "with": list(step.operands), "gives": step.result}
