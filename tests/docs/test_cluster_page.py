"""Each command of docs/cluster.md, on loopback, with boards that are served there.

Three workers and two boards in Python take a while: only with EYESPOT_LONG.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gateware.interface.configuration import EngineConfiguration
from host.simulation.backends.toolchain import find_compiler
from tests.host.conftest import interpreting_engine
from tests.host.fake_board import FakeBoard, FakePort

PAGE = Path(__file__).parents[2] / "docs/cluster.md"


def commands() -> list[str]:
    """All of the page's, in their order."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@contextmanager
def served(lose: int | None = None) -> Iterator[str]:
    """A board behind a TCP server, for one client at a time; gives ``socket://HOST:NUMBER``.

    The first client is cut off after ``lose`` bytes that it sent, as are all that come later.
    """
    configuration = EngineConfiguration()
    board = FakeBoard(configuration, engine=interpreting_engine(configuration))
    stop = threading.Event()

    def serve(connection: socket.socket, left: int | None) -> None:
        port = FakePort(board)
        board.reset_baud()
        connection.settimeout(0.002)
        while not stop.is_set():
            try:
                data = connection.recv(4096)
                if not data:
                    return
                if left is not None and (left := left - len(data)) < 0:
                    return
                port.write(data)
            except TimeoutError:
                pass
            except OSError:
                return
            port.timeout = 0.005
            if answer := port.read(4096):
                connection.sendall(answer)

    def accept() -> None:
        left = lose
        while not stop.is_set():
            try:
                with listener.accept()[0] as connection:
                    serve(connection, left)
                left = None if lose is None else 0
            except TimeoutError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"socket://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(10)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_page_has_commands():
    assert [line.split()[0] for line in commands()].count("dask") == 4
    assert commands()[0] == "pip install 'eyespot[cluster]'"


@pytest.mark.skipif("EYESPOT_LONG" not in os.environ, reason="takes a minute: EYESPOT_LONG=1")
@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_the_commands(tmp_path):
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    with ExitStack() as stack:
        here = {
            "lab1": "127.0.0.1",
            "--host lab2": "--host 127.0.0.1",
            "8786": str(free_port()),
            "/dev/ttyUSB1": stack.enter_context(served()),
            "/dev/ttyUSB3": stack.enter_context(served()),
            # Shorter.
            "--search 12": "--search 2 --epochs 1",
            "--count 40": "--count 8",
        }
        reports = []
        for command in commands()[1:]:
            for name, value in here.items():
                command = command.replace(name, value)
            words = [sys.executable, "-m", *shlex.split(command)]
            if words[2] == "dask":
                log = stack.enter_context((tmp_path / "dask.log").open("ab"))
                process = subprocess.Popen(
                    [*words, "--no-dashboard"], cwd=tmp_path, stdout=log, stderr=log
                )
                stack.callback(process.wait, 30)
                stack.callback(process.terminate)
                continue
            done = subprocess.run(
                [*words, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stderr
            assert not done.stderr, "nothing went wrong, and nothing is logged"
            reports.append(json.loads(done.stdout))
        verified = [report for report in reports if "mismatches" in report]
        assert [(each["count"], each["mismatches"]) for each in verified] == [(8, 0)] * 3
        assert (tmp_path / "best.search" / "front.png").exists()


def test_a_board_that_is_cut_off(tmp_path):
    """By its cable, in the middle; the other one runs all pictures."""
    with served(lose=3500) as cut, served() as whole:
        words = ["verify", "patterns", "--port", f"{cut},{whole}", "--data", "patterns"]
        done = subprocess.run(
            [sys.executable, "-m", "host", *words, "--count", "24", "--json"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["count"], report["mismatches"]) == (24, 0)
    assert done.stderr and all(line.startswith(cut) for line in done.stderr.splitlines())
