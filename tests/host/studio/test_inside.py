"""Look inside: layers as the board stored them, and values taken apart to the board's byte."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from model import zoo
from model.datasets import datasets
from model.int8 import reference, tflite_writer
from tests.host.studio.bench import page
from tests.model.int8 import random_graphs, random_whole
from tests.model.int8.stateful import keyword
from tests.model.int8.test_explain import done

DIGITS = datasets.load("digits")


def look(opened):
    """What the page is told of the last picture's way."""
    before = max((each.get("looked", 0) for each in opened.told), default=0)
    opened.do("look")
    number = opened.wait_for("status", lambda status: status["looked"] > before)["looked"]
    found = opened.get("/api/look")
    assert found["number"] == number
    return found


def values(layer):
    return np.frombuffer(base64.b64decode(layer["bytes"]), np.int8).reshape(layer["shape"])


def adds_up(told):
    """Add up what is told of a value, as a reader of the page would; gives the byte."""
    parts = []
    for source in told["sources"]:
        weights = source["weights"] or [1] * len(source["values"])
        terms = [(x - source["zero"]) * w for x, w in zip(source["values"], weights)]
        assert terms == source["terms"]
        for step in source["steps"]:
            terms = [done(_Step(step), terms[0])]
            assert terms == [step["gives"]]
        parts += terms
    joined = {
        "sum": sum,
        "greatest": max,
        "least": min,
        "product": np.prod,
        "value": sum,
        "moved": sum,
    }
    if told["how"] in joined:
        assert told["joined"] == joined[told["how"]](parts)
    x = told["joined"]
    for step in told["steps"]:
        x = told["table"][x + 128] if step["what"] == "table" else done(_Step(step), x)
        assert x == step["gives"]
    assert x == told["result"]
    return x


class _Step:
    def __init__(self, told):
        self.what, self.operands = told["what"], tuple(told["with"])


def check(opened, found, rng, positions):
    """Some values of each layer add up to the byte that the board stored; gives their operators."""
    kinds = set()
    for layer in found["layers"]:
        stored = values(layer)
        every = list(np.ndindex(stored.shape))
        for which in rng.choice(len(every), min(positions, len(every)), replace=False):
            if layer["tensor"] is None:
                continue
            place = ",".join(map(str, every[which]))
            path = f"/api/explain?look={found['number']}&tensor={layer['tensor']}&position={place}"
            first, *inner = opened.get(path)["chain"]
            assert adds_up(first) == first["board"] == stored[every[which]]
            for each in inner:
                assert each["board"] is None
                adds_up(each)
            kinds |= {each["op"] for each in (first, *inner)}
    return kinds


def test_every_layer_is_the_boards(first):
    answer = first.show(DIGITS.x_test[0, :, :, 0])
    found = look(first)
    graph = zoo.load("digits")
    expected = reference.run(graph, datasets.to_int8(DIGITS.x_test[:1]), keep="all")
    assert [layer["name"] for layer in found["layers"]] == ["conv1", "conv2", "dense1"]
    for layer in found["layers"]:
        np.testing.assert_array_equal(values(layer), expected[layer["tensor"]][0])
        assert layer["compared"] and layer["mismatches"] == 0 and layer["differing"] == []
        assert layer["cycles"] > 0 and layer["predicted"] > 0
    assert found["answer"] == {"label": answer["label"], "picture": answer["number"]}
    np.testing.assert_array_equal(values(found["input"]), datasets.to_int8(DIGITS.x_test[0]))
    kinds = check(first, found, np.random.default_rng(0), 12)
    assert kinds == {"CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED"}


def test_a_window_is_of_what_the_board_stores(first):
    """A dense layer reads a map in another shape: the page is told of the map."""
    first.show(DIGITS.x_test[1, :, :, 0])
    found = look(first)
    dense, before = found["layers"][-1], found["layers"][-2]
    path = f"/api/explain?look={found['number']}&tensor={dense['tensor']}&position=3"
    (told,) = first.get(path)["chain"]
    (source,) = told["sources"]
    assert source["tensor"] == before["tensor"] and source["stored"]
    stored = values(before)
    assert [int(stored[tuple(place)]) for place in source["positions"]] == source["values"]


@pytest.mark.parametrize(
    "draw",
    [random_graphs.add, random_graphs.depthwise_conv_2d, random_graphs.average_pool_2d],
    ids=lambda draw: draw.__name__,
)
def test_random_layers_add_up_to_the_boards_bytes(first, draw):
    rng = np.random.default_rng(5)
    graph = next(g for g in iter(lambda: draw(rng), None) if len(g.inputs) == 1)
    run_random(first, graph, rng, 6)


@pytest.mark.parametrize("seed", range(3))
def test_random_networks_add_up_to_the_boards_bytes(first, seed):
    rng = np.random.default_rng(seed + 40)
    run_random(first, random_whole.network(rng), rng, 2)


def test_a_network_with_state_begins_anew_with_each_picture(first):
    rng = np.random.default_rng(1)
    for _ in range(2):
        run_random(first, keyword(), rng, 2)


def run_random(opened, graph, rng, positions):
    import io

    data = tflite_writer.encode(graph)
    assert opened.post("/api/model?name=random.tflite", data)[0] == 200
    status = opened.wait_for(
        "status",
        lambda status: status["phase"] == "ready" and not status["doing"],
    )
    if status["model"] is None or status["model"]["name"] != "random":
        pytest.skip("the engine does not run this one")
    shape = graph.input.example_shape
    stream = io.BytesIO()
    np.save(stream, rng.integers(-128, 128, shape).astype(np.int8))
    assert opened.post("/api/picture?name=x.npy&number=900", stream.getvalue())[0] == 200
    assert opened.answer(900)["equal"]
    assert check(opened, look(opened), rng, positions)


def test_a_fault_of_the_board_is_shown(first, monkeypatch):
    """A byte that the board stores wrongly is marked, and what follows is explained with it."""
    from host.studio import session

    first.show(DIGITS.x_test[2, :, :, 0])
    tracing = session.trace

    def wrong(*arguments):
        layers = tracing(*arguments)
        layers[0].board[1, 2, 3] ^= 1
        return layers

    monkeypatch.setattr(session, "trace", wrong)
    found = look(first)
    layer = found["layers"][0]
    assert layer["mismatches"] == 1
    assert layer["differing"] == [int(np.ravel_multi_index((1, 2, 3), layer["shape"]))]
    path = f"/api/explain?look={found['number']}&tensor={layer['tensor']}&position=1,2,3"
    told = first.get(path)["chain"][0]
    assert told["board"] == told["result"] ^ 1


def test_what_cannot_be_explained_is_said(first):
    first.show(DIGITS.x_test[3, :, :, 0])
    found = look(first)
    tensor, number = found["layers"][0]["tensor"], found["number"]
    for query in (
        f"look={number}&tensor={tensor}&position=9,9,9",
        f"look={number}&tensor=999&position=0",
        f"look={number}&tensor=x&position=0",
        f"look={number}",
    ):
        status, told = first.request("GET", f"/api/explain?{query}")
        assert status == 400 and told["error"].startswith("there is no such value: ")
    status, told = first.request("GET", f"/api/explain?look={number - 1}&tensor=0&position=0")
    assert (status, told["error"]) == (400, "the picture has changed meanwhile")


def test_a_watcher_sees_the_look(first, serving):
    first.show(DIGITS.x_test[4, :, :, 0])
    number = look(first)["number"]
    with page(serving) as second:
        assert second.get("/api/look")["number"] == number
