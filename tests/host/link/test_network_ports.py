"""Boards behind a network: ``rfc2217://`` with pyserial's own server, and ``socket://``."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import serial
import serial.rfc2217

from host.board import Board
from host.errors import LinkError, PortError
from host.evaluation.verify import load_samples
from host.link.ports import open_port
from model import zoo
from model.int8 import reference
from tests.host.fake_board import FakeBoard, FakePort

pytestmark = [
    pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning")
]


class RealPort(FakePort):
    """What pyserial's server asks of the serial port that it serves."""

    bytesize, parity, stopbits = 8, "N", 1
    rtscts = xonxoff = dtr = rts = break_condition = False
    cts = dsr = cd = True
    ri = False
    fastest_accepted = 12_000_000

    def __setattr__(self, name: str, value: object) -> None:
        if name == "baudrate" and isinstance(value, int) and value > self.fastest_accepted:
            raise ValueError("the adapter cannot do that")
        super().__setattr__(name, value)

    def reset_input_buffer(self) -> None:
        self._incoming.clear()

    def reset_output_buffer(self) -> None:
        pass


class _Sender:
    def __init__(self, connection: socket.socket) -> None:
        self.write = connection.sendall


@contextmanager
def serving(port: RealPort, control: bool) -> Iterator[str]:
    """The port behind a TCP server, for one client; gives ``HOST:NUMBER``."""
    stop = threading.Event()

    def serve() -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(0.002)
            manager = serial.rfc2217.PortManager(port, _Sender(connection)) if control else None
            while not stop.is_set():
                try:
                    data = connection.recv(4096)
                    if not data:
                        return
                    port.write(b"".join(manager.filter(data)) if manager else data)
                except TimeoutError:
                    pass
                except OSError:
                    return
                port.timeout = 0.005
                if answer := port.read(4096):
                    connection.sendall(b"".join(manager.escape(answer)) if manager else answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(10)


def check(url: str) -> int:
    """Upload a model and run it there; gives the rate."""
    graph = zoo.load("patterns")
    x, _ = load_samples("patterns", graph, 4)
    with Board.open(url) as board:
        board.load(graph)
        outputs = np.array([inference.output for inference in board.run_many(x)])
        assert (outputs == reference.predict(graph, x)).all()
        assert board.link.repeats <= 2
        return board.baud


def test_rfc2217_agrees_on_the_fastest_rate_that_the_other_side_accepts(fake_board: FakeBoard):
    with serving(RealPort(fake_board), control=True) as address:
        assert check(f"rfc2217://{address}") == 3_000_000


def test_rfc2217_with_an_adapter_that_refuses_high_rates(fake_board: FakeBoard):
    port = RealPort(fake_board)
    port.fastest_accepted = 1_000_000
    with serving(port, control=True) as address:
        assert check(f"rfc2217://{address}") == 1_000_000
    assert port.baudrate == 1_000_000


def test_a_socket_stays_at_its_rate(fake_board: FakeBoard):
    with serving(RealPort(fake_board), control=False) as address:
        assert check(f"socket://{address}") == 115_200


def test_a_rate_for_a_socket_is_refused(fake_board: FakeBoard):
    with serving(RealPort(fake_board), control=False) as address:
        with pytest.raises(LinkError, match="3000000 baud cannot be set.*stays at 115200"):
            Board.open(f"socket://{address}", baud=3_000_000)


@pytest.mark.parametrize("scheme", ["rfc2217", "socket"])
def test_nobody_there_is_one_line(scheme: str):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
    with pytest.raises(PortError) as caught:
        Board.open(f"{scheme}://127.0.0.1:{number}")
    assert "\n" not in str(caught.value) and str(number) in str(caught.value)


def test_an_adapter_that_can_hurry_is_told_to(monkeypatch):
    told = []

    class Port(serial.Serial):
        def open(self):
            told.append("open")

        def set_low_latency_mode(self, mode):
            told.append(mode)
            raise OSError("the driver cannot")

    monkeypatch.setattr(serial, "serial_for_url", lambda name, do_not_open: Port())
    assert isinstance(open_port("/dev/ttyUSB9"), Port)
    assert told == ["open", True]
