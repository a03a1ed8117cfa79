"""From the command line to the gateware's gates and back, on the simulated board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from host import cli
from host.board import Board
from host.simulation.backends.toolchain import find_compiler
from model.datasets import datasets
from model.int8 import reference
from model.int8.builder import GraphBuilder
from tests.model.int8 import familiar
from tests.zoo_data import carried_data

LONG = bool(os.environ.get("EYESPOT_LONG"))
#: The largest simulator takes a minute to compile.
ECP5 = "ulx3s-85f" if LONG else "ulx3s-25f"

compiled = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def fresh_boards(tmp_path, monkeypatch):
    """Each test has simulated boards of its own, which hold nothing."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def host(capsys):
    """The command line with ``--json``; gives its object."""

    def run(*words):
        capsys.readouterr()
        status = cli.main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        assert status == 0, err
        return json.loads(out)

    return run


def program(*words) -> subprocess.CompletedProcess:
    """The command line as a program of its own."""
    return subprocess.run(
        [sys.executable, "-m", "host", *map(str, words)], capture_output=True, text=True
    )


@compiled
@pytest.mark.parametrize("size", [60, 120, 230, 240, 250, 479])
def test_inputs_of_every_length_get_their_answer_at_once(size):
    """The board has two buffers for requests: none that it is sent may find both taken."""
    builder = GraphBuilder("line", (1, size, 1), 0.5, 0)
    # Long enough that all requests have come before it ends.
    builder.conv_2d(
        weights=np.ones((64, 1, 9, 1), np.int8),
        weight_scale=[0.01] * 64,
        bias=None,
        scale=0.6,
        zero_point=0,
    )
    with Board.open("sim") as board:
        board.load(builder.build())
        repeats = board.link.repeats
        for _ in range(2):
            board.run(np.zeros((1, size, 1), np.int8))
        assert board.link.repeats == repeats


@compiled
@pytest.mark.parametrize(
    ("model", "count", "accuracy"), [("patterns", 200, 1.0), ("digits", 359, 0.97)]
)
def test_verify(host, model, count, accuracy):
    words = ("--data", carried_data(model), "--count", count)
    report = host("verify", model, "--port", "sim", *words)
    assert report["mismatches"] == 0
    assert report["count"] == count
    assert report["accuracy"] >= accuracy
    assert report["cycles"] == pytest.approx(report["predicted_cycles"], rel=0.02)


@compiled
def test_verify_mnist(host):
    report = host("verify", "mnist", "--port", "sim", "--data", "mnist-5k", "--count", 20)
    assert report["mismatches"] == 0
    assert report["utilisation"] >= 0.6


@compiled
@pytest.mark.parametrize("faults", ["", "?faults=latency:16ms"])
def test_streams_as_fast_as_line_or_engine(host, faults):
    """By the board's own time, which no other load of the machine changes."""
    words = ("--port", f"sim://icebreaker{faults}", "--count", 25)
    line = host("bench", *words, "--model", "mnist")
    assert line["baud"] == 3_000_000 and line["repeats"] == 0
    assert 0.97 <= line["line_utilisation"] <= 1
    engine = host("bench", *words, "--model", "mnist", "--baud", 9_000_000)
    assert engine["repeats"] == 0
    assert 0.97 <= engine["engine_utilisation"] <= 1


@compiled
@pytest.mark.parametrize(
    ("model", "port"),
    [("patterns", "sim"), ("digits", "sim"), ("mnist", "sim"), ("digits", f"sim://{ECP5}")],
)
def test_every_layer(host, model, port):
    words = ("--data", carried_data(model), "--count", 3, "--layers")
    report = host("verify", model, "--port", port, *words)
    assert report["mismatches"] == 0
    for layer in report["layers"]:
        assert layer["mismatches"] == 0
        assert layer["cycles"] == pytest.approx(layer["predicted_cycles"], rel=0.02, abs=8)


@compiled
def test_trace(host, tmp_path):
    picture = tmp_path / "digit.png"
    Image.fromarray(datasets.load("mnist-5k").x_test[3][:, :, 0]).save(picture)
    report = host("trace", "mnist", picture, "--port", "sim", "-o", tmp_path / "trace")
    assert report["first_difference"] is None
    assert report["layers"][0]["shape"] == [14, 14, 8]  # it pools what it computes
    assert sum(each["cycles"] for each in report["layers"]) == report["cycles"] > 0


def verified_by(host, folder, *workers):
    """A report without the seconds that it took, and the file with the outputs."""
    saved = folder / "saved.npz"
    words = ("--data", "digits", "--count", 8, "--layers", "--save", saved)
    report = host("verify", "digits", "--port", "sim", *words, *workers)
    del report["seconds"]
    return report, saved.read_bytes()


