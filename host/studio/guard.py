"""Who may talk to the page's server: the page that it served, and nobody else.

The server listens on the loopback interface, but any page that a browser shows can send requests
there, and a name of a stranger's can point to 127.0.0.1 (DNS rebinding). So three things are asked
of a request: a ``Host`` that is this server, an ``Origin``, where there is one, that is this page,
and the token that stands in the address that `host studio` printed.
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "TOKEN_HEADER", "Guard"]

TOKEN_HEADER = "x-studio-token"

#: What every answer says: nothing comes from elsewhere, nobody frames the page, nothing is kept.
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
#: What the page is made of has no secrets, and its address no token.
_OPEN = ("/page/", "/favicon.ico")


class Guard:
    """Refuses what does not come from the page.

    Parameters
    ----------
    app : ASGI application
    port : int
        Where the server listens.
    token : str
    """

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        line = self._refusal(scope)
        if line is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": line})
        else:
            await PlainTextResponse(line, 403)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> str | None:
        """Why the request is refused, in a line; None where it is not."""
        headers = Headers(scope=scope)
        if headers.get("host") not in self._hosts:
            return "this server answers to 127.0.0.1 only"
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            return "another site may not use this server"
        if origin is None and scope["type"] == "websocket":
            return "a page has an origin"
        if scope["path"].startswith(_OPEN):
            return None
        if headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/":
            return "another site may not use this server"
        given = headers.get(TOKEN_HEADER) or _from_address(scope)
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return "open the address that `host studio` printed: the token in it is missing here"
        return None


def _from_address(scope: Scope) -> str:
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
    return values[0] if values else ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
