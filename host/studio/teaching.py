"""The routes of collecting and training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from model.errors import DataError, TrainingError

from . import uploads
from .answering import answers
from .collection import MOST_SIDE, Collection
from .session import Choice
from .training import Trainer, Wishes

__all__ = ["Teaching"]


class Teaching:
    """Collected pictures, the training on them, and what the page asks of both.

    Parameters
    ----------
    folder : Path
        Of the collection.
    require : callable
        Raises an error unless the client of that name may change things.
    tell : callable
        Tells all pages, from any thread.
    choose : callable
        Runs a model on the board.
    """

    def __init__(
        self,
        folder: Path,
        require: Callable[[str | None], str],
        tell: Callable[[dict[str, Any]], None],
        choose: Callable[[Choice], None],
    ) -> None:
        self.collection = Collection(folder)
        self.trainer = Trainer(self._tell_training)
        self._require = require
        self._tell = tell
        self._choose = choose

    def stop(self) -> None:
        self.trainer.stop()

    def now(self) -> list[dict[str, Any]]:
        """What a page that is opened is told."""
        return [self._collected(), self._trained(self.trainer.state)]

    def routes(self) -> list[Route]:
        post, delete = ["POST"], ["DELETE"]
        return [
            Route("/api/collection.zip", self._zip),
            Route("/api/collection/class", self._add_class, methods=post),
            Route("/api/collection/class", self._delete_class, methods=delete),
            Route("/api/collection/rename", self._rename_class, methods=post),
            Route("/api/collection/picture", self._picture),
            Route("/api/collection/picture", self._add_picture, methods=post),
            Route("/api/collection/pictures", self._change_pictures, methods=post),
            Route("/api/collection/restore", self._restore, methods=post),
            Route("/api/training", self._start, methods=post),
            Route("/api/training", self._cancel, methods=delete),
            Route("/api/training/use", self._use, methods=post),
            Route("/api/trained.tflite", self._model),
        ]

    def _collected(self) -> dict[str, Any]:
        return {"type": "collection", **self.collection.summary()}

    @staticmethod
    def _trained(state: dict[str, Any]) -> dict[str, Any]:
        return {"type": "training", **state}

    def _tell_training(self, state: dict[str, Any]) -> None:
        self._tell(self._trained(state))

    async def _changing(self, request: Request, change: Callable[[], Any]) -> Any:
        """Change the collection, for the page that may, and tell all."""
        self._require(request.headers.get("x-client"))
        try:
            return await run_in_threadpool(change)
        finally:
            self._tell(await run_in_threadpool(self._collected))

    # The collection.

    @answers
    async def _add_class(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        await self._changing(request, lambda: self.collection.add_class(name))
        return JSONResponse({"name": name})

    @answers
    async def _rename_class(self, request: Request) -> Response:
        name, to = (request.query_params.get(each, "") for each in ("name", "to"))
        await self._changing(request, lambda: self.collection.rename_class(name, to))
        return JSONResponse({"name": to})

    @answers
    async def _delete_class(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        mark = await self._changing(request, lambda: self.collection.delete_class(name))
        return JSONResponse({"restore": mark})

    @answers
    async def _picture(self, request: Request) -> Response:
        name, file = (request.query_params.get(each, "") for each in ("class", "file"))
        return FileResponse(await run_in_threadpool(self.collection.path, name, file))

    @answers
    async def _add_picture(self, request: Request) -> Response:
        self._require(request.headers.get("x-client"))
        name = request.query_params.get("class", "")
        shown = uploads.file_name(request)
        data = await uploads.body(request, uploads.MAX_PICTURE_BYTES)

        def add() -> str:
            return self.collection.add(name, uploads.picture(data, shown, MOST_SIDE))

        return JSONResponse({"file": await self._changing(request, add)})

    @answers
    async def _change_pictures(self, request: Request) -> Response:
        """Delete pictures of a class, or move them to another."""
        name = request.query_params.get("class", "")
        to = request.query_params.get("to")
        files = request.query_params.getlist("file")
        if not files:
            raise DataError("there are no pictures to change")
        if to is not None:
            await self._changing(request, lambda: self.collection.move(name, files, to))
            return JSONResponse({})
        mark = await self._changing(request, lambda: self.collection.delete(name, files))
        return JSONResponse({"restore": mark})

    @answers
    async def _restore(self, request: Request) -> Response:
        mark = request.query_params.get("mark", "")
        await self._changing(request, lambda: self.collection.restore(mark))
        return JSONResponse({})

    @answers
    async def _zip(self, request: Request) -> Response:
        data = await run_in_threadpool(self.collection.zipped)
        return Response(data, media_type="application/zip")

    # The training.

    @answers
    async def _start(self, request: Request) -> Response:
        self._require(request.headers.get("x-client"))
        wishes = Wishes.of(dict(request.query_params))
        await run_in_threadpool(self.trainer.start, self.collection.pictures, wishes)
        return JSONResponse({})

    @answers
    async def _cancel(self, request: Request) -> Response:
        self._require(request.headers.get("x-client"))
        await run_in_threadpool(self.trainer.cancel)
        return JSONResponse({})

    def _choice(self) -> Choice:
        if self.trainer.choice is None:
            raise TrainingError("nothing has been trained yet")
        return self.trainer.choice

    @answers
    async def _use(self, request: Request) -> Response:
        self._require(request.headers.get("x-client"))
        self._choose(self._choice())
        return JSONResponse({})

    @answers
    async def _model(self, request: Request) -> Response:
        return Response(self._choice().data, media_type="application/octet-stream")
