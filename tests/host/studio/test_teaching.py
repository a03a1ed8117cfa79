"""Collect and train, as a page asks for it: until the trained network is on the board."""

from __future__ import annotations

import io
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from model.int8 import tflite
from tests.host.studio.bench import Bench, Cable, page, served


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected")
    with served(Bench("fake", folder, open_board=Cable().open)) as running:
        yield running


@pytest.fixture
def opened(serving):
    with page(serving) as opened:
        opened.wait_for("collection")
        yield opened


def png(kind: str, seed: int) -> bytes:
    """A bright bar, upright or lying."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (24, 24, 3)).astype(np.uint8)
    at = int(rng.integers(6, 15))
    (pixels if kind == "lying" else pixels.transpose(1, 0, 2))[at : at + 4, 3:21] = 230
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def collect(opened, count=12):
    for kind in ("lying", "upright"):
        assert opened.post(f"/api/collection/class?name={kind}")[0] == 200
        for seed in range(count):
            path = f"/api/collection/picture?class={kind}&name=a.png"
            assert opened.post(path, png(kind, seed))[0] == 200


def test_collect_train_and_run(opened, serving):
    collect(opened)
    found = opened.wait_for(
        "collection", lambda told: [each["count"] for each in told["classes"]] == [12, 12]
    )
    first = found["classes"][0]
    status, data = opened.request(
        "GET", f"/api/collection/picture?class=lying&file={first['pictures'][0]}"
    )
    assert status == 200 and data.startswith(b"\x89PNG")
    with zipfile.ZipFile(io.BytesIO(opened.request("GET", "/api/collection.zip")[1])) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 24

    assert opened.post("/api/training?side=16&channels=grey&epochs=12")[0] == 200
    busy = opened.post("/api/training?side=16&channels=grey&epochs=12")
    assert busy == (400, {"error": "a training is going on; cancel it first"})
    done = opened.wait_for("training", lambda told: told["phase"] in ("done", "failed"))
    assert done["phase"] == "done", done
    result = done["result"]
    assert [each["phase"] for each in done["epochs"]] == ["float"] * 12 + ["int8"] * 2
    assert result["labels"] == ["lying", "upright"] and result["shape"] == [16, 16, 1]
    assert result["test"] == [2, 2] and np.sum(result["confusion"]) == 4
    right = np.trace(result["confusion"])
    assert right / 4 == result["int8_accuracy"] and len(result["wrong"]) == 4 - right
    assert {each["phase"] for each in opened.told if each["type"] == "training"} >= {
        "starting",
        "training",
        "done",
    }

    status, data = opened.request("GET", "/api/trained.tflite")
    graph = tflite.decode(data, "taught")
    assert graph.labels == ("lying", "upright")
    assert opened.post("/api/training/use")[0] == 200
    model = opened.ready("taught")["model"]
    assert (model["origin"], model["samples"]) == ("trained", ["collected"])
    answers = []
    for index in range(4):
        opened.do("sample", data="collected", index=index, number=index)
        answers.append(opened.answer(index))
    assert all(answer["equal"] for answer in answers)
    assert sum(answer["label"] == answer["truth"] for answer in answers) == right


def test_pictures_are_changed_by_the_page_that_may(opened, serving):
    assert opened.post("/api/collection/class?name=more")[0] == 200
    for seed in range(3):
        opened.post("/api/collection/picture?class=more&name=a.png", png("lying", seed))
    told = opened.wait_for(
        "collection", lambda told: any(each["count"] == 3 for each in told["classes"])
    )
    files = next(each["pictures"] for each in told["classes"] if each["name"] == "more")
    assert opened.post("/api/collection/class?name=less")[0] == 200
    assert opened.post(f"/api/collection/pictures?class=more&to=less&file={files[0]}")[0] == 200
    status, found = opened.post(f"/api/collection/pictures?class=more&file={files[1]}")
    assert opened.post(f"/api/collection/restore?mark={found['restore']}")[0] == 200
    assert opened.post("/api/collection/rename?name=less&to=fewer")[0] == 200
    told = opened.wait_for(
        "collection", lambda told: "fewer" in [each["name"] for each in told["classes"]]
    )
    counts = {each["name"]: each["count"] for each in told["classes"]}
    assert (counts["more"], counts["fewer"]) == (2, 1)
    for name in ("more", "fewer"):
        assert opened.post(f"/api/collection/class?name={name}", method="DELETE")[0] == 200
    refused = "another page operates the board; this one watches"
    with page(serving) as second:
        for method, path in (
            ("POST", "/api/collection/class?name=x"),
            ("DELETE", "/api/collection/class?name=lying"),
            ("POST", "/api/collection/rename?name=lying&to=x"),
            ("POST", "/api/collection/picture?class=lying"),
            ("POST", "/api/collection/pictures?class=lying&file=x"),
            ("POST", "/api/collection/restore?mark=x"),
            ("POST", "/api/training"),
            ("DELETE", "/api/training"),
            ("POST", "/api/training/use"),
        ):
            assert second.post(path, b"", method) == (409, {"error": refused})


def test_what_cannot_be_is_one_line(opened):
    for method, path, body, part in (
        ("POST", "/api/collection/class?name=a/b", b"", "cannot be the name of a folder"),
        ("POST", "/api/collection/picture?class=none&name=a.png", png("lying", 0), "no class"),
        ("POST", "/api/collection/picture?class=lying&name=a.png", b"text", "no picture"),
        ("POST", "/api/collection/pictures?class=lying", b"", "no pictures to change"),
        ("POST", "/api/training?side=17", b"", "not offered"),
        ("POST", "/api/training?epochs=-3", b"", "epochs are 1 to 1000"),
    ):
        status, found = opened.post(path, body, method)
        assert status == 400 and part in found["error"] and "\n" not in found["error"]
    assert opened.request("GET", "/api/collection/picture?class=..&file=x")[0] == 400


def test_a_training_is_cancelled_and_nothing_is_lost(opened):
    if not opened.serving.bench.teaching.collection.classes().get("lying"):
        collect(opened, 4)
    before = opened.serving.bench.teaching.collection.classes()
    assert opened.post("/api/training?side=48&epochs=1000")[0] == 200
    opened.wait_for("training", lambda told: told["phase"] == "training")
    began = time.monotonic()
    assert opened.post("/api/training", b"", "DELETE")[0] == 200
    assert opened.wait_for("training", lambda told: told["phase"] == "cancelled")
    assert time.monotonic() - began < 10
    assert opened.serving.bench.teaching.collection.classes() == before
    # A training may begin again at once.
    assert opened.post("/api/training?side=16&epochs=1")[0] == 200
    opened.wait_for("training", lambda told: told["phase"] == "done")


def test_a_training_that_cannot_be_says_why(opened):
    assert opened.post("/api/collection/class?name=empty")[0] == 200
    assert opened.post("/api/training?side=16&epochs=1")[0] == 200
    failed = opened.wait_for("training", lambda told: told["phase"] == "failed")
    assert "no pictures in it" in failed["line"] and "\n" not in failed["line"]
    assert opened.post("/api/collection/class?name=empty", b"", "DELETE")[0] == 200


class Recorder:
    """The process's end of the pipe."""

    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(message)


def test_what_the_process_sends(tmp_path, monkeypatch):
    """In this process, the same as above: every epoch once, the last step, and the result."""
    from host.studio import training

    monkeypatch.setattr(training.os, "nice", lambda increment: increment)  # it would last
    for kind in ("lying", "upright"):
        (tmp_path / kind).mkdir()
        for seed in range(5):
            (tmp_path / kind / f"{seed}.png").write_bytes(png(kind, seed))
    recorder = Recorder()
    training._train(recorder, tmp_path, training.Wishes(16, 1, 2, seed=3))
    kinds = [kind for kind, _ in recorder.sent]
    assert kinds.count("epoch") == 4 and kinds[-1] == "done"
    steps = [what for kind, what in recorder.sent if kind == "step"]
    assert steps[-1] == {"done": 2, "total": 2, "epoch": 2, "of": 2}
    data, tested, result = recorder.sent[-1][1]
    assert tflite.decode(data, "x").labels == tested.labels == ("lying", "upright")
    assert result["train"] == [4, 4] and result["test"] == [1, 1]
    recorder = Recorder()
    training._train(recorder, tmp_path / "lying", training.Wishes())
    ((kind, line),) = recorder.sent
    assert kind == "failed" and "no subfolders" in line
