"""A board in plain Python that really computes, and the command line connected to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import EngineError
from host import cli
from host.board import board as board_module
from tests import tape_interpreter
from tests.host.fake_board import FakeBoard, FakePort


def interpreting_engine(configuration: EngineConfiguration):
    """An engine for :class:`FakeBoard`: the tape, executed literally."""

    def run(memory: bytearray, layers: int) -> tuple[EngineError, int, int]:
        values = np.frombuffer(bytes(memory), np.int8).copy()
        execution = tape_interpreter.execute(configuration, values, layers)
        memory[:] = values.tobytes()
        return execution.error, execution.best, 1000 + 10 * layers

    return run


@pytest.fixture
def fake_board() -> FakeBoard:
    configuration = EngineConfiguration()
    return FakeBoard(configuration, engine=interpreting_engine(configuration))


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakePort], None]:
    """Make any ``--port`` lead to a given port."""

    def to(port: FakePort) -> None:
        monkeypatch.setattr(board_module, "open_port", lambda name: port)

    return to


@pytest.fixture
def host(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The command line: gives the JSON object, or with ``fails`` the line of the error."""

    def run(*words: object, fails: int = 0) -> Any:
        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert status == fails, err
        if not fails:
            return json.loads(out) if "--json" in words else out
        lines = [line for line in err.splitlines() if line.startswith("host: ")]
        assert len(lines) == 1 and "Traceback" not in err and "fault in Eyespot" not in err
        if "--json" in words:
            assert lines[0].removeprefix("host: error: ") == json.loads(out)["error"]
        return lines[0]

    return run
