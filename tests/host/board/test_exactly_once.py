"""A run that changes state is carried out once, or an error says that it may not have been.

Exhaustively: every fault at every request of two runs and of what the host does to recover, and
pairs of the worst of them; with EYESPOT_LONG all pairs, and three of the worst. The board is one in
plain Python, the host's code is real. By chance: bytes that are damaged, over many runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import pytest

from host.board import Board
from host.errors import BoardError
from model.errors import EyespotError
from tests.host.board.stateful_board import (
    FIRST,
    STATE,
    ScriptedBoard,
    expected,
    following,
    stateful_board,
)
from tests.host.fake_board import FakePort, Faults

LONG = bool(os.environ.get("EYESPOT_LONG"))

#: Never carried out; carried out but not answered; answered after the time-out; and then the rate
#: is that after a reset; a reset, of which memory is none the worse.
FAULTS = ("lost", "unanswered", "late", "break behind", "reset before", "reset behind")
INPUTS = [np.array([n, -n, 7 * n, 100], np.int8) for n in (1, 2, 3)]
#: Requests of a run: input, ticket, RUN, RESULT, and RESULT again. Then what follows a fault.
REQUESTS = 13


def _scripts() -> Iterator[dict[int, str]]:
    few = ("lost", "unanswered", "reset behind")
    for count, requests, kinds in (
        [(1, REQUESTS, FAULTS), (2, REQUESTS, FAULTS), (3, REQUESTS, few)]
        if LONG
        else [(1, REQUESTS, FAULTS), (2, 7, few[:2])]
    ):
        for places in combinations(range(requests), count):
            for faults in product(kinds, repeat=count):
                yield dict(zip(places, faults))


def _states(inputs: list[np.ndarray]) -> list[bytes]:
    return [each.tobytes() for each in (FIRST, *expected(inputs))]


def _run(script: dict[int, str]) -> int:
    """Runs that gave their answers; all that is to be seen is checked."""
    fake = stateful_board()
    with Board.open(FakePort(fake, latency=0.0)) as board:
        board.reset_state()
        fake.seen, fake.script = 0, script
        answered = 0
        for x, wanted in zip(INPUTS[:2], expected(INPUTS)):
            try:
                inference = board.run(x)
            except EyespotError as error:
                # A board that was reset has no model; one that is late, or at another rate, again
                # while the host looks for it seems not to be there. All else is delivered.
                gone = {"late", "break behind"}.intersection(script.values()) and len(script) > 1
                reset = any("reset" in fault for fault in script.values())
                assert reset or gone, (script, error)
                # Never a state that no sequence of these inputs leaves.
                assert _state_of(fake) in _states(INPUTS)[answered : answered + 2]
                with pytest.raises(BoardError, match=r"state was lost|no valid model"):
                    board.run(x)
                return answered
            assert inference.output.tolist() == wanted.tolist(), script
            answered += 1
            assert _state_of(fake) == _states(INPUTS)[answered], script
    return answered


def _state_of(fake: ScriptedBoard) -> bytes:
    return bytes(fake.memory[STATE : STATE + len(FIRST)])


def test_every_fault_at_every_request():
    outcomes = [0, 0, 0]
    for script in _scripts():
        outcomes[_run(script)] += 1
    # Some are reset in the first run, some in the second, and most recover.
    assert all(outcomes), outcomes
    assert outcomes[2] > sum(outcomes) / 3


def test_a_run_without_faults_is_five_requests():
    fake = stateful_board()
    with Board.open(FakePort(fake)) as board:
        board.reset_state()
        before = len(fake.requests)
        for x, wanted in zip(INPUTS, expected(INPUTS)):
            assert board.run(x).output.tolist() == wanted.tolist()
        assert [each.name for each in fake.requests[before:]] == (
            ["WRITE", "WRITE", "RUN", "RESULT", "RESULT"] * 3
        )
        board.reset_state()
        assert board.run(INPUTS[0]).output.tolist() == expected(INPUTS)[0].tolist()


def test_a_new_host_begins_anew():
    """Whatever the board's state is, and whatever ticket the last host left."""
    fake = stateful_board()
    for _ in range(2):
        with Board.open(FakePort(fake)) as board:
            answers = [each.output.tolist() for each in board.run_many(INPUTS)]
        assert answers == [each.tolist() for each in expected(INPUTS)]


def test_layers_are_those_of_a_first_run():
    fake = stateful_board()
    with Board.open(FakePort(fake)) as board:
        list(board.run_many(INPUTS))
        layout = board.model.output.layout
        (run,) = board.run_layers(INPUTS[0], [layout])
        assert np.frombuffer(run.data, np.int8).tolist() == following(FIRST, INPUTS[0]).tolist()
        # And what comes next is a first run, too.
        assert board.run(INPUTS[1]).output.tolist() == following(FIRST, INPUTS[1]).tolist()


@pytest.mark.parametrize("seed", range(2))
def test_damaged_bytes(seed):
    """One in a thousand, in both directions: all is delivered, once, and right."""
    count = 10_000 if LONG else 150
    rng = np.random.default_rng(seed)
    inputs = [x for x in rng.integers(-128, 128, (count, 4)).astype(np.int8)]
    fake = stateful_board()
    with Board.open(FakePort(fake, Faults(1e-3, 1e-3, seed))) as board:
        board.reset_state()
        runs = fake.runs
        for inference, wanted in zip(board.run_many(inputs), expected(inputs)):
            assert inference.output.tolist() == wanted.tolist()
        assert fake.runs - runs == count
        assert board.link.repeats > count / 50
        print(f"{count} runs, {board.link.repeats} repeats")
