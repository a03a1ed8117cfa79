"""``host`` as a process that the rooms below it start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import boards
from boards import catalog
from boards.catalog import BOARDS
from boards.host_process import run_host
from host import compiler
from host.cli import main
from model import zoo
from model.int8 import tflite_writer
from model.int8.builder import GraphBuilder

ROOT = Path(boards.__file__).parents[1]


@pytest.fixture(autouse=True)
def these_sources(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_boards_is_a_name_of_host_boards(capsys):
    """``python -m boards`` prints what the verb prints."""
    arguments = ["icebreaker", "ulx3s-85f", "--model", "digits", "--json"]
    command = [sys.executable, "-m", "boards", *arguments]
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    assert main(["boards", *arguments]) == 0
    assert json.loads(printed) == json.loads(capsys.readouterr().out)


def test_every_board_is_listed_and_what_does_not_fit_is_said(capsys):
    assert main(["boards", "--model", "digits", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["boards"]
    assert [row["board"] for row in rows] == [each.name for each in BOARDS]
    assert all(row["inferences_per_second"]["digits"] > 1000 for row in rows)
    cycles = {
        row["board"]: row["clock_hz"] / row["inferences_per_second"]["digits"] for row in rows
    }
    for name in ("icebreaker", "ulx3s-85f"):
        model = compiler.compile(zoo.load("digits"), catalog.board(name).configuration)
        assert cycles[name] == pytest.approx(model.cycles)
    assert main(["boards", "ulx3s-12f", "--model", "digits"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["board", "device", "multipliers", "KiB", "MHz", "digits/s"]
    assert row.split()[:5] == ["ulx3s-12f", "LFE5U-12F", "24", "(8x3)", "80"]


def test_what_no_board_runs_is_said_once_with_its_reason(tmp_path, capsys):
    """That a network does not fit is another thing: a board with more memory would run it."""
    resized, large = GraphBuilder("resized", (4, 4, 2), 0.1, 0), GraphBuilder("large", (256,), 1, 0)
    resized.resize_bilinear(8, 8)
    large.fully_connected(np.ones((1024, 256), np.int8), 0.1, None, scale=100.0, zero_point=0)
    files = []
    for builder in (resized, large):
        graph = builder.build()
        files += ["--model", str(tmp_path / f"{graph.name}.tflite")]
        tflite_writer.save(graph, tmp_path / f"{graph.name}.tflite")
    arguments = ["boards", "icebreaker", "ulx3s-12f", "ulx3s-85f", *files]
    assert main(arguments) == 0
    *rows, empty, reason = capsys.readouterr().out.splitlines()
    assert all(row.split()[-5:] == "cannot run does not fit".split() for row in rows[1:3])
    assert "cannot run" in rows[3] and "does not fit" not in rows[3]
    assert not empty
    assert reason.startswith("resized cannot run: layer resize_bilinear1: ")
    assert main([*arguments, "--json"]) == 0
    (first, _, last) = json.loads(capsys.readouterr().out)["boards"]
    assert set(first["refusals"]) == {"resized", "large"} and set(last["refusals"]) == {"resized"}
    assert first["inferences_per_second"] == {"resized": None, "large": None}


def test_an_unknown_board_is_one_line(capsys):
    assert main(["boards", "ulx4s"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("host: error: there is no board 'ulx4s'; there are: icebreaker, ")


def test_exit_statuses_are_passed_on(capfd):
    assert run_host(["boards", "ulx4s"]) == 1
    assert run_host(["no-such-verb"]) == 2
    assert "there is no verb" in capfd.readouterr().err
