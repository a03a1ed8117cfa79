"""Run: models, pictures and answers, as a page asks for them."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image

from model import zoo
from model.datasets import datasets
from model.int8 import reference
from tests.host.studio.bench import page

DIGITS = datasets.load("digits")


def seen(answer):
    return np.frombuffer(base64.b64decode(answer["seen"]), np.int8).reshape(answer["shape"])


def test_the_model_is_described(first):
    model = next(
        message["model"]
        for message in reversed(first.told)
        if message["type"] == "status" and message["model"]
    )
    graph = zoo.load("digits")
    assert model["labels"] == list(graph.labels)
    assert (model["parameters"], model["macs"]) == (graph.parameters, graph.total_macs)
    assert model["picture"] == [8, 8, 1] and model["samples"] == ["digits"]
    assert sum(layer["cycles"] for layer in model["layers"]) == model["cycles"]
    assert {layer["bound"] for layer in model["layers"]} <= {
        "multipliers",
        "port",
        "requantiser",
        "tape",
    }


def test_a_drawing_is_answered_as_the_reference_does(first):
    pixels = DIGITS.x_test[0, :, :, 0]
    answer = first.show(pixels)
    graph = zoo.load("digits")
    x = datasets.to_int8(DIGITS.x_test[:1])
    np.testing.assert_array_equal(seen(answer), x[0])
    assert answer["label"] == str(int(reference.predict(graph, x)[0].argmax()))
    assert answer["equal"] and answer["cycles"] > 0
    assert answer["source"] == "drawing" and answer["client"] == first.client
    assert (
        len(answer["scores"]) == 10
        and answer["scores"].index(max(answer["scores"])) == (answer["class"])
    )


def test_test_pictures_come_with_their_class(first):
    found = first.get("/api/samples/digits?start=10&count=5")
    assert found["total"] == len(DIGITS.x_test) and found["shape"] == [8, 8, 1]
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(found["bytes"]), np.int8).reshape(5, 8, 8, 1),
        datasets.to_int8(DIGITS.x_test[10:15]),
    )
    assert found["labels"] == [str(y) for y in DIGITS.y_test[10:15]]
    first.do("sample", data="digits", index=12, number=77)
    answer = first.answer(77)
    assert answer["truth"] == str(DIGITS.y_test[12])
    np.testing.assert_array_equal(seen(answer), datasets.to_int8(DIGITS.x_test[12]))


def test_a_dropped_picture(first):
    stream = io.BytesIO()
    Image.fromarray(DIGITS.x_test[3, :, :, 0]).save(stream, "PNG")
    assert first.post("/api/picture?name=four.png&number=5", stream.getvalue())[0] == 200
    answer = first.answer(5)
    np.testing.assert_array_equal(seen(answer), datasets.to_int8(DIGITS.x_test[3]))


def test_a_dropped_array(first):
    stream = io.BytesIO()
    x = datasets.to_int8(DIGITS.x_test[4])
    np.save(stream, x)
    assert first.post("/api/picture?name=x.npy&number=6", stream.getvalue())[0] == 200
    answer = first.answer(6)
    np.testing.assert_array_equal(seen(answer), x)
    np.save(stream := io.BytesIO(), np.zeros(7, np.int8))
    status, found = first.post("/api/picture?name=x.npy", stream.getvalue())
    assert status == 400 and found["error"] == (
        "x.npy: digits takes int8 or uint8 of 8x8x1, not int8 of (7,)"
    )


def test_another_model_is_run(first):
    first.do("model", name="patterns")
    assert first.ready("patterns")["model"]["picture"] == [4, 4, 1]
    cross = np.kron(np.eye(4, dtype=np.uint8) | np.eye(4, dtype=np.uint8)[::-1], np.uint8(255))
    assert first.show(np.kron(cross, np.ones((40, 40), np.uint8)))["label"] == "cross"
    data = zoo.path("digits").read_bytes()
    assert first.post("/api/model?name=mine.tflite", data) == (200, {"name": "mine"})
    assert first.ready("mine")["model"]["origin"] == "file"
    assert first.request("GET", "/api/model.tflite") == (200, data)


def test_a_model_that_does_not_fit_leaves_the_one_before(first):
    from model.int8.builder import GraphBuilder
    from model.int8.tflite_writer import encode

    builder = GraphBuilder("large", (8, 8, 1), 1 / 255, -128)
    weights = np.ones((2000, 64), np.int8)
    builder.fully_connected(weights, 0.1, np.zeros(2000, np.int32), scale=0.1, zero_point=0)
    builder.fully_connected(
        np.ones((90, 2000), np.int8), 0.1, np.zeros(90, np.int32), scale=0.1, zero_point=0
    )
    assert first.post("/api/model?name=large.tflite", encode(builder.build()))[0] == 200
    line = first.wait_for("problem")["line"]
    assert line.startswith("large does not run on this board: ") and "\n" not in line
    assert first.show(DIGITS.x_test[0, :, :, 0])["label"] == "4"


def test_what_is_broken_ends_in_one_line(first):
    good = zoo.path("digits").read_bytes()
    for name, data, part in (
        ("cut.tflite", good[: len(good) // 2], "cut.tflite: "),
        ("text.tflite", b"just some text\n", "text.tflite: "),
        ("none.tflite", b"", "none.tflite: "),
    ):
        status, found = first.post(f"/api/model?name={name}", data)
        assert status == 400 and found["error"].startswith(part) and "\n" not in found["error"]
    for name, data, line in (
        (
            "text.png",
            b"hello",
            "text.png: this is no picture that can be read: it is a text file ('hello')",
        ),
        (
            "..%2F..%2Fa.pdf",
            b"%PDF-1.7",
            "a.pdf: this is no picture that can be read: it is a PDF document",
        ),
    ):
        assert first.post(f"/api/picture?name={name}", data) == (400, {"error": line})
    status, found = first.post("/api/picture?name=cut.png", png_of(30, 30)[:50])
    assert status == 400 and found["error"].startswith("cut.png: the picture is damaged (")
    assert first.show(DIGITS.x_test[0, :, :, 0])["label"] == "4"


def png_of(width: int, height: int) -> bytes:
    """A grey picture of any size in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    compressor = zlib.compressobj(1)
    row = bytes(1 + width)
    data = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_picture_of_100_megapixels_is_refused_before_it_is_decoded(first):
    status, found = first.post("/api/picture?name=huge.png", png_of(10_000, 10_000))
    assert (status, found["error"]) == (
        400,
        "huge.png: the picture is too large: 100 megapixels, and 64 are possible",
    )


