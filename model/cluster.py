"""The workers of a Dask scheduler, on whatever machines they are."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from model.errors import reason
from model.executor import Queue, WorkerError

__all__ = ["Cluster"]

#: Pieces at a scheduler at once, which shares them out.
_MOST = 256
#: Seconds in which a scheduler must answer.
_CONNECT = 10.0
#: Seconds without a worker after which none is waited for.
_PATIENCE = 30.0
#: A name, or an IPv6 address in brackets.
_ADDRESS = re.compile(r"(?:tcp|tls)://(?:\[[0-9a-fA-F:]+\]|[^\s/:]+):(\d{1,5})")


class Cluster(Queue):
    """The workers of a Dask scheduler.

    Parameters
    ----------
    address : str
        Of the scheduler: ``tcp://HOST:PORT`` or ``tls://HOST:PORT``, which takes certificates and
        key from Dask's own configuration.
    resource : str, optional
        What a worker must have, in Dask's sense: one piece at a time is run with it.
    arguments, is_board
        As of every queue.
    farewell : callable, optional
        Called on a worker in the end.

    Raises
    ------
    WorkerError
        If the address is none; on entering, if Dask is not installed, no scheduler answers, or it
        has no worker.
    """

    def __init__(
        self,
        address: str,
        resource: str | None = None,
        *more: Any,
        farewell: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        # Dask itself takes time over what is no address, and its last words are a traceback.
        found = _ADDRESS.fullmatch(address)
        if found is None or not 0 < int(found[1]) < 1 << 16:
            raise WorkerError(f"{address}: a scheduler is tcp://HOST:PORT or tls://HOST:PORT")
        super().__init__(resource or address, *more, **options)
        self.limit = _MOST if resource is None else 2
        self._address = address
        self._resource = resource
        self._farewell = farewell
        self._client: Any = None
        #: When there last was a worker.
        self._seen = 0.0

    def _open(self) -> Executor:
        try:
            import distributed
        except ImportError as error:
            raise WorkerError(
                "a scheduler needs Dask: pip install 'eyespot[cluster]' brings it"
            ) from error
        # What it logs, and more, is told by what becomes of the pieces.
        for name in logging.root.manager.loggerDict:
            if name.partition(".")[0] == "distributed":
                logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            # As for what is no address: Dask notices late, and noisily.
            arguments = distributed.Security().get_connection_args("client")
            if self._address.startswith("tls:") and arguments.get("ssl_context") is None:
                raise ValueError("Dask's configuration has no certificates (distributed.comm.tls)")
            self._client = distributed.Client(self._address, timeout=_CONNECT, set_as_default=False)
        except Exception as error:  # of every kind, by what of the address is wrong
            raise WorkerError(f"{self._address}: no scheduler answers: {reason(error)}") from error
        self._seen = time.monotonic()
        try:
            while not self._has_worker():
                self._give_up(_PATIENCE)
                time.sleep(0.1)
        except BaseException:
            self._client.close()
            raise
        resources = None if self._resource is None else {self._resource: 1}
        executor: Executor = self._client.get_executor(pure=False, resources=resources)
        return executor

    def _has_worker(self) -> bool:
        workers = self._client.scheduler_info()["workers"].values()
        return any(self._resource in (None, *each["resources"]) for each in workers)

    def _give_up(self, seconds: float, why: str = "the scheduler has no worker") -> None:
        if time.monotonic() - self._seen > seconds:
            which = "" if self._resource is None else f" with {self._resource}"
            raise WorkerError(f"{self._address}: {why}{which}")

    def check(self) -> None:
        try:
            if self._has_worker():
                self._seen = time.monotonic()
        except Exception:  # of every kind, by what of the connection is gone
            self._give_up(_CONNECT, "the scheduler does not answer any more")
        self._give_up(_PATIENCE)

    def explain(self, error: Exception) -> WorkerError:
        kind = type(error).__name__
        if kind == "KilledWorker":
            return WorkerError("one worker after the other died of the same piece")
        return WorkerError(f"a worker failed: {kind}: {reason(error)}")

    def close(self, at_once: bool = False) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # Where the scheduler is gone there is nobody to tell.
        with suppress(Exception):
            if self._farewell is not None:
                executor.submit(self._farewell, *self.arguments).result(_CONNECT)
        with suppress(Exception):
            executor.shutdown(wait=not at_once)
        with suppress(Exception):
            self._client.close(_CONNECT)
