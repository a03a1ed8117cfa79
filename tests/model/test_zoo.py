"""The bundled models: what they are, how good they are, and that TFLM agrees on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model import zoo
from model.datasets import datasets
from model.datasets.datasets import to_int8
from model.int8 import reference, tflite
from model.training.fit import accuracy
from tests.model.int8 import oracle
from tests.zoo_data import carried_data

RECORDED = Path(__file__).parent / "data" / "zoo_tflm_outputs.npz"
"""TFLM's logits and outputs for the first test pictures, where there is no TFLM to ask."""

RECORDED_COUNT = 100


@pytest.mark.parametrize(
    ("name", "parameters", "macs", "least_accuracy"),
    [
        ("patterns", 82, 156, 1.0),
        ("digits", 2_802, 33_216, 0.98),
        ("mnist", 16_706, 1_007_840, 0.99),
    ],
)
def test_size_and_accuracy(name, parameters, macs, least_accuracy):
    graph = tflite.load(zoo.path(name))
    dataset = datasets.load(carried_data(name))
    assert graph.parameters == parameters
    assert graph.total_macs == macs
    assert graph.labels == dataset.labels
    scores = reference.predict(graph, to_int8(dataset.x_test))
    assert accuracy(scores, dataset.y_test) >= least_accuracy


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_layer_agrees_with_tflm(name):
    graph = tflite.load(zoo.path(name))
    x = to_int8(datasets.load(carried_data(name)).x_test[:50])
    expected = oracle.run(graph, x)
    actual = reference.run(graph, x, keep="all")
    assert actual.keys() == expected.keys()
    for operator in graph.operators:
        index = operator.outputs[0]
        assert np.array_equal(actual[index], expected[index]), operator.name


@pytest.mark.parametrize("name", zoo.NAMES)
def test_answers_agree_with_tflm_on_the_whole_test_part(name):
    graph = tflite.load(zoo.path(name))
    x = to_int8(datasets.load(carried_data(name)).x_test)
    assert np.array_equal(reference.predict(graph, x), oracle.predict(graph, x))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_answers_agree_with_recorded_tflm(name):
    graph = tflite.load(zoo.path(name))
    x = to_int8(datasets.load(carried_data(name)).x_test[:RECORDED_COUNT])
    logits = graph.operators[-1].inputs[0]
    actual = reference.run(graph, x, keep=[logits])
    with np.load(RECORDED) as recorded:
        assert np.array_equal(actual[logits], recorded[f"{name}_logits"])
        assert np.array_equal(actual[graph.outputs[0]], recorded[f"{name}_output"])


def test_names_resolve_to_files():
    assert zoo.resolve("digits") == zoo.path("digits")
    assert zoo.resolve("./digits") == Path("digits")
    assert zoo.resolve("mine.tflite") == Path("mine.tflite")
    assert all(zoo.path(name).is_file() for name in zoo.NAMES)


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no bundled model 'cats'"):
        zoo.path("cats")
