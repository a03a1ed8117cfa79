"""The simulated board's port and its back ends, with the real link on a very small board."""

from __future__ import annotations

import random
import shutil
import zlib
from pathlib import Path

import pytest

import gateware
from gateware.interface.protocol import Opcode, State, Status
from host.link.framing import Request
from host.link.link import Link
from host.simulation.backends.amaranth import AmaranthBackend
from host.simulation.backends.cxxrtl import CxxrtlBackend
from host.simulation.backends.cxxrtl_build import build_library
from host.simulation.backends.toolchain import CompileError, find_compiler
from host.simulation.cache import hash_files
from host.simulation.port import SimulatedPort
from tests.host import small_board
from tests.host.small_board import CLOCK_HZ, MEMORY_BYTES, SmallBoard
from tests.tracing import traced

RESET_BAUD = CLOCK_HZ // 8


def amaranth_backend():
    return AmaranthBackend(SmallBoard(RESET_BAUD))


def cxxrtl_backend():
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    sources = [Path(small_board.__file__), *Path(gateware.__file__).parent.rglob("*.py")]
    return CxxrtlBackend(build_library(lambda: SmallBoard(RESET_BAUD), hash_files(sources)))


@pytest.fixture(params=[amaranth_backend, cxxrtl_backend], ids=["amaranth", "cxxrtl"])
def make_backend(request):
    return request.param


def open_port(backend) -> SimulatedPort:
    """A port with ``backend`` behind it, as :meth:`SimulatedPort.open` leaves it."""
    port = SimulatedPort()
    port._backend = backend
    port._clock_hz = CLOCK_HZ
    port.reset_baud = RESET_BAUD
    port.is_open = True
    return port


def test_link_over_the_pins(make_backend):
    port = open_port(make_backend())
    link = Link(port)
    assert link.connect().board == "small"
    assert port.baudrate == 3_000_000
    data = random.Random(1).randbytes(500)
    writes = ([Request(Opcode.WRITE, i, data[i : i + 100])] for i in range(0, 500, 100))
    assert [reply.status for (reply,) in link.exchange(writes)] == [Status.OK] * 5
    reads = ([Request(Opcode.READ, i, b"\x64", 100)] for i in range(0, 500, 100))
    assert b"".join(reply.payload for (reply,) in link.exchange(reads)) == data
    assert link.repeats == 0
    refused = link.request(Request(Opcode.WRITE, MEMORY_BYTES - 1, b"ab"))
    assert refused.status == Status.BAD_ADDRESS
    port.close()


def test_state_outlasts_the_program(make_backend):
    first = make_backend()
    link = Link(open_port(first))
    link.connect(RESET_BAUD)
    image = bytes(range(200)).ljust(252, b"\1")
    image += zlib.crc32(image).to_bytes(4, "little")
    for start in (0, 128):
        link.request(Request(Opcode.WRITE, start, image[start : start + 128]))
    assert link.request(Request(Opcode.CHECK, 256)).status == Status.OK
    state = first.snapshot()
    first.close()

    second = make_backend()
    second.restore(state)
    link = Link(open_port(second))
    info = link.connect(RESET_BAUD)
    assert State.VALID in info.state
    assert info.image_bytes == 256
    assert link.request(Request(Opcode.READ, 100, b"\4", 4)).payload == image[100:104]
    assert link.request(Request(Opcode.RUN, 0, b"\0\0")).status == Status.OK
    with pytest.raises(ValueError):
        second.restore(b"[1,2]")
    second.close()


def test_time_stands_still_but_while_the_host_waits(make_backend):
    backend = make_backend()
    # The back end's own processes are few lines: here they are seen to run.
    with traced():
        _time_stands_still(open_port(backend))


def _time_stands_still(port: SimulatedPort) -> None:
    port._reconfigure_port()
    assert port.now() == 0
    port.write(b"\0")
    assert port.now() == 0
    assert port.out_waiting == 1
    port.flush()
    assert port.out_waiting == 0
    port.timeout = 0.0001
    before = port.now()
    assert port.read(10) == b""
    assert port.now() - before == pytest.approx(0.0001, rel=0.01)
    before = port.now()
    port.send_break(0.0002)
    assert port.now() - before >= 0.0002
    port.close()
    with pytest.raises(Exception, match="not open"):
        port.read()


def test_break_brings_the_board_back(make_backend):
    port = open_port(make_backend())
    link = Link(port)
    link.connect(3_000_000)
    port.baudrate = RESET_BAUD
    port.send_break(20 / RESET_BAUD)
    assert link.read_info().board == "small"
    assert link.repeats == 0
    port.close()


def test_no_compiler_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CompileError, match="no C\\+\\+ compiler"):
        build_library(lambda: None, "any")
