"""Nobody but the page that was served may talk to the server."""

from __future__ import annotations

import pytest

from tests.host.studio.bench import InvalidStatus, connect, request


@pytest.fixture
def ask(serving):
    def ask(path, method="GET", **headers):
        return request(serving.port, method, path, None, headers)[0]

    return ask


def test_the_page_needs_the_token_of_its_address(ask, serving):
    assert ask("/") == 403
    assert ask("/?token=") == 403
    assert ask(f"/?token={serving.token[:-1]}") == 403
    assert ask(f"/?token={serving.token}x") == 403
    assert ask(f"/?token={serving.token}") == 200
    assert ask("/api/samples/digits") == 403
    assert ask("/api/samples/digits", **{"x-studio-token": "ä"}) == 403
    assert ask("/api/samples/digits", **{"x-studio-token": serving.token}) == 200
    assert ask("/page/app.js") == 200


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_a_foreign_name_is_refused(ask, serving, host):
    host = host.format(port=serving.port)
    assert ask(f"/?token={serving.token}", host=host) == 403
    assert ask("/page/app.js", host=host) == 403


@pytest.mark.parametrize("origin", ["http://example.org", "null", "https://127.0.0.1:{port}", ""])
def test_a_foreign_origin_is_refused(ask, serving, origin):
    headers = {"origin": origin.format(port=serving.port), "x-studio-token": serving.token}
    assert ask("/api/samples/digits", **headers) == 403
    assert ask("/api/model", "POST", **headers) == 403
    assert ask("/page/app.js", origin=headers["origin"]) == 403


def test_a_request_from_another_site_is_refused(ask, serving):
    token = {"x-studio-token": serving.token}
    assert ask("/api/samples/digits", **token, **{"sec-fetch-site": "cross-site"}) == 403
    assert ask("/api/samples/digits", **token, **{"sec-fetch-site": "same-origin"}) == 200


@pytest.mark.parametrize(
    ("origin", "token"),
    [("http://example.org", True), (None, True), ("http://127.0.0.1:{port}", False)],
)
def test_the_socket_is_for_the_page_alone(serving, origin, token):
    address = f"ws://127.0.0.1:{serving.port}/ws" + (f"?token={serving.token}" if token else "")
    origin = origin and origin.format(port=serving.port)
    with pytest.raises(InvalidStatus, match="403"), connect(address, origin=origin, proxy=None):
        pass


def test_nothing_is_read_outside_of_the_page(ask):
    assert ask("/page/../server.py") in (403, 404)
    assert ask("/page/%2e%2e/server.py") == 404
    assert ask("/page/..%2fserver.py") == 404


def test_what_each_answer_says(serving):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", serving.port)
    for path in (f"/?token={serving.token}", "/page/app.js", "/api/none"):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';") and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["access-control-allow-origin"] is None
    connection.close()


def test_it_listens_on_the_loopback_interface(serving):
    assert serving._socket.getsockname()[0] == "127.0.0.1"
