"""MNIST from a cache, an own copy, or a server: here, or one clear line."""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import threading

import numpy as np
import pytest

from model.datasets import datasets, mnist
from model.datasets.download import download
from model.errors import DataError


@pytest.fixture(scope="module")
def content() -> bytes:
    """A file of MNIST's shapes."""
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    arrays = {}
    for part, count in (("train", 60_000), ("test", 10_000)):
        arrays[f"x_{part}"] = np.zeros((count, 28, 28), np.uint8)
        arrays[f"x_{part}"][:, 0, 0] = rng.integers(0, 256, count)
        arrays[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


class _Server(http.server.ThreadingHTTPServer):
    """Serves one file, or part of it; counts how often it is asked."""

    content = b""
    sent = None
    status = 200
    asked = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.sent])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(content, monkeypatch, tmp_path):
    """The network as the tests want it, and a cache with nothing in it."""
    served = _Server(("127.0.0.1", 0), _Handler)
    served.content = content
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    monkeypatch.setattr(mnist, "URL", f"http://127.0.0.1:{served.server_port}/mnist.npz")
    monkeypatch.setattr(mnist, "SIZE", len(content))
    monkeypatch.setattr(mnist, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EYESPOT_MNIST", raising=False)
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def test_it_is_fetched_once_and_kept(server):
    told = []
    dataset = datasets.load("mnist", lambda *words: told.append(words))
    assert dataset.name == "mnist" and dataset.shape == (28, 28, 1)
    assert (len(dataset.x_train), len(dataset.x_test)) == (60_000, 10_000)
    assert dataset.y_train.dtype == np.int64 and dataset.labels == tuple("0123456789")
    assert {what for what, _, _ in told} == {"Downloading MNIST"}
    assert told[-1][1:] == (mnist.SIZE, mnist.SIZE)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert [path.name for path in mnist.cached_file().parent.iterdir()] == ["mnist.npz"]
    again = datasets.load("mnist")
    assert np.array_equal(again.x_train, dataset.x_train)
    assert len(datasets.samples("mnist").x) == 10_000
    assert server.asked == 1


def test_a_damaged_file_is_fetched_again(server):
    path = mnist.cached_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(server.content[:-1] + b"x")
    datasets.load("mnist")
    assert server.asked == 1 and path.read_bytes() == server.content


def _refused() -> str:
    with pytest.raises(DataError) as caught:
        datasets.load("mnist")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_where_there_is_no_network_one_line_says_what_to_do(server, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/mnist.npz"
    monkeypatch.setattr(mnist, "URL", url)
    message = _refused()
    assert "no connection: Connection refused" in message
    assert f"put {url} at {mnist.cached_file()}, or name a copy in EYESPOT_MNIST" in message
    assert "mnist-5k, with 5,000 of the pictures, needs no download" in message
    assert not mnist.cached_file().exists()
    mnist.cached_file().parent.mkdir(parents=True)
    mnist.cached_file().write_bytes(b"something")
    assert "(what is there is another file)" in _refused()


def test_a_server_without_it(server):
    server.status = 404
    assert "the server says 404" in _refused()


def test_a_connection_that_breaks_off(server):
    server.sent = 100_000
    assert "broke off after 100,000 of" in _refused()
    assert not mnist.cached_file().exists()


def test_another_file(server):
    server.content = server.content[::-1]
    assert "its checksum is wrong" in _refused()
    server.content += b"longer"
    assert "its checksum is wrong" in _refused()
    assert not mnist.cached_file().exists()


def test_a_server_that_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mnist.npz"
        with pytest.raises(DataError, match=r"(nothing came|no connection within) .*0\.2 s"):
            download(url, size=1, sha256="", timeout=0.2)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert "cannot be written" in _refused()
    assert server.asked == 1


def test_an_own_copy(server, tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    path.write_bytes(server.content)
    monkeypatch.setenv("EYESPOT_MNIST", str(path))
    assert len(datasets.load("mnist").x_train) == 60_000
    assert server.asked == 0


def test_an_own_copy_that_is_something_else(server, tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    monkeypatch.setenv("EYESPOT_MNIST", str(path))
    assert f"EYESPOT_MNIST={path}: No such file" in _refused()
    path.write_bytes(b"no archive")
    assert "no readable .npz" in _refused()
    np.savez(path, x=np.zeros((5, 28, 28), np.uint8))
    assert "there is no array x_train in it" in _refused()
    parts = {f"x_{part}": np.zeros((5, 28, 28), np.uint8) for part in ("train", "test")}
    parts |= {f"y_{part}": np.zeros(5, np.uint8) for part in ("train", "test")}
    np.savez(path, **parts)
    assert "x_train is 5x28x28, not 60000x28x28" in _refused()
    assert server.asked == 0


def test_the_real_file_is_the_one_that_keras_uses():
    assert mnist.URL == "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
    assert len(mnist.SHA256) == 64 and mnist.SIZE == 11_490_434


def test_a_proxy_that_is_no_address_is_one_line(monkeypatch):
    """What urllib raises for it is a ValueError."""
    # The first use of urllib decides on the proxies of the process.
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.setenv("http_proxy", "http:/proxy")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(DataError, match="it cannot be asked for: proxy URL with no authority"):
        download("http://example.invalid/f", size=1, sha256="")
