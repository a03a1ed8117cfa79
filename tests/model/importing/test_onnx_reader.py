"""ONNX files as float graphs: against what PyTorch computed, and what must be refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.float_graph import FloatGraph
from model.importing.formulas import recognize
from model.importing.importer import read_model
from model.importing.simplification import simplify

pytest.importorskip("onnx")

DATA = Path(__file__).parent / "data"
NAMES = ("residual", "mobile", "shuffle", "functions", "excitation", "sequence", "pools")


def recorded(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, channels last, and PyTorch's outputs, flattened."""
    with np.load(DATA / "pytorch.npz") as arrays:
        x, y = arrays[f"{name}_x"], arrays[f"{name}_y"]
    if name == "mobile":
        y = np.exp(y)  # the logarithm is left out
    if y.ndim == 4:
        y = np.moveaxis(y, 1, -1)
    x = np.moveaxis(x, 1, -1)
    return (x if x.ndim == 4 else x[:, np.newaxis]), y.reshape(len(y), -1)


def error(graph: FloatGraph, x: np.ndarray, y: np.ndarray) -> float:
    (result,) = graph.run(x)
    return float(np.abs(result.reshape(len(x), -1) - y).max())


@pytest.mark.parametrize("exporter", ["legacy", "default"])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_computes_what_pytorch_computes(name: str, exporter: str) -> None:
    graph, layout = read_model(DATA / f"{name}_{exporter}.onnx")
    x, y = recorded(name)
    assert layout == "NCHW"
    assert graph.shapes[0] == x.shape[1:]
    assert error(graph, x, y) < 1e-5
    nodes = len(graph.nodes)
    recognize(graph)
    simplify(graph)
    assert len(graph.nodes) <= nodes
    assert error(graph, x, y) < 1e-5


def kinds(graph: FloatGraph) -> list[str]:
    return [node.operator.kind for node in graph.nodes]


def simplified(name: str) -> FloatGraph:
    graph, _ = read_model(DATA / f"{name}.onnx")
    recognize(graph)
    simplify(graph)
    return graph


@pytest.mark.parametrize("exporter", ["legacy", "default"])
def test_formulas_become_functions(exporter: str) -> None:
    found = kinds(simplified(f"functions_{exporter}"))
    for name in ("silu", "leaky_relu", "elu", "tanh", "sigmoid"):
        assert found.count(name) == 1, found
    assert found.count("hard_swish") == 2, found  # one of them spelt out
    assert found.count("gelu") == 1, found
    assert "Affine" not in found and "mul" not in found


def test_batch_normalisation_and_activations_are_folded() -> None:
    found = kinds(simplified("mobile_legacy"))
    assert found.count("Convolution") == 4
    assert "Affine" not in found and "identity" not in found


def test_a_shuffle_of_channels_moves_no_pictures() -> None:
    assert "Transpose" not in kinds(simplified("shuffle_legacy"))


# Files made for one purpose each.


