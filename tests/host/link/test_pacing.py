"""The account of the board's buffer, against a board that is played through request by request."""

from __future__ import annotations

import math
import random

import pytest

from host.link.pacing import Pacer


def test_two_requests_may_wait_and_a_third_has_to():
    pacer = Pacer()
    pacer.rest()
    pacer.send(10, 90, 10, 10)
    assert pacer.padding == 0
    pacer.send(10, 5, 0, 10)
    # Taken when the first is done, at 110; 20 have passed.
    assert pacer.padding == 90
    pacer.pad(90)
    assert pacer.padding == 0


def test_what_is_not_known_is_waited_for():
    pacer = Pacer()
    pacer.rest()
    pacer.send(10, math.inf, 0, 10)
    pacer.send(10, 1, 0, 10)
    assert pacer.padding == math.inf
    pacer.answered()
    assert pacer.padding == 0
    assert pacer.in_flight == 10
    pacer.answered()
    assert pacer.in_flight == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_request_finds_both_buffers_taken(seed):
    """Whenever answers come, and however much faster than it may the board is."""
    generator = random.Random(seed)
    pacer = Pacer()
    pacer.rest()
    #: Of the board itself: places where a request is taken, where the board is free again, where
    #: the last reply has left, and where the engine is idle.
    taken, free, replied, idle = 0.0, 0.0, 0.0, 0.0
    answers = []
    for _ in range(2000):
        while answers and (answers[0] < pacer.sent - 50 or generator.random() < 0.01):
            # An answer comes late by as much as an adapter likes; time passes, no byte does.
            pause = max(0.0, answers.pop(0) - pacer.sent)
            taken, free, replied = taken - pause, free - pause, replied - pause
            idle -= pause
            answers = [each - pause for each in answers]
            pacer.answered()
        padding = pacer.padding
        pacer.pad(math.ceil(padding))
        assert pacer.sent >= taken - 1e-9
        size, reply = generator.randrange(10, 250), generator.randrange(10, 250)
        work, answer = (generator.choice([0, 5, 50, 500]) * generator.random() for _ in "wa")
        run = generator.choice([None, None, 300 * generator.random()])
        waits = run is None and generator.random() < 0.3
        pacer.send(size, work, answer, reply, run=run, waits=waits)
        taken = max(pacer.sent, free)
        begin = max(taken, idle) if waits else taken
        if run is not None:
            idle = taken + run * generator.random()
        free = max(begin + work * generator.random(), replied) + answer * generator.random()
        replied = free + reply
        answers.append(replied)


def test_writes_do_not_wait_for_the_engine_but_a_result_does():
    pacer = Pacer()
    pacer.rest()
    pacer.send(10, 1, 1, 10, run=500)
    for _ in range(4):
        pacer.send(100, 1, 1, 10)
        assert pacer.padding == 0
    pacer.send(10, 1, 1, 10, waits=True)
    assert pacer.padding == 0
    # It is carried out at 510, where the engine is idle; 420 have passed, and 10 more.
    pacer.send(10, 1, 1, 10)
    assert pacer.padding == 510 + 2 - 430


def test_what_has_not_left_is_no_reason_to_wait():
    pacer = Pacer()
    pacer.rest()
    pacer.send(10, 1000, 0, 10)
    pacer.send(10, 10, 0, 10)
    pacer.pad(500)
    assert pacer.padding == 490
    # The first was answered when no more than 120 had left: so the second is taken by then.
    pacer.answered(unsent=400)
    assert pacer.padding == 0
    pacer.send(10, 1, 0, 10)
    assert pacer.padding == 0
