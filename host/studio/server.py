"""The routes: what the page asks for and what it is told, and the server that answers.

A page is told by a WebSocket how things stand, and what the board answers. It asks by that socket
for what is quick, sends pictures of camera and pen through it, and files by POST. Whatever cannot
be done ends in one line: ``{"error": line}``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from model import zoo
from model.datasets import datasets
from model.errors import EyespotError
from model.int8 import tflite, tflite_writer

from . import uploads, view
from .answering import Refused, answers
from .collection import default_folder
from .guard import Guard
from .hub import Client, Hub
from .session import Choice, Picture, Session, Status
from .teaching import Teaching

__all__ = ["Bench", "FRAME"]

PAGE = Path(__file__).with_name("page")

#: Before the RGBA pixels of a picture that comes through the socket: number, width, height, what is
#: to be exchanged (0: as seems needed, 1: bright and dark, 2: nothing), where it comes from.
FRAME = struct.Struct("<IHHBB")
_INVERT = {0: None, 1: True, 2: False}
_SOURCES = ("drawing", "camera", "picture")
#: Pixels a side of such a picture.
_MOST_SIDE = 1024
#: Test pictures that are told at once.
_MOST_SAMPLES = 200


class Bench:
    """Everything behind the page: the session, the open pages, and the routes.

    Parameters
    ----------
    port : str
        The board's.
    folder : Path, optional
        Of the collected pictures.
    open_board : callable, optional
        See :class:`.Session`.

    Raises
    ------
    OutputError
        If the folder cannot be used.
    """

    def __init__(self, port: str, folder: Path | None = None, **options: Any) -> None:
        self.hub = Hub()
        self.session = Session(port, self._from_session, **options)
        self.teaching = Teaching(
            folder or default_folder(), self._require, self._tell_soon, self.session.choose
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._model: dict[str, Any] | None = None
        self._told: Choice | None = None
        #: The last answer of the model that runs, for pages that are opened later.
        self._answer: dict[str, Any] | None = None

    def app(self, port: int, token: str) -> Guard:
        """The application, for a server at ``port``."""
        routes = [
            Route("/", self._index),
            Mount("/page", StaticFiles(directory=PAGE)),
            WebSocketRoute("/ws", self._socket),
            Route("/api/model", self._receive_model, methods=["POST"]),
            Route("/api/model.tflite", self._send_model),
            Route("/api/picture", self._receive_picture, methods=["POST"]),
            Route("/api/samples/{name}", self._samples),
            Route("/api/look", self._look),
            Route("/api/explain", self._explain),
            *self.teaching.routes(),
        ]
        return Guard(Starlette(routes=routes), port, token)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look for the board; ``loop`` is the server's."""
        self._loop = loop
        self.session.start()

    def stop(self) -> None:
        """Give the board back, and end what is being trained."""
        self.teaching.stop()
        self.session.stop()

    # From the session, in its thread.

    def _from_session(self, kind: str, what: Any) -> None:
        message: dict[str, Any]
        if kind == "status":
            message = self._status(what)
        elif kind == "answer":
            info = self.session.status.info
            clock_hz = info.clock_hz if info is not None else 1
            message = self._answer = {"type": "answer", **view.answer(what, clock_hz)}
        else:
            line, picture = what
            message = {"type": "problem", "line": line}
            if picture is not None:
                message |= {"number": picture.number, "client": picture.client}
        self._tell_soon(message)

    def _tell_soon(self, message: dict[str, Any]) -> None:
        """Tell all pages, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # it is closed just now
                self._loop.call_soon_threadsafe(self.hub.tell, message)

    def _status(self, now: Status) -> dict[str, Any]:
        """A status, with the model where it is another one."""
        if now.choice is not self._told or (now.choice is None and self._model is not None):
            self._told = now.choice
            self._model = self._answer = None
            if now.choice is not None and now.compiled is not None and now.info is not None:
                self._model = view.model(now.choice, now.compiled, now.info.clock_hz)
        return {"type": "status", **view.status(now, self.session.port), "model": self._model}

    # The page.

    async def _index(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        client = self.hub.add()
        for message in [self._now(), *self.teaching.now(), self._answer]:
            if message is not None:
                client.tell(message)
        sending = asyncio.create_task(_send_all(client, socket))
        try:
            while True:
                received = await socket.receive()
                if received["type"] == "websocket.disconnect":
                    break
                try:
                    if received.get("bytes") is not None:
                        self._take_frame(client, received["bytes"])
                    else:
                        await self._do(client, json.loads(received.get("text") or "{}"))
                except EyespotError as error:
                    client.tell({"type": "problem", "line": str(error)})
                except (ValueError, TypeError, LookupError, AttributeError, struct.error):
                    client.tell({"type": "problem", "line": "the page said what makes no sense"})
        except WebSocketDisconnect:
            pass
        finally:
            sending.cancel()
            self.hub.remove(client)

    def _now(self) -> dict[str, Any]:
        status = self.session.status
        return {"type": "status", **view.status(status, self.session.port), "model": self._model}

    def _require(self, name: str | None) -> str:
        if not self.hub.operates(name):
            raise Refused("another page operates the board; this one watches")
        assert name is not None
        return name

    def _take_frame(self, client: Client, data: bytes) -> None:
        """A picture of camera or pen."""
        self._require(client.name)
        number, width, height, invert, source = FRAME.unpack_from(data)
        if not 0 < width <= _MOST_SIDE or not 0 < height <= _MOST_SIDE:
            raise ValueError("size")
        if len(data) != FRAME.size + 4 * width * height:
            raise ValueError("bytes")
        image = Image.frombytes("RGBA", (width, height), data[FRAME.size :]).convert("RGB")
        self.session.show(Picture(image, _SOURCES[source], number, client.name, _INVERT[invert]))

    async def _do(self, client: Client, message: dict[str, Any]) -> None:
        """What a page asks for in a few words."""
        what = message["do"]
        if what == "take over":
            self.hub.take_over(client)
            return
        self._require(client.name)
        if what == "model":
            if message["name"] not in zoo.NAMES:
                raise EyespotError(f"there is no bundled model {message['name']!r}")
            await self.choose(message["name"])
        elif what == "sample":
            name, index = message["data"], int(message["index"])
            dataset = await run_in_threadpool(self._dataset, name)
            if not 0 <= index < len(dataset.x_test):
                raise ValueError("index")
            self.session.show(
                Picture(
                    dataset.x_test[index],
                    "test",
                    int(message["number"]),
                    client.name,
                    False,
                    dataset.labels[dataset.y_test[index]],
                )
            )
        elif what == "look":
            self.session.look()
        else:
            raise ValueError("do")

    # Models.

    async def choose(self, name_or_path: str) -> None:
        """Run a bundled model, or a file's.

        Raises
        ------
        ModelError
            If it cannot be read.
        """
        graph = await run_in_threadpool(zoo.load, name_or_path)
        origin = "bundled" if name_or_path in zoo.NAMES else "file"
        data = await run_in_threadpool(zoo.resolve(name_or_path).read_bytes)
        self.session.choose(Choice(graph, origin, data))

    @answers
    async def _receive_model(self, request: Request) -> Response:
        self._require(request.headers.get("x-client"))
        data = await uploads.body(request, uploads.MAX_MODEL_BYTES)
        name = uploads.file_name(request)
        try:
            graph = await run_in_threadpool(tflite.decode, data, Path(name).stem)
        except EyespotError as error:
            raise EyespotError(f"{name}: {error}") from error
        self.session.choose(Choice(graph, "file", data))
        return JSONResponse({"name": graph.name})

    @answers
    async def _send_model(self, request: Request) -> Response:
        choice = self.session.status.choice
        if choice is None:
            raise EyespotError("there is no model yet")
        data = choice.data or await run_in_threadpool(tflite_writer.encode, choice.graph)
        return Response(data, media_type="application/octet-stream")

    # Pictures.

    @answers
    async def _receive_picture(self, request: Request) -> Response:
        client = self._require(request.headers.get("x-client"))
        data = await uploads.body(request, uploads.MAX_PICTURE_BYTES)
        name = uploads.file_name(request)
        compiled = self.session.status.compiled
        if compiled is None:
            raise EyespotError("there is no model yet")
        card = compiled.card
        if name.lower().endswith(".npy"):
            content: Any = await run_in_threadpool(uploads.array_input, data, name, card)
        else:
            side = max(card.input.before.shape[:2], default=1)
            content = await run_in_threadpool(uploads.picture, data, name, side)
        number = int(request.query_params.get("number", 0))
        self.session.show(Picture(content, "picture", number, client))
        return JSONResponse({"name": name})

    @answers
    async def _samples(self, request: Request) -> Response:
        """Test pictures of a data set, with their classes."""
        dataset = await run_in_threadpool(self._dataset, request.path_params["name"])
        start = max(0, int(request.query_params.get("start", 0)))
        count = min(_MOST_SAMPLES, max(0, int(request.query_params.get("count", 60))))
        x = dataset.x_test[start : start + count]
        return JSONResponse(
            {
                "total": len(dataset.x_test),
                "start": start,
                "shape": list(dataset.shape),
                "bytes": view.encoded(datasets.to_int8(x)),
                "labels": [dataset.labels[y] for y in dataset.y_test[start : start + count]],
            }
        )

    def _dataset(self, name: str) -> datasets.Dataset:
        """A bundled data set, or what the last training was tested on."""
        if name == "collected" and self.teaching.trainer.tested is not None:
            return self.teaching.trainer.tested
        return _bundled(name)

    # Inside.

    @answers
    async def _look(self, request: Request) -> Response:
        found = self.session.looked
        if found is None:
            raise EyespotError("there was no look inside yet")
        clock_hz = self.session.status.info.clock_hz if self.session.status.info else 1
        return JSONResponse(await run_in_threadpool(view.looked, found, clock_hz))

    @answers
    async def _explain(self, request: Request) -> Response:
        found, asked = self.session.looked, request.query_params
        if found is None or asked.get("look") != str(found.number):
            raise EyespotError("the picture has changed meanwhile")
        try:
            position = tuple(map(int, filter(None, asked.get("position", "").split(","))))
            tensor = int(asked.get("tensor", ""))
            told = await run_in_threadpool(view.explained, found, tensor, position)
        except (IndexError, ValueError) as error:
            raise EyespotError(f"there is no such value: {error}") from error
        return JSONResponse(told)


async def _send_all(client: Client, socket: WebSocket) -> None:
    """Send what a page is told, for as long as it is there."""
    try:
        while True:
            await socket.send_json(await client.next())
    except (WebSocketDisconnect, RuntimeError):
        pass  # it was closed meanwhile


@functools.cache
def _bundled(name: str) -> datasets.Dataset:
    if name not in view.SAMPLE_SETS:
        raise EyespotError(f"there is no data set {name!r} here")
    return datasets.load(name)
