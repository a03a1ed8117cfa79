"""A Dask scheduler with two workers, in threads of this process."""

from __future__ import annotations

import threading
import time

import pytest

from model import cluster as cluster_module
from model.cluster import Cluster
from model.errors import DataError
from model.executor import WorkerError, compute
from tests.conftest import CLUSTER

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


def squared(value: int) -> int:
    if value == 7:
        raise DataError("7 is no good")
    if value == 8:
        raise KeyError("eight")
    time.sleep(0.01)
    return value * value


def test_pieces_on_workers(local):
    with Cluster(local.scheduler_address) as queue:
        found = dict(compute([queue], squared, [(each,) for each in range(7)] * 3))
    assert [found[place] for place in range(21)] == [each * each for each in range(7)] * 3


@pytest.mark.parametrize(("value", "text"), [(7, "^7 is no good$"), (8, "worker failed: KeyError")])
def test_errors_of_pieces(local, value, text):
    with pytest.raises(WorkerError, match=text), Cluster(local.scheduler_address) as queue:
        list(compute([queue], squared, [(1,), (value,)]))


AT_BOARD: list[str] = []
ENDED: list[str] = []


def at_board(port: str, value: int) -> str:
    worker = distributed.get_worker().address
    assert worker not in AT_BOARD
    AT_BOARD.append(worker)
    time.sleep(0.02)
    AT_BOARD.remove(worker)
    return f"{port} {value}"


def ended(port: str) -> None:
    ENDED.append(port)


def test_one_at_a_time_with_a_resource(local):
    address, resource = local.scheduler_address, "lab:a"
    # Both workers have one, so that only one may do anything.
    queue = Cluster(address, resource, ("port",), is_board=True, farewell=ended)
    with queue:
        found = dict(compute([queue], at_board, [(each,) for each in range(4)]))
    assert found == {each: f"port {each}" for each in range(4)}
    assert ENDED == ["port"]


def test_nobody_has_the_resource(local, monkeypatch):
    monkeypatch.setattr(cluster_module, "_PATIENCE", 0.1)
    text = "the scheduler has no worker with lab:COM3"
    with pytest.raises(WorkerError, match=text), Cluster(local.scheduler_address, "lab:COM3"):
        pass


def test_no_scheduler(monkeypatch):
    monkeypatch.setattr(cluster_module, "_CONNECT", 0.2)
    for address in ("tcp://127.0.0.1:9", "tls://127.0.0.1:9"):
        with pytest.raises(WorkerError, match=f"^{address}: no scheduler answers") as caught:
            with Cluster(address):
                pass
        assert "\n" not in str(caught.value)
    assert "has no certificates" in str(caught.value)


STARTED = threading.Event()


def slow(value: int) -> int:
    STARTED.set()
    time.sleep(0.3)
    return value


def test_scheduler_that_goes_away(monkeypatch, capfd):
    monkeypatch.setattr(cluster_module, "_CONNECT", 0.5)
    STARTED.clear()
    with distributed.LocalCluster(n_workers=1, **CLUSTER) as gone:
        address = gone.scheduler_address

        def stop() -> None:
            STARTED.wait(10)
            gone.close()

        stopping = threading.Thread(target=stop)
        stopping.start()
        with pytest.raises(WorkerError, match=f"^{address}: "), Cluster(address) as queue:
            list(compute([queue], slow, [(each,) for each in range(50)]))
        stopping.join()
    assert "Traceback" not in capfd.readouterr().err


def test_without_dask(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkerError, match=r"pip install 'eyespot\[cluster\]'"):
        with Cluster("tcp://127.0.0.1:9"):
            pass


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "nonsense://x",
        "http://x:80",
        "tcp://x",
        "tcp://x:70000",
        "tcp://x:0",
        "tcp://:80",
        "",
    ],
)
def test_what_is_no_address(address):
    """At once, whether Dask is installed or not."""
    with pytest.raises(WorkerError, match="a scheduler is tcp://HOST:PORT"):
        Cluster(address)


def test_addresses():
    for address in ("tcp://lab:8786", "tls://10.0.0.1:1", "tcp://[::1]:65535"):
        assert Cluster(address).name == address