@compiled
def test_several_boards_at_once(host, tmp_path):
    """As one after the other: the same outputs in the same order, the same sums."""
    one, outputs = verified_by(host, tmp_path)
    two, the_same = verified_by(host, tmp_path, "--jobs", 2)
    assert one.pop("images_per_second") == pytest.approx(two.pop("images_per_second"), rel=0.01)
    assert (one, outputs) == (two, the_same)


@compiled
def test_workers_of_a_cluster(host, tmp_path, local):
    """To the byte what processes of this machine make, however often they did it before."""
    processes = verified_by(host, tmp_path, "--jobs", 2)
    for _ in range(2):
        cluster = verified_by(host, tmp_path, "--scheduler", local.scheduler_address)
        assert cluster == processes


def test_amaranths_own_simulator(host):
    """Slower by far, but on every machine; a whole inference takes a minute."""
    port = "sim://icebreaker?backend=amaranth"
    if not LONG:
        assert host("info", "--port", port)["board"] == "icebreaker"
        return
    report = host("verify", "patterns", "--port", port, "--data", "patterns", "--count", 1)
    assert (report["count"], report["mismatches"]) == (1, 0)


@compiled
def test_one_program_uploads_and_another_classifies(tmp_path):
    picture = tmp_path / "digit.png"
    samples = datasets.load("digits")
    digit, label = samples.x_test[0][:, :, 0], int(samples.y_test[0])
    # As a scan: large, dark on bright.
    Image.fromarray(255 - digit).resize((200, 200), Image.Resampling.BICUBIC).save(picture)
    uploaded = program("upload-weights", "digits", "--port", "sim", "--json")
    assert uploaded.returncode == 0, uploaded.stderr
    answer = program("classify", "--port", "sim", picture, "--json")
    assert answer.returncode == 0, answer.stderr
    (result,) = json.loads(answer.stdout)["results"]
    assert result["class"] == label
    fresh = program("classify", "--port", "sim://icebreaker?memory=fresh", picture)
    assert fresh.returncode == 1
    assert "no valid model" in fresh.stderr


@compiled
def test_an_upload_that_is_cut_off():
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    x = datasets.samples("digits").x[0]
    with Board.open("sim") as board:
        board.load("digits")
        assert board.run(x).cycles > 0
    with pytest.raises(KeyboardInterrupt), Board.open("sim") as board:
        board.load("digits", stop)
    with Board.open("sim") as board:
        assert board.model is None
        with pytest.raises(Exception, match="refuses to run.*cut off"):
            board.run(x)
        board.load("digits")
        assert board.run(x).cycles > 0


@compiled
def test_a_network_with_float_ends():
    """The host converts on either side of the board."""
    graph = familiar.magic_wand()
    x = np.random.default_rng(1).normal(0, 0.4, graph.input.example_shape).astype(np.float32)
    expected = reference.run(graph, {graph.input.name: x[np.newaxis]})
    with Board.open("sim") as board:
        board.load(graph)
        output = board.run(x).output
    assert output.dtype == np.float32
    assert np.array_equal(output.ravel(), expected[graph.outputs[0]].ravel())


@compiled
def test_a_whole_run_through_files(host, tmp_path):
    """Own pictures in folders: train, compile, verify on the training's data format."""
    rng = np.random.default_rng(1)
    for label, level in (("dark", 40), ("bright", 200)):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for index in range(12):
            noise = rng.integers(-30, 30, (32, 32))
            pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    model = tmp_path / "model.int8.tflite"
    trained = host("train", tmp_path / "pictures", "-o", model, "--epochs", 3)
    assert 0 <= trained["int8_accuracy"] <= 1
    assert host("compile", model, "--board", "icebreaker")["fits"]
    data = tmp_path / "data.npz"
    np.savez(data, x=rng.integers(0, 256, (3, 32, 32, 1), np.uint8), y=np.zeros(3, int))
    assert host("verify", model, "--port", "sim", "--data", data)["mismatches"] == 0


@compiled
def test_demo():
    result = program("demo", "--count", 50)
    assert result.returncode == 0, result.stderr
    assert "it's a " in result.stdout
    assert "0 answers differ" in result.stdout


def test_what_is_printed_survives_a_poor_terminal():
    result = subprocess.run(
        [sys.executable, "-m", "host", "demo", "--help"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": "", "PYTHONPATH": str(Path.cwd())},
    )
    assert result.returncode == 0, result.stderr
