"""Models with uint8 inputs and outputs: equal to TensorFlow Lite Micro's answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.int8 import reference, tflite
from model.int8.builder import GraphBuilder
from model.int8.graph import Graph
from tests.model.int8 import oracle


def unsigned(graph: Graph, *tensors: int) -> Graph:
    """The same network, of which these tensors are uint8."""
    changed = list(graph.tensors)
    for index in tensors:
        affine = changed[index].quantization
        assert affine is not None
        changed[index] = replace(
            changed[index],
            dtype="uint8",
            quantization=replace(affine, zero_point=affine.zero_point + 128),
        )
    return replace(graph, tensors=tuple(changed))


def network(rng: np.random.Generator, equal_scales: bool) -> Graph:
    scale, zero_point = (0.5, -128) if equal_scales else (0.3, -3)
    builder = GraphBuilder("unsigned", (5, 4, 2), 0.5, -128)
    builder.quantize(scale, zero_point)
    weights = rng.integers(-127, 128, (3, 3, 3, 2)).astype(np.int8)
    builder.conv_2d(weights=weights, weight_scale=[0.01] * 3, bias=None, scale=0.6, zero_point=4)
    builder.quantize(0.6 if equal_scales else 0.7, 4 if equal_scales else -100)
    return builder.build()


@pytest.mark.parametrize("equal_scales", [True, False])
def test_answers_are_those_of_tensorflow_lite_micro(equal_scales: bool) -> None:
    rng = np.random.default_rng(int(equal_scales))
    signed = network(rng, equal_scales)
    model = unsigned(signed, *signed.inputs, *signed.outputs)
    pictures = rng.integers(0, 256, (20, 5, 4, 2)).astype(np.uint8)
    graph = tflite.decode(tflite.encode(model), "unsigned")
    assert (graph.input.dtype, graph.output.dtype) == ("uint8", "uint8")
    assert np.array_equal(reference.predict(graph, pictures), oracle.predict(model, pictures))
