"""Training that was interrupted goes on to the very same result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from host import cli
from model.datasets import datasets
from model.errors import TrainingError
from model.int8 import tflite
from model.training import recipes
from model.training.checkpoint import Checkpoint, Snapshot
from model.training.fit import Settings, fit
from model.training.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU
from model.training.network import Network


@pytest.fixture(scope="module")
def digits():
    """A part of the digits, for speed."""
    whole = datasets.load("digits")
    return replace(whole, x_train=whole.x_train[:300], y_train=whole.y_train[:300])


class _InterruptIn:
    """A progress callback that presses Ctrl-C in the middle of an epoch of a phase."""

    def __init__(self, epoch: int, phase: int) -> None:
        self._epoch, self._phase = epoch, phase
        self._phases_begun = 0

    def __call__(self, progress) -> None:
        self._phases_begun += progress.step == 1
        if self._phases_begun == self._phase and progress.epoch == self._epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("patience", [None, 3])
@pytest.mark.parametrize(("epoch", "phase"), [(2, 1), (4, 1), (1, 2), (3, 2)])
def test_resumed_run_gives_the_same_bytes(digits, tmp_path, epoch, phase, patience):
    how = {"seed": 5, "epochs": 4, "patience": patience}
    whole = recipes.train(digits, **how)
    file = tmp_path / "f.npz"
    with pytest.raises(KeyboardInterrupt):
        recipes.train(digits, **how, checkpoint=file, progress=_InterruptIn(epoch, phase))
    assert [each.name for each in tmp_path.iterdir()] == ["f.npz"]
    resumed = recipes.train(digits, **how, checkpoint=file, resume=True)
    again = recipes.train(digits, **how, checkpoint=file, resume=True)
    for other in (resumed, again):
        assert tflite.encode(other.graph) == tflite.encode(whole.graph)
        assert other.report["float_accuracy"] == whole.report["float_accuracy"]
        assert [replace(each, seconds=0) for each in other.history.epochs] == [
            replace(each, seconds=0) for each in whole.history.epochs
        ]


def test_running_means_and_the_draws_of_dropout_go_on(digits, tmp_path):
    settings = Settings(4, batch=50)

    def train(epochs_before_the_end: int | None) -> bytes:
        layers = [Conv2D(4, 3, bias=False), BatchNorm(), ReLU(), Dropout(0.3), Flatten(), Dense(10)]
        network = Network(layers, digits.shape, np.random.default_rng(0))
        rng = np.random.default_rng(1)
        path = tmp_path / f"{epochs_before_the_end}.npz"
        if epochs_before_the_end is not None:
            with pytest.raises(KeyboardInterrupt):
                interrupt = _InterruptIn(epochs_before_the_end + 1, 1)
                fit(network, digits, settings, rng, interrupt, Checkpoint(path, {}, False))
            # Another network and another state of the generator: all comes from the file.
            network = Network(layers, digits.shape, np.random.default_rng(7))
            rng = np.random.default_rng(8)
            fit(network, digits, settings, rng, None, Checkpoint(path, {}, True))
        else:
            fit(network, digits, settings, rng)
        return b"".join(value.tobytes() for value in (*network.parameters, *network.state))

    assert train(1) == train(None) == train(3)


def test_a_checkpoint_that_cannot_be_used(tmp_path):
    file = tmp_path / "f.npz"
    with pytest.raises(TrainingError, match="f.npz: there is no checkpoint to resume"):
        Checkpoint(file, {}, resume=True)
    file.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="f.npz: is no checkpoint that can be read"):
        Checkpoint(file, {}, resume=True)
    with pytest.raises(TrainingError, match="f.npz: is there already; resume it, or take it away"):
        Checkpoint(file, {}, resume=False)
    np.savez(file, x=np.zeros(3))
    with pytest.raises(TrainingError, match="is no checkpoint that can be read"):
        Checkpoint(file, {}, resume=True)
    # NumPy reads numbers beyond Unicode as a string, at which Python then stumbles.
    np.savez(file, facts=np.array([0x110000] * 3, np.uint32).view("U3")[0:1])
    with pytest.raises(TrainingError, match="its facts are no text"):
        Checkpoint(file, {}, resume=True)
    file.unlink()
    Checkpoint(file, {"seed": 1}, resume=False).save("a", Snapshot({"b": [np.zeros(2)]}, {}))
    with pytest.raises(TrainingError, match="of another run: seed is 1 there, 2 here"):
        Checkpoint(file, {"seed": 2}, resume=True)
    loaded = Checkpoint(file, {"seed": 1}, resume=True)
    assert loaded.load("other") is None
    network = Network([Flatten(), Dense(10)], (8, 8, 1), np.random.default_rng(0))
    with pytest.raises(TrainingError, match="does not fit the network"):
        fit(
            network,
            datasets.load("digits"),
            Settings(1),
            np.random.default_rng(0),
            None,
            loaded,
            "a",
        )
    with pytest.raises(TrainingError, match="cannot be written: No such file"):
        Checkpoint(tmp_path / "none" / "f.npz", {}, resume=False).save("a", Snapshot({}, {}))


def test_a_file_is_whole_at_any_time(tmp_path, monkeypatch):
    file = tmp_path / "f.npz"
    checkpoint = Checkpoint(file, {}, resume=False)
    checkpoint.save("a", Snapshot({"x": [np.arange(3)]}, {"epoch": 1}))
    before = file.read_bytes()

    def full(*arguments) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match="cannot be written: No space left on device"):
        checkpoint.save("a", Snapshot({"x": [np.arange(4)]}, {"epoch": 2}))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_command_line_is_interrupted_and_resumed(tmp_path, monkeypatch, capsys):
    output, file = tmp_path / "f.tflite", tmp_path / "f.npz"
    command = ["train", "patterns", "--epochs", "3", "--checkpoint", str(file), "-o"]
    assert cli.main([*command, str(tmp_path / "whole.tflite")]) == 0
    file.unlink()
    train = recipes.train

    def interrupted(*arguments, progress, **options):
        return train(*arguments, progress=_InterruptIn(2, 1), **options)

    monkeypatch.setattr(recipes, "train", interrupted)
    capsys.readouterr()
    assert cli.main([*command, str(output)]) == 130
    assert capsys.readouterr().err == (
        f"host: interrupted: {file} has all whole epochs; the same command with --resume goes on\n"
    )
    assert not output.exists()
    monkeypatch.undo()
    assert cli.main([*command, str(output)]) == 1
    assert "is there already; resume it, or take it away" in capsys.readouterr().err
    assert cli.main([*command, str(output), "--resume"]) == 0
    assert output.read_bytes() == (tmp_path / "whole.tflite").read_bytes()


def test_resume_needs_a_checkpoint(tmp_path, capsys):
    assert cli.main(["train", "patterns", "-o", str(tmp_path / "f.tflite"), "--resume"]) == 1
    assert "--resume needs --checkpoint" in capsys.readouterr().err
