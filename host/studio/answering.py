"""Routes whose errors are one line: ``{"error": line}``."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from model.errors import EyespotError

__all__ = ["Refused", "answers"]


class Refused(EyespotError):
    """What only the page that operates the board may do."""


def answers(handler: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """A route that answers an `EyespotError` with its line."""

    @functools.wraps(handler)
    async def handle(*arguments: Any) -> Response:
        try:
            return await handler(*arguments)
        except Refused as error:
            return JSONResponse({"error": str(error)}, 409)
        except EyespotError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ValueError:  # of a number that is none
            return JSONResponse({"error": "the page asked for what makes no sense"}, 400)

    return handle
