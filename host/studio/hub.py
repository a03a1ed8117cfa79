"""The open pages: who operates the board, who watches, and what each is told.

One page at a time operates: the first; when it is closed, or another takes over, that one. All are
told the same, so that a second page shows what the first one does. Each page has a queue of its
own, in which an answer, or a status, that is not yet sent is replaced by a newer one: a slow page
never makes the board wait.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

__all__ = ["Client", "Hub"]


#: Of these, a page needs the latest only.
_STATES = ("status", "answer", "roles", "training", "collection")


class Client:
    """One open page."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self._waiting: dict[Any, dict[str, Any]] = {}
        self._arrived = asyncio.Event()

    def tell(self, message: dict[str, Any]) -> None:
        """Queue a message; it takes the place of an older one of its type that may be missed."""
        kind = message["type"]
        key = kind if kind in _STATES else object()
        self._waiting.pop(key, None)
        self._waiting[key] = message
        self._arrived.set()

    async def next(self) -> dict[str, Any]:
        """The oldest message that waits."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        key = next(iter(self._waiting))
        return self._waiting.pop(key)


class Hub:
    """All open pages, in the order in which they came."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._operator: str | None = None

    def add(self) -> Client:
        client = Client()
        self._clients[client.name] = client
        if self._operator is None:
            self._operator = client.name
        self._tell_roles()
        return client

    def remove(self, client: Client) -> None:
        self._clients.pop(client.name, None)
        if self._operator == client.name:
            self._operator = next(iter(self._clients), None)
        self._tell_roles()

    def take_over(self, client: Client) -> None:
        """``client`` operates from now on."""
        self._operator = client.name
        self._tell_roles()

    def operates(self, name: str | None) -> bool:
        return name is not None and name == self._operator

    def tell(self, message: dict[str, Any]) -> None:
        """Tell every page."""
        for client in self._clients.values():
            client.tell(message)

    def _tell_roles(self) -> None:
        for client in self._clients.values():
            client.tell(
                {
                    "type": "roles",
                    "client": client.name,
                    "operates": client.name == self._operator,
                    "pages": len(self._clients),
                }
            )
