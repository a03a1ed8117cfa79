"""The account of the board's buffer, against a board that is played through request by request."""

from __future__ import annotations

import math
import random

import pytest

from host.pacing import Pacer


def test_two_requests_may_wait_and_a_third_has_to():
    pacer = Pacer()
    pacer.rest()
    pacer.send(10, 100, 10)
    assert pacer.padding == 0
    pacer.send(10, 5, 10)
    # Taken when the first is done, at 110; 20 have passed.
    assert pacer.padding == 90
    pacer.pad(90)
    assert pacer.padding == 0


def test_what_is_not_known_is_waited_for():
    pacer = Pacer()
    pacer.rest()
    pacer.send(10, math.inf, 10)
    pacer.send(10, 1, 10)
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
    #: Of the board itself: places where a request is taken, and where the board is free again.
    taken, free, replied = 0.0, 0.0, 0.0
    answers = []
    for _ in range(2000):
        while answers and (answers[0] < pacer.sent - 50 or generator.random() < 0.01):
            # An answer comes late by as much as an adapter likes; time passes, no byte does.
            pause = max(0.0, answers.pop(0) - pacer.sent)
            taken, free, replied = taken - pause, free - pause, replied - pause
            answers = [each - pause for each in answers]
            pacer.answered()
        padding = pacer.padding
        pacer.pad(math.ceil(padding))
        assert pacer.sent >= taken - 1e-9
        size, reply = generator.randrange(10, 250), generator.randrange(10, 250)
        work = generator.choice([0, 5, 50, 500]) * generator.random()
        pacer.send(size, work, reply)
        taken = max(pacer.sent, free)
        free = max(taken, replied) + work * generator.random()
        replied = free + reply
        answers.append(replied)
