"""Common to all tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl._ir import Fragment
from amaranth.sim import Simulator
from amaranth.sim.pysim import PySimEngine

from tests import tape_interpreter
from tests.tracing import leave_untraced

leave_untraced(Simulator, "run", "run_until")
leave_untraced(PySimEngine, "__init__")
leave_untraced(Fragment, "prepare")
leave_untraced(rtlil, "convert_fragment")
leave_untraced(tape_interpreter, "execute")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--port", default="sim", help="board for tests/hardware: a device, a URL, sim (default)"
    )


@pytest.fixture(scope="session", autouse=True)
def own_simulated_boards(tmp_path_factory: pytest.TempPathFactory):
    """Simulated boards of this process alone: they keep their state and have one user at a time."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


#: A ``LocalCluster`` in threads of this process, at ports that are free.
CLUSTER: dict[str, Any] = {
    "threads_per_worker": 4,
    "processes": False,
    "protocol": "tcp",
    "dashboard_address": "127.0.0.1:0",
}


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """A Dask scheduler with a worker that has two boards; skips without Dask.

    One, because each worker would have both: a board would have two users at a time.
    """
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    boards = {"lab:a": 1, "lab:b": 1}
    with distributed.LocalCluster(n_workers=1, resources=boards, **CLUSTER) as local:
        yield local
