"""The studio's server in this process, on a board in plain Python, and a page without a browser."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import serial

pytest.importorskip("starlette", reason="the extra `studio` is not installed")
pytest.importorskip("uvicorn", reason="the extra `studio` is not installed")
pytest.importorskip("websockets", reason="the extra `studio` is not installed")

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gateware.interface.configuration import EngineConfiguration
from host.board import Board
from host.studio.server import FRAME, Bench
from host.studio.serving import Serving
from tests.host.conftest import interpreting_engine
from tests.host.fake_board import FakeBoard, FakePort

__all__ = ["Bench", "Cable", "InvalidStatus", "Page", "connect", "page", "request", "served"]

PATIENCE = 20.0


class Cable:
    """A board whose cable can be pulled and put back."""

    def __init__(self) -> None:
        configuration = EngineConfiguration()
        self.board = FakeBoard(configuration, engine=interpreting_engine(configuration))
        self.plugged = True
        self.opened = 0

    def open(self, name: str) -> Board:
        if not self.plugged:
            raise serial.SerialException(f"{name}: there is no such port")
        self.opened += 1
        return Board.open(_Plug(self))


class _Plug(FakePort):
    def __init__(self, cable: Cable) -> None:
        super().__init__(cable.board)
        self._cable = cable

    def write(self, data: bytes) -> int:
        self._check()
        return super().write(data)

    def read(self, size: int = 1) -> bytes:
        self._check()
        return super().read(size)

    def _check(self) -> None:
        if not self._cable.plugged:
            raise serial.SerialException("device disconnected")


class Page:
    """An open page: what it is told, and what it asks."""

    def __init__(self, serving: Serving, socket: ClientConnection) -> None:
        self.serving = serving
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.client = self.wait_for("roles")["client"]
        self.number = 0

    def wait_for(
        self, kind: str, matches: Callable[[dict[str, Any]], bool] = lambda message: True
    ) -> dict[str, Any]:
        """The next message of a kind that matches, from those not yet looked at."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = json.loads(self.socket.recv(max(0.1, deadline - time.monotonic())))
            self.told.append(message)
            if message["type"] == kind and matches(message):
                return message
        raise AssertionError(f"no {kind} came")

    def ready(self, model: str | None = None) -> dict[str, Any]:
        """The status once the board has a model."""
        return self.wait_for(
            "status",
            lambda status: (
                status["phase"] == "ready"
                and status["model"] is not None
                and (model is None or status["model"]["name"] == model)
            ),
        )

    def do(self, what: str, **more: Any) -> None:
        self.socket.send(json.dumps({"do": what, **more}))

    def show(self, pixels: np.ndarray, source: int = 0) -> dict[str, Any]:
        """The answer to a grey picture, as camera and pen send it."""
        self.number += 1
        height, width = pixels.shape
        rgba = np.repeat(pixels[..., None], 4, axis=2)
        rgba[..., 3] = 255
        self.socket.send(FRAME.pack(self.number, width, height, 2, source) + rgba.tobytes())
        return self.answer(self.number)

    def answer(self, number: int) -> dict[str, Any]:
        """The answer to a picture of this page."""
        mine = (number, self.client)
        return self.wait_for("answer", lambda told: (told["number"], told["client"]) == mine)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and JSON of a request of this page; headers replace its own."""
        own = {"x-studio-token": self.serving.token, "x-client": self.client}
        return request(self.serving.port, method, path, body, {**own, **headers})

    def get(self, path: str) -> Any:
        status, found = self.request("GET", path)
        assert status == 200, found
        return found

    def post(self, path: str, body: bytes = b"", method: str = "POST") -> tuple[int, Any]:
        return self.request(method, path, body)


def request(
    port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(data)
    except ValueError:
        return answer.status, data


@contextmanager
def served(bench: Bench, model: str | None = "digits") -> Iterator[Serving]:
    """A server that runs, in a thread."""
    serving = Serving(bench, model)
    begun = threading.Event()
    thread = threading.Thread(target=serving.run, args=[begun.set])
    thread.start()
    try:
        assert begun.wait(PATIENCE)
        yield serving
    finally:
        serving.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@contextmanager
def page(serving: Serving) -> Iterator[Page]:
    """A page of that server."""
    origin = f"http://127.0.0.1:{serving.port}"
    address = f"ws://127.0.0.1:{serving.port}/ws?token={serving.token}"
    with connect(address, origin=origin, proxy=None, max_size=None) as socket:  # type: ignore[arg-type]
        yield Page(serving, socket)
        with suppress(Exception):
            socket.close()