def write(
    path: Path,
    nodes: list,
    shape: tuple = (1, 2, 4, 4),
    weights: dict[str, np.ndarray] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> Path:
    """A file with one input `x`."""
    from onnx import TensorProto, helper, numpy_helper, save

    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    save(model, path)
    return path


def node(op: str, inputs: str, outputs: str = "y", **attributes):
    from onnx import helper

    return helper.make_node(op, inputs.split(), outputs.split(), name=f"the_{op}", **attributes)


CONV = {"w": np.ones((3, 2, 3, 3), np.float32)}


@pytest.mark.parametrize(
    ("nodes", "weights", "message"),
    [
        ([("Einsum", "x", {"equation": "a"})], {}, "node the_Einsum (Einsum): this operator is"),
        ([("Conv", "x w", {"pads": [1, 1]})], CONV, "(Conv): pads [1, 1]"),
        ([("Conv", "x w", {"group": 2})], CONV, "in 2 groups on 2 channels"),
        ([("Conv", "x w", {"strides": [0, 1]})], CONV, "strides [0, 1]"),
        ([("Conv", "x w", {"auto_pad": "ODD"})], CONV, "auto_pad ODD"),
        ([("Conv", "x x", {})], {}, "its weights must be constant"),
        ([("MatMul", "x x", {})], {}, "of two activations is not supported"),
        ([("Reshape", "x s", {})], {"s": np.array([3, -1])}, "shape 1x2x4x4 to [3, -1]"),
        ([("Reshape", "x s", {})], {"s": np.array([2, 16])}, "touches the batch"),
        ([("Transpose", "x", {"perm": [1, 0, 2, 3]})], {}, "touches the batch"),
        ([("Softmax", "x", {"axis": 0})], {}, "axis 0"),
        ([("Clip", "x l h", {})], {"l": np.float32(2), "h": np.float32(1)}, "to 2.0 .. 1.0"),
        ([("Concat", "x w", {"axis": 1})], CONV, "its input 2 is a constant"),
        ([("Relu", "z", {})], {}, "value z is read, but nothing makes it"),
        ([("Add", "x y", {})], {}, "its nodes form a circle"),
        ([("Add", "w w", {})], CONV, "reads 0 inputs"),
        ([("MaxPool", "x", {"kernel_shape": [9, 9]})], {}, "a 9x9 window does not fit"),
        (
            [("AveragePool", "x", {"kernel_shape": [1, 1], "pads": [9999, 9999, 9999, 9999]})],
            {},
            "its padded picture is too large",
        ),
        (
            [("Resize", "x r s", {"mode": "nearest"})],
            {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 9e4, 9e4], np.float32)},
            "scales [1.0, 90000.0, 90000.0]",
        ),
        ([("Add", "x w", {})], {"w": np.ones(3, np.float32)}, "on shape 2x4x4 is not supported"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, nodes: list, weights: dict, message: str
) -> None:
    path = tmp_path / "model.onnx"
    write(
        path, [node(op, inputs, **attributes) for op, inputs, attributes in nodes], weights=weights
    )
    with pytest.raises(ModelError) as caught:
        read_model(path)
    text = str(caught.value)
    assert message in text and text.startswith(f"{path}: ") and "\n" not in text


def test_names_are_fit_for_a_message(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", [node("Relu", "x\x1b[31m", "y")])
    with pytest.raises(ModelError, match=r"value x\?\[31m is read"):
        read_model(path)


def test_weights_beside_the_model_are_found_and_elsewhere_refused(tmp_path: Path) -> None:
    import onnx

    folder = tmp_path / "inside"
    folder.mkdir()
    path = write(folder / "model.onnx", [node("Conv", "x w")], weights=CONV)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    graph, _ = read_model(path)
    assert (graph.nodes[0].operator.weights == 1).all()
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    tensor = onnx.load(path, load_external_data=False)
    for entry in tensor.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../weights.bin"
    path.write_bytes(tensor.SerializeToString())
    with pytest.raises(ModelError, match="outside of the model's folder"):
        read_model(path)
    for entry in tensor.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "gone.bin"
    path.write_bytes(tensor.SerializeToString())
    with pytest.raises(ModelError, match=r"in gone\.bin, beside the model, which cannot be read"):
        read_model(path)


def test_old_habits_are_understood(tmp_path: Path) -> None:
    """Nodes out of order, a fixed batch, dead branches, double precision."""
    weights = {"w": np.full((3, 2, 1, 1), 0.5), "s": np.array([8, -1])}
    nodes = [
        node("Reshape", "b s", "y"),
        node("Einsum", "a", "dead", equation="a"),
        node("Relu", "a", "b"),
        node("Conv", "x w", "a"),
    ]
    graph, _ = read_model(write(tmp_path / "m.onnx", nodes, (8, 2, 4, 4), weights))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype(np.float32)
    (y,) = graph.run(x)
    want = np.maximum(x.sum(axis=3) * 0.5, 0).reshape(2, 1, 16).repeat(3, 1)
    np.testing.assert_allclose(y.reshape(2, 3, 16), want, rtol=1e-6)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 20])
def test_softmax_means_what_its_version_says(tmp_path: Path, opset: int) -> None:
    path = write(tmp_path / "m.onnx", [node("Softmax", "x")], (1, 2, 3, 4), opset=opset)
    graph, _ = read_model(path)
    x = np.random.default_rng(0).normal(size=(2, *graph.shapes[0])).astype(np.float32)
    (y,) = graph.run(x)
    total = y.sum(axis=(1, 2, 3))
    # From version 13 on over the last axis, of 4, alone
    np.testing.assert_allclose(total, 6 if opset >= 13 else 1, rtol=1e-5)


def test_an_output_is_chosen_by_name(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Sigmoid", "a", "b")]
    path = write(tmp_path / "m.onnx", nodes, outputs=("a", "b"))
    assert len(read_model(path)[0].outputs) == 2
    graph, _ = read_model(path, outputs=["b"])
    assert graph.output_names == ["b"]
    with pytest.raises(ModelError, match="has no output c; its outputs are a, b"):
        read_model(path, outputs=["c"])


def test_channels_last_is_recognised(tmp_path: Path) -> None:
    nodes = [node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Conv", "a w", "y")]
    weights = {"w": np.ones((3, 1, 3, 3), np.float32)}
    graph, layout = read_model(write(tmp_path / "m.onnx", nodes, (1, 8, 6, 1), weights))
    assert layout == "NHWC" and graph.shapes[0] == (8, 6, 1)
    assert "Transpose" not in kinds(graph)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content = (DATA / "residual_legacy.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    for trial in range(150):
        data = bytearray(content)
        if trial % 3 == 0:
            del data[int(rng.integers(len(data))) :]
        else:
            for place in rng.integers(0, len(data) if trial % 3 == 1 else 900, 3):
                data[place] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            read_model(path)
        except ModelError as refusal:
            assert "\n" not in str(refusal)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    weights = {"w": np.full((3, 2, 3, 3), value, np.float32)}
    path = write(tmp_path / "m.onnx", [node("Conv", "x w")], weights=weights)
    with pytest.raises(ModelError, match=r"\(Conv\): a weight or constant is not finite"):
        read_model(path)


def test_the_steps_of_a_sequence_may_come_from_the_data(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("Relu", "x")], ("n", 3, "steps"))
    graph, layout = read_model(path, (16, 3, 1))
    assert layout == "NCHW" and graph.shapes[0] == (1, 16, 3)
