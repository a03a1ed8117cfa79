"""The command line: what it prints, and one line for everything that can go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tflite as schema
from PIL import Image

from boards import catalog
from host import cli, compiler
from host.cli.common import table
from host.cli.info import differences, model_text
from model import zoo
from model.int8 import tflite, tflite_writer
from model.int8.builder import GraphBuilder
from tests.host.fake_board import FakeBoard, FakePort


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(path)
    return path


def test_help_is_quick_and_names_every_verb():
    program = (
        "import sys\nfrom host.cli import main\ntry:\n    main(['--help'])\nfinally:\n"
        "    heavy = {'numpy', 'amaranth', 'PIL', 'serial', 'rich'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert all(verb in result.stdout for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_each_verb(verb, capsys):
    assert cli.main([verb, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_a_misspelt_verb_gets_a_suggestion(host):
    assert "did you mean classify" in host("clasify", "x.png", fails=2)
    assert "the verbs are" in host("fly", fails=2)
    assert "--port" in host("info", fails=2)
    assert "VERB" in host(fails=2)
    assert "whole number from 1" in host("info", "--port", "x", "--baud", "0", fails=2)


def test_bench(host, connect, fake_board):
    connect(FakePort(fake_board))
    words = ("bench", "--port", "p", "--count", "5")
    assert "no model on the board" in host(*words, fails=1)
    report = host(*words, "--model", "patterns", "--json")
    assert (report["model"], report["baud"], report["repeats"]) == ("patterns", 3_000_000, 0)
    assert 0 < report["line_utilisation"] <= 1 and 0 < report["engine_utilisation"] <= 1
    # Nothing is counted twice: bytes, rate and share belong together.
    line = report["bytes_per_image"] * 10 * report["images_per_second"] / report["baud"]
    assert report["line_utilisation"] == pytest.approx(line, rel=0.5)
    assert "images/s" in host(*words)


def test_ports(host):
    assert isinstance(host("ports", "--json")["ports"], list)
    host("ports")


def test_a_model_that_does_not_fit_is_told_where_it_does(host, tmp_path):
    builder = GraphBuilder("large", (256,), 1.0, 0)
    builder.fully_connected(np.ones((1024, 256), np.int8), 0.1, None, scale=100.0, zero_point=0)
    path = tmp_path / "large.tflite"
    tflite_writer.save(builder.build(), path)
    told = host("compile", path, "--board", "icebreaker", fails=1)
    assert "the board has 131072; from its flash it runs: --board icebreaker-flash" in told
    boards = told.rpartition("; it runs on ")[2].split(", ")
    assert "ulx3s-85f" in boards and not {"icebreaker", "icebreaker-flash"} & set(boards)


def test_info_has_every_input_and_output_with_its_type():
    builder = GraphBuilder("several", (6,), 0.05, 0, dtype="float32")
    builder.quantize(0.05, 0)
    builder.logistic()
    one = builder.last
    builder.tanh()
    card = compiler.compile(
        builder.build(outputs=(one, builder.last)), catalog.board("icebreaker").configuration
    ).card
    names = [each.name for each in card.outputs]
    assert model_text(card) == f"several, 6 float32 to 6 ({names[0]}), 6 ({names[1]})"


def test_upload_info_and_classify(host, connect, fake_board, picture):
    connect(FakePort(fake_board))
    assert host("info", "--port", "p", "--json")["model"] is None
    assert "none" in host("info", "--port", "p")
    uploaded = host("upload-weights", "patterns", "--port", "p", "--json")
    assert uploaded["bytes"] > 1000 and uploaded["seconds"] >= 0
    info = host("info", "--port", "p", "--json")
    assert info["model"]["name"] == "patterns"
    keys = "board gateware protocol lanes pixels memory_bytes clock_hz".split()
    assert all(key in info for key in keys)
    (result,) = host("classify", "--port", "p", picture, "--json")["results"]
    assert set(result) >= {"image", "label", "class", "scores", "cycles"}
    assert result["label"] == info["model"]["labels"][result["class"]]
    assert info["model"]["inputs"][0]["shape"] == [4, 4, 1]
    assert f"patterns, 4x4x1 to 4, classes: {', '.join(info['model']['labels'])}" in host(
        "info", "--port", "p"
    )
    assert "picture.png" in host("classify", "--port", "p", picture)


def test_info_tells_a_bitstream_that_does_not_match(host, connect, fake_board, monkeypatch):
    connect(FakePort(fake_board))
    assert "MISMATCH  its sources are 00001234" in host("info", "--port", "p")
    assert len(host("info", "--port", "p", "--json")["differences"]) == 1
    monkeypatch.setattr("host.cli.info.source_hash", lambda: 0x1234)
    assert "MISMATCH" not in host("info", "--port", "p")
    assert host("info", "--port", "p", "--json")["differences"] == []
    info = fake_board.info
    other = replace(info, lanes=4)
    assert differences(other) == ["it has 4 lanes, and is built with 8 here"]


def test_verify(host, connect, fake_board, tmp_path):
    connect(FakePort(fake_board))
    saved = tmp_path / "both.npz"
    words = ("verify", "patterns", "--port", "p", "--data", "patterns", "--count", 3)
    report = host(*words, "--layers", "--save", saved, "--json")
    assert report["mismatches"] == 0 and report["count"] == 3
    assert {"accuracy", "cycles", "images_per_second", "layers"} <= set(report)
    with np.load(saved) as both:
        assert both["hardware"].dtype == np.int8
        assert (both["hardware"] == both["reference"]).all()
    assert "0 mismatches in 3" in host(*words, "--layers")
    right = fake_board.engine

    def wrong(memory, layers):
        error, best, cycles = right(memory, layers)
        return error, best ^ 1, cycles

    fake_board.engine = wrong
    assert "3 of 3 inferences differ" in host(*words, fails=1)


def test_verify_on_a_file(host, connect, fake_board, tmp_path):
    connect(FakePort(fake_board))
    data = tmp_path / "data.npz"
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 4), np.uint8)
    np.savez(data, x=pixels, y=np.zeros(5, int))
    words = ("verify", "patterns", "--port", "p", "--data", data)
    assert host(*words, "--json")["count"] == 5
    assert "has 5 pictures, not 9" in host(*words, "--count", 9, fails=1)
    np.savez(data, x=np.zeros((5, 6, 4), np.uint8), y=np.zeros(5, int))
    assert "pictures of 6x4" in host(*words, fails=1)
    np.savez(data, x=np.zeros((5, 16), np.uint8))
    assert host(*words, "--json")["count"] == 5
    # As many elements, but in another order.
    np.savez(data, x=np.zeros((5, 2, 8), np.uint8))
    assert "pictures of 2x8, but patterns takes 4x4x1" in host(*words, fails=1)


def test_verify_with_channels_first(host, connect, tmp_path):
    connect(FakePort(None))
    builder = GraphBuilder("colours", (6, 5, 3))
    builder.conv_2d(np.ones((2, 6, 5, 3), np.int8), 0.01, None, scale=1.0, zero_point=0)
    tflite.save(builder.build(), tmp_path / "colours.tflite")
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 3, 6, 5), np.uint8))
    words = ("verify", tmp_path / "colours.tflite", "--port", "p", "--data", tmp_path / "data.npz")
    assert "takes 6x5x3; channels come first in them" in host(*words, fails=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_verify_where_the_classes_are_not_known(host, connect, fake_board, tmp_path, dtype):
    connect(FakePort(fake_board))
    data = tmp_path / "data.npz"
    np.savez(data, x=np.arange(48).reshape(3, 4, 4).astype(dtype))
    words = ("verify", "patterns", "--port", "p", "--data", data)
    report = host(*words, "--json")
    assert report["mismatches"] == 0 and report["accuracy"] is None
    assert "accuracy" not in host(*words)


def test_several_boards_must_be_simulated(host):
    words = ("verify", "patterns", "--data", "patterns", "--count", 4)
    message = host(*words, "--port", "/dev/ttyUSB1", "--jobs", 2, fails=1)
    assert "/dev/ttyUSB1: there is one board at a real port" in message
    assert "no board 'none'" in host(*words, "--port", "sim://none", "--jobs", 2, fails=1)
    assert "whole number from 1" in host(*words, "--port", "sim", "--jobs", 0, fails=2)


def test_trace(host, connect, fake_board, picture, tmp_path):
    connect(FakePort(fake_board))
    folder = tmp_path / "new" / "folder"
    words = ("trace", "digits", picture, "--port", "p", "-o", folder)
    report = host(*words, "--json")
    assert report["first_difference"] is None
    assert [each["name"] for each in report["layers"]][-1] == "dense1"
    for layer in report["layers"]:
        assert {"name", "op", "mismatches", "cycles"} <= set(layer)
        assert layer["mismatches"] == 0 and layer["compared"]
        with np.load(folder / layer["arrays"]) as sides:
            assert sides["board"].dtype == np.int8
            assert list(sides["board"].shape) == layer["shape"]
            assert (sides["board"] == sides["reference"]).all()
        with Image.open(folder / layer["picture"]) as drawn:
            assert drawn.size[0] > 20
    assert len(list(folder.iterdir())) == 2 * len(report["layers"])
    assert "0 mismatches in 3 layers compared" in host(*words)


def test_trace_finds_the_first_difference(host, connect, fake_board, picture, capsys, tmp_path):
    compiled = compiler.compile(zoo.load("digits"), fake_board.configuration)
    second = compiled.layers[1].output
    right = fake_board.engine

    def wrong(memory, layers):
        result = right(memory, layers)
        if layers == 2:
            memory[second.address + second.row_pitch + 3] ^= 1
        return result

    fake_board.engine = wrong
    connect(FakePort(fake_board))
    words = ["trace", "digits", str(picture), "--port", "p", "-o", str(tmp_path / "out")]
    assert "differ first in layer conv2, at [1, 0, 3]" in host(*words, fails=1)
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    first = report["first_difference"]
    assert (first["layer"], first["position"]) == ("conv2", [1, 0, 3])
    assert first["board"] ^ 1 == first["reference"]
    assert [each["mismatches"] for each in report["layers"]] == [0, 1, 0]


def test_trace_of_an_array(host, connect, fake_board, tmp_path):
    connect(FakePort(fake_board))
    path = tmp_path / "input.npy"
    words = ("trace", "digits", path, "--port", "p", "-o", tmp_path / "out")
    np.save(path, np.arange(64, dtype=np.uint8))
    assert host(*words, "--json")["first_difference"] is None
    np.save(path, np.zeros((8, 9), np.int8))
    assert "int8 of 8x9, but digits takes uint8 or int8 of 8x8x1" in host(*words, fails=1)
    path.write_bytes(b"no array")
    connect(FakePort(None))  # what cannot be read does not get as far as the board
    assert "no readable .npy" in host(*words, fails=1)
    path.unlink()
    assert "No such file" in host(*words, fails=1)


def test_trace_with_what_cannot_be_read_or_written(host, connect, picture, tmp_path):
    connect(FakePort(None))  # it must not get as far as that
    words = ("--port", "p", "-o")
    (tmp_path / "file").write_text("text")
    assert "it is no folder" in host("trace", "digits", picture, *words, tmp_path / "file", fails=1)
    below = tmp_path / "file" / "below"
    assert "cannot be written" in host("trace", "digits", picture, *words, below, fails=1)
    missing, text = tmp_path / "none.png", tmp_path / "file"
    assert "no such file" in host("trace", "digits", missing, *words, tmp_path, fails=1)
    assert "no picture" in host("trace", "digits", text, *words, tmp_path / "out", fails=1)
    assert not (tmp_path / "out").exists()


def test_compile(host, tmp_path):
    image = tmp_path / "model.image"
    report = host("compile", "digits", "--board", "icebreaker", "-o", image, "--json")
    keys = {"fits", "macs", "cycles", "utilisation", "frames_per_second", "memory", "layers"}
    assert keys <= set(report)
    assert report["fits"] is True
    assert {"name", "op", "macs", "cycles", "utilisation"} <= set(report["layers"][0])
    assert image.stat().st_size == report["memory"]["image"]
    assert "fits the icebreaker" in host("compile", "digits", "--board", "icebreaker")
    assert "icebreaker" in host("compile", "digits", "--board", "icebraker", fails=1)


def test_train(host, tmp_path):
    output = tmp_path / "model.int8.tflite"
    report = host("train", "patterns", "-o", output, "--epochs", 1, "--json")
    keys = {"parameters", "macs", "float_accuracy", "int8_accuracy", "seconds"}
    assert keys <= set(report)
    assert tflite.load(output).labels


# One line for everything that can go wrong.


def test_pictures_that_cannot_be_read(host, connect, fake_board, tmp_path):
    connect(FakePort(fake_board))
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert "no such file" in host("classify", "--port", "p", tmp_path / "none.png", fails=1)
    assert "no picture" in host("classify", "--port", "p", text, fails=1)
    assert not fake_board.runs
    if os.geteuid() != 0:
        text.chmod(0)
        assert "ermission" in host("classify", "--port", "p", text, fails=1)


def test_classify_without_a_model(host, connect, fake_board, picture):
    connect(FakePort(fake_board))
    assert "no valid model" in host("classify", "--port", "p", picture, "--json", fails=1)


def test_models_that_cannot_be_used(host, tmp_path):
    path = tmp_path / "model.int8.tflite"

    def compile_it(data: bytes) -> str:
        path.write_bytes(data)
        return host("compile", path, "--board", "icebreaker", fails=1)

    whole = zoo.path("digits").read_bytes()
    for size in (0, 3, 20, 500, len(whole) // 2):
        assert str(path) in compile_it(whole[:size])
    assert str(path) in compile_it(b"not a model at all" * 100)
    message = host("compile", tmp_path / "none.tflite", "--board", "icebreaker", fails=1)
    assert "no such model" in message


def test_a_model_of_floats(host, tmp_path):
    graph = tflite.load(zoo.path("patterns"))
    tensors = [replace(graph.tensors[0], dtype="float32"), *graph.tensors[1:]]
    path = tmp_path / "float.tflite"
    path.write_bytes(
        tflite_writer._Writer(replace(graph, tensors=tuple(tensors), labels=())).write()
    )
    assert "float32" in host("compile", path, "--board", "icebreaker", fails=1)


def test_a_model_with_an_operator_that_is_not_supported(host, tmp_path):
    data = bytearray(zoo.path("patterns").read_bytes())
    codes = schema.Model.GetRootAsModel(data, 0).OperatorCodes(0)._tab
    svdf = 27
    for slot in (4, 10):  # deprecated_builtin_code, builtin_code
        if offset := codes.Offset(slot):
            data[codes.Pos + offset] = svdf
    path = tmp_path / "svdf.tflite"
    path.write_bytes(data)
    assert "SVDF" in host("compile", path, "--board", "icebreaker", fails=1)


def test_a_model_that_is_too_large(host, capsys, tmp_path):
    builder = GraphBuilder("large", (64, 64, 1))
    builder.reshape((4096,))
    weights = np.ones((64, 4096), np.int8)
    builder.fully_connected(weights, 0.01, None, scale=1.0, zero_point=0)
    path = tmp_path / "large.tflite"
    tflite.save(builder.build(), path)
    message = host("compile", path, "--board", "icebreaker", fails=1)
    assert "bytes" in message
    status = cli.main(["compile", str(path), "--board", "icebreaker", "--json"])
    assert status == 1
    assert '"fits": false' in capsys.readouterr().out


def test_outputs_that_cannot_be_written_are_refused_before_the_work(host, connect, tmp_path):
    nowhere = tmp_path / "none" / "model.int8.tflite"
    assert "cannot be written" in host("train", "mnist", "-o", nowhere, fails=1)
    assert "it is a folder" in host("train", "mnist", "-o", tmp_path, fails=1)
    compile_words = ("compile", "digits", "--board", "icebreaker", "-o", nowhere)
    assert "cannot be written" in host(*compile_words, fails=1)
    connect(FakePort(None))
    verify_words = ("verify", "digits", "--port", "p", "--data", "digits", "--save", nowhere)
    assert "cannot be written" in host(*verify_words, fails=1)


def test_an_output_in_the_place_of_what_is_read(host, connect, tmp_path, picture):
    connect(FakePort(None))
    data, model = tmp_path / "data.npz", tmp_path / "model.tflite"
    np.savez(data, x=np.zeros((9, 4, 4), np.uint8), y=np.arange(9) % 2)
    model.write_bytes(zoo.path("patterns").read_bytes())
    (tmp_path / "checkpoint").write_text("")
    checkpoint = ("--resume", "--checkpoint", tmp_path / "checkpoint")
    for words in (
        ("train", data, "-o", data),
        ("train", data, "-o", tmp_path / "f.tflite", "--checkpoint", data),
        ("train", data, "-o", tmp_path / "checkpoint", *checkpoint),
        ("compile", model, "--board", "icebreaker", "-o", tmp_path / "." / "model.tflite"),
        ("verify", model, "--port", "p", "--data", data, "--save", data),
        ("classify", picture, "--port", "p", "--plot", picture),
    ):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        assert "is read here" in host(*words, fails=1)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_data_that_there_is_not(host):
    assert "no data set" in host("train", "mnits", "-o", "unused.tflite", fails=1)
    assert not os.path.exists("unused.tflite")


def test_ports_that_cannot_be_used(host):
    missing = host("info", "--port", "/dev/no-such-port", fails=1)
    assert "no such port" in missing and "/dev/no-such-port" in missing
    assert "nope" in host("info", "--port", "nope://x", fails=1)
    assert "no board 'none'" in host("info", "--port", "sim://none", fails=1)
    assert "backend" in host("info", "--port", "sim://icebreaker?backend=magic", fails=1)
    assert "no option" in host("info", "--port", "sim://icebreaker?speed=9", fails=1)
    # What pyserial raises for these is a KeyError, a re.error, an OSError and a SerialException.
    for port in ("loop://?x=1", "hwgrep://(", "/dev/null", "socket://localhost:99999"):
        assert f"{port}: " in host("info", "--port", port, fails=1)


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_a_port_that_is_busy_or_silent(host):
    import pty

    import serial

    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    try:
        assert "no answer" in host("info", "--port", name, fails=1)
        with serial.Serial(name, exclusive=True):
            assert "in use" in host("info", "--port", name, fails=1)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_device_that_is_not_ours(host):
    assert "no Eyespot board" in host("info", "--port", "loop://", fails=1)


def test_an_upload_cut_off_half_way(host, connect, fake_board, picture):
    port = FakePort(fake_board)
    connect(port)
    host("upload-weights", "patterns", "--port", "p")
    port.dies_after = port.sent + 1200
    message = host("upload-weights", "digits", "--port", "p", fails=1)
    assert "does not answer any more" in message
    connect(FakePort(fake_board))
    message = host("classify", "--port", "p", picture, fails=1)
    assert "refuses to run" in message and "cut off" in message


def test_debug_shows_the_traceback():
    with pytest.raises(Exception, match="no such port"):
        cli.main(["info", "--port", "/dev/no-such-port", "--debug"])


def test_ctrl_c(host, monkeypatch):
    from host.board import board as board_module

    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(board_module, "open_port", interrupt)
    assert host("info", "--port", "p", fails=130) == "host: interrupted"


def test_table():
    assert table(("a", "b", "c"), [("x", "yy", "1"), ("xxx", "y", "22")]) == (
        "a    b    c\nx    yy   1\nxxx  y   22"
    )


def test_a_board_of_another_protocol(host, connect):
    board = FakeBoard()
    board.info = replace(board.info, protocol=7)
    connect(FakePort(board))
    assert "protocol 7" in host("info", "--port", "p", fails=1)


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("/usr/bin/eyespot", "eyespot"),
        ("C:/Scripts/eyespot.exe", "eyespot"),
        ("/home/a/eyespot.py", "eyespot"),
        ("/usr/bin/host", "host"),
        ("/home/a/host/__main__.py", "host"),
        ("", "host"),
    ],
)
def test_the_command_goes_by_the_name_that_it_was_called(monkeypatch, capsys, called, name):
    monkeypatch.setattr(sys, "argv", [called])
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: {name} ") and f"`{name} demo`" in out
    assert cli.main(["clasify"]) == 2
    assert capsys.readouterr().err.startswith(f"{name}: error: ")


def test_a_demo_at_a_port_that_is_not_there_ends_before_the_training(host, monkeypatch, tmp_path):
    from model.training import recipes

    monkeypatch.setattr(recipes, "train", lambda *words, **options: pytest.fail("it trains"))
    line = host("demo", "--port", tmp_path / "ttyUSB9", fails=1)
    assert "there is no such port" in line


def test_a_demo_that_fails_gives_the_port_back(host, connect, fake_board, monkeypatch):
    from model.errors import TrainingError
    from model.training import recipes

    def fail(*words, **options):
        raise TrainingError("it has learnt nothing")

    port = FakePort(fake_board)
    connect(port)
    monkeypatch.setattr(recipes, "train", fail)
    assert "learnt nothing" in host("demo", "--port", "COM7", fails=1)
    assert not port.is_open
