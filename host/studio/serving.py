"""The server's life: a socket on the loopback interface, the loop, the browser, the end."""

from __future__ import annotations

import asyncio
import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from model.errors import EyespotError, reason

from .server import Bench

__all__ = ["Serving"]

_ADDRESS = "127.0.0.1"
_MOST_MESSAGE_BYTES = 8 << 20


class Serving:
    """A server of one bench.

    Parameters
    ----------
    bench : Bench
    model : str or None
        Model to begin with; a bundled one's name or a file.
    port : int
        Of the page; 0 for any that is free.

    Attributes
    ----------
    address : str
        What to open in a browser; it holds the token.

    Raises
    ------
    EyespotError
        If the port is taken.
    """

    def __init__(self, bench: Bench, model: str | None = None, port: int = 0) -> None:
        self.bench = bench
        self._model = model
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.bind((_ADDRESS, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise EyespotError(
                f"port {port} of the page cannot be used: {reason(error)}"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self.token = secrets.token_urlsafe(24)
        self.address = f"http://{_ADDRESS}:{self.port}/?token={self.token}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                bench.app(self.port, self.token),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="websockets-sansio",
                ws_max_size=_MOST_MESSAGE_BYTES,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until Ctrl-C or `stop`."""
        with suppress(KeyboardInterrupt):
            asyncio.run(self._serve(ready))

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._server.should_exit = True

    async def _serve(self, ready: Callable[[], None]) -> None:
        self.bench.start(asyncio.get_running_loop())
        try:
            if self._model is not None:
                await self.bench.choose(self._model)
            self._socket.listen()
            ready()
            await self._server.serve([self._socket])
        finally:
            await asyncio.get_running_loop().run_in_executor(None, self.bench.stop)

    def open_browser(self) -> bool:
        """Show the page in the user's browser; False where there is none."""
        try:
            return webbrowser.open(self.address)
        except webbrowser.Error:
            return False
