"""Common to all tests."""

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