def test_uploads_are_bounded(first):
    line = "the file is too large: 32 MiB are possible"
    assert first.post("/api/picture?name=a.png", bytes((32 << 20) + 1)) == (400, {"error": line})
    # A length that is announced is believed before anything is read.
    status, found = first.request("POST", "/api/model?name=a", b"", **{"content-length": "1" * 12})
    assert (status, found["error"]) == (400, "the file is too large: 64 MiB are possible")


def test_nonsense_from_a_page_is_said_so(first):
    for message in ("{", "[]", '{"do": 3}', '{"do": "sample", "data": "digits", "index": 10000}'):
        first.socket.send(message)
        assert first.wait_for("problem")["line"] == "the page said what makes no sense"
    for path in ("/api/samples/digits?start=x", "/api/samples/digits?count=1e9"):
        status, found = first.request("GET", path)
        assert (status, found["error"]) == (400, "the page asked for what makes no sense")
    for data in (b"", b"\0" * 40, b"\1" * 10):
        first.socket.send(data)
        assert first.wait_for("problem")["line"] == "the page said what makes no sense"
    first.do("sample", data="/etc/passwd", index=0, number=1)
    assert first.wait_for("problem")["line"] == "there is no data set '/etc/passwd' here"
    first.do("model", name="/etc/passwd")
    assert first.wait_for("problem")["line"] == "there is no bundled model '/etc/passwd'"


def test_the_second_page_watches(first, serving):
    with page(serving) as second:
        assert not second.told[-1]["operates"]
        second.do("model", name="patterns")
        line = "another page operates the board; this one watches"
        assert second.wait_for("problem")["line"] == line
        assert second.post("/api/model?name=x", b"") == (409, {"error": line})
        answer = first.show(DIGITS.x_test[0, :, :, 0])
        watched = second.wait_for("answer")
        assert (watched["label"], watched["client"]) == (answer["label"], first.client)
        second.do("take over")
        assert second.wait_for("roles")["operates"]
        assert not first.wait_for("roles", lambda roles: not roles["operates"])["operates"]
        assert second.show(DIGITS.x_test[1, :, :, 0])["equal"]
    assert first.wait_for("roles", lambda roles: roles["operates"])["pages"] == 1


def test_a_page_that_is_opened_later_sees_the_last_answer(first, serving):
    answer = first.show(DIGITS.x_test[5, :, :, 0])
    with page(serving) as second:
        assert second.wait_for("answer") == answer
    first.do("model", name="patterns")
    first.ready("patterns")
    with page(serving) as second:
        second.do("look")  # is refused, so that there is something to wait for
        second.wait_for("problem")
        assert not [each for each in second.told if each["type"] == "answer"]


def test_the_latest_picture_is_answered(first):
    """Of many that come at once, the last is answered, and the others count as dropped."""
    from host.studio.server import FRAME

    for number in range(100, 140):
        pixels = np.full((8, 8, 4), number, np.uint8)
        first.socket.send(FRAME.pack(number, 8, 8, 2, 1) + pixels.tobytes())
    last = first.answer(139)
    answers = [each for each in first.told if each["type"] == "answer" and each["number"] >= 100]
    assert len(answers) + last["dropped"] >= 40 and last["dropped"] > 0


def test_a_board_is_found_again(first, cable):
    before = cable.opened
    cable.plugged = False
    lost = first.wait_for("status", lambda status: status["phase"] == "lost")
    assert lost["problem"] and lost["board"] is None
    first.do("model", name="patterns")  # is remembered
    # What it held is gone, as when its power was.
    cable.board.memory[:] = bytes(len(cable.board.memory))
    cable.plugged = True
    assert first.ready("patterns")["board"]["name"] == "icebreaker"
    assert cable.opened == before + 1
    white = first.show(np.full((8, 8), 255, np.uint8))
    assert white["equal"]
