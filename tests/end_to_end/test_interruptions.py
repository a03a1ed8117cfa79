"""Ctrl-C in the middle, and two programs that want one board."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateware.interface.protocol import MAX_READ, Opcode
from host.board import Board
from host.errors import PortError
from host.link.framing import Request
from host.simulation.backends.toolchain import find_compiler
from model.datasets import datasets

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler"),
    pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals"),
]


@pytest.fixture(autouse=True)
def interruptible():
    """A shell starts programs in the background deaf to Ctrl-C, and they start others so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def start(*words: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "host", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_the_board(state: Path, process: subprocess.Popen) -> None:
    """Until the program has opened its port."""
    deadline = time.monotonic() + 60
    while not list(state.rglob("*.lock")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "digits", "--data", "digits"),
        ("verify", "mnist", "--data", "mnist-5k", "--count", "400", "--layers"),
        ("bench", "--model", "mnist", "--count", "500"),
    ],
    ids=["verify", "layers", "bench"],
)
def test_ctrl_c_in_any_verb(words, state):
    with Board.open("sim"):
        pass  # the simulator is compiled now
    for lock in state.rglob("*.lock"):
        lock.unlink()
    process = start(*words, "--port", "sim", "--json")
    wait_for_the_board(state, process)
    time.sleep(random.Random(words[0]).random())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, json.loads(out)) == (130, {"error": "interrupted"}), err
    assert [line for line in err.splitlines() if line] == ["host: interrupted"]
    with Board.open("sim") as board:
        board.load("patterns")
        assert board.run(datasets.samples("patterns").x[0]).cycles > 0


def test_one_program_at_a_time():
    with Board.open("sim") as board:
        with pytest.raises(PortError, match="in use by another program"):
            Board.open("sim")
        other = start("info", "--port", "sim")
        _, err = other.communicate(timeout=60)
        assert other.returncode == 1
        assert err.startswith("host: error: sim://icebreaker: the board is in use by another")
        assert err.count("\n") == 1
        # A board of one's own is always free, and other boards are.
        with Board.open("sim://icebreaker?memory=fresh"):
            pass
        assert board.link.read_info().board == "icebreaker"
    with Board.open("sim"):
        pass


def test_a_program_that_was_killed_leaves_the_board_free(state):
    with Board.open("sim") as board:
        board.load("patterns")
    for lock in state.rglob("*.lock"):
        lock.unlink()
    process = start("bench", "--port", "sim", "--count", "5000")
    wait_for_the_board(state, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    with Board.open("sim") as board:
        # As it was when a program last gave it back.
        assert board.model is not None and board.model.name == "patterns"


@pytest.mark.parametrize("microseconds", [20, 50, 80, 120, 400])
def test_a_board_that_owes_answers_is_found(microseconds):
    """Long ones were asked for at 3 Mbaud by a host that died; they come at the reset rate."""
    with Board.open("sim") as board:
        link = board.link
        for _ in range(3):
            link.send(Request(Opcode.READ, 0, bytes([MAX_READ]), reply_bytes=MAX_READ))
        link.receive(link.now() + microseconds * 1e-6)
    with Board.open("sim") as board:
        assert board.link.port.baudrate > board.link.reset_baud
