"""TensorFlow Lite for Microcontrollers as the judge; skips where its wheel does not exist."""

from __future__ import annotations

import numpy as np
import pytest

from model.int8 import tflite
from model.int8.graph import Graph

_ARENA_BYTES = 4 << 20


def _interpreter(graph: Graph, preserve: bool):
    runtime = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="tflite-micro has no wheel here"
    )
    config = runtime.InterpreterConfig
    return runtime.Interpreter.from_bytes(
        tflite.encode(graph),
        arena_size=_ARENA_BYTES,
        intrepreter_config=(
            config.kPreserveAllTensors if preserve else config.kAllocationRecording
        ),
    )


def predict(graph: Graph, x: np.ndarray) -> np.ndarray:
    """TFLM's outputs for a batch of pictures."""
    interpreter = _interpreter(graph, preserve=False)
    answers = []
    for picture in x:
        interpreter.set_input(picture[np.newaxis], 0)
        interpreter.invoke()
        answers.append(np.array(interpreter.get_output(0))[0])
    return np.array(answers)


def run(graph: Graph, x: np.ndarray) -> dict[int, np.ndarray]:
    """Every operator's output for a batch of pictures, by tensor index."""
    interpreter = _interpreter(graph, preserve=True)
    indexes = [operator.outputs[0] for operator in graph.operators]
    tensors: dict[int, list[np.ndarray]] = {index: [] for index in indexes}
    for picture in x:
        interpreter.set_input(picture[np.newaxis], 0)
        interpreter.invoke()
        for index in indexes:
            value = interpreter.GetTensor(index, 0)["tensor_data"]
            tensors[index].append(np.array(value)[0])
    return {index: np.array(values) for index, values in tensors.items()}
