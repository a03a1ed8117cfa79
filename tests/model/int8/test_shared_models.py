"""MLPerf Tiny's reference models: every layer as TFLM computes it, every recorded answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model import zoo
from model.datasets import datasets
from model.int8 import reference, tflite
from model.training.fit import accuracy
from tests.model.int8 import oracle

DATA = Path(__file__).parents[4] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")


def _pictures(name: str, count: int) -> np.ndarray:
    graph = tflite.load(DATA / "models" / f"{name}.tflite")
    rng = np.random.default_rng(12)
    return rng.integers(-128, 128, (count, *graph.input.shape[1:])).astype(np.int8)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("pretrainedResnet_quant", 12_501_632),
        ("kws_ref_model", 2_656_768),
        ("vww_96_int8", 7_489_664),
        ("ad01_int8", 264_192),
    ],
)
def test_every_layer_agrees_with_tflm(name, macs):
    graph = tflite.load(DATA / "models" / f"{name}.tflite")
    assert graph.total_macs == macs
    x = _pictures(name, 4)
    expected = oracle.run(graph, x)
    actual = reference.run(graph, x, keep="all")
    for operator in graph.operators:
        index = operator.outputs[0]
        assert np.array_equal(actual[index], expected[index]), operator.name


@pytest.mark.parametrize(
    ("name", "data", "top_1"),
    [("pretrainedResnet_quant", "ic01_perf200", 0.875), ("kws_ref_model", "kws01", 0.901)],
)
def test_recorded_answers(name, data, top_1):
    graph = tflite.load(DATA / "models" / f"{name}.tflite")
    with np.load(DATA / f"{data}.npz") as samples:
        x, y = samples["x"], samples["y"]
    if x.dtype == np.uint8:
        x = (x ^ np.uint8(0x80)).view(np.int8)
    scores = reference.predict(graph, x.reshape(-1, *graph.input.shape[1:]))
    expected = np.load(DATA / f"{data.split('_')[0]}_tflm_outputs.npy")
    assert np.array_equal(scores, expected)
    assert accuracy(scores, y) == pytest.approx(top_1, abs=5e-4)


def test_mnist_that_comes_along_on_all_test_pictures():
    samples = datasets.samples(DATA / "mnist.npz")
    assert len(samples.x) == 10_000
    graph = tflite.load(zoo.path("mnist"))
    assert graph.parameters <= 60_000
    x = samples.x.reshape(-1, *graph.input.example_shape)
    assert accuracy(reference.predict(graph, x), samples.y) >= 0.992
