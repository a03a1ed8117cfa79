"""Learning on in int8, and channels of one range: what they win back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.datasets import datasets
from model.errors import ModelError
from model.importing import conversion as conversion_module
from model.importing.calibration import calibrate
from model.importing.conversion import Conversion
from model.importing.equalization import equalize
from model.importing.float_graph import FloatGraph, Node
from model.importing.float_operators import (
    Affine,
    Binary,
    BinaryKind,
    Convolution,
    Dense,
    Function,
    Reshape,
    Softmax,
    Window,
)
from model.importing.importer import read_model
from model.importing.preprocessing import Preprocessing
from model.importing.simplification import simplify
from model.importing.tuning import TunedNetwork, tune
from model.int8 import reference
from model.training.fit import Settings, accuracy, gradients

DATA = Path(__file__).parent / "data"


def spread(x: np.ndarray) -> Conversion:
    """A depthwise network whose channels differ in range by a factor of 100."""
    pytest.importorskip("onnx")
    source, _ = read_model(DATA / "spread.onnx")
    return Conversion(source, Preprocessing.of(1), x)


def int8_accuracy(conversion: Conversion, x: np.ndarray, y: np.ndarray) -> float:
    answers = reference.predict(conversion.export("m"), conversion.stored(x))
    return accuracy(answers.reshape(len(x), -1), y)


@pytest.fixture
def without_equalization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion_module, "equalize", lambda graph, statistics: False)


def test_channels_of_one_range_lose_nothing() -> None:
    digits = datasets.load("digits")
    conversion = spread(digits.x_train)
    assert conversion.is_equalized
    found = conversion.compare(conversion.export("m"), digits.x_test, digits.y_test)
    assert found.float_accuracy is not None and found.int8_accuracy is not None
    assert found.int8_accuracy > found.float_accuracy - 0.01


@pytest.mark.usefixtures("without_equalization")
def test_learning_wins_back_what_rounding_lost() -> None:
    digits = datasets.load("digits")
    conversion = spread(digits.x_train)
    x, y = digits.x_test, digits.y_test
    in_float = accuracy(conversion.float_outputs(x)[0], y)
    before = int8_accuracy(conversion, x, y)
    assert before < in_float - 0.05
    settings = Settings(3, batch=32, rate=1e-3, patience=3)
    held_before, held_after = tune(conversion, digits, settings, np.random.default_rng(0))
    assert held_after > held_before
    after = int8_accuracy(conversion, x, y)
    assert after > (before + in_float) / 2


def test_equalised_channels_compute_the_same() -> None:
    rng = np.random.default_rng(0)
    graph = FloatGraph()
    graph.tensor((6, 6, 4))
    wide = 10 ** rng.uniform(-2, 0, 8)
    first = Convolution(rng.normal(size=(3, 3, 4, 8)) * wide, np.zeros(8), Window((3, 3)))
    second = Convolution(rng.normal(size=(3, 3, 1, 16)), np.zeros(16), Window((3, 3)), 8)
    third = Convolution(rng.normal(size=(1, 1, 16, 5)), np.zeros(5), Window((1, 1)))
    tensor = graph.append(first, [0], "first", (0.0, np.inf))
    tensor = graph.append(second, [tensor], "second", (0.0, 6.0))
    graph.outputs = [graph.append(third, [tensor], "third")]
    x = rng.normal(size=(20, 6, 6, 4)).astype(np.float32)
    (want,) = graph.run(x)
    before = calibrate(graph, x)
    assert equalize(graph, before)
    (found,) = graph.run(x)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    after = calibrate(graph, x)
    reach = after[graph.nodes[0].output].largest
    assert before[graph.nodes[0].output].largest.min() < reach.max() / 10
    np.testing.assert_allclose(reach, reach.max(), rtol=1e-4)
    # A clamp bounds what may be scaled up, and nothing is scaled down below it.
    clamped = after[graph.nodes[1].output].largest
    assert clamped.max() <= 6 and (clamped >= before[graph.nodes[1].output].largest - 1e-4).all()


def classifier(rng: np.random.Generator, outputs: int) -> FloatGraph:
    graph = FloatGraph()
    graph.tensor((4, 4, 1))
    convolution = Convolution(rng.normal(size=(4, 4, 1, 6)) / 4, np.zeros(6), Window((4, 4)))
    tensor = graph.append(convolution, [0], "conv", (0.0, np.inf))
    shape = graph.shapes[tensor]
    assert shape == (1, 1, 6)
    tensor = graph.append(Reshape((6,)), [tensor], "flat")
    tensor = graph.append(
        Dense(rng.normal(size=(6, outputs)), np.zeros(outputs)), [tensor], "dense"
    )
    last = Softmax() if outputs > 1 else Function("sigmoid")
    graph.outputs = [graph.append(last, [tensor], "last")]
    graph.output_names = ["last"]
    return graph


@pytest.mark.parametrize("outputs", [1, 3])
def test_logits_are_those_of_the_int8_graph_and_gradients_lead_downhill(outputs: int) -> None:
    rng = np.random.default_rng(outputs)
    x = rng.integers(0, 256, (80, 4, 4, 1)).astype(np.uint8)
    conversion = Conversion(classifier(rng, outputs), Preprocessing.of(1), x)
    network = TunedNetwork(conversion)
    graph, tensors = conversion.quantizer().export("m")
    logits = tensors[conversion.graph.nodes[-1].inputs[0]]
    stored = reference.run(graph, conversion.stored(x), [logits])[logits].reshape(80, -1)
    quantization = graph.tensors[logits].quantization
    assert quantization is not None
    real = (stored.astype(np.float32) - quantization.zero_point[0]) * quantization.scale[0]
    found = network.predict(x)
    if outputs == 1:
        found = found[:, 1:] - found[:, :1]
    np.testing.assert_allclose(found, real, rtol=1e-6)
    y = rng.integers(0, network.classes, 80)
    before, _ = gradients(network, x, y, rng)
    for values, gradient in zip(network.parameters, network.gradients):
        values -= 0.2 * gradient
    after, _ = gradients(network, x, y, rng)
    assert after < before - 0.2


def test_what_cannot_learn_is_refused() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4, 4, 1)).astype(np.float32)
    with pytest.raises(ModelError, match="needs pixels, not real numbers"):
        TunedNetwork(Conversion(classifier(rng, 3), None, x))
    graph = classifier(rng, 3)
    graph.outputs = [graph.nodes[0].output]
    pixels = rng.integers(0, 256, (30, 4, 4, 1)).astype(np.uint8)
    simplify(graph)
    TunedNetwork(Conversion(graph, Preprocessing.of(1), pixels))
    graph.nodes[0].operator = Convolution(
        rng.normal(size=(3, 3, 1, 6)), np.zeros(6), Window((3, 3))
    )
    graph.shapes[graph.outputs[0]] = (2, 2, 6)
    with pytest.raises(ModelError, match="needs an output of classes, not of pictures"):
        TunedNetwork(Conversion(graph, Preprocessing.of(1), pixels))


def test_gradients_of_branches_add_up() -> None:
    """y + y learns as 2 y does."""
    found = []
    for is_sum in (True, False):
        rng = np.random.default_rng(0)
        graph = classifier(rng, 3)
        first = graph.nodes[0]
        between = graph.tensor(graph.shapes[first.output])
        twice = Binary(BinaryKind.ADD) if is_sum else Affine(np.array(2.0), np.array(0.0))
        inputs = [between, between] if is_sum else [between]
        graph.nodes.insert(1, Node("twice", twice, inputs, first.output))
        first.output, first.clamp = between, None
        x = rng.integers(0, 256, (80, 4, 4, 1)).astype(np.uint8)
        network = TunedNetwork(Conversion(graph, Preprocessing.of(1), x))
        gradients(network, x, rng.integers(0, 3, 80), rng)
        found.append(network.gradients[0] if is_sum else network.gradients[0] * 2)
    shares = found[0].ravel() @ found[1].ravel() / (found[1].ravel() @ found[1].ravel())
    # In the second network the factor is in the weights already.
    assert shares == pytest.approx(1, abs=0.1)
