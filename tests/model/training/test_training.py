"""Training and quantisation: they learn, they repeat, and int8 loses little."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from host import cli
from model.datasets import datasets
from model.datasets.datasets import Dataset, to_int8
from model.errors import ModelError, TrainingError
from model.int8 import reference, tflite
from model.int8.graph import Activation, OperatorKind, Padding
from model.training import recipes
from model.training.augmentation import Augmentation
from model.training.fit import Progress, Settings, accuracy, fit, hold_out
from model.training.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
)
from model.training.network import Network
from model.training.optimizer import AdamW
from model.training.progress import progress_bar
from model.training.quantization import Range, quantize
from model.training.schedule import Schedule
from tests.model.int8 import oracle


def test_patterns_are_learned_perfectly_and_repeatably():
    graph, report, *_ = recipes.train("patterns", seed=3)
    again, *_ = recipes.train("patterns", seed=3)
    other, *_ = recipes.train("patterns", seed=4, epochs=1)
    assert report["int8_accuracy"] == 1.0
    assert (report["parameters"], report["macs"]) == (82, 156)
    assert tflite.encode(graph) == tflite.encode(again)
    assert tflite.encode(graph) != tflite.encode(other)
    kinds = [operator.kind for operator in graph.operators]
    assert kinds == [
        OperatorKind.CONV_2D,
        OperatorKind.LOGISTIC,
        OperatorKind.RESHAPE,
        OperatorKind.FULLY_CONNECTED,
        OperatorKind.SOFTMAX,
    ]


def test_digits_are_learned():
    _, report, *_ = recipes.train("digits", epochs=15)
    assert report["int8_accuracy"] > 0.94
    assert report["macs"] <= 60_000


def test_progress_is_told_after_every_step():
    dataset = datasets.load("patterns")
    seen: list[Progress] = []
    recipes.train(dataset, epochs=2, progress=seen.append)
    assert [progress.step for progress in seen] == list(range(1, seen[0].steps + 1))
    assert seen[-1].epoch == seen[-1].epochs == 2
    assert seen[-1].loss < seen[0].loss


def test_progress_bar_keeps_quiet_off_a_terminal(capsys):
    with progress_bar("digits") as show:
        show(Progress(1, 10, 1, 2, 0.5, 0.9))
    captured = capsys.readouterr()
    assert (captured.out, captured.err.strip()) == ("", "")


def _network_of_everything(rng: np.random.Generator) -> tuple[Network, np.ndarray]:
    layers = [
        *(Conv2D(5, 3, stride=2), ReLU(), MaxPool2D(2, 1)),
        *(Conv2D(4, (3, 2), padding=Padding.VALID), MaxPool2D(2, padding=Padding.SAME), ReLU()),
        *(Conv2D(3, 1), Sigmoid(), Flatten(), ReLU(), Dense(9), ReLU(), Dense(3)),
    ]
    network = Network(layers, (13, 11, 3), rng)
    for parameter in network.parameters:
        if parameter.ndim == 1:
            parameter += rng.standard_normal(parameter.shape).astype(np.float32) * 0.1
    return network, rng.integers(0, 256, (40, 13, 11, 3)).astype(np.uint8)


def test_quantised_network_follows_the_float_one():
    network, x = _network_of_everything(np.random.default_rng(7))
    graph = quantize(network, x, "everything")
    logits = graph.operators[-1].inputs[0]
    quantization = graph.tensors[logits].quantization
    stored = reference.run(graph, to_int8(x), keep=[logits])[logits].astype(float)
    actual = (stored - quantization.zero_point[0]) * quantization.scale[0]
    expected = network.predict(x)
    assert np.abs(actual - expected).max() < 0.05 * np.ptp(expected)
    fused = [
        operator.options.activation
        for operator in graph.operators
        if operator.name in ("conv1", "conv2", "conv3", "dense1", "dense2")
    ]
    assert fused == [
        Activation.RELU,
        Activation.RELU,
        Activation.NONE,
        Activation.RELU,
        Activation.NONE,
    ]


def test_quantised_network_agrees_with_tflm():
    network, x = _network_of_everything(np.random.default_rng(8))
    graph = quantize(network, x, "everything")
    expected = oracle.run(graph, to_int8(x))
    actual = reference.run(graph, to_int8(x), keep="all")
    for index, value in expected.items():
        assert np.array_equal(actual[index], value), graph.tensors[index].name


def test_dead_weights_are_quantised():
    network, x = _network_of_everything(np.random.default_rng(9))
    for parameter in network.parameters:
        parameter[...] = 0
    graph = quantize(network, x, "dead")
    assert (reference.predict(graph, to_int8(x)) == -128 + round(256 / 3)).all()


def test_diverged_network_is_refused():
    network, x = _network_of_everything(np.random.default_rng(10))
    network.parameters[0][...] = np.nan
    with pytest.raises(ModelError, match="did not converge"):
        quantize(network, x, "diverged")


@pytest.mark.parametrize(
    ("low", "high", "zero_point"),
    [(0, 6, -128), (-1, 0, 127), (-1, 1, 0), (2, 3, -128), (0, 0, -128)],
)
def test_range_holds_zero_exactly(low, high, zero_point):
    scale, actual = Range(low, high).affine()
    assert scale > 0
    assert abs(actual - zero_point) <= 1


def test_accuracy_takes_the_first_of_equals():
    assert accuracy(np.array([[1, 1], [0, 1]]), np.array([0, 1])) == 1.0


def test_cosine_rises_then_falls_to_nothing():
    rates = [Schedule.COSINE.share(step, 100, warm_up=10) for step in range(101)]
    assert rates[0] < rates[9] < rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == 0.0


def test_steps_and_constant():
    rates = [Schedule.STEPS.share(step, 100, warm_up=10) for step in range(100)]
    assert rates[:10] == sorted(rates[:10]) and rates[0] > 0
    assert rates[10:50] == [1.0] * 40
    assert rates[50:75] == [0.1] * 25
    assert rates[75:] == [0.01] * 25
    assert {Schedule.CONSTANT.share(step, 100, warm_up=10) for step in range(100)} == {1.0}


def test_adam_finds_the_bottom_of_a_bowl():
    value = np.array([3.0, -2.0])
    optimizer = AdamW([value])
    for step in range(500):
        optimizer.step([2 * value], 0.1 * Schedule.COSINE.share(step, 500))
    assert np.abs(value).max() < 1e-3


def test_augmentation_moves_whole_pixels_exactly():
    x = np.zeros((1, 5, 5, 1), np.uint8)
    x[0, 2, 2] = 255
    rng = np.random.default_rng(0)
    assert Augmentation().apply(x, rng) is x
    moved = Augmentation(shift=1, turn=10, scale=0.1).apply(np.repeat(x, 50, axis=0), rng)
    assert moved.dtype == np.uint8
    assert moved.shape == (50, 5, 5, 1)
    assert (moved.reshape(50, -1).sum(axis=1) > 100).all()
    assert len(np.unique(moved.reshape(50, -1), axis=0)) == 50


@pytest.mark.parametrize("shape", [(2, 2, 1), (4, 4, 1), (8, 8, 3), (20, 28, 1), (28, 28, 3)])
def test_every_size_of_picture_has_a_network(shape):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, *shape)).astype(np.uint8)
    y = np.arange(20) % 3
    graph, *_ = recipes.train(Dataset("random", x, y, x, y, ("a", "b", "c")), epochs=1)
    assert graph.input.shape == (1, *shape)
    assert graph.labels == ("a", "b", "c")
    assert tflite.decode(tflite.encode(graph), "random").total_macs == graph.total_macs


def test_settings_are_checked():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Settings(epochs=0)
    with pytest.raises(ValueError, match="rate must be above 0, not nan"):
        Settings(epochs=1, rate=float("nan"))
    with pytest.raises(ValueError, match="patience must be at least 1, not 0"):
        Settings(epochs=1, patience=0)
    with pytest.raises(ValueError, match="share that is dropped"):
        Dropout(1.0)
    with pytest.raises(ValueError, match="needs a body"):
        Residual([])
    with pytest.raises(ModelError, match="adds one shape"):
        Residual([Conv2D(3, 3)]).build((4, 4, 2), np.random.default_rng(0))


def test_noise_is_as_strong_as_it_says():
    x = np.full((20, 28, 28, 1), 128, np.uint8)
    noisy = Augmentation(noise=10).apply(x, np.random.default_rng(0))
    assert noisy.dtype == np.uint8
    assert abs(noisy.astype(float).std() - 10) < 0.2
    assert abs(noisy.astype(float).mean() - 128) < 0.2
    black = Augmentation(noise=50).apply(np.zeros_like(x), np.random.default_rng(0))
    assert black.min() == 0 and black.max() > 150


def test_history_tells_every_epoch():
    trained = recipes.train("digits", epochs=3)
    epochs = trained.history.epochs
    assert len(epochs) == 6  # three in floating point, three in int8
    assert epochs[2].loss < epochs[0].loss
    assert epochs[2].accuracy > epochs[0].accuracy
    assert all(epoch.seconds > 0 and 0 <= epoch.test_accuracy <= 1 for epoch in epochs)
    assert epochs[2].rate < epochs[1].rate
    assert epochs[2].test_accuracy == trained.report["float_accuracy"]
    assert epochs[-1].test_accuracy == trained.report["int8_accuracy"]


def test_early_stopping_keeps_the_best_epoch():
    digits = datasets.load("digits")
    rng = np.random.default_rng(0)
    watched = hold_out(digits, 0.2, rng)
    assert len(watched.x_test) == round(0.2 * len(digits.x_train))
    assert len(watched.x_train) + len(watched.x_test) == len(digits.x_train)
    network = Network([Flatten(), Dense(32), ReLU(), Dense(10)], digits.shape, rng)
    settings = Settings(200, batch=32, rate=2e-2, decay=0, schedule=Schedule.CONSTANT, patience=3)
    history = fit(network, watched, settings, rng)
    accuracies = [epoch.test_accuracy for epoch in history.epochs]
    assert len(accuracies) < 200
    assert accuracies.index(max(accuracies)) == len(accuracies) - 1 - 3
    assert accuracy(network.predict(watched.x_test), watched.y_test) == max(accuracies)


def test_early_stopping_from_the_recipe():
    trained = recipes.train("patterns", epochs=50, patience=2)
    assert len(trained.history.epochs) < 50
    assert trained.report["int8_accuracy"] > 0.9


def test_divergence_is_one_clear_line(tmp_path, capsys):
    with pytest.raises(TrainingError) as caught:
        recipes.train("digits", rate=1e20, epochs=3)
    assert "training diverged: the loss is nan in epoch 1; try a learning rate below 1e+20" == str(
        caught.value
    )
    output = tmp_path / "f.tflite"
    assert cli.main(["train", "digits", "--rate", "1e20", "-o", str(output)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("host: error: training diverged") and error.count("\n") == 1
    assert not output.exists()


def test_options_reach_training(tmp_path, capsys):
    output = tmp_path / "f.tflite"
    command = ["train", "patterns", "--epochs", "30", "--rate", "0.02", "--schedule", "constant"]
    assert cli.main([*command, "--patience", "2", "-o", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] < 30
    assert cli.main([*command[:-1], "sawtooth", "-o", str(output)]) == 2
    assert cli.main(["train", "patterns", "--rate", "0", "-o", str(output)]) == 2
    assert "must be a number above 0, not '0'" in capsys.readouterr().err


def test_batches_are_cut_evenly():
    """Of 17 pictures neither part has one alone: its batch statistics would be none."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (17, 4, 4, 1)).astype(np.uint8)
    network = Network([BatchNorm(), Flatten(), Dense(2)], (4, 4, 1), rng)
    seen = []
    forward = network.forward
    network.forward = lambda x, rng: (seen.append(x.shape[2]), forward(x, rng))[1]
    dataset = Dataset("x", x, np.arange(17) % 2, x, np.arange(17) % 2, ("a", "b"))
    network.predict = lambda x: np.zeros((len(x), 2))
    fit(network, dataset, Settings(1, batch=64), rng)
    assert seen == [8, 9]


def test_fit_draws_only_from_its_generator():
    dataset = datasets.load("patterns")
    stream = io.BytesIO()
    for _ in range(2):
        rng = np.random.default_rng(11)
        network = Network([Flatten(), Dense(4)], dataset.shape, rng)
        fit(network, dataset, Settings(epochs=1), rng)
        stream.write(b"".join(value.tobytes() for value in network.parameters))
    data = stream.getvalue()
    assert data[: len(data) // 2] == data[len(data) // 2 :]
