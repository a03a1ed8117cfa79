"""ONNX files that define functions, keep weights elsewhere, or are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.importer import read_model
from tests.model.importing.onnx_files import model

onnx = pytest.importorskip("onnx")

SHAPE = (1, 4)
WEIGHTS = {"w": np.ones((4, 3), np.float32)}


def with_functions(calls: dict[str, list[str]], main: str) -> Any:
    """A model that calls `main`; each function applies others, or operators, one after another."""
    from onnx import helper

    functions = []
    for name, called in calls.items():
        values = ["in", *(f"t{place}" for place in range(len(called) - 1)), "out"]
        nodes = [
            helper.make_node(op, [source], [target], domain="my" if op in calls else "")
            for op, source, target in zip(called, values, values[1:])
        ]
        versions = [helper.make_opsetid("", 20), helper.make_opsetid("my", 1)]
        functions.append(helper.make_function("my", name, ["in"], ["out"], nodes, versions))
    made = model([(f"my:{main}", "x", "y")], {}, SHAPE)
    made.opset_import.append(helper.make_opsetid("my", 1))
    made.functions.extend(functions)
    return made


def refusal(made: Any, folder: Path) -> str:
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError) as caught:
        read_model(path)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(f"{path}: ")
    return text


def test_functions_that_a_model_defines_are_put_in_place(tmp_path: Path) -> None:
    made = with_functions({"Twice": ["Once", "Once"], "Once": ["Tanh", "Neg"]}, "Twice")
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    graph, _ = read_model(path)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(graph.run(x)[0], -np.tanh(-np.tanh(x)), rtol=1e-6)


def test_functions_cannot_grow_without_bound(tmp_path: Path) -> None:
    circle = with_functions({"A": ["B"], "B": ["A"]}, "A")
    assert "its functions call one another in a circle" in refusal(circle, tmp_path)
    calls = {f"F{level}": [f"F{level + 1}"] * 2 for level in range(40)}
    bomb = with_functions({**calls, "F40": ["Tanh"]}, "F0")
    assert "nodes with its functions; 20000 are possible" in refusal(bomb, tmp_path)


def external(entries: dict[str, str]) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def nested(made: Any) -> None:
    """A loop's body, which is no attribute that can be read."""
    attribute = made.graph.node[0].attribute.add()
    attribute.name, attribute.type = "body", onnx.AttributeProto.GRAPH
    made.graph.node[0].op_type = "Loop"


CHANGES: dict[str, Callable[[Any], Any]] = {
    "does not say which version": lambda m: m.ClearField("opset_import"),
    "there are no nodes in it": lambda m: m.graph.ClearField("node"),
    "sparse weights are not supported": lambda m: m.graph.sparse_initializer.add(),
    "input x has no shape": lambda m: m.graph.input[0].type.Clear(),
    "weights w: shape (-4, 3)": lambda m: m.graph.initializer[0].dims.__setitem__(0, -4),
    "weights w: damaged, or fewer": lambda m: m.graph.initializer[0].dims.__setitem__(0, 99),
    "weights w: element type 77": lambda m: setattr(m.graph.initializer[0], "data_type", 77),
    "(Loop): this operator is not supported": nested,
    "20001 nodes; 20000 are possible": lambda m: m.graph.node.extend([m.graph.node[0]] * 20_000),
    "weights w: in ../w.bin, outside": external({"location": "../w.bin"}),
    "weights w: w.bin is truncated": external({"location": "w.bin", "offset": "-1"}),
    "w.bin is truncated": external({"location": "w.bin", "length": "999"}),
    "is damaged or truncated": external({"location": "w.bin", "offset": "none"}),
}


@pytest.mark.parametrize("message", CHANGES)
def test_what_is_altered_is_refused_in_one_line(message: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(48))
    made = model([("MatMul", "x w", "y")], WEIGHTS, SHAPE)
    CHANGES[message](made)
    assert message in refusal(made, tmp_path)


def test_weights_that_are_text_are_left_alone(tmp_path: Path) -> None:
    made = model([("MatMul", "x w", "y")], WEIGHTS, SHAPE)
    made.graph.initializer.add(name="t", data_type=onnx.TensorProto.STRING, dims=[1])
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    graph, _ = read_model(path)
    assert len(graph.nodes) == 1


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.mkdir()
    with pytest.raises(ModelError, match="Is a directory"):
        read_model(path)
