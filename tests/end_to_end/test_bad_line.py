"""Inferences and uploads over a line that does everything that lines do.

A few here; EYESPOT_LONG=1 runs the numbers that docs/reliability.md tells.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from gateware.interface.protocol import State
from host.board import Board
from host.errors import BoardError, EyespotError, PortError
from host.link.ports import open_port
from host.simulation.backends.toolchain import find_compiler
from host.simulation.faults import FaultyLine
from model import zoo
from model.datasets import datasets
from model.int8 import reference

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

LONG = bool(os.environ.get("EYESPOT_LONG"))
INFERENCES = 10_000 if LONG else 300
UPLOADS = 200 if LONG else 12
EVERY_FAULT = "flip:2e-4,lose:2e-4,duplicate:2e-4,insert:2e-4,burst:2e-4"


@pytest.fixture(autouse=True)
def fresh_boards(tmp_path, monkeypatch):
    """Each test has simulated boards of its own, which hold nothing."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def digits():
    graph = zoo.load("digits")
    x = datasets.samples("digits").x
    x = np.resize(x, (INFERENCES, *x.shape[1:]))
    return graph, x, reference.predict(graph, x)


def time_of(port: str, x, expected) -> tuple[float, int]:
    """Simulated seconds of all inferences, each of which must be right, and repeats."""
    with Board.open(port) as board:
        board.load("digits")
        start, repeats = board.now(), board.link.repeats
        count = 0
        for inference, wanted in zip(board.run_many(x), expected, strict=True):
            assert (inference.output == wanted).all()
            count += 1
        assert count == len(x)
        return board.now() - start, board.link.repeats - repeats


@pytest.mark.parametrize("faults", ["flip:1e-3", EVERY_FAULT])
def test_every_answer_is_right_and_delivered(digits, faults):
    _, x, expected = digits
    clean, _ = time_of("sim://icebreaker?memory=fresh", x, expected)
    spoilt, repeats = time_of(f"sim://icebreaker?memory=fresh&faults={faults}", x, expected)
    print(f"{faults}: {len(x)} inferences, {repeats} repeats, {clean:.3f} s, then {spoilt:.3f} s")
    assert repeats > len(x) / 20
    # Each costs what is in flight, an inference sent with more care and, now and then, a time-out.
    assert spoilt < clean + 0.010 * repeats


def test_stalls_and_latency_do_no_harm(digits):
    _, x, expected = digits
    faults = "flip:3e-4,stall:3e-4,latency:1ms"
    _, repeats = time_of(f"sim://icebreaker?memory=fresh&faults={faults}", x[:100], expected[:100])
    assert repeats


class HostDied(BaseException):
    """What no code of ours catches."""


def die() -> None:
    raise HostDied


def line_of(board: Board) -> FaultyLine:
    line = board.link.port.line  # type: ignore[attr-defined]
    assert isinstance(line, FaultyLine)
    return line


@pytest.mark.parametrize("how", ["host death", "disconnect", "reset"])
def test_an_upload_killed_at_any_point(how):
    """The old model or none, and a second upload always works."""
    generator = random.Random(how)
    address = "sim://icebreaker?faults=seed:1"
    old = zoo.load("patterns")
    new = zoo.load("digits")
    x_old = datasets.samples("patterns").x[0]
    x_new = datasets.samples("digits").x[0]
    wanted_old = reference.predict(old, x_old[None])[0]
    wanted_new = reference.predict(new, x_new[None])[0]
    found = {"old": 0, "new": 0, "none": 0}
    with Board.open(address) as board:
        first = board.load(old)
        start = board.now()
        compiled = board.load(new)
        duration = board.now() - start
    for _ in range(-(-UPLOADS // 3)):
        with Board.open(address) as board:
            board.load(first)
            line = line_of(board)
            kill = {"host death": die, "disconnect": line.disconnect, "reset": line.reset}[how]
            line.at(board.now() + generator.random() * 1.02 * duration, kill)
            try:
                board.load(compiled)
                line.run(round(0.05 * duration * board.info.clock_hz))
            except (HostDied, EyespotError) as error:
                # A reset is noticed by the board's CRC or by its silence; a cable is gone.
                assert isinstance(error, (HostDied, PortError, BoardError))
            except Exception as error:
                assert how == "disconnect" and "disconnected" in str(error)
        with Board.open(address) as board:
            card = board.model
            name = "none" if card is None else card.name
            if card is None:
                assert State.VALID not in board.info.state
                with pytest.raises(BoardError, match="holds no valid model"):
                    board.run(x_old)
            elif name == old.name:
                assert (board.run(x_old).output == wanted_old).all()
            else:
                assert name == new.name
                assert (board.run(x_new).output == wanted_new).all()
            found["none" if card is None else "old" if name == old.name else "new"] += 1
            board.load(compiled)
            assert (board.run(x_new).output == wanted_new).all()
    print(f"{how}: afterwards {found}")
    assert found["none"]


def test_a_reset_between_inferences_is_never_a_wrong_answer(digits):
    """At the rate after reset nothing is lost: what is read is just not there any more."""
    _, x, expected = digits
    generator = random.Random(5)
    for baud in (115_200, None):
        for _ in range(30 if LONG else 2):
            with Board.open("sim://icebreaker?memory=fresh&faults=seed:1", baud) as board:
                board.load("digits")
                board.run(x[0])
                each = 0.015 if baud else 0.0006
                line_of(board).at(board.now() + generator.random() * 8 * each, line_of(board).reset)
                with pytest.raises(BoardError, match="no valid model|was reset"):
                    for inference, wanted in zip(board.run_many(x[:20]), expected):
                        assert (inference.output == wanted).all()


def test_a_cable_that_is_pulled_is_one_clear_line(digits):
    _, x, _ = digits
    with Board.open("sim://icebreaker?memory=fresh&faults=seed:1") as board:
        board.load("digits")
        line_of(board).at(board.now() + 0.005, line_of(board).disconnect)
        with pytest.raises(PortError, match="the port failed: the device was disconnected"):
            list(board.run_many(x))


def test_a_port_that_fails_from_the_start_is_said():
    port = open_port("sim://icebreaker?memory=fresh&faults=disconnect:0s")
    with pytest.raises(EyespotError, match="disconnected"):
        Board.open(port)
