"""What the command line prints, and where: errors as JSON, names that would move the terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from host import cli
from host.cli import common
from host.cli.common import printable, table
from model.int8 import tflite
from model.int8.builder import GraphBuilder
from tests.host.fake_board import FakePort

ROOT = Path(__file__).parents[3]
ESCAPE = "\x1b[31m"


@pytest.fixture
def said(capsys):
    """A command line's exit status, its JSON object, and what it said besides."""

    def run(*words: object):
        status = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, json.loads(out), err

    return run


def test_json_has_the_line_of_a_refusal(said, tmp_path):
    status, data, err = said("compile", tmp_path / "no.tflite", "--board", "icebreaker", "--json")
    assert status == 1 and set(data) == {"error"}
    assert "no such model" in data["error"] and data["error"] in err


def test_json_has_the_line_beside_what_is_known(said, tmp_path):
    builder = GraphBuilder("large", (64, 64, 1))
    builder.reshape((4096,))
    builder.fully_connected(np.ones((64, 4096), np.int8), 0.01, None, scale=1.0, zero_point=0)
    tflite.save(builder.build(), tmp_path / "f.tflite")
    status, data, _ = said("compile", tmp_path / "f.tflite", "--board", "icebreaker", "--json")
    assert status == 1 and data["fits"] is False and data["needed"] > data["available"]
    assert "bytes" in data["error"]


def test_json_also_where_the_command_line_makes_no_sense(said):
    for words in (("info", "--json"), ("fly", "--json"), ("--json",)):
        status, data, _ = said(*words)
        assert status == 2 and set(data) == {"error"}


def test_json_also_after_ctrl_c(said, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("host.cli.ports.run", interrupt)
    status, data, _ = said("ports", "--json")
    assert status == 130 and data == {"error": "interrupted"}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "f.bin"), "f.bin: No space left on device"),
        (MemoryError(), "there is not enough memory"),
        (ZeroDivisionError("division\nby zero"), "a fault in Eyespot"),
    ],
)
def test_whatever_a_verb_raises_is_one_line(error, line, said, monkeypatch):
    def fail(arguments):
        raise error

    monkeypatch.setattr("host.cli.ports.run", fail)
    status, data, err = said("ports", "--json")
    assert status == 1 and line in data["error"] and err.count("\n") == 1
    with pytest.raises(type(error)):
        cli.main(["ports", "--debug"])


def test_json_has_null_for_numbers_that_it_has_not(said, monkeypatch):
    data = {"a": [1.5, float("nan")], "b": {"c": float("-inf")}}
    monkeypatch.setattr("host.cli.ports.run", lambda arguments: common.Outcome(data, ""))
    status, found, _ = said("ports", "--json")
    assert status == 0 and found == {"a": [1.5, None], "b": {"c": None}}


def test_printable():
    assert printable("zwölf\n猫 👩‍👩‍👧") == "zwölf\n猫 👩‍👩‍👧"
    assert printable(f"a{ESCAPE}b\r\t\x9b\u202e\udc80") == ("a\\x1b[31mb\\r\\t\\x9b\\u202e\\udc80")
    assert table(["a"], [["b\nc"]]) == "a\nb\\nc"


def test_names_that_would_move_the_terminal(host, connect, fake_board, tmp_path, capsys):
    """Class names, files and folders are printed harmlessly, and JSON has them as they are."""
    folder = tmp_path / f"data{ESCAPE}"
    labels = [f"app{ESCAPE}le", "p[/]ear"]
    for number, label in enumerate(labels):
        if "/" in label:
            label = label.replace("/", "")
            labels[number] = label
        for index in range(5):
            path = folder / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (32, 32), 100 * number + 10 * index).save(path)
    (folder / labels[0] / f"x{ESCAPE}.txt").write_text("")  # a note says that it is left out
    output = tmp_path / "f.tflite"
    words = ("train", folder, "-o", output, "--epochs", 1)
    assert [each["label"] for each in host(*words, "--json")["classes"]] == labels
    connect(FakePort(fake_board))
    host("upload-weights", output, "--port", "p")
    capsys.readouterr()
    for command in (
        words,
        ("upload-weights", output, "--port", "p"),
        ("info", "--port", "p"),
        ("classify", folder / labels[0] / "0.png", "--port", "p"),
        ("classify", folder / "none.png", "--port", "p"),
        ("train", folder / labels[0], "-o", output),
        ("train", f"x{ESCAPE}", "-o", output),
        (f"x{ESCAPE}",),
    ):
        cli.main([str(word) for word in command])
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err and (out or err)


def test_progress_is_not_markup(monkeypatch):
    """Names with brackets in them, on a terminal."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with common.progress(f"Sending [/red]{ESCAPE}", "bytes") as show:
        show(1, 2)
    assert "[/red]" in terminal.getvalue() and ESCAPE not in terminal.getvalue()


def _process(*words: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "host", *words], env=environment, cwd=ROOT, text=True, **options
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")
def test_standard_output_on_a_full_disk_or_closed():
    with open("/dev/full", "w") as full:
        result = _process("ports", "--json", stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert result.stderr == ("host: error: the output cannot be written: No space left on device\n")
    closed = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m host ports >&- 2>&-"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert closed.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="names that are bytes")
def test_folder_names_that_are_no_utf8_are_refused_before_training(host, tmp_path, monkeypatch):
    monkeypatch.setattr("model.training.recipes.train", None)
    for label in (b"caf\xe9", b"tea"):
        folder = os.path.join(os.fsencode(tmp_path), b"data", label)
        os.makedirs(folder)
        for index in range(5):
            Image.new("L", (8, 8), 30 * index + len(label)).save(
                os.path.join(os.fsdecode(folder), f"{index}.png")
            )
    message = host("train", tmp_path / "data", "-o", tmp_path / "f.tflite", fails=1)
    assert "is no UTF-8 text; rename the folder, perhaps to 'café'" in message
    x = np.zeros((6, 8, 8), np.uint8)
    x[:, 0, 0] = range(6)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(6) % 2, labels=np.array(["a", "b\ud800"]))
    message = host("train", tmp_path / "a.npz", "-o", tmp_path / "f.tflite", fails=1)
    assert "is no Unicode text" in message


@pytest.mark.skipif(os.name != "posix", reason="names that are bytes")
def test_a_data_sets_name_that_is_no_utf8_does_not_matter(host, tmp_path):
    x = np.zeros((12, 4, 4), np.uint8)
    x[:, 0, 0] = range(12)
    data, output = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/\xe9.npz", b"/\xe9"))
    np.savez(data, x=x, y=np.arange(12) % 2)
    host("train", data, "-o", output, "--epochs", 1)
    assert "fits" in host("compile", output, "--board", "icebreaker")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")
def test_outputs_on_a_full_disk(host, connect, fake_board, tmp_path):
    connect(FakePort(fake_board))
    full = Path("/dev/full")
    for words in (
        ("train", "patterns", "--epochs", 1, "-o", full),
        ("compile", "digits", "--board", "icebreaker", "-o", full),
        ("verify", "digits", "--port", "p", "--data", "digits", "--count", 1, "--save", full),
    ):
        message = host(*words, "--json", fails=1)
        assert "/dev/full: " in message and "No space left" in message
