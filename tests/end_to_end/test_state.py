"""Networks with state on the simulated gateware: sequences, through bad lines and resets."""

from __future__ import annotations

import os

import numpy as np
import pytest

from host.board import Board
from host.errors import BoardError
from host.evaluation.verify import verify
from host.simulation.backends.toolchain import find_compiler
from model.int8 import reference
from tests.model.int8.stateful import features, keyword

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

LONG = bool(os.environ.get("EYESPOT_LONG"))
#: Runs under faults.
COUNT = 10_000 if LONG else 40


@pytest.fixture(scope="module")
def sequence():
    """A network, its inputs, and what it answers to them one after the other."""
    graph = keyword()
    x = features(np.random.default_rng(2), COUNT, graph.input.example_shape)
    return graph, x, reference.predict(graph, x)


def _states(board: Board) -> list[list[int]]:
    """What the variables hold."""
    found = []
    for each in board.model.variables:
        data = board.memory.read(each.layout.address, each.layout.size)
        found.append(each.layout.unpack(data).ravel().tolist())
    return found


def test_a_bad_line_leaves_no_wrong_state(sequence):
    graph, x, expected = sequence
    session = reference.Session(graph)
    session.run(x)
    with Board.open("sim://icebreaker?memory=fresh&faults=flip:1e-3,seed:4") as board:
        board.load(graph)
        for index, (inference, wanted) in enumerate(zip(board.run_many(x), expected)):
            assert inference.output.tolist() == wanted.tolist(), index
        assert board.link.repeats > COUNT / 20
        print(f"{COUNT} runs, {board.link.repeats} repeats")
        assert _states(board) == [value.ravel().tolist() for value in session.state.values()]


def test_a_reset_is_told_and_begins_anew(sequence):
    graph, x, expected = sequence
    with Board.open("sim://icebreaker?memory=fresh&faults=seed:1") as board:
        compiled = board.load(graph)
        report = verify(board, graph, compiled, x[:6], layers=True)
        assert report.mismatches == 0 and report.cycles > 0
        # After that the next run is a first one, until more follow.
        again = [inference.output.tolist() for inference in board.run_many(x[:3])]
        assert again == expected[:3].tolist()
        board.link.port.line.reset()  # type: ignore[attr-defined]
        with pytest.raises(BoardError, match=r"reset meanwhile|no valid model"):
            board.run(x[3])
        with pytest.raises(BoardError, match=r"state was lost"):
            board.run(x[3])
        board.load(graph)
        assert board.run(x[0]).output.tolist() == expected[0].tolist()
        board.reset_state()
        assert board.run(x[0]).output.tolist() == expected[0].tolist()
