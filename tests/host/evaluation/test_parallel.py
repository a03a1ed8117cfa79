"""Shares of several boards put together, and processes that fail."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from gateware.interface.configuration import EngineConfiguration
from host import compiler
from host.errors import BoardError
from host.evaluation.parallel import _Failure, _gather, _Result, _Task, _work, verify_in_parallel
from host.evaluation.verify import LayerVerification, Verification, merge
from model import zoo


def part(first: int, count: int, **changes) -> Verification:
    outputs = (np.arange(first, first + count, dtype=np.int8)[:, None],)
    whole = Verification(
        hardware=outputs,
        reference=outputs,
        mismatches=0,
        mismatching_bytes=0,
        accuracy=1.0,
        cycles=100,
        images_per_second=10.0,
        layers=(LayerVerification("conv", "CONV_2D", 9, True, 1, 60 + first, 64),),
    )
    return replace(whole, **changes)


def test_merge():
    first = part(0, 3, mismatches=1, mismatching_bytes=5, accuracy=1 / 3, cycles=120)
    second = part(3, 2, mismatches=2, mismatching_bytes=4, accuracy=0.5, images_per_second=40.0)
    both = merge([first, second])
    assert both.hardware[0][:, 0].tolist() == both.reference[0][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (both.mismatches, both.mismatching_bytes, both.cycles) == (3, 9, 120)
    assert both.accuracy == 2 / 5
    assert both.images_per_second == pytest.approx(5 / (3 / 10 + 2 / 40))
    (layer,) = both.layers
    assert (layer.mismatches, layer.cycles, layer.predicted) == (2, 63, 64)
    assert merge([part(0, 1), part(1, 1, accuracy=None)]).accuracy is None


def test_progress_is_that_of_all():
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(2)]
    for index, (_, sender) in enumerate(pipes):
        sender.send((1, 2))
        sender.send((2, 2))
        sender.send(_Result(part(2 * index, 2), index))
    seen = []
    receivers = [receiver for receiver, _ in pipes]
    results = _gather(receivers, 4, lambda done, total: seen.append((done, total)))
    assert [each.repeats for each in results] == [0, 1]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for pipe in pipes:
        for end in pipe:
            end.close()


def test_a_process_that_fails():
    """It says why in a message; the parent raises it."""
    graph = zoo.load("patterns")
    compiled = compiler.compile(graph, EngineConfiguration())
    x = np.zeros((1, *graph.input.shape[1:]), np.int8)
    task = _Task("sim://none?memory=fresh", None, graph, compiled, x, None, False)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with closing(receiver):
        # In a thread, since a process's own main thread gives up Ctrl-C.
        thread = threading.Thread(target=_work, args=(task, sender))
        thread.start()
        with pytest.raises(BoardError, match="there is no board 'none'") as caught:
            _gather([receiver], 1, lambda done, total: None)
        thread.join()
    assert "Traceback" in str(caught.value.__cause__)


def test_a_process_that_is_gone():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sender.close()
    with closing(receiver), pytest.raises(BoardError, match="ended unexpectedly"):
        _gather([receiver], 1, lambda done, total: None)


def test_failures_survive_the_way():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with closing(receiver), closing(sender):
        sender.send(_Failure("the engine stopped: TAPE", "Traceback ..."))
        with pytest.raises(BoardError, match="the engine stopped: TAPE"):
            _gather([receiver], 1, lambda done, total: None)


def test_no_jobs():
    graph = zoo.load("patterns")
    with pytest.raises(ValueError, match="at least one job, not 0"):
        verify_in_parallel("sim", None, graph, np.zeros((1, 4, 4, 1), np.int8), jobs=0)
