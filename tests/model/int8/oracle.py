"""TensorFlow Lite for Microcontrollers as the judge; skips where its wheel does not exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from model.int8 import tflite
from model.int8.graph import Graph

_ARENA_BYTES = 4 << 20


def interpreter(data: bytes, *, preserve: bool = False, arena_bytes: int = _ARENA_BYTES):
    """TFLM with a model of its own format, which may be one that we cannot write."""
    runtime = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="tflite-micro has no wheel here"
    )
    config = runtime.InterpreterConfig
    return runtime.Interpreter.from_bytes(
        data,
        arena_size=arena_bytes,
        intrepreter_config=(
            config.kPreserveAllTensors if preserve else config.kAllocationRecording
        ),
    )


def predict(graph: Graph, x: np.ndarray) -> np.ndarray:
    """TFLM's first outputs for a batch of the first input's examples."""
    return _outputs(graph, [x])[0]


def outputs(graph: Graph, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """TFLM's outputs by name, for examples by name."""
    given = [x[graph.tensors[index].name] for index in graph.inputs]
    names = [graph.tensors[index].name for index in graph.outputs]
    return dict(zip(names, _outputs(graph, given)))


def _outputs(graph: Graph, given: Sequence[np.ndarray]) -> list[np.ndarray]:
    running = interpreter(tflite.encode(graph))
    answers: list[list[np.ndarray]] = [[] for _ in graph.outputs]
    for example in zip(*given, strict=True):
        _set_inputs(running, graph, example)
        running.invoke()
        for position, index in enumerate(graph.outputs):
            value = np.array(running.get_output(position))
            answers[position].append(value.reshape(graph.tensors[index].example_shape))
    return [np.array(each) for each in answers]


def _set_inputs(running, graph: Graph, example: Sequence[np.ndarray]) -> None:
    for position, (index, value) in enumerate(zip(graph.inputs, example)):
        running.set_input(value.reshape(graph.tensors[index].shape), position)


def run(graph: Graph, x: np.ndarray) -> dict[int, np.ndarray]:
    """Every operator's outputs for a batch of examples, by tensor index."""
    running = interpreter(tflite.encode(graph), preserve=True)
    indexes = [index for operator in graph.operators for index in operator.outputs]
    tensors: dict[int, list[np.ndarray]] = {index: [] for index in indexes}
    for example in x:
        _set_inputs(running, graph, [example])
        running.invoke()
        for index in indexes:
            value = np.array(running.GetTensor(index, 0)["tensor_data"])
            tensors[index].append(value.reshape(graph.tensors[index].example_shape))
    return {index: np.array(values) for index, values in tensors.items()}
