"""Models that stay: boards with a flash, their power switched off at any moment.

A few updates here; EYESPOT_LONG=1 runs the number that docs/reliability.md tells.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest

import host.board.flash
from boards.catalog import board as find_board
from gateware.interface.flash import PAGE_BYTES, SECTOR_BYTES, W25Q128JV
from gateware.interface.protocol import State
from host import compiler
from host.board import Board
from host.board.flash_slots import FlashError, Slots
from host.cli import main
from host.errors import BoardError, EyespotError
from host.simulation.backends.toolchain import find_compiler
from host.simulation.faults import FaultyLine
from host.simulation.flash.flash import FlashMisused
from model import zoo
from model.datasets import datasets
from model.int8 import reference
from model.int8.builder import GraphBuilder
from tests.model.int8.stateful import features, keyword

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

LONG = bool(os.environ.get("EYESPOT_LONG"))
UPDATES = 200 if LONG else 9
NAME = "icebreaker-flash"


@pytest.fixture
def port(tmp_path):
    """A board that loses its power whenever it is closed; its flash is a file."""
    return f"sim://{NAME}?memory=fresh&flash_scale=1e-3&flash={tmp_path / 'content'}"


@pytest.fixture(scope="module")
def digits():
    graph = zoo.load("digits")
    x = datasets.samples("digits").x[:1]
    return graph, x, reference.predict(graph, x)[0]


class Content:
    """Device for Slots that writes what a simulated flash will hold."""

    def __init__(self) -> None:
        self.memory = bytearray(b"\xff") * W25Q128JV.size_bytes
        self.at = 0

    def erase(self, page: int) -> None:
        self.at = W25Q128JV.area_address + page // 16 * SECTOR_BYTES
        self.memory[self.at : self.at + SECTOR_BYTES] = b"\xff" * SECTOR_BYTES

    def program(self, data: bytes) -> None:
        self.memory[self.at : self.at + PAGE_BYTES] = data
        self.at += PAGE_BYTES

    def read(self, page: int, count: int) -> bytes:
        first = W25Q128JV.area_address + page * PAGE_BYTES
        return bytes(self.memory[first : first + count])

    def save(self, port: str) -> None:
        Path(port.rpartition("=")[2]).write_bytes(zlib.compress(bytes(self.memory), 1))


def answers_as(board: Board, x, expected) -> bool:
    (inference,) = board.run_many(x)
    return bool((inference.output == expected).all())


def test_a_model_in_flash_runs_after_power_up(port, digits, capsys):
    _, x, expected = digits
    with Board.open(port) as board:
        assert board.model is None
        told = []
        board.load("digits", lambda done, total: told.append((done, total)), flash=True)
        assert told[-1][0] == told[-1][1] and sorted(told) == told
        assert answers_as(board, x, expected)
    with Board.open(port) as board:
        assert State.VALID not in board.info.state
        assert board.model is not None and board.model.name == "digits"
        assert answers_as(board, x, expected)
    capsys.readouterr()
    assert main(["info", "--port", port]) == 0
    assert "digits in slot" in capsys.readouterr().out
    assert main(["flash", "list", "--port", port, "--json"]) == 0
    (slot,) = json.loads(capsys.readouterr().out)["slots"]
    assert slot["model"] == "digits" and slot["running"] and not slot["streamed_bytes"]
    assert main(["upload-weights", "patterns", "--flash", "--port", port]) == 0
    assert "patterns is in the" in capsys.readouterr().out
    assert main(["flash", "list", "--port", port]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "patterns" in lines[1] and "running" in lines[1] and "digits" in lines[2]
    assert main(["flash", "erase", "--port", port]) == 0
    assert "There is no model" in capsys.readouterr().out
    assert main(["flash", "boot", "--port", port]) == 1
    assert capsys.readouterr().err == "host: error: there is no whole model in the flash\n"


@pytest.fixture(scope="module")
def large():
    """A network with more weights than the board has memory, and inputs for it."""
    rng = np.random.default_rng(3)
    builder = GraphBuilder("large", (400,), 0.02, 3)
    for size in (250, 250, 10):
        weights = rng.integers(-127, 128, (size, builder.shape[-1])).astype(np.int8)
        bias = rng.integers(-(1 << 12), 1 << 12, size)
        builder.fully_connected(weights, 0.001, bias, scale=0.05, zero_point=-5)
    return builder.build(), rng.integers(-128, 128, (2, 400)).astype(np.int8)


def test_a_network_larger_than_the_memory_streams(port, large):
    graph, x = large
    compiled = compiler.compile(graph, find_board(NAME).configuration)
    assert len(compiled.stream) > 50_000
    content = Content()
    Slots(content).update(compiled.image, compiled.stream)
    content.save(port)
    expected = reference.predict(graph, x)
    with Board.open(port) as board:
        for inference, wanted in zip(board.run_many(x), expected, strict=True):
            assert (inference.output.reshape(wanted.shape) == wanted).all()
            assert inference.cycles == pytest.approx(compiled.cycles, rel=0.02)
        with pytest.raises(BoardError, match="--flash"):
            board.load(graph)
    # What streams is checked before it runs.
    content.memory[W25Q128JV.area_address + 2 * SECTOR_BYTES] ^= 1
    content.save(port)
    with Board.open(port) as board:
        assert board.model is None
        with pytest.raises(BoardError, match="no valid model"):
            next(board.run_many(x))


def test_a_model_with_state_begins_anew_after_power_up(port):
    graph = keyword()
    x = features(np.random.default_rng(1), 6, graph.input.example_shape)
    expected = reference.predict(graph, x).tolist()
    with Board.open(port) as board:
        board.load(graph, flash=True)
        assert [each.output.tolist() for each in board.run_many(x)] == expected
    with Board.open(port) as board:
        assert [each.output.tolist() for each in board.run_many(x)] == expected


@pytest.mark.parametrize("how", ["host death", "reset", "power"])
def test_updates_cut_off_at_any_moment_leave_a_valid_model(port, how, monkeypatch, tmp_path):
    """The old one or the new."""
    if how != "power":
        # The board keeps its power.
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        port = port.replace("memory=fresh&", "")
    models = ["digits", "patterns"]
    inputs = {}
    for name in models:
        graph = zoo.load(name)
        x = datasets.samples(name).x[:1]
        inputs[name] = x, reference.predict(graph, x)[0]
    with Board.open(port) as board:
        durations = {}
        for name in models:
            begin = board.now()
            board.load(name, flash=True)
            durations[name] = board.now() - begin
    rng = random.Random(how)
    seen: dict[bool, int] = {False: 0, True: 0}
    for turn in range(UPDATES):
        with Board.open(f"{port}&faults=seed:{turn}") as board:
            old = board.model
            assert old is not None
            new = models[1 - models.index(old.name)]
            line = board.link.port.line
            assert isinstance(line, FaultyLine)
            end = board.now() + rng.random() * 1.2 * durations[new]
            try:
                actions = {"host death": _die, "reset": line.reload, "power": line.reset}
                line.at(end, actions[how])
                board.load(new, flash=True)
            except (_HostDied, EyespotError) as error:
                assert not isinstance(error, FlashMisused)
        with Board.open(port) as board:
            now = board.model
            assert now is not None, f"turn {turn}: neither the old model nor the new"
            assert now.name in (old.name, new)
            assert answers_as(board, *inputs[now.name])
            seen[now.name == new] += 1
    assert seen[True] and seen[False], "cut off too early, or too late, to tell anything"
    print(f"{how}: {UPDATES} updates cut off, {seen[True]} with the new model, {seen[False]} not")


class _HostDied(BaseException):
    """What no code of ours catches."""


def _die() -> None:
    raise _HostDied


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("absent", "does not answer as the part"),
        ("unknown_id", "does not answer as the part"),
        ("protected", "write-protected"),
        ("worn", "write-protected or worn"),
        ("stuck", "still busy erasing"),
    ],
)
def test_a_broken_flash_is_told_and_the_running_model_unharmed(
    port, digits, fault, message, monkeypatch, capsys
):
    monkeypatch.setattr(host.board.flash, "_PATIENCE", 0.05)
    graph, x, expected = digits
    with Board.open(f"{port}&flash_faults={fault}") as board:
        board.load(graph)
        with pytest.raises(FlashError, match=message):
            board.load("patterns", flash=True)
        assert answers_as(board, x, expected)
    if fault == "absent":
        assert main(["info", "--port", f"{port}&flash_faults={fault}"]) == 0
        assert message in capsys.readouterr().out


def test_boards_without_models_in_their_flash_say_so(capsys, tmp_path):
    for words, message in (
        (["flash", "list", "--port", "sim"], "was built without models in its flash"),
        (["upload-weights", "patterns", "--flash", "--port", "sim"], "was built without models"),
        (["info", "--port", f"sim://icebreaker?flash={tmp_path / 'x'}"], "no models in its flash"),
        (["info", "--port", f"sim://{NAME}?flash_scale=x"], "flash_scale is a number"),
        (["info", "--port", f"sim://{NAME}?flash_faults=rust"], "flash_faults are absent"),
    ):
        assert main(words) == 1
        errors = [each for each in capsys.readouterr().err.splitlines() if "error" in each]
        assert len(errors) == 1 and message in errors[0]
    (tmp_path / "x").write_bytes(b"not a flash")
    assert main(["info", "--port", f"sim://{NAME}?memory=fresh&flash={tmp_path / 'x'}"]) == 1
    assert "is not what this board's flash holds" in capsys.readouterr().err
