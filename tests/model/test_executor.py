"""Pieces and their results, whoever fails meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from model import executor
from model.errors import DataError
from model.executor import Processes, Queue, Threads, WorkerError, compute, cut


class Scripted(Queue):
    """A queue whose executor does what a list says: call, cancel, refuse, wait, break for good."""

    limit = 2

    def __init__(self, name: str, script: Iterator[str], **options: Any) -> None:
        super().__init__(name, (name,), **options)
        self.script = script
        self.opened = 0

    def _open(self) -> Executor:
        self.opened += 1
        script = self.script

        class Now(Executor):
            broken = False

            def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
                future: Future[Any] = Future()
                step = next(script, "call")
                self.broken |= step == "break"
                if step == "refuse":
                    raise BrokenProcessPool()
                if step == "wait":
                    return future
                if step == "cancel":
                    future.cancel()
                    future.set_running_or_notify_cancel()
                elif self.broken:
                    future.set_exception(BrokenProcessPool())
                else:
                    future.set_result(function(*arguments))
                return future

        return Now()


def told(name: str, value: int) -> tuple[str, int]:
    if value < 0:
        raise DataError(f"{value} is too little")
    return name, value


def run(queues: list[Scripted], count: int) -> tuple[list[int], list[str]]:
    """The answers in the order of their pieces, and what was noted."""
    notes: list[str] = []
    found = list(compute(queues, told, [(each,) for each in range(count)], notes.append))
    assert sorted(place for place, _ in found) == list(range(count)), "each once"
    assert all(place == value for place, (_, value) in found)
    return [place for place, _ in found], notes


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 31, 32, 100, 1000, 10_000])
def test_cut(count):
    pieces = cut(count)
    sizes = [piece.stop - piece.start for piece in pieces]
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert (pieces[0].start, pieces[-1].stop) == (0, count)
    assert max(sizes) <= 64 and sizes == sorted(sizes[:-1], reverse=True) + sizes[-1:]
    assert len(pieces) >= min(2, count) and sizes[0] >= min(4, count // 2)
    # The last ones are small, so that workers end together.
    assert sizes[-1] <= max(1, min(4, count // 8))


def test_cut_of_nothing():
    assert cut(0) == []


def test_workers_that_die_are_followed_by_others():
    one = Scripted("one", iter(["call", "break", "call", "call", "break"]))
    _, notes = run([one], 9)
    assert one.opened == 3
    assert notes == ["one: its process ended unexpectedly; once more"] * 2


def test_workers_that_died_before_anything_was_asked_of_them():
    one = Scripted("one", iter(["refuse", "call", "call", "refuse", "call"]))
    _, notes = run([one], 5)
    assert one.opened == 3 and len(notes) == 2
    with pytest.raises(WorkerError, match="one: its process ended unexpectedly"):
        run([Scripted("one", iter(["refuse"] * 20))], 5)


def test_workers_that_die_again_and_again():
    one = Scripted("one", iter(["call"] + ["break"] * 20))
    with pytest.raises(WorkerError, match="one: its process ended unexpectedly"):
        run([one], 5)
    assert one.opened == 3


def test_a_board_that_fails_gives_its_pieces_to_the_others():
    dead = Scripted("dead", iter(["call"] + ["cancel"] * 20), is_board=True)
    alive = Scripted("alive", iter([]), is_board=True)
    _, notes = run([dead, alive], 30)
    assert notes == ["dead: the connection is lost; once more"] * 2 + [
        "dead: the connection is lost; its work goes to the others"
    ]


def test_what_was_given_up_is_not_waited_for(monkeypatch):
    """Dask tells nothing of a piece that was cancelled while it ended."""
    monkeypatch.setattr(executor, "_PERIOD", 0.01)
    dead = Scripted("dead", iter(["wait"] + ["cancel"] * 20), is_board=True)
    alive = Scripted("alive", iter([]), is_board=True)
    looks = iter(range(100))
    monkeypatch.setattr(alive, "check", lambda: next(looks))  # which ends what waits for ever
    _, notes = run([dead, alive], 30)
    assert notes[-1] == "dead: the connection is lost; its work goes to the others"


def test_a_board_that_fails_now_and_then_stays():
    shaky = Scripted("shaky", iter(["call", "cancel"] * 20), is_board=True)
    _, notes = run([shaky], 10)
    assert len(notes) >= 9


def test_an_error_of_a_piece_is_told():
    queue = Scripted("one", iter([]))
    with pytest.raises(WorkerError, match="^-1 is too little$") as caught:
        list(compute([queue], told, [(1,), (-1,)]))
    assert "DataError" in str(caught.value.__cause__)
    boards = [Scripted(name, iter([]), is_board=True) for name in ("a", "b")]
    with pytest.raises(WorkerError, match="^[ab]: -1 is too little$"):
        list(compute(boards, told, [(1,), (-1,)]))


def test_nobody():
    with pytest.raises(WorkerError, match="nobody"):
        list(compute([], told, [(1,)]))


def test_who_has_enough_stops():
    started = []
    with Threads(1) as queue:
        for place, _ in compute([queue], started.append, [(each,) for each in range(9)]):
            if place == 2:
                break
    assert started == [0, 1, 2]


# With real processes.


def process_id(how: str, folder: Path) -> int:
    """In a worker; dies the first time that it is told to."""
    mark = folder / "died"
    if how == "die" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
def test_a_process_that_is_killed(tmp_path):
    notes: list[str] = []
    with Processes(1) as queue:
        pieces = [("live", tmp_path), ("die", tmp_path), ("live", tmp_path)]
        found = dict(compute([queue], process_id, pieces, notes.append))
    assert sorted(found) == [0, 1, 2] and os.getpid() not in found.values()
    assert notes == ["this machine: its process ended unexpectedly; once more"]
    assert not alive(found[1])


SCRIPT = """
import os, sys, time
from model.executor import Processes
with Processes(1) as queue:
    print(queue.submit(os.getpid).result(), flush=True)
    queue.submit(time.sleep, 60).result()
"""


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that ended is there until whoever inherited it asks, which may be never.
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return not Path("/proc/self").exists()
    return not status.rpartition(") ")[2].startswith("Z")


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(number):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command = [sys.executable, "-c", SCRIPT]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout is not None
            worker = int(parent.stdout.readline())
            parent.send_signal(number)
            assert parent.wait(30) != 0
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 30
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.01)
